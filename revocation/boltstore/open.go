// From a path to a store: lock, look, and only then let bolt at it.

package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Defaults of Options.
const (
	DefaultFileMode    fs.FileMode = 0o600
	DefaultLockTimeout             = 5 * time.Second
)

// dirMode is the mode of directories that Open makes.
const dirMode = 0o700

// Options are how a store is opened. The zero value has the defaults.
type Options struct {
	// FileMode is the mode of the file if it is created. Default:
	// DefaultFileMode, since records name subjects in clear.
	FileMode fs.FileMode

	// LockTimeout is how long to wait while another process, or another Store
	// in this one, has the file open. Default: DefaultLockTimeout, since a
	// reload opens the file before the old configuration has closed it. A
	// negative value means not at all.
	LockTimeout time.Duration

	// Logger is told what happens to the file besides errors that are returned.
	// Default: nothing is logged.
	Logger *slog.Logger
}

// Open opens the store in the file at path. A file that doesn't exist is
// created, with its directory (mode 0700); so is one of zero bytes. When more
// than half of a file of over 16 MiB is free, it is compacted.
//
// The error names the path and wraps ErrStoreInUse when the file is still
// locked after LockTimeout; ErrStoreCorrupt when it isn't a store's file or is
// damaged, in which case it is left as it is; ErrStoreVersion when a newer
// program wrote it; ErrStoreReadOnly and ErrStoreFull when the file system
// refuses; ctx's error when ctx ends first.
//
// Creation and compaction are safe against a crash at any moment, except on
// systems without flock (Windows, Solaris, AIX): there, a crash in the first
// moment can leave a file that must be deleted, and files aren't compacted.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if opts.FileMode == 0 {
		opts.FileMode = DefaultFileMode
	}
	if opts.LockTimeout == 0 {
		opts.LockTimeout = DefaultLockTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := open(ctx, path, opts)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, opts Options) (*Store, error) {
	if err := makeDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	created, compacted := false, false
	for {
		f, err := lockFile(ctx, path, opts)
		if err != nil {
			return nil, err
		}
		o := &opening{ctx: ctx, opts: opts, file: f}
		s, err := o.run(path, &created, &compacted)
		if s != nil {
			return s, nil
		}
		o.abandon(err)
		if err != nil {
			return nil, err
		}
		// The file was replaced, by a new one or by its compact copy.
	}
}

// makeDir makes a directory that doesn't exist, and those above it, durably.
func makeDir(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := makeDir(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(above)
}

// lockPoll is how often a lock that another holds is tried.
const lockPoll = 20 * time.Millisecond

// lockFile opens the file at path, or creates an empty one, and locks it. What
// it returns is the file that path names at a moment when it is locked: whoever
// had the lock before may have put another in its place.
func lockFile(ctx context.Context, path string, opts Options) (*os.File, error) {
	deadline := time.Now().Add(opts.LockTimeout)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, opts.FileMode)
		if err != nil {
			return nil, err
		}
		err = tryLock(f)
		if err == nil {
			same, statErr := isAt(f, path)
			if same {
				return f, nil
			}
			err = statErr
		}
		f.Close()
		switch {
		case err == nil: // it was replaced meanwhile
			continue
		case !errors.Is(err, errLocked):
			return nil, err
		case !time.Now().Before(deadline):
			return nil, errInUse(opts)
		}
		select {
		case <-ctx.Done():
		case <-time.After(lockPoll):
		}
	}
}

func errInUse(opts Options) error {
	return fmt.Errorf("%w: it was locked for %s", revocation.ErrStoreInUse, max(opts.LockTimeout, 0))
}

// isAt reports whether path names the open file.
func isAt(f *os.File, path string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(a, b), err
}

// opening is one attempt to make a store of a file that is locked.
type opening struct {
	ctx  context.Context
	opts Options
	file *os.File
	real string // the path without symbolic links
	db   *bbolt.DB
}

// run returns the store, or neither a store nor an error when it has put
// another file in place of this one.
func (o *opening) run(path string, created, compacted *bool) (*Store, error) {
	info, err := o.file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file but a %s", info.Mode().Type())
	}
	if o.real, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	if info.Size() == 0 && canReplace {
		if *created {
			return nil, errors.New("it is empty though it was just created")
		}
		*created = true
		return nil, o.create()
	}
	image, err := o.openBolt()
	if err != nil {
		return nil, err
	}
	s := &Store{path: path, log: o.opts.Logger, now: time.Now, db: o.db, file: o.file, page: image.pageSize, gate: gate.New()}
	s.close = sync.OnceValue(s.closeFile)
	s.records.Store(image.records)
	if err := catch(s.readMeta); err != nil {
		return nil, err
	}
	if image.torn || image.leaked > 0 {
		// After a crash this is normal where the disk tore a page; else bits rot.
		s.log.Warn("the revocation store's file was damaged, but can be read; its last transaction may be lost",
			"path", path, "meta_page_lost", image.torn, "pages_lost", image.leaked)
	}
	if canReplace && !*compacted && o.wantsCompaction(image) {
		*compacted = true
		var p *panicError
		if err := o.compact(image); errors.As(err, &p) {
			return nil, err
		} else if err != nil {
			s.log.Warn("the revocation store's file could not be compacted", "path", path, "error", err)
		}
	}
	if same, err := isAt(o.file, path); err != nil || !same {
		return nil, err
	}
	// The name of a file that was created or renamed must be as durable as what
	// is in it, also when that was done by a process that crashed before this.
	if err := syncDir(filepath.Dir(o.real)); err != nil {
		return nil, err
	}
	return s, nil
}

// openBolt checks the file and opens it with bolt.
func (o *opening) openBolt() (image fileImage, err error) {
	if canReplace {
		// Locked already. Where it isn't, bolt must lock it first.
		if image, err = o.check(); err != nil {
			return image, err
		}
	}
	err = catch(func() (err error) {
		o.db, err = bbolt.Open(o.real, o.opts.FileMode, &bbolt.Options{
			Timeout:      max(o.opts.LockTimeout, time.Millisecond),
			FreelistType: bbolt.FreelistMapType,
			// The lock belongs to this one: if bolt opened the file a second time,
			// it would be locked out.
			OpenFile: func(string, int, fs.FileMode) (*os.File, error) { return o.file, nil },
		})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return image, errInUse(o.opts)
	case errors.Is(err, bolterrors.ErrVersionMismatch):
		return image, fmt.Errorf("%w: %w", revocation.ErrStoreVersion, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum):
		return image, corrupt("%w", err)
	case err != nil:
		return image, err
	}
	if !canReplace {
		image, err = o.check()
	}
	return image, err
}

func (o *opening) check() (fileImage, error) {
	info, err := o.file.Stat()
	if err != nil {
		return fileImage{}, err
	}
	return checkFile(o.ctx, o.file, info.Size())
}

// abandon closes and unlocks the file after run has ended without a store.
func (o *opening) abandon(err error) {
	var p *panicError
	if o.db != nil && !errors.As(err, &p) && catch(o.db.Close) == nil {
		return
	}
	// Bolt didn't open the file, or closed it, or panicked: see closeFile.
	_ = unlock(o.file)
	o.file.Close()
}

// readMeta reads what the file says of itself, or writes it if bolt's file has
// nothing in it yet.
func (s *Store) readMeta() error {
	var empty bool
	err := s.db.View(func(tx *bbolt.Tx) error {
		if name, _ := tx.Cursor().First(); name == nil {
			empty = true
			return nil
		}
		return s.parseMeta(tx)
	})
	if err != nil || !empty {
		return err
	}
	if err := s.db.Update(writeMeta); err != nil {
		return err
	}
	return s.db.View(s.parseMeta)
}

func (s *Store) parseMeta(tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket)
	if meta == nil || meta.Get(formatKey) == nil {
		return corrupt("it is a bolt file of something else; is the path right?")
	}
	if format := string(meta.Get(formatKey)); format != formatVersion {
		return fmt.Errorf("%w: the file has version %q, this program reads version %s: a newer version of the program wrote it", revocation.ErrStoreVersion, format, formatVersion)
	}
	id, err := uuid.ParseBytes(meta.Get(idKey))
	if err != nil {
		return corrupt("its id can't be read")
	}
	s.id = id.String()
	if s.born, err = time.Parse(time.RFC3339, string(meta.Get(createdKey))); err != nil {
		return corrupt("its time of creation can't be read")
	}
	return checkSequence(tx)
}

// checkSequence makes sure that the next records get numbers that no record
// has: they would overwrite it.
func checkSequence(tx *bbolt.Tx) error {
	return eachClass(tx, func(name []byte, class *bbolt.Bucket) error {
		h := head{class: string(name)}
		if found, err := h.set(class.Cursor().Last()); err != nil || !found {
			return err
		}
		if last := tx.Bucket(recordsBucket).Sequence(); h.number > last {
			return corrupt("it has a record %d in a sequence that ends at %d", h.number, last)
		}
		return nil
	})
}

func writeMeta(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucket(recordsBucket); err != nil {
		return err
	}
	for _, entry := range []struct {
		key   []byte
		value string
	}{
		{formatKey, formatVersion},
		{idKey, uuid.NewString()},
		{createdKey, time.Now().UTC().Format(time.RFC3339)},
	} {
		if err := meta.Put(entry.key, []byte(entry.value)); err != nil {
			return err
		}
	}
	return nil
}
