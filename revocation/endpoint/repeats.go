// Clients repeat themselves: they retry, and log out in two tabs. What was made
// durable once needs no second record, and what isn't durable yet needs no second
// one either: its record waits in the list.

package endpoint

import (
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// rememberedRepeats is how many records are remembered before the oldest are
// forgotten; at most twice as many are kept. What was forgotten is recorded again,
// which does no harm.
const rememberedRepeats = 1 << 15 // up to 12 MiB

// repeats remembers the last record that this endpoint made of a token for a
// client.
type repeats struct {
	made *generations[repeatKey, made]
}

type repeatKey struct {
	token  revocation.Fingerprint
	client *client // each client's revocation is its own
}

// made is what a record has on top of its key, and what became of it.
type made struct {
	id             revocation.ID
	recordedAt     int64  // in Unix milliseconds
	expires        int64  // in Unix seconds
	reinstatements uint64 // the list's number before the revocation
	durable        bool   // else it is enforced only
}

func newRepeats() *repeats {
	return &repeats{made: newGenerations[repeatKey, made](rememberedRepeats)}
}

// newMade is for a record that is made now.
func newMade(now, expires time.Time, reinstatements uint64) made {
	return made{id: revocation.NewID(), recordedAt: now.UnixMilli(), expires: expires.Unix(), reinstatements: reinstatements}
}

// record returns the record, the same one each time.
func (m made) record(key repeatKey) revocation.Record {
	return revocation.Record{
		ID:         m.id,
		Kind:       revocation.Block,
		Selector:   revocation.SelectToken(key.token),
		Expires:    time.Unix(m.expires, 0).UTC(),
		Source:     source,
		Actor:      key.client.actor,
		RecordedAt: time.UnixMilli(m.recordedAt).UTC(),
	}
}

// find returns the record of the token that makes another one, to expire at the
// given time, unnecessary. After a reinstatement there is none: it could be the
// one that was taken back.
//
// Of a token with a usable exp every record expires at the same time. Of any other
// it expires later every time, by as much as has passed. The first is enough, since
// the token was there already; all the same, a repeat counts as a new revocation
// once it adds more than a 24th of the record's time.
func (r *repeats) find(key repeatKey, expires, now time.Time, reinstatements uint64) (made, bool) {
	m, ok := r.made.get(key)
	added, tolerated := expires.Unix()-m.expires, max(0, (expires.Unix()-now.Unix())/24)
	if !ok || m.reinstatements != reinstatements || added > tolerated {
		return made{}, false
	}
	return m, true
}

func (r *repeats) note(key repeatKey, m made) { r.made.put(key, m) }
