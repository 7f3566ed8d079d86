// How often authentication may fail: RFC 6749 §2.3.1.

package endpoint

import (
	"net/netip"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// attempts limits those that fail, whatever a client authenticates with.
type attempts struct {
	elapsed    func() time.Duration
	perClient  *pace.Meters // failures by client id and address
	perAddress *pace.Meters // failures by address
	looks      *pace.Meters // at what is remembered, past these, by address
}

func newAttempts(l Limits, elapsed func() time.Duration) *attempts {
	return &attempts{
		elapsed:    elapsed,
		perClient:  pace.NewMeters(l.FailuresPerMinute, pace.MaxMeters),
		perAddress: pace.NewMeters(l.FailuresPerMinutePerAddress, pace.MaxMeters),
		looks:      pace.NewMeters(l.FailuresPerMinutePerAddress*pace.SharedRate, pace.MaxMeters),
	}
}

// attempt is what an attempt has taken from the limits.
type attempt struct {
	address pace.Ticket
	clients []pace.Ticket
}

type clientAddress struct {
	id   string
	from netip.Prefix
}

// limited says how long to wait until there may be another attempt.
func (l *attempts) limited(readings []credentials, from netip.Prefix) time.Duration {
	now := l.elapsed()
	wait := l.perAddress.Wait(pace.Key(from), now)
	for _, reading := range readings {
		wait = max(wait, l.perClient.Wait(pace.Key(clientAddress{reading.id, from}), now))
	}
	return wait
}

// begin counts an attempt as failed, before it is known: many at once must not get
// past the limit together.
func (l *attempts) begin(readings []credentials, from netip.Prefix) (attempt, time.Duration) {
	now := l.elapsed()
	address, wait := l.perAddress.Take(pace.Key(from), now)
	if wait > 0 {
		return attempt{}, wait
	}
	a := attempt{address: address}
	for i, reading := range readings {
		if slices.ContainsFunc(readings[:i], func(c credentials) bool { return c.id == reading.id }) {
			continue
		}
		t, wait := l.perClient.Take(pace.Key(clientAddress{reading.id, from}), now)
		if wait > 0 {
			l.succeed(a)
			return attempt{}, wait
		}
		a.clients = append(a.clients, t)
	}
	return a, 0
}

// succeed takes back that the attempt failed.
func (l *attempts) succeed(a attempt) {
	now := l.elapsed()
	l.perAddress.GiveBack(a.address, now)
	for _, t := range a.clients {
		l.perClient.GiveBack(t, now)
	}
}
