// Package boltstore keeps revocation records in one file, by way of bbolt: the
// store of a single node, without a server.
//
// One Append is one transaction, however many records it carries, and returns
// when the transaction is on the disk. A failed fsync is final: see Append.
//
// # The file
//
// The bucket meta holds the format version, the store's id and when it was
// created. The bucket records holds one bucket for each class of time to live.
// In it, a record's key is its number in the one sequence of the whole store,
// as 8 big-endian bytes, and its value is the record's encoding
// (revocation.AppendRecord) followed by the CRC-32C of key and encoding: bolt
// itself has no checksums but those of its two meta pages.
//
// A file is locked while it is open, by flock, and read once from end to end
// before bolt gets it, because bolt trusts what it finds: see checkFile.
package boltstore

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Store is a revocation.Store and a revocation.Pruner in a bolt file. Its
// methods may be called from any goroutine.
type Store struct {
	path string
	log  *slog.Logger
	now  func() time.Time // the wall clock, but for tests
	db   *bbolt.DB
	file *os.File // the one that db has open and locked
	page int64    // bytes in a page of the file
	id   string
	born time.Time

	records atomic.Int64
	broken  atomic.Pointer[breakage]

	pruning sync.Mutex // held by Prune
	writing sync.Mutex // held for a write transaction; guards buf
	buf     []byte     // encodings of one Append, used again by the next

	gate  *gate.Gate
	close func() error
}

var (
	_ revocation.Store  = (*Store)(nil)
	_ revocation.Pruner = (*Store)(nil)
)

func (s *Store) errClosed() error { return fmt.Errorf("%s: %w", s.path, revocation.ErrStoreClosed) }

// Close ends a running Load and Prune at their next step, waits for them and
// for a running Append, and closes and unlocks the file. Every call returns
// what the first one did. It must not be called from within Load's apply.
func (s *Store) Close() error {
	s.gate.Close()
	s.gate.Wait()
	return s.close()
}

func (s *Store) closeFile() error {
	if b := s.broken.Load(); b != nil && b.untouchable {
		// Bolt may hold one of its own locks for good. Its mapping of the file
		// stays until the process ends, and with it the file's lock, unless that
		// is released by hand.
		if err := unlock(s.file); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		return s.file.Close()
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// Stats describes a store.
type Stats struct {
	// ID is the store's identity, a UUID made when the file was. A copy of the
	// file has the same.
	ID string
	// Created is when the file was made, in whole seconds.
	Created time.Time
	// Records counts the records in the file, expired ones included until they
	// are pruned.
	Records int64
	// FileBytes is the size of the file. It doesn't shrink but by compaction.
	FileBytes int64
	// FreeBytes is how much of the file is given to no record and will be used
	// again before the file grows.
	FreeBytes int64
}

// Stats returns the store's figures as of the last transaction. It does one
// stat and no other I/O. After Close the sizes are zero.
func (s *Store) Stats() Stats {
	st := Stats{ID: s.id, Created: s.born, Records: s.records.Load()}
	if !s.gate.Enter() {
		return st
	}
	defer s.gate.Leave()
	if info, err := s.file.Stat(); err == nil {
		st.FileBytes = info.Size()
	}
	free := s.db.Stats()
	st.FreeBytes = int64(free.FreePageN+free.PendingPageN) * s.page
	return st
}
