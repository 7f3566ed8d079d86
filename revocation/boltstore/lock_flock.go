// The lock where there is flock: it belongs to the open file, so that it can be
// had before bolt, which locks the same one again and finds it locked by itself.

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// canReplace says that a file is locked before bolt opens it, and that a file
// which is open can be replaced.
const canReplace = true

// errLocked is tryLock's error when another has the lock.
var errLocked = errors.New("locked by another")

func tryLock(f *os.File) error {
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return errLocked
	default:
		return fmt.Errorf("it can't be locked: %w", err)
	}
}

func unlock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }

// syncDir makes the names in a directory durable. In one that can't be read,
// which is possible where only the file was handed to this process, that is left
// to whoever made it.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err // the others: a file system that can't, and needn't
	}
	return nil
}

// keepOwner gives a copy the owner and group of the original: root may open the
// store of a service by hand, which must be able to open it afterwards.
func keepOwner(copied, original *os.File) error {
	a, err := copied.Stat()
	if err != nil {
		return err
	}
	b, err := original.Stat()
	if err != nil {
		return err
	}
	is, want := a.Sys().(*syscall.Stat_t), b.Sys().(*syscall.Stat_t)
	if is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	return copied.Chown(int(want.Uid), int(want.Gid))
}
