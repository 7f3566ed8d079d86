package revocation

import (
	"math"
	"slices"
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

	mu        sync.Mutex // guards what is below, and writing mark
	confirmed int64      // until when, by what was found in the sequence afterwards
	era       int        // of the sequence: positions of different ones don't compare
	applied   Position
	waiting   []grant // for records up to their head, the oldest first
}

// grant extends a lease once everything up to head is applied.
type grant struct {
	head  Position
	asked int64
}

// never is when nothing was asked.
const never = -1

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

// tick keeps what has passed. It is called about once a second.
func (l *lease) tick(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(now)
}

// keep keeps what has passed and returns it: what was said once isn't taken back when the
// wall clock is. The caller holds the lock.
func (l *lease) keep(now time.Time) int64 {
	passed := l.elapsed(now)
	if now.After(l.mark.Load().at) { // else somebody was quicker
		l.mark.Store(&mark{passed, now})
	}
	return passed
}

// passed is elapsed for what is compared with later times.
func (l *lease) passed(now time.Time) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keep(now)
}

// over reports whether the list can't know any more what is revoked.
func (l *lease) over() bool { return l.overSince(l.until.Load()) }

// overSince reports whether a lease until then is over now. Where none ends the clock isn't
// read, which costs as much as a check.
func (l *lease) overSince(until int64) bool {
	return until != endless && l.ended(until, time.Now())
}

// ended reports whether a lease until then is over. For a look-up until is read before it,
// since a later lease says nothing of it, and the time afterwards, since one that was held
// up must not count as done in time.
func (l *lease) ended(until int64, now time.Time) bool {
	return until != endless && l.elapsed(now) >= until
}

// now returns the sequence's era and the time, for an offer. That time has passed for good
// from then on: if the wall clock, which said so, is set back before the next tick, the
// lease would otherwise be good for longer.
func (l *lease) now(now time.Time) (era int, asked int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.era, l.keep(now)
}

// sequence returns the sequence's era.
func (l *lease) sequence() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.era
}

// in reports whether the era hasn't ended.
func (l *lease) in(era int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.era == era
}

// offer extends the lease to bound after the time at which the head was asked for, as
// soon as that is applied. It returns as advance does.
func (l *lease) offer(era int, asked int64, head Position, covers func(applied, head Position) bool) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if era != l.era {
		return never
	}
	l.waiting = append(l.waiting, grant{head, asked})
	return l.take(covers)
}

// advance notes what is applied. It returns the last time of which everything that was
// acknowledged before is known from now on, or never.
func (l *lease) advance(applied Position, covers func(applied, head Position) bool) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = applied
	return l.take(covers)
}

// confirm notes that the store has found in its sequence what was applied when the lease
// was until then.
func (l *lease) confirm(era int, until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if era == l.era {
		l.confirmed = max(l.confirmed, until)
	}
}

// revoke forgets what could extend the lease: the sequence isn't the one that was
// followed. What was confirmed stays: it says what was known, which no fork changes. What
// was granted since may rest on the answer of one server and the records of another, whose
// numbers are alike.
func (l *lease) revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.era++
	l.applied, l.waiting = "", nil
	l.until.Store(min(l.until.Load(), l.confirmed))
}

// take extends the lease by what has come true.
func (l *lease) take(covers func(applied, head Position) bool) int64 {
	if l.applied == "" {
		return never
	}
	for i, g := range slices.Backward(l.waiting) {
		if covers(l.applied, g.head) {
			l.until.Store(max(l.until.Load(), g.asked+int64(l.bound)))
			l.waiting = slices.Delete(l.waiting, 0, i+1)
			return g.asked
		}
	}
	const most = 64 // a feed that is stuck while its heads go on
	if n := len(l.waiting); n > most {
		l.waiting = slices.Delete(l.waiting, 0, n-most)
	}
	return never
}
