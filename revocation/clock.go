package revocation

import (
	"sync/atomic"
	"time"
)

// clock is the time by which records expire. It follows the wall clock but
// never believes it alone: a step forward is only believed as fast as time
// really passes again, so that a clock that is suddenly an hour ahead doesn't
// make the list forget an hour's worth of revocations. A step back is believed
// at once, since it only keeps records longer.
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

// tick moves the clock. The time's monotonic reading says how much time really
// passed.
func (c *clock) tick(now time.Time) {
	c.advance(now, now.Sub(c.last))
	c.last = now
}

// advance moves the clock towards the wall clock's time. It goes forward at
// most twice as fast as time passed.
func (c *clock) advance(wall time.Time, passed time.Duration) {
	// Round strips the monotonic reading: Sub and Before must see the wall clock.
	wall = wall.Round(0)
	furthest := c.time.Round(0).Add(2 * max(passed, 0))
	if wall.After(furthest) {
		wall = furthest
	}
	c.time = wall
	c.publish()
}

func (c *clock) publish() {
	seconds := max(c.time.Unix(), 0)
	c.now.Store(uint32(min(seconds, neverSeconds-1)))
}
