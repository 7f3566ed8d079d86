// The way out: all records in the order in which they were appended.

package boltstore

import (
	"context"
	"encoding/binary"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// loadChunk is how many records are read in one transaction. As long as a read
// transaction is open, bolt can't use pages again that were freed since: a long
// one makes the file grow.
const loadChunk = 4096

// Load calls apply with all records, in the order in which they were appended,
// in batches of up to 4,096, outside of any transaction:
// apply may take its time, and may append. Records that are appended meanwhile
// are among them. The position is the number of the last record in the store's
// sequence, in decimal.
//
// It returns apply's error, ctx's error, an error that wraps ErrStoreCorrupt
// when a record can't be read, or one that wraps ErrStoreClosed when the store
// is closed meanwhile.
func (s *Store) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	if !s.gate.Enter() {
		return "", s.errClosed()
	}
	defer s.gate.Leave()
	batch := make([]revocation.Record, 0, loadChunk)
	last := uint64(0)
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if s.gate.Closed() {
			return "", s.errClosed()
		}
		err := s.view(func(tx *bbolt.Tx) (err error) {
			batch, last, err = readChunk(tx, batch[:0], last)
			return err
		})
		if err != nil {
			return "", err
		}
		if len(batch) > 0 {
			if err := apply(batch); err != nil {
				return "", err
			}
		}
		if len(batch) < loadChunk {
			return revocation.Position(strconv.FormatUint(last, 10)), nil
		}
	}
}

// head is the next record of a class.
type head struct {
	class  string
	cursor *bbolt.Cursor
	number uint64
	key    []byte
	value  []byte
}

// readChunk appends to batch the records after number last and returns the
// number of the last one.
func readChunk(tx *bbolt.Tx, batch []revocation.Record, last uint64) ([]revocation.Record, uint64, error) {
	var heads []head
	from := binary.BigEndian.AppendUint64(nil, last+1)
	err := eachClass(tx, func(name []byte, class *bbolt.Bucket) error {
		h := head{class: string(name), cursor: class.Cursor()}
		if more, err := h.set(h.cursor.Seek(from)); err != nil || !more {
			return err
		}
		heads = append(heads, h)
		return nil
	})
	if err != nil {
		return batch, last, err
	}
	for len(batch) < loadChunk && len(heads) > 0 {
		// The classes are few, and most of the time one of them has it all.
		least := 0
		for i := range heads {
			if heads[i].number < heads[least].number {
				least = i
			}
		}
		h := &heads[least]
		if h.number <= last {
			// A page stands in the place of another: some records are there twice, others
			// not at all.
			return batch, last, corrupt("class %s has record %d behind record %d", h.class, h.number, last)
		}
		r, err := decode(h.class, h.key, h.value)
		if err != nil {
			return batch, last, err
		}
		batch = append(batch, r)
		last = h.number
		if more, err := h.set(h.cursor.Next()); err != nil {
			return batch, last, err
		} else if !more {
			heads[least] = heads[len(heads)-1]
			heads = heads[:len(heads)-1]
		}
	}
	if len(batch) < loadChunk {
		// Nothing follows. What was numbered but is gone was pruned.
		last = max(last, tx.Bucket(recordsBucket).Sequence())
	}
	return batch, last, nil
}

// set takes what a cursor returned and reports whether it is a record.
func (h *head) set(key, value []byte) (bool, error) {
	if key == nil {
		return false, nil
	}
	if len(key) != 8 || value == nil {
		return false, corrupt("class %s has a key %x that isn't a number", h.class, key)
	}
	h.key, h.value, h.number = key, value, binary.BigEndian.Uint64(key)
	return true, nil
}
