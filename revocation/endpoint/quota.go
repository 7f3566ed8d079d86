// How much a client may record. Nothing on the list is ever evicted, so growth must
// be bounded where it comes from.

package endpoint

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
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
	perAddress map[int]*pace.Meters
}

func newQuotas(opts Options, elapsed func() time.Duration) *quotas {
	return &quotas{list: opts.List, total: opts.Limits.LiveTotal, elapsed: elapsed, perAddress: map[int]*pace.Meters{}}
}

// admit lets a revocation of so many records pass, or says how long the client should
// wait. What is admitted must be released when the list has answered. Where the client
// is nil, only what there may be in all counts.
//
// A record on its way counts as live: many at once must not get past the limit
// together.
func (q *quotas) admit(c *client, from netip.Prefix, records int) (wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !within(q.ceiling(c), q.inFlight+records, q.list.LiveTotal) {
		return liveRetry
	}
	if c != nil {
		if wait := q.admitClient(c, from, records); wait > 0 {
			return wait
		}
		c.inFlight += records
	}
	q.inFlight += records
	return 0
}

// admitClient applies the client's own quota. The caller holds the lock.
func (q *quotas) admitClient(c *client, from netip.Prefix, records int) (wait time.Duration) {
	if !within(c.quota.Live, c.inFlight+records, func() int { return q.list.Live(c.actor) }) {
		return liveRetry
	}
	now := q.elapsed()
	addresses := q.addresses(c.quota.PerMinutePerAddress)
	t, wait := addresses.Take(pace.Key(clientAddress{c.id, from}), now)
	if wait > 0 {
		return wait
	}
	paced, wait := c.pace.Take(c.quota.PerMinute, now)
	if wait > 0 {
		addresses.GiveBack(t, now)
		return wait
	}
	c.pace = paced
	return 0
}

func (q *quotas) release(c *client, records int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if c != nil {
		c.inFlight -= records
	}
	q.inFlight -= records
}

// ceiling is how many live records there may be in all when this client makes some:
// the last tenth is the operators', and half is kept from those who needn't prove
// anything.
func (q *quotas) ceiling(c *client) int {
	switch {
	case q.total < 0 || c != nil && c.anyToken:
		return q.total
	case c != nil && c.anybody:
		return q.total / 2
	}
	return q.total - q.total/10
}

// within reports whether there is room for so many more.
func within(limit, more int, live func() int) bool {
	return limit < 0 || live()+more <= limit
}

func (q *quotas) addresses(perMinute int) *pace.Meters {
	m := q.perAddress[perMinute]
	if m == nil {
		m = pace.NewMeters(perMinute, pace.MaxMeters)
		q.perAddress[perMinute] = m
	}
	return m
}
