package revocation

import (
	"context"
	"errors"
)

// This file makes reinstatements effective that the feed brought. That reads the replica
// and takes its time, in which what others revoke must not wait: it is done aside. Until
// it is done a token too many is rejected.

// unknown reports whether a reinstatement cancels what isn't cancelled yet. The caller
// holds the lock.
func (l *List) unknown(r *Record) bool {
	for _, id := range r.Reinstates {
		if _, known := l.cancelled[id]; !known {
			return true
		}
	}
	return false
}

// note puts a record of the feed into the index, or among what is to be adopted: what it
// cancels is refused from here on. The caller holds the lock.
func (l *List) note(r *Record) (e entry, ok bool) {
	fresh := r.Kind == Reinstatement && l.unknown(r)
	e, ok = l.put(r)
	if fresh && !l.unknown(r) { // it hasn't expired
		l.follower.undone = append(l.follower.undone, *r)
		select {
		case l.follower.adopting <- struct{}{}:
		default:
		}
	}
	return e, ok
}

// adopting makes reinstatements effective until ctx ends.
func (l *List) adopting(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.follower.adopting:
		}
		for retry := firstReconnect; ctx.Err() == nil; retry = min(2*retry, lastReconnect) {
			err := l.adoptReceived(ctx)
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				l.logger.Error("a reinstatement could not be made effective here; trying again", "error", err)
			}
			sleep(ctx, jitter(retry))
		}
	}
}

// adoptReceived makes the reinstatements effective that were noted.
func (l *List) adoptReceived(ctx context.Context) error {
	l.reinstating.Lock()
	defer l.reinstating.Unlock()
	l.mu.Lock()
	undone := l.follower.undone
	l.follower.undone = nil
	l.mu.Unlock()
	if len(undone) == 0 {
		return nil
	}
	err := l.recompute(ctx, undone)
	if err != nil {
		l.mu.Lock()
		l.follower.undone = append(undone, l.follower.undone...)
		l.mu.Unlock()
	}
	return err
}

// recompute makes reinstatements effective that the replica has. What they cancel is
// cancelled already, and still under its keys.
func (l *List) recompute(ctx context.Context, undone []Record) error {
	ids := map[ID]bool{}
	for i := range undone {
		for _, id := range undone[i].Reinstates {
			ids[id] = true
		}
	}
	places := map[place]value{}
	err := l.forEach(ctx, l.unstored(), func(r *Record) {
		if ids[r.ID] && r.Kind != Reinstatement && l.unexpired(r) {
			places[l.index.entry(r).place()] = 0
		}
	})
	if err != nil {
		return err
	}
	return l.cancel(ctx, undone, places)
}

// keep puts records into the replica.
func (f *follower) keep(ctx context.Context, records []Record) {
	if len(records) == 0 {
		return
	}
	f.keeping.Lock()
	defer f.keeping.Unlock()
	_ = f.replica.Append(context.WithoutCancel(ctx), records) // it has them in any case
}

// forgets reports whether what is pending is lost when the list closes.
func (l *List) forgets() bool { return l.follower == nil || l.follower.replica.forgets() }

// awaitLoad waits until the list has read its feed for the first time.
func (l *List) awaitLoad(ctx context.Context) error {
	if l.follower == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	select {
	case <-l.follower.loaded:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), l.Freshness().Cause)
	}
}
