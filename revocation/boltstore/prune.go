// Forgetting what has expired.

package boltstore

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// pruneChunk is how many records are removed in one transaction. An Append
// waits for at most one of these.
const pruneChunk = 2000

// Prune removes, in each class of time to live, the records at the front that
// expired before the given time, in transactions of up to 2,000; an Append that
// waits comes between two of them. An expired record behind one that hasn't
// expired stays for a later call; it is gone at the latest when its class's
// longest time to live has passed since it was appended (see classes).
//
// It returns how many were removed, and nil when ctx ended it early. It needs
// room in the file and returns the same errors as Append.
func (s *Store) Prune(ctx context.Context, before time.Time) (removed int, err error) {
	if !s.gate.Enter() {
		return 0, s.errClosed()
	}
	defer s.gate.Leave()
	s.pruning.Lock()
	defer s.pruning.Unlock()
	names, err := s.classNames()
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		for more := true; more; {
			if ctx.Err() != nil {
				return removed, nil
			}
			if s.gate.Closed() {
				return removed, s.errClosed()
			}
			n, err := s.pruneFront(name, before)
			removed += n
			if err != nil {
				return removed, err
			}
			more = n == pruneChunk
		}
	}
	return removed, nil
}

func (s *Store) classNames() (names [][]byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		return eachClass(tx, func(name []byte, _ *bbolt.Bucket) error {
			names = append(names, slices.Clone(name))
			return nil
		})
	})
	return names, err
}

// pruneFront removes up to pruneChunk expired records from the front of a class.
func (s *Store) pruneFront(name []byte, before time.Time) (int, error) {
	// Looked at first in a read transaction: a write transaction costs a sync
	// and keeps Append waiting, and most of the time there is nothing to do.
	var keys [][]byte
	err := s.view(func(tx *bbolt.Tx) (err error) {
		keys, err = expiredFront(tx, name, before)
		return err
	})
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err = s.update(func(tx *bbolt.Tx) error {
		class := tx.Bucket(recordsBucket).Bucket(name)
		class.FillPercent = fill
		for _, key := range keys {
			if err := class.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	s.records.Add(-int64(len(keys)))
	return len(keys), nil
}

func expiredFront(tx *bbolt.Tx, name []byte, before time.Time) ([][]byte, error) {
	var keys [][]byte
	cursor := tx.Bucket(recordsBucket).Bucket(name).Cursor()
	for key, value := cursor.First(); key != nil && len(keys) < pruneChunk; key, value = cursor.Next() {
		r, err := decode(string(name), key, value)
		if err != nil {
			return nil, err
		}
		if !r.Expires.Before(before) {
			break
		}
		keys = append(keys, slices.Clone(key))
	}
	return keys, nil
}
