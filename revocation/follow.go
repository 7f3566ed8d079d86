package revocation

// This file keeps a list at one with a store that other nodes write to as well. What the
// node knows is also in a local store, its replica: it enforces that at once at the next
// start, whether or not the shared store answers then, and gives back to the shared store
// what that has lost.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// follower is the part of a List that follows a Feed.
type follower struct {
	feed    Feed
	replica *replica
	node    Beat // what doesn't change of it
	echoes  *echoes
	recent  recent

	// A store is appended to by one goroutine at a time: the one that writes what is
	// revoked, or the one that gives back; the first one, or the one that follows.
	sending chan struct{} // has an element while one does
	keeping sync.Mutex

	// The list's lock guards these.
	arriving *waiting      // records in the index that aren't in the replica yet
	undone   []Record      // reinstatements that are to be made effective
	adopting chan struct{} // has an element when there are any

	away     atomic.Bool   // the last beat failed
	answered chan struct{} // has an element when one has succeeded
	skewed   atomic.Bool   // the node's clock differs too much from the store's
	loaded   chan struct{} // closed when everything was read once
	poke     chan struct{} // has an element when the head should be asked for at once
	applying chan struct{} // has an element while records go into the list that applied doesn't cover yet

	waiters waiters
	awaited atomic.Bool // another node has some

	mu      sync.Mutex
	applied Position
	head    Position // where the sequence ended at the last answer
	asked   int64    // when that was asked for, by the lease's time

	behind      Position // what was applied at an answer, if that was less
	behindSince int64    // when that was asked for

	restart context.CancelCauseFunc
	lenient int           // see Lenient
	beats   uint64        // the number of the last one
	answer  answer        // the last one
	heard   chan struct{} // closed and replaced at every answer
	nodes   []NodeStatus  // in the last answer
	roll    *roll
}

func newFollower(feed Feed, opts Options, logger *slog.Logger) *follower {
	return &follower{
		feed: feed, replica: &replica{local: opts.Replica, logger: logger}, echoes: newEchoes(),
		node:    Beat{Node: uuid.NewString(), Name: opts.NodeName, Version: opts.Version},
		sending: make(chan struct{}, 1), answered: make(chan struct{}, 1),
		adopting: make(chan struct{}, 1), loaded: make(chan struct{}), poke: make(chan struct{}, 1),
		applying: make(chan struct{}, 1), heard: make(chan struct{}),
		roll: newRoll(cmp.Or(opts.MaxStaleness, DefaultMaxStaleness), time.Now()),
	}
}

// Between attempts to reach the store.
const (
	firstReconnect = 100 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// steadyAfter is how long a session lasts after which the next attempt comes at once.
const steadyAfter = 30 * time.Second

var errFeedEnded = errors.New("the revocation store ended the feed")

// follow applies what the feed brings, until ctx ends.
func (l *List) follow(ctx context.Context) {
	woken := false // by a beat, and nothing came of it
	for wait := firstReconnect; ; wait = min(2*wait, lastReconnect) {
		began := time.Now()
		session, end := context.WithCancelCause(ctx)
		l.follower.setRestart(end)
		err := l.followSession(session)
		if cause := context.Cause(session); cause != nil {
			err = cause
		}
		end(nil)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errFeedEnded
		}
		if time.Since(began) > steadyAfter {
			wait, woken = firstReconnect, false
		}
		if errors.Is(err, ErrFeedBroken) {
			l.logger.Warn("the revocation store has lost records or was replaced; reading all of it again", "error", err)
			l.follower.lose(time.Now())
			l.readAnew()
		} else {
			l.complain("the revocation store can't be followed; trying again", err)
		}
		l.freshness.explain(err)
		woken = l.follower.pause(ctx, jitter(wait), woken)
	}
}

// pause waits between two attempts to follow: for so long, or until a beat succeeds, which
// says that the store is back. A store that answers beats and can't be followed doesn't
// shorten every pause: once woken, only a beat that fails lets another one count.
func (f *follower) pause(ctx context.Context, d time.Duration, woken bool) bool {
	var answered chan struct{}
	if !woken || f.away.Load() {
		answered, woken = f.answered, false
		select {
		case <-answered: // before the attempt failed
		default:
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-answered:
		woken = true
	}
	return woken
}

// reach notes whether the store has answered a beat.
func (f *follower) reach(answered bool) {
	f.away.Store(!answered)
	if answered {
		select {
		case f.answered <- struct{}{}:
		default:
		}
	}
}

// readAnew has the next session read everything.
func (l *List) readAnew() {
	l.lease.revoke()
	l.follower.setApplied("")
}

// followSession reads everything if need be and applies what comes after it, until that fails.
func (l *List) followSession(ctx context.Context) error {
	f := l.follower
	if f.position() == "" {
		f.applying <- struct{}{}
		err := l.readAll(ctx)
		<-f.applying
		if err != nil {
			return fmt.Errorf("reading the revocation store: %w", err)
		}
		f.beatNow() // somebody may wait for this node
	}
	return f.feed.Follow(ctx, f.position(), func(records []Record, at Position) error {
		f.applying <- struct{}{}
		l.receive(ctx, records)
		l.reached(at)
		<-f.applying
		if f.awaited.Load() {
			f.beatNow()
		}
		return nil
	})
}

// reached notes that everything up to a position is in force.
func (l *List) reached(at Position) {
	l.follower.setApplied(at)
	l.granted(l.lease.advance(at, l.follower.feed.Covers))
}

// receive applies records that the feed brought.
func (l *List) receive(ctx context.Context, records []Record) {
	f := l.follower
	now := l.lease.passed(time.Now())
	var fresh []Record
	l.mu.Lock()
	for i := range records {
		r := &records[i]
		repeated := f.recent.repeats(identityOf(r), valueOf(r))
		if f.echoes.brought(r, now) || repeated {
			continue // it is in force since before it was sent, or came
		}
		fresh = append(fresh, *r)
		if e, ok := l.note(r); ok {
			l.count(r)
			l.streams.hit(e)
		}
	}
	f.arriving = &waiting{records: fresh}
	l.mu.Unlock()
	l.stow(ctx)
}

// stow puts into the replica what is arriving. Until it is there, whoever computes a key
// anew has to know of it.
func (l *List) stow(ctx context.Context) {
	f := l.follower
	f.keep(ctx, f.arriving.records)
	l.mu.Lock()
	defer l.mu.Unlock()
	f.arriving = nil
}

// stock is what this node and the store have of a record.
type stock struct{ here, there value }

// readAll brings the list to what the store has. What the store lacks is given back
// afterwards: a store that can't be written to can be followed.
func (l *List) readAll(ctx context.Context) error {
	f := l.follower
	stocks := map[identity]stock{}
	if err := l.forEach(ctx, nil, func(r *Record) {
		s := stocks[identityOf(r)]
		s.here = s.here.merge(valueOf(r))
		stocks[identityOf(r)] = s
	}); err != nil {
		return err
	}
	at, err := f.feed.Load(ctx, func(records []Record) error {
		l.readBatch(ctx, records, stocks)
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if at == "" {
		return errors.New("the store has no position")
	}
	if err := l.adoptReceived(ctx); err != nil {
		return err
	}
	// Only now, since some of it may have been cancelled.
	l.streams.recheck(l)
	for id, s := range stocks {
		if s.there.merge(s.here) != s.there && l.counts(id.id, s.here) {
			f.echoes.miss(id, s.here)
		}
	}
	l.reached(at)
	select {
	case <-f.loaded:
	default:
		close(f.loaded)
	}
	return nil
}

// readBatch applies some of what the store has. Streams aren't ended: what comes later
// may cancel it.
func (l *List) readBatch(ctx context.Context, records []Record, stocks map[identity]stock) {
	f := l.follower
	now := l.lease.passed(time.Now())
	var fresh []Record
	l.mu.Lock()
	for i := range records {
		r := &records[i]
		id, v := identityOf(r), valueOf(r)
		f.recent.repeats(id, v)
		s := stocks[id]
		adds := !f.echoes.brought(r, now) && s.here.merge(v) != s.here
		stocks[id] = stock{s.here.merge(v), s.there.merge(v)}
		if adds {
			fresh = append(fresh, *r)
		}
		if _, ok := l.note(r); ok && adds {
			l.count(r)
		}
	}
	f.arriving = &waiting{records: fresh}
	l.mu.Unlock()
	l.stow(ctx)
}

func (f *follower) position() Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applied
}

func (f *follower) setApplied(at Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied = at
}

// lose notes that the store isn't the one that it was.
func (f *follower) lose(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roll.lose(now)
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
	if f.restart != nil { // else there was none yet
		f.restart(cause)
	}
}
