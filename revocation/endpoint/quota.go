// How much a client may record. Nothing on the list is ever evicted, so growth must
// be bounded where it comes from.

package endpoint

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// liveRetry is told to who has too many live records. How soon one of them expires
// isn't known; this is how long it is worth waiting before asking again.
const liveRetry = time.Minute

// quotas admit records.
type quotas struct {
	list    List
	total   int // live records in all
	elapsed func() time.Duration

	mu       sync.Mutex
	inFlight int // records on their way to the list
	// perAddress has the meters of each rate that some quota sets.
	perAddress map[int]*meters
}

func newQuotas(opts Options, elapsed func() time.Duration) *quotas {
	return &quotas{list: opts.List, total: opts.Limits.LiveTotal, elapsed: elapsed, perAddress: map[int]*meters{}}
}

// admit lets one record of the client pass, or says how long the client should
// wait. What is admitted must be released when the list has answered.
//
// A record on its way counts as live: many at once must not get past the limit
// together.
func (q *quotas) admit(c *client, from netip.Prefix) (wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !within(q.ceiling(c), q.inFlight, q.list.LiveTotal) ||
		!within(c.quota.Live, c.inFlight, func() int { return q.list.Live(c.actor) }) {
		return liveRetry
	}
	now := q.elapsed()
	addresses := q.addresses(c.quota.PerMinutePerAddress)
	t, wait := addresses.take(maphash.Comparable(seed, clientAddress{c.id, from}), now)
	if wait > 0 {
		return wait
	}
	pace, wait := c.pace.take(c.quota.PerMinute, now)
	if wait > 0 {
		addresses.giveBack(t, now)
		return wait
	}
	c.pace = pace
	c.inFlight++
	q.inFlight++
	return 0
}

func (q *quotas) release(c *client) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.inFlight--
	q.inFlight--
}

// ceiling is how many live records there may be in all when this client makes one:
// the last tenth is the operators'.
func (q *quotas) ceiling(c *client) int {
	if c.anyToken || q.total < 0 {
		return q.total
	}
	return q.total - q.total/10
}

// within reports whether there is room for one more.
func within(limit, inFlight int, live func() int) bool {
	return limit < 0 || live()+inFlight < limit
}

func (q *quotas) addresses(perMinute int) *meters {
	m := q.perAddress[perMinute]
	if m == nil {
		m = newMeters(perMinute, maxMeters)
		q.perAddress[perMinute] = m
	}
	return m
}
