package revocation

import (
	"context"
	"errors"
	"time"
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
	if errors.Is(err, errPartial) {
		// It isn't known what remains, so nothing is taken back.
		l.logger.Warn("a reinstatement takes effect here when Caddy is started again", "error", err)
		return nil
	}
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

// keep puts records into the replica. Without one that is complete the list goes on, but
// takes nothing back, and doesn't know as much at its next start.
func (f *follower) keep(ctx context.Context, l *List, records []Record) {
	if len(records) == 0 {
		return
	}
	f.keeping.Lock()
	err := f.replica.Append(context.WithoutCancel(ctx), records)
	f.keeping.Unlock()
	if err == nil {
		return
	}
	f.mu.Lock()
	first := !f.partial
	f.partial = true
	f.mu.Unlock()
	if first {
		l.logger.Error("the local copy of the revocation list can't be written; until Caddy is started again nothing is reinstated here, and a start without the revocation store would know less", "error", err)
	}
}

// errPartial is why nothing can be reinstated on this node.
var errPartial = errors.New("the local copy of the revocation list is not complete")

// complete says whether the replica has all that the list knows. A list without a
// follower has its store.
func (f *follower) complete() error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partial {
		return errPartial
	}
	return nil
}

// forgets reports whether what is pending is lost when the list closes.
func (l *List) forgets() bool {
	if l.follower == nil || l.follower.complete() != nil {
		return true
	}
	_, volatile := l.follower.replica.(*volatile)
	return volatile
}

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

// everything is forEach, and reads the feed as well where the replica lacks something.
func (l *List) everything(ctx context.Context, waiting []*waiting, f func(*Record)) error {
	err := l.forEach(ctx, waiting, f)
	if err != nil || l.follower.complete() == nil {
		return err
	}
	_, err = l.store.Load(ctx, func(records []Record) error {
		for i := range records {
			f(&records[i])
		}
		return ctx.Err()
	})
	return err
}

// reread has a list whose replica lacks something read its feed again; it reports whether
// that is so. What is under way is begun anew only if it must.
func (l *List) reread(anew bool, since time.Time) bool {
	f := l.follower
	if f.complete() == nil {
		return false
	}
	if anew || f.position() != "" {
		l.freshness.lose(recalled, since, errClockBack)
		f.breakOff(errClockBack)
	}
	return true
}
