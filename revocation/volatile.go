package revocation

import (
	"context"
	"slices"
	"sync"
	"time"
)

// volatile is a Store that forgets everything with the process: the replica of a list
// that is to leave nothing on the disk.
type volatile struct {
	mu      sync.Mutex
	records []Record
	closed  bool
}

// Append implements Store.
func (v *volatile) Append(_ context.Context, records []Record) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrStoreClosed
	}
	v.records = append(v.records, records...)
	return nil
}

// Load implements Store. It hands out what there is now.
func (v *volatile) Load(ctx context.Context, apply func([]Record) error) (Position, error) {
	v.mu.Lock()
	records, closed := v.records, v.closed
	v.mu.Unlock()
	if closed {
		return "", ErrStoreClosed
	}
	for batch := range slices.Chunk(records, maxBatch) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		if err := apply(slices.Clone(batch)); err != nil {
			return "", err
		}
	}
	return "", nil
}

// head returns up to n records that it has had for longest.
func (v *volatile) head(n int) []Record {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.records[:min(n, len(v.records))]
}

// behead forgets as many.
func (v *volatile) behead(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.records = slices.Clone(v.records[n:])
}

// Prune implements Pruner.
func (v *volatile) Prune(_ context.Context, before time.Time) (removed int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	// A Load may be reading the old ones.
	kept := make([]Record, 0, len(v.records))
	for _, r := range v.records {
		if !r.Expires.Before(before) {
			kept = append(kept, r)
		}
	}
	removed = len(v.records) - len(kept)
	v.records = kept
	return removed, nil
}

// Close implements Store.
func (v *volatile) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	return nil
}
