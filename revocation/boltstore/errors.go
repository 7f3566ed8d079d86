// What failed, what state it leaves bolt in, and what the caller is told: which
// failures are passing and which are final is decided here alone.

package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// breakage is why a store accepts nothing more.
type breakage struct {
	err error
	// untouchable says that bolt panicked: it may hold its own locks, so that
	// no method of it may be called again, not even Close.
	untouchable bool
}

// guard runs f, which uses bolt, and turns a panic into an error that wraps
// ErrStoreCorrupt. A fault in the mapped file (it was cut short, or the disk
// can't be read) is a panic, too. Afterwards the store is untouchable.
func (s *Store) guard(f func() error) error {
	if b := s.broken.Load(); b != nil && b.untouchable {
		return b.err
	}
	err := catch(f)
	var p *panicError
	if errors.As(err, &p) {
		s.log.Error("the revocation store's file can't be read any more", "path", s.path, "panic", p.value, "stack", p.stack)
		err = fmt.Errorf("%s: %w: %w: %w: %s", s.path, revocation.ErrStoreFailed, revocation.ErrStoreCorrupt, p, remedyCorrupt)
		s.broken.Store(&breakage{err: err, untouchable: true})
	}
	return err
}

type panicError struct {
	value any
	stack string
}

func (p *panicError) Error() string { return fmt.Sprintf("bolt panicked: %v", p.value) }

// catch runs f and returns a *panicError if it panics.
func catch(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, string(debug.Stack())}
		}
	}()
	return f()
}

// view runs one read transaction.
func (s *Store) view(f func(*bbolt.Tx) error) error {
	err := s.guard(func() error { return s.db.View(f) })
	var p *panicError
	switch {
	case err == nil, errors.As(err, &p):
		return err
	case errors.Is(err, revocation.ErrStoreCorrupt):
		return fmt.Errorf("%s: %w: %s", s.path, err, remedyCorrupt)
	}
	return fmt.Errorf("%s: %w: %w", s.path, revocation.ErrStoreFailed, err)
}

// update runs one write transaction. The caller holds s.writing.
//
// A commit (bbolt's Tx.Commit) writes the pages, syncs, writes the meta page
// that makes them the current ones, and syncs again. When the file can't grow
// or a page can't be written, bolt takes up the current free list again and
// goes on from the state before: nothing happened. When a sync fails, nobody
// knows what is on the disk: the kernel drops the pages that it couldn't write
// and reports it once, so that the next sync would succeed. And when the second
// one fails, the new meta page is in the mapped file, current for every reader,
// durable or not. So after anything but a refused write the store takes no more:
// an acknowledgement could be a lie.
func (s *Store) update(f func(*bbolt.Tx) error) error {
	if b := s.broken.Load(); b != nil {
		return b.err
	}
	txid := 0
	err := s.guard(func() error {
		return s.db.Update(func(tx *bbolt.Tx) error {
			txid = tx.ID()
			return f(tx)
		})
	})
	if err == nil || s.broken.Load() != nil {
		return err
	}
	if refusal := refused(err); refusal != nil && s.at(txid-1) {
		return fmt.Errorf("%s: %w: %w", s.path, refusal, err)
	}
	b := &breakage{err: fmt.Errorf("%s: %w: %w: check the disk, then restart: no revocation is accepted until then", s.path, revocation.ErrStoreFailed, err)}
	if !s.broken.CompareAndSwap(nil, b) {
		return s.broken.Load().err // a reader panicked meanwhile, or s.at did
	}
	s.log.Error("the revocation store has failed", "path", s.path, "error", err)
	return b.err
}

// at reports whether a transaction's outcome is the current one. If the write
// of a meta page failed but put the page in place, the transaction that failed
// is current, and bolt's free list, which was rolled back, doesn't belong to it.
func (s *Store) at(txid int) bool {
	current := 0
	err := s.view(func(tx *bbolt.Tx) error {
		current = tx.ID()
		return nil
	})
	return err == nil && current == txid
}

// refused returns ErrStoreFull or ErrStoreReadOnly if a commit failed because
// the file system refused to write or to make the file longer, else nil.
//
// A failed sync must never count as one, whatever its errno (NFS reports a full
// disk there): bolt returns a bare errno for fdatasync, "file sync error: …" for
// fsync. A write's error is an *fs.PathError; that of growing has lost its type
// and is known by its text. If another version of bolt words it differently, a
// full disk is taken for a failure, which is the safe side.
func refused(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Op == "write" {
		return refusal(path.Err)
	}
	if text, ok := strings.CutPrefix(err.Error(), "file resize error: "); ok {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EACCES, syscall.EPERM} {
			if strings.HasSuffix(text, ": "+errno.Error()) {
				return refusal(errno)
			}
		}
	}
	return nil
}

// refusal returns the store's error for what a file system says when it won't,
// nil for every other error.
func refusal(err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return revocation.ErrStoreFull
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return revocation.ErrStoreReadOnly
	}
	return nil
}

const remedyCorrupt = "move the file away and restore a backup, or start anew without the revocations in it"

// explainOpen makes the error of Open from what went wrong.
func explainOpen(path string, err error) error {
	var p *panicError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, revocation.ErrStoreVersion):
		return fmt.Errorf("%s: %w", path, err)
	case errors.As(err, &p):
		return fmt.Errorf("%s: %w: %w: %s", path, revocation.ErrStoreCorrupt, err, remedyCorrupt)
	case errors.Is(err, revocation.ErrStoreCorrupt):
		return fmt.Errorf("%s: %w: %s", path, err, remedyCorrupt)
	case errors.Is(err, revocation.ErrStoreInUse):
		return fmt.Errorf("%s: %w: end that process, or give this one a file of its own", path, err)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("%s is a directory: name a file in it: %w", path, err)
	}
	switch refusal := refusal(err); refusal {
	case revocation.ErrStoreFull:
		return fmt.Errorf("%s: %w: %w", path, refusal, err)
	case revocation.ErrStoreReadOnly:
		return fmt.Errorf("%s: %w: %w: the user that this process runs as must be able to write to the file and its directory", path, refusal, err)
	}
	return fmt.Errorf("%s: the revocation store can't be opened: %w", path, err)
}

// corrupt makes an error that wraps ErrStoreCorrupt and says what was found.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{revocation.ErrStoreCorrupt}, args...)...)
}
