package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// This file asks the store again and again how far its sequence goes, which is what a
// node's freshness rests on. That the feed is quiet says nothing: a connection that is
// dead is quiet as well.

// errNoAnswer is why a list with a feed isn't fresh before it has an answer.
var errNoAnswer = errors.New("the revocation store has not been read yet")

// maxSkew is by how much the clocks of node and store may differ. A node whose clock is
// further behind would remember less than others, ahead it would forget too soon.
const maxSkew = Grace / 2

// beat asks for the head until ctx ends.
func (l *List) beat(ctx context.Context) {
	every := beatEvery(l.lease.bound)
	for {
		l.beatOnce(ctx, every)
		sleep(ctx, every)
		if ctx.Err() != nil {
			return
		}
	}
}

func (l *List) beatOnce(ctx context.Context, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, max(every, time.Second))
	defer cancel()
	f := l.follower
	b := f.node
	b.Applied, b.Fresh, b.Keep = f.position(), !l.lease.over(), 10*l.lease.bound
	asked := l.lease.elapsed(time.Now())
	head, err := f.feed.Beat(ctx, b)
	switch {
	case errors.Is(err, ErrFeedBroken):
		f.breakOff(err)
		return
	case err != nil:
		l.freshness.explain(err)
		return
	}
	if skew := time.Since(head.Time); skew.Abs() > maxSkew {
		err := fmt.Errorf("the clock of this node differs from the revocation store's by %s, possible are %s: set it", skew.Round(time.Second), maxSkew)
		l.freshness.explain(err)
		l.complain(err)
		return
	}
	f.setNodes(head.Nodes)
	l.lease.offer(asked, head.Position, f.feed.Covers)
	l.renewed()
}

// complain logs what keeps the list from being fresh, now and then.
func (l *List) complain(err error) {
	l.mu.Lock()
	now := time.Now()
	due := now.Sub(l.complained) >= complainEvery
	if due {
		l.complained = now
	}
	l.mu.Unlock()
	if due {
		l.logger.Error("the revocation list can't be fresh", "error", err)
	}
}

// renewed says that the list is fresh, if its lease has begun or was extended in time.
func (l *List) renewed() {
	if !l.lease.over() {
		l.freshness.regain(lapsed, time.Now())
	}
}

// watchLease says when the list isn't fresh any more.
func (l *List) watchLease(now time.Time) {
	l.lease.tick(now)
	if l.lease.over() {
		l.freshness.lose(lapsed, now, nil)
	}
}

// Stale reports whether the list can't know what has been revoked: a token that it
// doesn't reject may have been. It is asked after a look-up.
func (l *List) Stale() bool { return l.lease.over() || l.freshness.missing.Load() }

// Nodes returns the nodes that follow the same store, as the store knew them at the last
// answer; nil without a feed.
func (l *List) Nodes() []NodeStatus {
	if l.follower == nil {
		return nil
	}
	l.follower.mu.Lock()
	defer l.follower.mu.Unlock()
	return l.follower.nodes
}

// Applied returns how far the list has followed its feed; empty without one.
func (l *List) Applied() Position {
	if l.follower == nil {
		return ""
	}
	return l.follower.position()
}

func (f *follower) setNodes(nodes []NodeStatus) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = nodes
}
