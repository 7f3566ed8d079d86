package revocation

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// This file bounds how old a node's view of a Feed may be. A node asks the store how far
// its sequence goes, and once it has applied that, it knows everything that was
// acknowledged before it asked. So it may answer until a fixed time after it asked, and
// not a moment longer: whatever is acknowledged later may be unknown to it.
//
// Time is counted from before the question was sent, since nobody knows how long the
// answer took to come back.

// DefaultMaxStaleness is how old a node's view may be.
const DefaultMaxStaleness = 5 * time.Minute

// lease is for how long a list may answer. That of a list without a feed doesn't end.
type lease struct {
	bound time.Duration
	mark  atomic.Pointer[mark]
	until atomic.Int64 // nanoseconds of elapsed, endless without a feed

	mu      sync.Mutex
	applied Position
	waiting []grant // for records up to their head, the oldest first
}

// grant extends a lease once everything up to head is applied.
type grant struct {
	head  Position
	until int64
}

const endless = math.MaxInt64

// mark is how much time had passed at a moment.
type mark struct {
	elapsed int64
	at      time.Time
}

func newLease(bound time.Duration, now time.Time) *lease {
	l := &lease{bound: bound}
	l.mark.Store(&mark{at: now})
	return l
}

// elapsed is the time that has passed, in nanoseconds: since the last tick by the clock
// that doesn't jump or by the one on the wall, whichever says more. The first one stands
// still while a machine sleeps, the second one may be set back.
func (l *lease) elapsed(now time.Time) int64 {
	m := l.mark.Load()
	return m.elapsed + int64(max(now.Sub(m.at), now.Round(0).Sub(m.at.Round(0)), 0))
}

// tick keeps what has passed. It is called about once a second, by one goroutine.
func (l *lease) tick(now time.Time) { l.mark.Store(&mark{l.elapsed(now), now}) }

// over reports whether the list can't know any more what is revoked. It is called after
// look-ups: one that was held up must not count as done in time.
func (l *lease) over() bool {
	until := l.until.Load()
	return until != endless && l.elapsed(time.Now()) >= until
}

// offer extends the lease to bound after the time at which the head was asked for, as
// soon as that is applied.
func (l *lease) offer(asked int64, head Position, covers func(applied, head Position) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, grant{head, asked + int64(l.bound)})
	l.take(covers)
}

// advance notes what is applied.
func (l *lease) advance(applied Position, covers func(applied, head Position) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = applied
	l.take(covers)
}

// revoke ends the lease and what could extend it: what was applied isn't certain any more.
func (l *lease) revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied, l.waiting = "", nil
}

// take extends the lease by what has come true.
func (l *lease) take(covers func(applied, head Position) bool) {
	if l.applied == "" {
		return
	}
	for len(l.waiting) > 0 && covers(l.applied, l.waiting[0].head) {
		l.until.Store(max(l.until.Load(), l.waiting[0].until))
		l.waiting = l.waiting[1:]
	}
	const most = 64 // a feed that is stuck while its heads go on
	if n := len(l.waiting); n > most {
		l.waiting = l.waiting[n-most:]
	}
}
