package revocation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
	defer l.lastBeat()
	for {
		began := time.Now()
		l.beatOnce(ctx, every)
		next := time.NewTimer(every - rand.N(every/10+1))
		select {
		case <-ctx.Done():
		case <-next.C:
		case <-l.follower.poke:
			sleep(ctx, l.follower.beatGap()-time.Since(began))
		}
		next.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// beatGap is between two beats at the least, for each node that there is: all of them may
// have a reason at once, and each answer names all.
const beatGap = 500 * time.Microsecond

func (f *follower) beatGap() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Duration(max(len(f.nodes), 1)) * beatGap
}

// beatEvery returns how often the store is asked for its head.
func beatEvery(bound time.Duration) time.Duration { return min(bound/3, 5*time.Second) }

func (l *List) beatOnce(ctx context.Context, every time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, max(every, time.Second))
	defer cancel()
	f := l.follower
	era, asked := l.lease.now(time.Now()) // before the position, which may be the next era's then
	until := l.lease.until.Load()         // before it as well: what it rests on is applied
	b := f.beginBeat(time.Now())
	b.Fresh = !l.Stale()
	head, err := f.feed.Beat(ctx, b)
	f.reach(err == nil || errors.Is(err, ErrFeedBroken))
	a := answer{b.Number, era, b.Applied, err}
	if err == nil && !l.lease.in(era) {
		a.err = errMoved
	}
	f.endBeat(a, head.Nodes, time.Now())
	if err != nil {
		switch {
		case !errors.Is(err, ErrFeedBroken):
			l.freshness.explain(err)
		case l.lease.in(era): // else it is known
			f.breakOff(err)
		}
		return
	}
	f.setHead(head.Position, asked)
	if b.Applied != "" {
		l.lease.confirm(era, until)
	}
	skew := time.Since(head.Time)
	f.skewed.Store(skew.Abs() > maxSkew)
	if f.skewed.Load() {
		err := fmt.Errorf("the clock of this node differs from the revocation store's by %s, possible are %s: set it", skew.Round(time.Second), maxSkew)
		l.freshness.explain(err)
		l.complain("the revocation list can't be fresh", err)
		return
	}
	if l.stuck(head.Position, asked) {
		f.breakOff(errStuck)
	}
	l.granted(l.lease.offer(era, asked, head.Position, f.feed.Covers))
	if b.Applied != "" && f.feed.Covers(b.Applied, head.Position) {
		l.lease.confirm(era, asked+int64(l.lease.bound))
	}
}

// lastBeat says that this node is no more, so that nobody waits for it. A list is closed
// when no request uses it any more.
func (l *List) lastBeat() {
	f := l.follower
	f.mu.Lock()
	reachable := f.answer.number > 0 && (f.answer.err == nil || errors.Is(f.answer.err, context.Canceled))
	f.mu.Unlock()
	if reachable {
		b := f.beginBeat(time.Now())
		b.Ended, b.Waits = true, false
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := f.feed.Beat(ctx, b)
		cancel()
		if err != nil {
			l.logger.Info("the revocation store was not told that this node has ended: for a while others wait for it", "error", err)
		}
	}
	f.endBeat(answer{number: math.MaxUint64, err: ErrListClosed}, nil, time.Now())
}

// complain logs what keeps failing, now and then.
func (l *List) complain(message string, err error, more ...any) {
	l.mu.Lock()
	now := time.Now()
	due := now.Sub(l.complained) >= complainEvery
	if due {
		l.complained = now
	}
	l.mu.Unlock()
	if due {
		l.logger.Error(message, append(more, "error", err)...)
	}
}

// granted is told that everything is known that was acknowledged before a time.
func (l *List) granted(asked int64) {
	if asked == never {
		return
	}
	l.freshness.explain(nil)
	l.freshness.judge(l.lease.over)
	if n := l.follower.echoes.settle(asked); n > 0 {
		l.follower.lose(time.Now())
		l.logger.Warn("the revocation store has lost revocations of this node that it had taken; giving them back", "records", n)
	}
}

// watchLease says when the list isn't fresh any more. It asks for the head at once then:
// the machine may have slept, or its clock was set.
func (l *List) watchLease(now time.Time) {
	l.lease.tick(now)
	if !l.lease.over() {
		return
	}
	l.freshness.judge(l.lease.over)
	l.follower.beatNow()
}

// Stale reports whether the list can't know now what has been revoked. A token that it
// doesn't reject then may have been.
func (l *List) Stale() bool { return l.staleBy(l.outlook()) }

// outlook is how long a look-up that begins now is good for.
type outlook struct {
	until   int64 // of the lease
	missing bool
}

// outlook returns that. A checker without a list, which rejects nothing, isn't stale.
func (l *List) outlook() outlook {
	if l == nil {
		return outlook{}
	}
	return outlook{l.lease.until.Load(), l.freshness.missing.Load()}
}

// staleBy reports whether a look-up that began with an outlook and is done may have missed
// something. What was renewed in between doesn't count: the look-up was before.
func (l *List) staleBy(o outlook) bool {
	return l != nil && (o.missing || l.freshness.missing.Load() || l.lease.overSince(o.until))
}

// Nodes returns the nodes that follow the same store, as the store knew them at the last
// answer; nil without a feed.
func (l *List) Nodes() []NodeStatus {
	if l.follower == nil {
		return nil
	}
	l.follower.mu.Lock()
	defer l.follower.mu.Unlock()
	return slices.Clone(l.follower.nodes)
}

// Applied returns how far the list has followed its feed; empty without one.
func (l *List) Applied() Position {
	if l.follower == nil {
		return ""
	}
	return l.follower.position()
}

// errStuck is why a feed is followed anew: a connection may be dead without a sign.
var errStuck = errors.New("nothing comes of the revocation store although it has more")

// stuckAfter is for how long nothing must come. What is on its way may be much.
const stuckAfter = 10 * time.Second

// stuck reports whether the feed has brought nothing for long, although the answers said
// that there is more.
func (l *List) stuck(head Position, asked int64) bool {
	l.mu.Lock()
	applying := l.follower.arriving != nil
	l.mu.Unlock()
	f := l.follower
	f.mu.Lock()
	defer f.mu.Unlock()
	if applying || f.applied == "" || f.feed.Covers(f.applied, head) {
		f.behind = ""
		return false
	}
	if f.behind != f.applied {
		f.behind, f.behindSince = f.applied, asked
	}
	if asked-f.behindSince < int64(stuckAfter) {
		return false
	}
	f.behind = ""
	return true
}

// Lag says how far a list is behind its feed.
type Lag struct {
	Applied Position      // how far it has come; empty while it reads everything
	Head    Position      // how far the sequence went at the last answer; empty before the first one
	Age     time.Duration // since that was asked for, or else since the list was opened
}

// Lag returns that; false without a feed.
func (l *List) Lag() (Lag, bool) {
	f := l.follower
	if f == nil {
		return Lag{}, false
	}
	now := l.lease.elapsed(time.Now())
	f.mu.Lock()
	defer f.mu.Unlock()
	return Lag{f.applied, f.head, time.Duration(max(now-f.asked, 0))}, true
}

func (f *follower) setHead(head Position, asked int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head, f.asked = head, asked
}
