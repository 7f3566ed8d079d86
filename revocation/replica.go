package revocation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// replica is a follower's local store. What that doesn't take, since a disk is full, say,
// is kept in memory until it does: a list must have all that it enforces in clear, to take
// back what was a mistake and to give back what the shared store loses.
type replica struct {
	local  Store
	spare  volatile
	logger *slog.Logger
	failed atomic.Bool

	moving sync.Mutex // held while the spare's records change
}

// Append implements Store. It is called by one goroutine at a time.
func (r *replica) Append(ctx context.Context, records []Record) error {
	if err := r.local.Append(ctx, records); err != nil {
		if !r.failed.Swap(true) {
			r.logger.Error("the local copy of the revocation list can't be written; what it lacks is kept in memory, and a start without the revocation store would know less", "error", err)
		}
		return r.spare.Append(ctx, records)
	}
	if r.failed.Load() {
		r.catchUp(ctx)
	}
	return nil
}

// catchUp moves records from the spare into the local store.
func (r *replica) catchUp(ctx context.Context) {
	r.moving.Lock()
	defer r.moving.Unlock()
	for left := r.spare.head(maxBatch); len(left) > 0; left = r.spare.head(maxBatch) {
		if r.local.Append(ctx, left) != nil {
			return
		}
		r.spare.behead(len(left))
	}
	r.failed.Store(false)
	r.logger.Info("the local copy of the revocation list is complete again")
}

// Load implements Store. The spare comes first: what is moved meanwhile is in both.
func (r *replica) Load(ctx context.Context, apply func([]Record) error) (Position, error) {
	if _, err := r.spare.Load(ctx, apply); err != nil {
		return "", err
	}
	return r.local.Load(ctx, apply)
}

// Prune implements Pruner.
func (r *replica) Prune(ctx context.Context, before time.Time) (removed int, err error) {
	r.moving.Lock()
	removed, err = r.spare.Prune(ctx, before)
	r.moving.Unlock()
	p, ok := r.local.(Pruner)
	if !ok || err != nil {
		return removed, err
	}
	more, err := p.Prune(ctx, before)
	return removed + more, err
}

// Close implements Store.
func (r *replica) Close() error { return errors.Join(r.spare.Close(), r.local.Close()) }

// forgets reports whether something is lost when it closes.
func (r *replica) forgets() bool {
	_, inMemory := r.local.(*volatile)
	return inMemory || r.failed.Load()
}
