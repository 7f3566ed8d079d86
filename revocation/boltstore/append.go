// The way in: one batch, one transaction, one promise.

package boltstore

import (
	"context"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// maxKeptBuffer is how many bytes of buffer are kept from one Append to the next.
const maxKeptBuffer = 4 << 20

// Append makes the records durable in one transaction, all of them or none. It
// doesn't begin when ctx has ended, and takes no notice of ctx once it has.
//
// An error that wraps ErrStoreFull or ErrStoreReadOnly means that nothing was
// written, and that the same can succeed later. One that wraps ErrStoreFailed
// is final: what is on the disk is uncertain, and every later Append and Prune
// returns the same error until the store is opened anew. Load still works,
// unless the error wraps ErrStoreCorrupt as well.
func (s *Store) Append(ctx context.Context, records []revocation.Record) error {
	if !s.gate.Enter() {
		return s.errClosed()
	}
	defer s.gate.Leave()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := ctx.Err(); err != nil || len(records) == 0 {
		return err
	}
	err := s.update(func(tx *bbolt.Tx) error { return s.put(tx, records) })
	if err == nil {
		s.records.Add(int64(len(records)))
	}
	return err
}

func (s *Store) put(tx *bbolt.Tx, records []revocation.Record) error {
	all := tx.Bucket(recordsBucket)
	if all == nil {
		return corrupt("it has no bucket %s", recordsBucket)
	}
	if cap(s.buf) > maxKeptBuffer {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	now := s.now()
	sequence := all.Sequence()
	var buckets [len(classes)]*bbolt.Bucket
	for i := range records {
		r := &records[i]
		class := classOf(r.Expires, now)
		if buckets[class] == nil {
			b, err := all.CreateBucketIfNotExists([]byte(classes[class].name))
			if err != nil {
				return err
			}
			b.FillPercent = fill
			buckets[class] = b
		}
		sequence++
		key := binary.BigEndian.AppendUint64(nil, sequence)
		start := len(s.buf)
		// Bolt refers to the value until it has committed. When the buffer grows,
		// earlier values stay in the old one.
		s.buf = appendValue(s.buf, key, r)
		if err := buckets[class].Put(key, s.buf[start:]); err != nil {
			return err
		}
	}
	return all.SetSequence(sequence)
}
