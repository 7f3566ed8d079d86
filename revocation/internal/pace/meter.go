package pace

// This file is about one rate limit.

import "time"

// Meter is the state of one rate limit by the generic cell rate algorithm: when, on
// the caller's clock, everything that was taken will be given back. A Meter whose
// time has come is as good as new, and so is the zero Meter.
type Meter time.Duration

// Take takes one of so many per minute, all of which may be taken at once. It
// returns the meter as it is then, or how long to wait. A negative rate is no
// limit; zero isn't a rate.
func (m Meter) Take(perMinute int, now time.Duration) (after Meter, wait time.Duration) {
	if perMinute < 0 {
		return m, 0
	}
	next := max(time.Duration(m), now) + interval(perMinute)
	if wait := next - now - time.Minute; wait > 0 {
		return m, wait
	}
	return Meter(next), 0
}

// interval is the time that one of so many per minute takes to come back. It is
// rounded down: a minute's worth of them is at most a minute.
func interval(perMinute int) time.Duration {
	return time.Minute / time.Duration(perMinute)
}
