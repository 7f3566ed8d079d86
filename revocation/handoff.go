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
// configuration are checked and revoke with the old list, and when the new
// configuration fails after all, the old one goes on alone. From the moment that
// it has a successor, a list looks up there as well, and what is revoked with
// either is made durable by both.

// predecessors are the lists whose successor a list is.
type predecessors struct {
	mu    sync.Mutex
	lists []*List
}

var errSuccessionCircle = errors.New("a revocation list can't take over from one that has taken over from it")

// HandOver makes next the successor of l and copies all live records to it. It
// returns nil when next has made them durable. When next is closed before l,
// l is on its own again. What next knew before ends streams with EndStreams.
func (l *List) HandOver(ctx context.Context, next *List) error {
	for n := next; n != nil; n = n.successor.Load() {
		if n == l {
			return errSuccessionCircle
		}
	}
	// What it has already needn't be copied. One whose store doesn't answer can't take over.
	if err := next.awaitLoad(ctx); err != nil {
		return fmt.Errorf("the new revocation store can't be read: %w", err)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrListClosed
	}
	next.predecessors.mu.Lock()
	next.predecessors.lists = append(next.predecessors.lists, l)
	next.predecessors.mu.Unlock()
	l.successor.Store(next)
	waiting := l.unstoredLocked()
	l.mu.Unlock()
	// Whatever is revoked from here on goes to next as well.

	if err := l.copyTo(ctx, next, waiting); err != nil {
		return fmt.Errorf("carrying revocations over to the new store: %w", err)
	}
	l.tellHandedOver(waiting)
	return nil
}

// tellHandedOver has OnDurable told of what was pending and is durable now, with the
// successor.
func (l *List) tellHandedOver(pending []*waiting) {
	l.mu.Lock()
	told := slices.DeleteFunc(pending, func(w *waiting) bool { return !w.tell })
	l.mu.Unlock()
	for _, w := range told {
		l.durable(w.records)
	}
}

// withRelatives changes this list and every list that succeeds it or that it
// succeeds. It returns nil when each of them that isn't closed was changed, and
// there is one.
func (l *List) withRelatives(change func(*List) error) error {
	var errs []error
	open := false
	// Who is related is asked after each change: what was changed before a list
	// became one is handed over to it.
	all := []*List{l}
	for i := 0; i < len(all); i++ {
		err := change(all[i])
		if !errors.Is(err, ErrListClosed) {
			open = true
			errs = append(errs, err)
		}
		for _, o := range all[i].relatives() {
			if !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	if !open {
		return ErrListClosed
	}
	return errors.Join(errs...)
}

// relatives returns the lists that l succeeds, and its successor.
func (l *List) relatives() []*List {
	l.predecessors.mu.Lock()
	defer l.predecessors.mu.Unlock()
	all := slices.Clone(l.predecessors.lists)
	if next := l.successor.Load(); next != nil {
		all = append(all, next)
	}
	return all
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

// inventory is what a list has: records by their identity, and what they amount to.
type inventory map[identity]value

func (in inventory) add(r *Record) {
	id := identityOf(r)
	in[id] = in[id].merge(valueOf(r))
}

// covers reports whether a record would add nothing.
func (in inventory) covers(r *Record) bool {
	known, ok := in[identityOf(r)]
	return ok && known.merge(valueOf(r)) == known
}

// copyTo copies what is waiting or stored and next doesn't have yet: it may have
// been in use before, and stores that take turns must not grow each time.
// Reinstatements go first: next may have the records that they cancel.
func (l *List) copyTo(ctx context.Context, next *List, waiting []*waiting) error {
	known := inventory{}
	if err := next.forEach(ctx, nil, known.add); err != nil {
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
			case reinstatements != (r.Kind == Reinstatement), known.covers(r), !l.live(r):
			case reinstatements:
				undone = append(undone, *r)
				known.add(r)
			default:
				known.add(r)
				if revoked = append(revoked, *r); len(revoked) == maxBatch {
					flush()
				}
			}
		})
	}
	if err := visit(true); err != nil {
		return err
	}
	if err := next.adopt(ctx, undone); err != nil {
		return err
	}
	err := visit(false)
	flush()
	return errors.Join(err, failed)
}

// adopt makes reinstatements of another list durable and effective here.
func (l *List) adopt(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	l.reinstating.Lock()
	defer l.reinstating.Unlock()
	var ids []ID
	for i := range records {
		ids = append(ids, records[i].Reinstates...)
	}
	places, _, err := l.recordedUnder(ctx, ids)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(records, maxBatch) {
		if err := l.append(ctx, batch); err != nil {
			return err
		}
	}
	return l.cancel(ctx, records, places)
}

// live reports whether a record has neither expired nor been cancelled.
func (l *List) live(r *Record) bool {
	return l.unexpired(r) && !l.isCancelled(r.ID)
}

func (l *List) unexpired(r *Record) bool { return valueOf(r).live(l.clock.seconds()) }

// counts is live for a record of which no more is known.
func (l *List) counts(id ID, v value) bool { return v.live(l.clock.seconds()) && !l.isCancelled(id) }

func (l *List) isCancelled(id ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, cancelled := l.cancelled[id]
	return cancelled
}

// append makes records of any revocations effective and waits until they are
// durable, however long that takes.
func (l *List) append(ctx context.Context, records []Record) error {
	done, err := l.enforce(records, false)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release ends l's part in all successions when it closes.
func (l *List) release() {
	if next := l.successor.Load(); next != nil {
		next.predecessors.mu.Lock()
		next.predecessors.lists = slices.DeleteFunc(next.predecessors.lists, func(o *List) bool { return o == l })
		next.predecessors.mu.Unlock()
	}
	l.predecessors.mu.Lock()
	defer l.predecessors.mu.Unlock()
	for _, o := range l.predecessors.lists {
		o.successor.CompareAndSwap(l, nil)
	}
	l.predecessors.lists = nil
}
