package pace

// This file is about the rate limits of many senders.

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Meters are the meters of many keys, of which there may be as many as an attacker
// likes: their number is bounded. When there is no room for one more even without
// those that are as good as new, the keys that have none share one meter, with a
// rate that is SharedRate times as high.
//
// All methods may be called concurrently.
type Meters struct {
	perMinute int
	max       int

	mu     sync.Mutex
	meters map[uint64]Meter
	shared Meter
	swept  time.Duration
}

// MaxMeters is a good bound for the number of meters.
const MaxMeters = 1 << 16 // about 4 MiB

// SharedRate is how many times as high the rate is that keys share.
const SharedRate = 32

const (
	sweepEvery = time.Second
	fastest    = 1e9 // per minute: beyond it there is nothing to limit
)

// NewMeters returns meters for so many per minute and key, at most max of them. A
// negative rate is no limit; zero isn't a rate.
func NewMeters(perMinute, max int) *Meters {
	if perMinute > fastest {
		perMinute = -1
	}
	return &Meters{perMinute: perMinute, max: max, meters: map[uint64]Meter{}, swept: math.MinInt64 / 2}
}

// seed makes keys unpredictable.
var seed = maphash.MakeSeed()

// Key returns the key of whom or what is limited. Nobody can tell it beforehand.
// Should two keys collide all the same, their owners share a limit.
func Key[T comparable](of T) uint64 { return maphash.Comparable(seed, of) }

// Ticket is what was taken, to give back.
type Ticket struct {
	key    uint64
	shared bool
}

// Take takes one for the key, or says how long to wait.
func (m *Meters) Take(key uint64, now time.Duration) (Ticket, time.Duration) {
	if m.perMinute < 0 {
		return Ticket{}, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, state, rate := m.find(key, now)
	after, wait := state.Take(rate, now)
	switch {
	case wait > 0:
	case t.shared:
		m.shared = after
	default:
		m.meters[key] = after
	}
	return t, wait
}

// Wait says how long to wait until Take takes one.
func (m *Meters) Wait(key uint64, now time.Duration) time.Duration {
	if m.perMinute < 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, state, rate := m.find(key, now)
	_, wait := state.Take(rate, now)
	return wait
}

// GiveBack undoes a Take. Who never keeps anything leaves no trace.
func (m *Meters) GiveBack(t Ticket, now time.Duration) {
	if m.perMinute < 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.shared {
		m.shared -= Meter(interval(m.perMinute * SharedRate))
		return
	}
	state, ok := m.meters[t.key]
	if !ok {
		return
	}
	state -= Meter(interval(m.perMinute))
	if time.Duration(state) <= now {
		delete(m.meters, t.key)
		return
	}
	m.meters[t.key] = state
}

// Len returns how many keys have a meter of their own.
func (m *Meters) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.meters)
}

// find returns the key's meter, or the shared one when there is no room for its
// own.
func (m *Meters) find(key uint64, now time.Duration) (t Ticket, state Meter, perMinute int) {
	state, ok := m.meters[key]
	if !ok && len(m.meters) >= m.max {
		m.sweep(now)
		if len(m.meters) >= m.max {
			return Ticket{shared: true}, m.shared, m.perMinute * SharedRate
		}
	}
	return Ticket{key: key}, state, m.perMinute
}

// sweep removes the meters that are as good as new. It looks at all of them, so it
// does so only once in a while.
func (m *Meters) sweep(now time.Duration) {
	if now-m.swept < sweepEvery {
		return
	}
	m.swept = now
	for key, state := range m.meters {
		if time.Duration(state) <= now {
			delete(m.meters, key)
		}
	}
}
