package revocation

// This file keeps a list at one with a store that other nodes write to as well. What the
// node knows is also in a local store, its replica: it enforces that at once at the next
// start, whether or not the shared store answers then, and gives back to the shared store
// what that has lost.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// follower is the part of a List that follows a Feed.
type follower struct {
	feed    Feed
	replica Store
	node    Beat // what doesn't change of it

	mu      sync.Mutex
	applied Position
	own     map[ID]int // records of this node's that the feed hasn't brought yet
	partial bool       // the replica lacks something
	restart context.CancelCauseFunc
	nodes   []NodeStatus
}

func newFollower(feed Feed, opts Options) *follower {
	return &follower{
		feed: feed, replica: opts.Replica, own: map[ID]int{},
		node: Beat{Node: uuid.NewString(), Name: opts.NodeName, Version: opts.Version},
	}
}

// Between attempts to reach the store.
const (
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// beatEvery returns how often the store is asked for its head.
func beatEvery(bound time.Duration) time.Duration { return min(bound/3, 5*time.Second) }

// follow applies what the feed brings, until ctx ends.
func (l *List) follow(ctx context.Context) {
	for wait := firstReconnect; ctx.Err() == nil; wait = min(2*wait, lastReconnect) {
		began := time.Now()
		session, end := context.WithCancelCause(ctx)
		l.follower.setRestart(end)
		err := l.followSession(session)
		if cause := context.Cause(session); cause != nil && ctx.Err() == nil {
			err = cause
		}
		end(nil)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, ErrFeedBroken) {
			l.logger.Warn("the revocation store has lost records or was replaced; reading all of it again", "error", err)
			l.follower.setApplied("")
			l.lease.revoke()
			wait = firstReconnect / 2
		} else {
			l.logger.Error("the revocation store can't be followed; trying again", "error", err)
		}
		l.freshness.explain(err)
		if time.Since(began) > time.Minute {
			wait = firstReconnect
		}
		sleep(ctx, wait)
	}
}

// followSession reads everything if need be and applies what comes after it, until that fails.
func (l *List) followSession(ctx context.Context) error {
	if l.follower.position() == "" {
		if err := l.readAll(ctx); err != nil {
			return err
		}
	}
	return l.follower.feed.Follow(ctx, l.follower.position(), func(records []Record, at Position) error {
		if err := l.receive(ctx, records); err != nil {
			return err
		}
		l.reached(at)
		return nil
	})
}

// reached notes that everything up to a position is in force.
func (l *List) reached(at Position) {
	l.follower.setApplied(at)
	l.lease.advance(at, l.follower.feed.Covers)
	l.renewed()
}

// readAll brings the list to what the store has, and the store to what the list knows.
func (l *List) readAll(ctx context.Context) error {
	missing := inventory{} // what the store may lack
	if err := l.forEach(ctx, nil, func(r *Record) {
		if l.live(r) {
			missing.add(r)
		}
	}); err != nil {
		return err
	}
	l.mu.Lock()
	l.tally = newTally()
	for _, w := range l.queue.waiting {
		for i := range w.records {
			l.tally.add(w.records[i].Actor, uint32(w.records[i].Expires.Unix()))
		}
	}
	l.mu.Unlock()
	var undone []Record
	at, err := l.follower.feed.Load(ctx, func(records []Record) error {
		var fresh []Record
		l.mu.Lock()
		for i := range records {
			r := &records[i]
			if !missing.covers(r) {
				fresh = append(fresh, *r)
			}
			delete(missing, identityOf(r))
			if r.Kind == Reinstatement {
				undone = append(undone, *r)
				continue
			}
			l.put(r)
		}
		l.mu.Unlock()
		l.follower.keep(ctx, l, fresh)
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("reading the revocation store: %w", err)
	}
	if err := l.adoptReceived(ctx, undone); err != nil {
		return err
	}
	// Only now, since some of it may have been cancelled.
	l.streams.recheck(l)
	if err := l.giveBack(ctx, missing); err != nil {
		return err
	}
	l.reached(at)
	return nil
}

// giveBack appends to the store what it lacks.
func (l *List) giveBack(ctx context.Context, missing inventory) error {
	if len(missing) == 0 {
		return nil
	}
	var batch []Record
	given := 0
	var failed error
	flush := func() {
		if failed == nil && len(batch) > 0 {
			failed = l.follower.feed.Append(ctx, batch)
			given += len(batch)
		}
		batch = batch[:0]
	}
	err := l.forEach(ctx, nil, func(r *Record) {
		if _, lacks := missing[identityOf(r)]; lacks && l.live(r) {
			if batch = append(batch, *r); len(batch) == maxBatch {
				flush()
			}
		}
	})
	flush()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("giving back what the revocation store lacks: %w", err)
	}
	if given > 0 {
		l.logger.Warn("the revocation store lacked revocations that this node knows; it has them again", "records", given)
	}
	return nil
}

// receive applies records that the feed brought.
func (l *List) receive(ctx context.Context, records []Record) error {
	var fresh, undone []Record
	l.mu.Lock()
	for i := range records {
		r := &records[i]
		if l.follower.isOwn(r.ID) {
			continue // it is in force since before it was sent
		}
		fresh = append(fresh, *r)
		if r.Kind == Reinstatement {
			undone = append(undone, *r)
			continue
		}
		l.apply(r)
	}
	l.mu.Unlock()
	l.follower.keep(ctx, l, fresh)
	return l.adoptReceived(ctx, undone)
}

// adoptReceived makes reinstatements effective that the replica has already. Where it
// isn't known which records remain, nothing is taken back: a token too many is rejected.
func (l *List) adoptReceived(ctx context.Context, undone []Record) error {
	l.mu.Lock()
	undone = slices.DeleteFunc(undone, func(r Record) bool {
		return !slices.ContainsFunc(r.Reinstates, func(id ID) bool {
			_, known := l.cancelled[id]
			return !known
		})
	})
	l.mu.Unlock()
	if len(undone) == 0 {
		return nil
	}
	l.reinstating.Lock()
	defer l.reinstating.Unlock()
	var ids []ID
	for i := range undone {
		ids = append(ids, undone[i].Reinstates...)
	}
	places, _, err := l.recordedUnder(ctx, ids)
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
	err := f.replica.Append(context.WithoutCancel(ctx), records)
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

func (f *follower) complete() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partial {
		return errPartial
	}
	return nil
}

// expect notes records that will come back through the feed.
func (f *follower) expect(records []Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range records {
		f.own[records[i].ID]++
	}
}

// unexpect takes back what expect noted, for records that may not have been stored.
func (f *follower) unexpect(records []Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range records {
		if id := records[i].ID; f.own[id] > 1 {
			f.own[id]--
		} else {
			delete(f.own, id)
		}
	}
}

// isOwn reports whether a record of the feed is one that was expected.
func (f *follower) isOwn(id ID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.own[id]
	switch n {
	case 0:
		return false
	case 1:
		delete(f.own, id)
	default:
		f.own[id] = n - 1
	}
	return true
}

func (f *follower) position() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

func (f *follower) setApplied(at Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied = at; at == "" {
		clear(f.own)
	}
}

func (f *follower) setRestart(end context.CancelCauseFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restart = end
}

// breakOff ends the session for a reason.
func (f *follower) breakOff(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restart(cause)
}
