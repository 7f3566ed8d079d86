package revocation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// This file waits until no node accepts any more what was revoked. A node is waited for
// until it says that it has applied the records, or until it can't be fresh any more: its
// last beat is known, and what the store told it then is good for a fixed time. The nodes
// are asked nothing; what they say stands in the store.
//
// Three things must be sure before anything is concluded from that. The records are in the
// store's sequence, at or before a known place: the feed has brought them to this node. The
// sequence is still the same, with that place in it: the store says so in the answer in
// which it names the nodes. And no node is missing in that: a store that was replaced may
// not know of all of them.

// ErrNotEverywhere says that a revocation is durable and enforced on this node, and that
// there may be nodes that don't know of it yet.
var ErrNotEverywhere = errors.New("the revocation is durable, but other nodes may not enforce it yet")

// AwaitNodes waits until no node that shares the store accepts a token that the records hit,
// which Revoke has made durable: nil says that none does, in any request that begins from
// now on. A list that shares its store with nobody doesn't wait.
//
// It takes as long as it takes the slowest node to follow: a node that is gone, or cut off,
// counts until Options.MaxStaleness and a 40th have passed since its last beat was seen, and
// one that accepts tokens while it isn't fresh (see Lenient) until it says that it has the
// records. When ctx ends first, the error wraps ErrNotEverywhere and names the nodes. The
// records stay.
func (l *List) AwaitNodes(ctx context.Context, records ...Record) error {
	return l.withRelatives(func(l *List) error {
		if l.follower == nil {
			return nil
		}
		return l.awaitNodes(ctx, records)
	})
}

// Between two looks at what nodes say.
const (
	firstLook = time.Millisecond
	lastLook  = 50 * time.Millisecond
)

func (l *List) awaitNodes(ctx context.Context, records []Record) error {
	f := l.follower
	f.waiters.begin()
	defer f.waiters.end()
	var place whereabouts
	var remaining []NodeStatus
	for look := firstLook; ; look = min(look*3/2, lastLook) {
		err := f.ended()
		if err != nil {
			return err
		}
		err = errMoved
		if place = l.whereabouts(ctx, records, place); place.known() {
			if err := f.ask(ctx); err != nil {
				return notEverywhere(remaining, err)
			}
			if remaining, err = f.judge(place, time.Now()); err == nil && len(remaining) == 0 {
				return nil
			}
		}
		if sleep(ctx, look); ctx.Err() != nil {
			return notEverywhere(remaining, errors.Join(err, ctx.Err()))
		}
	}
}

// Why it isn't known which nodes remain.
var (
	errMoved    = errors.New("the revocation has not come back from the store yet")
	errReplaced = errors.New("the store lost records a short time ago, and may not know of all nodes")
)

// judge returns the nodes that may accept a token whose record is at a place, by the last
// answer of the store.
func (f *follower) judge(place whereabouts, now time.Time) ([]NodeStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.answer
	switch {
	case a.err != nil:
		return nil, a.err
	case !place.known(), a.era != place.era, !f.feed.Covers(a.applied, place.at):
		return nil, errMoved
	}
	nodes, unknown := f.roll.accepting(f.node.Node, place.at, place.since, now, f.feed.Covers)
	if unknown {
		return nodes, errReplaced
	}
	return nodes, nil
}

func notEverywhere(remaining []NodeStatus, cause error) error {
	if len(remaining) == 0 {
		return fmt.Errorf("%w: %w", ErrNotEverywhere, cause)
	}
	var names []string
	for _, n := range remaining {
		names = append(names, n.Name+" ("+n.Node+")")
	}
	return fmt.Errorf("%w: waiting for %s: %w", ErrNotEverywhere, strings.Join(names, ", "), cause)
}

// whereabouts is a place in the sequence at or behind records.
type whereabouts struct {
	era   int
	at    Position
	since time.Time // when it was known
}

func (w whereabouts) known() bool { return w.at != "" }

// whereabouts returns where records are, if the feed has brought them. known is what it
// returned before.
func (l *List) whereabouts(ctx context.Context, records []Record, known whereabouts) whereabouts {
	f := l.follower
	era := l.lease.sequence()
	if known.known() && known.era == era {
		return known
	}
	if !f.echoes.arrived(records) {
		return whereabouts{}
	}
	// The batch with them may be under way.
	select {
	case f.applying <- struct{}{}:
	case <-ctx.Done():
		return whereabouts{}
	}
	at := f.position()
	<-f.applying
	if !l.lease.in(era) {
		return whereabouts{}
	}
	return whereabouts{era, at, time.Now()}
}

// ended returns ErrListClosed when no beat comes any more.
func (f *follower) ended() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(f.answer.err, ErrListClosed) {
		return ErrListClosed
	}
	return nil
}

// Lenient says that this node accepts tokens while the list isn't fresh, until the function
// that it returns is called. Other nodes don't take it for harmless then, however long it
// says nothing; they know of it with the next beat.
func (l *List) Lenient() (end func()) {
	f := l.follower
	if f == nil {
		return func() {}
	}
	add := func(n int) {
		f.mu.Lock()
		f.lenient += n
		f.mu.Unlock()
		f.beatNow()
	}
	add(1)
	return sync.OnceFunc(func() { add(-1) })
}

// WillAwaitNodes says that AwaitNodes will be called, until the function that it returns is.
// Other nodes say at once what they have applied when they know that; without it the first
// call takes until their next beats, a third of Options.MaxStaleness, but at most 5 s.
func (l *List) WillAwaitNodes() (end func()) {
	f := l.follower
	if f == nil {
		return func() {}
	}
	f.waiters.begin()
	f.beatNow()
	return sync.OnceFunc(f.waiters.end)
}

// waiters are those who wait for nodes.
type waiters struct {
	now   atomic.Int64
	until atomic.Int64 // in Unix nanoseconds: there may be more of them soon
}

// awaitedFor is how long nodes go on reporting at once after somebody has waited for them.
const awaitedFor = time.Minute

func (w *waiters) begin() { w.now.Add(1) }

func (w *waiters) end() {
	w.until.Store(time.Now().Add(awaitedFor).UnixNano())
	w.now.Add(-1)
}

func (w *waiters) any(now time.Time) bool { return w.now.Load() > 0 || now.UnixNano() < w.until.Load() }

// answer is what the store said to a beat.
type answer struct {
	number  uint64 // of the beat
	era     int
	applied Position // where this node was, as the store has confirmed
	err     error
}

// ask has the store asked, and returns when it has answered a beat that began after that.
// The answer may be an error.
func (f *follower) ask(ctx context.Context) error {
	f.mu.Lock()
	after := f.beats
	f.mu.Unlock()
	for {
		f.mu.Lock()
		number, heard := f.answer.number, f.heard
		f.mu.Unlock()
		if number > after {
			return nil
		}
		f.beatNow()
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beatNow has the next beat come at once.
func (f *follower) beatNow() {
	select {
	case f.poke <- struct{}{}:
	default:
	}
}

// beginBeat makes a node's next beat, but for what the list knows.
func (f *follower) beginBeat(now time.Time) Beat {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beats++
	b := f.node
	b.Number, b.Applied, b.Forget = f.beats, f.applied, f.roll.gone(b.Node, now)
	b.Waits, b.Lenient = f.waiters.any(now), f.lenient > 0
	return b
}

// endBeat takes in how a beat ended, and tells those who wait for it.
func (f *follower) endBeat(a answer, nodes []NodeStatus, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = a
	if a.err == nil {
		f.roll.see(nodes, now)
		f.nodes = nodes
		f.awaited.Store(f.roll.awaited(f.node.Node, now))
	}
	close(f.heard)
	f.heard = make(chan struct{})
}
