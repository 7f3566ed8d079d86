package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// This file lets one list take over from another when the configuration names a
// new store. For a while both are in use: requests that came in under the old
// configuration are checked and revoke with the old list. From the moment that
// it has a successor, a list looks up there as well and passes on what is
// revoked, so that neither misses what the other knows.

// heirs are the lists whose successor a list is.
type heirs struct {
	mu    sync.Mutex
	lists []*List
}

var errSuccessionCircle = errors.New("a revocation list can't take over from one that has taken over from it")

// HandOver makes next the successor of l and copies all live records to it. It
// returns nil when next has made them durable. When next is closed before l,
// l is on its own again.
func (l *List) HandOver(ctx context.Context, next *List) error {
	for n := next; n != nil; n = n.successor.Load() {
		if n == l {
			return errSuccessionCircle
		}
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrListClosed
	}
	next.heirs.mu.Lock()
	next.heirs.lists = append(next.heirs.lists, l)
	next.heirs.mu.Unlock()
	l.successor.Store(next)
	waiting := slices.Clone(l.queue.waiting)
	l.mu.Unlock()
	// Whatever is revoked from here on goes to next as well.

	if err := l.copyTo(ctx, next, waiting); err != nil {
		return fmt.Errorf("carrying revocations over to the new store: %w", err)
	}
	return nil
}

// identity tells one record from another.
type identity struct {
	id  ID
	key Key // zero in a reinstatement
}

func identityOf(r *Record) identity {
	if r.Kind == Reinstatement {
		return identity{id: r.ID}
	}
	return identity{r.ID, r.Selector.Key(r.Kind)}
}

// copyTo copies what is waiting or stored and next doesn't have yet: it may have
// been in use before, and stores that take turns must not grow each time.
// Reinstatements go first: next may have the records that they cancel.
func (l *List) copyTo(ctx context.Context, next *List, waiting []*waiting) error {
	known := map[identity]bool{}
	if err := next.forEach(ctx, nil, func(r *Record) { known[identityOf(r)] = true }); err != nil {
		return err
	}
	var undone, revoked []Record
	var failed error
	flush := func() {
		if failed == nil && len(revoked) > 0 {
			failed = next.append(ctx, revoked)
		}
		revoked = revoked[:0]
	}
	visit := func(reinstatements bool) error {
		return l.forEach(ctx, waiting, func(r *Record) {
			switch {
			case reinstatements != (r.Kind == Reinstatement), known[identityOf(r)], !l.live(r):
			case reinstatements:
				undone = append(undone, *r)
			default:
				if revoked = append(revoked, *r); len(revoked) == maxBatch {
					flush()
				}
			}
		})
	}
	if err := visit(true); err != nil {
		return err
	}
	for i := range undone {
		if err := next.adopt(ctx, &undone[i]); err != nil {
			return err
		}
	}
	err := visit(false)
	flush()
	return errors.Join(err, failed)
}

// adopt makes a reinstatement of another list durable and effective here.
func (l *List) adopt(ctx context.Context, r *Record) error {
	l.reinstating.Lock()
	defer l.reinstating.Unlock()
	places, _, err := l.recordedUnder(ctx, r.Reinstates)
	if err != nil {
		return err
	}
	if err := l.append(ctx, []Record{*r}); err != nil {
		return err
	}
	return l.cancel(ctx, r, places)
}

// live reports whether a record has neither expired nor been cancelled.
func (l *List) live(r *Record) bool {
	l.mu.Lock()
	_, cancelled := l.cancelled[r.ID]
	l.mu.Unlock()
	return !cancelled && makeValue(uint32(r.Expires.Unix()), 0).live(l.clock.seconds())
}

// append makes records of any revocations effective and waits until they are
// durable, however long that takes.
func (l *List) append(ctx context.Context, records []Record) error {
	w, err := l.enforce(records)
	if err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release ends l's part in all successions when it closes.
func (l *List) release() {
	if next := l.successor.Load(); next != nil {
		next.heirs.mu.Lock()
		next.heirs.lists = slices.DeleteFunc(next.heirs.lists, func(o *List) bool { return o == l })
		next.heirs.mu.Unlock()
	}
	l.heirs.mu.Lock()
	defer l.heirs.mu.Unlock()
	for _, o := range l.heirs.lists {
		o.successor.CompareAndSwap(l, nil)
	}
	l.heirs.lists = nil
}
