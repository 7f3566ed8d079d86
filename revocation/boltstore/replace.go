// Putting another file in place of the one at the path: a new one, or a compact
// copy. Both are made completely beside it, under a second name, and get its
// name in one step.
//
// Whoever does this holds the lock of the file at the path, if only of an empty
// one, and keeps it until the other has its name. So there is one at a time,
// and who waits for the lock finds, when it has it, that the path names another
// file by now, and begins again: see lockFile.

package boltstore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

const (
	newSuffix = ".new"

	// compactAbove is the size in bytes from which on a file is compacted.
	compactAbove = 16 << 20
	// compactStep is how many bytes are copied in one transaction.
	compactStep = 4 << 20
)

// create puts a store without records in place of the empty file.
func (o *opening) create() error {
	return o.replace(func(db *bbolt.DB) error { return db.Update(writeMeta) }, o.opts.FileMode)
}

// wantsCompaction reports whether so much of the file is free that a copy
// without that is worth its time.
func (o *opening) wantsCompaction(image fileImage) bool {
	info, err := o.file.Stat()
	return err == nil && info.Size() > compactAbove && image.freeBytes() > info.Size()/2
}

// compact puts a copy without free pages in place of the file.
func (o *opening) compact(image fileImage) error {
	info, err := o.file.Stat()
	if err != nil {
		return err
	}
	start := time.Now()
	var copied fileImage
	err = o.replace(func(db *bbolt.DB) error {
		db.NoSync = true // one sync at the end will do
		if err := bbolt.Compact(db, o.db, compactStep); err != nil {
			return err
		}
		if err := db.Sync(); err != nil {
			return err
		}
		f, err := os.Open(o.real + newSuffix)
		if err != nil {
			return err
		}
		defer f.Close()
		size, err := f.Stat()
		if err != nil {
			return err
		}
		if copied, err = checkFile(o.ctx, f, size.Size()); err != nil {
			return fmt.Errorf("the copy: %w", err)
		}
		if copied.records != image.records {
			return fmt.Errorf("the copy has %d records, the file has %d", copied.records, image.records)
		}
		return keepOwner(f, o.file)
	}, info.Mode().Perm())
	if err == nil {
		o.opts.Logger.Info("the revocation store's file was compacted", "path", o.real,
			"from_bytes", info.Size(), "to_bytes", int64(copied.pages)*copied.pageSize, "records", copied.records, "took", time.Since(start))
	}
	return err
}

// replace makes a bolt file beside the one at the path, fills it, and gives it
// the path.
func (o *opening) replace(fill func(*bbolt.DB) error, mode fs.FileMode) (err error) {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	temporary := o.real + newSuffix
	// What a crash has left, and what would be left now.
	if err := removeFile(temporary); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = removeFile(temporary)
		}
	}()
	db, err := bbolt.Open(temporary, mode, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = catch(func() error { return fill(db) })
	if closeErr := db.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	// The umask may have taken bits that the file had.
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	if err := os.Rename(temporary, o.real); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.real))
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
