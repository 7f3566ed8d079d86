package revocation

import (
	"sync/atomic"
	"time"
)

// clock is the time by which records expire. It follows the wall clock but
// never believes it alone: a step forward is believed only as time really
// passes, an hour of it in a day, so that a clock that is suddenly ahead doesn't
// make the list forget revocations. One that is up to two hours ahead, or is so
// for an hour, stays within the Grace. A step back is believed at once, since it
// only keeps records longer.
//
// It is read on the request path and moved once a second by the List.
type clock struct {
	now  atomic.Uint32 // Unix seconds
	last time.Time     // of the last tick; only its owner uses it
	time time.Time     // what is believed, finer than now
}

func newClock(now time.Time) *clock {
	c := &clock{last: now, time: now}
	c.publish()
	return c
}

func (c *clock) seconds() uint32 { return c.now.Load() }

// catchUp is the part of the time that passes by which the clock may run fast.
const catchUp = 24

// backwards is by how much the clock must step back for that to be worth
// telling.
const backwards = time.Minute

// tick moves the clock. The time's monotonic reading says how much time really
// passed. It reports whether the clock stepped back.
func (c *clock) tick(now time.Time) (back bool) {
	back = c.advance(now, now.Sub(c.last))
	c.last = now
	return back
}

// advance moves the clock towards the wall clock's time.
func (c *clock) advance(wall time.Time, passed time.Duration) (back bool) {
	// Round strips the monotonic reading: Sub and Before must see the wall clock.
	wall, before := wall.Round(0), c.time.Round(0)
	furthest := before.Add(max(passed, 0) + max(passed, 0)/catchUp)
	if wall.After(furthest) {
		wall = furthest
	}
	c.time = wall
	c.publish()
	return wall.Before(before.Add(-backwards))
}

func (c *clock) publish() {
	seconds := max(c.time.Unix(), 0)
	c.now.Store(uint32(min(seconds, neverSeconds-1)))
}
