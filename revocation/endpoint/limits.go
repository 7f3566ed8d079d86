// Rate limits in bounded memory.

package endpoint

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// meter is the state of one rate limit by the generic cell rate algorithm: when, on
// the Server's clock, everything that was taken will be given back. A meter whose
// time has come is as good as new.
type meter time.Duration

// take takes one of so many per minute, all of which may be taken at once. It
// returns the meter as it is then, or how long to wait. A negative rate is no
// limit.
func (m meter) take(perMinute int, now time.Duration) (after meter, wait time.Duration) {
	if perMinute < 0 {
		return m, 0
	}
	next := max(time.Duration(m), now) + interval(perMinute)
	if wait := next - now - time.Minute; wait > 0 {
		return m, wait
	}
	return meter(next), 0
}

// interval is the time that one of so many per minute takes to come back. It is
// rounded down: a minute's worth of them is at most a minute.
func interval(perMinute int) time.Duration {
	return time.Minute / time.Duration(perMinute)
}

// meters are the meters of many keys, of which there may be as many as an attacker
// likes: their number is bounded. When there is no room for one more even without
// those that are as good as new, the keys that have none share one meter, with a
// rate that is sharedRate times as high.
type meters struct {
	perMinute int
	max       int

	mu     sync.Mutex
	meters map[uint64]meter
	shared meter
	swept  time.Duration
}

const (
	maxMeters  = 1 << 16 // about 4 MiB
	sharedRate = 32
	sweepEvery = time.Second
	fastest    = 1e9 // per minute: beyond it there is nothing to limit
)

func newMeters(perMinute, max int) *meters {
	if perMinute > fastest {
		perMinute = -1
	}
	return &meters{perMinute: perMinute, max: max, meters: map[uint64]meter{}, swept: math.MinInt64 / 2}
}

// ticket is what was taken, to give back.
type ticket struct {
	key    uint64
	shared bool
}

// take takes one for the key, or says how long to wait.
func (m *meters) take(key uint64, now time.Duration) (ticket, time.Duration) {
	if m.perMinute < 0 {
		return ticket{}, 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t, state, rate := m.find(key, now)
	after, wait := state.take(rate, now)
	switch {
	case wait > 0:
	case t.shared:
		m.shared = after
	default:
		m.meters[key] = after
	}
	return t, wait
}

// wait says how long to wait until take takes one.
func (m *meters) wait(key uint64, now time.Duration) time.Duration {
	if m.perMinute < 0 {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, state, rate := m.find(key, now)
	_, wait := state.take(rate, now)
	return wait
}

// find returns the key's meter, or the shared one when there is no room for its
// own.
func (m *meters) find(key uint64, now time.Duration) (t ticket, state meter, perMinute int) {
	state, ok := m.meters[key]
	if !ok && len(m.meters) >= m.max {
		m.sweep(now)
		if len(m.meters) >= m.max {
			return ticket{shared: true}, m.shared, m.perMinute * sharedRate
		}
	}
	return ticket{key: key}, state, m.perMinute
}

// giveBack undoes a take. Who never keeps anything leaves no trace.
func (m *meters) giveBack(t ticket, now time.Duration) {
	if m.perMinute < 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.shared {
		m.shared -= meter(interval(m.perMinute * sharedRate))
		return
	}
	state, ok := m.meters[t.key]
	if !ok {
		return
	}
	state -= meter(interval(m.perMinute))
	if time.Duration(state) <= now {
		delete(m.meters, t.key)
		return
	}
	m.meters[t.key] = state
}

// sweep removes the meters that are as good as new. It looks at all of them, so it
// does so only once in a while.
func (m *meters) sweep(now time.Duration) {
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

// seed makes the keys of meters unpredictable. Should two keys collide all the
// same, their owners share a limit.
var seed = maphash.MakeSeed()

// generations is a map that forgets: it keeps the last size to twice size entries
// that were put or got.
type generations[K comparable, V any] struct {
	size int

	mu                sync.Mutex
	current, previous map[K]V
}

func newGenerations[K comparable, V any](size int) *generations[K, V] {
	return &generations[K, V]{size: size, current: map[K]V{}}
}

func (g *generations[K, V]) get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.current[key]; ok {
		return v, true
	}
	v, ok := g.previous[key]
	if ok {
		g.add(key, v)
	}
	return v, ok
}

func (g *generations[K, V]) put(key K, value V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(key, value)
}

// add puts, with the lock held.
func (g *generations[K, V]) add(key K, value V) {
	if _, ok := g.current[key]; !ok && len(g.current) >= g.size {
		g.previous, g.current = g.current, make(map[K]V, g.size)
	}
	g.current[key] = value
}
