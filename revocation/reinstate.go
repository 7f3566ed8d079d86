package revocation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// This file takes revocations back. The index holds only what the records of a
// key amount to, so after a reinstatement its keys are recomputed from the
// records that remain, which the store has in clear.

// place identifies a key of the index across all its groups.
type place struct {
	group *group
	key   Key
}

func (e entry) place() place { return place{e.group, e.key} }

// Note says who changes the list, by what way and why. Each part has at most
// MaxNoteBytes.
type Note struct{ Source, Actor, Reason string }

// Reinstate cancels the revocations with the given ids: tokens that no other
// revocation hits are accepted again. It returns nil when that is durable and
// effective here. The error wraps ErrUnknownRevocation when one of the ids has
// no live record: nothing is changed then; and ErrNotDurable when the
// reinstatement is effective here but may not survive a restart.
//
// It returns the reinstatement's record, also with ErrNotDurable. It reads the whole
// store, twice.
func (l *List) Reinstate(ctx context.Context, note Note, ids ...ID) (Record, error) {
	if len(ids) == 0 || len(ids) > MaxReinstates {
		return Record{}, fmt.Errorf("%w: %d revocations, 1 to %d can be reinstated at once", ErrInvalidRecord, len(ids), MaxReinstates)
	}
	r := Record{
		ID: NewID(), Kind: Reinstatement, Reinstates: slices.Clone(ids),
		Source: note.Source, Actor: note.Actor, Reason: note.Reason, RecordedAt: time.Now().Truncate(time.Millisecond).UTC(),
	}
	err := l.withRelatives(func(l *List) error { return l.reinstate(ctx, &r) })
	return r, err
}

// reinstate completes the reinstatement with its expiry and makes it effective.
func (l *List) reinstate(ctx context.Context, r *Record) error {
	l.reinstating.Lock()
	defer l.reinstating.Unlock()
	places, expires, err := l.recordedUnder(ctx, r.Reinstates)
	if err != nil {
		return err
	}
	// A relative of this list has done it, and this one may know by way of a feed.
	again := !r.Expires.IsZero()
	for _, id := range r.Reinstates {
		if expires[id].IsZero() && !(again && l.isCancelled(id)) {
			return fmt.Errorf("%w: %s", ErrUnknownRevocation, id)
		}
		r.Expires = later(r.Expires, expires[id])
	}
	if err := r.Validate(); err != nil {
		return err
	}
	durable := l.append(ctx, []Record{*r})
	if errors.Is(durable, ErrListClosed) {
		return durable
	}
	if err := l.cancel(ctx, []Record{*r}, places); err != nil {
		return err
	}
	if durable != nil {
		l.tellLater([]Record{*r})
		return fmt.Errorf("%w: %w", ErrNotDurable, durable)
	}
	return nil
}

// cancel makes reinstatements effective: it recomputes the keys that the cancelled
// records are under.
func (l *List) cancel(ctx context.Context, reinstatements []Record, places map[place]value) error {
	l.mu.Lock()
	for i := range reinstatements {
		l.apply(&reinstatements[i])
	}
	// From here on, what is revoked anew under one of the keys is noted in
	// watched. What was before is durable, in the queue or arriving.
	l.watched = maps.Clone(places)
	waiting := l.unstoredLocked()
	l.mu.Unlock()

	remaining := map[place]value{}
	err := l.forEach(ctx, waiting, func(r *Record) {
		if r.Kind == Reinstatement || !l.live(r) {
			return
		}
		e := l.index.entry(r)
		if _, ok := places[e.place()]; ok {
			remaining[e.place()] = remaining[e.place()].merge(e.value)
		}
	})

	l.mu.Lock()
	defer l.mu.Unlock()
	watched := l.watched
	l.watched = map[place]value{}
	l.reinstatement.Add(1)
	if err != nil {
		return fmt.Errorf("the reinstatement takes effect at the next start: %w", err)
	}
	for p, revokedMeanwhile := range watched {
		p.group.table.set(p.key, remaining[p].merge(revokedMeanwhile), l.clock.seconds())
	}
	return nil
}

// recordedUnder returns the keys of all records with one of the ids, each with
// a zero value, and when the last record of each id expires.
func (l *List) recordedUnder(ctx context.Context, ids []ID) (map[place]value, map[ID]time.Time, error) {
	places, expires := map[place]value{}, map[ID]time.Time{}
	for _, id := range ids {
		expires[id] = time.Time{}
	}
	err := l.forEach(ctx, l.unstored(), func(r *Record) {
		last, wanted := expires[r.ID]
		if !wanted || r.Kind == Reinstatement || !l.live(r) {
			return
		}
		expires[r.ID] = later(last, r.Expires)
		places[l.index.entry(r).place()] = 0
	})
	return places, expires, err
}

// unstored returns what is in the index and perhaps not in the store at hand.
func (l *List) unstored() []*waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unstoredLocked()
}

// unstoredLocked is unstored for a caller that holds the lock.
func (l *List) unstoredLocked() []*waiting {
	waiting := slices.Clone(l.queue.waiting)
	if l.follower != nil && l.follower.arriving != nil {
		waiting = append(waiting, l.follower.arriving)
	}
	return waiting
}

// forEach calls f with every waiting and every stored record.
func (l *List) forEach(ctx context.Context, waiting []*waiting, f func(*Record)) error {
	for _, w := range waiting {
		for i := range w.records {
			f(&w.records[i])
		}
	}
	_, err := l.local().Load(ctx, func(records []Record) error {
		for i := range records {
			f(&records[i])
		}
		return nil
	})
	return err
}
