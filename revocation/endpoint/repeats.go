// Clients repeat themselves: they retry, and log out in two tabs. What was made
// durable once needs no second record, and what isn't durable yet needs no second
// one either: its records wait in the list. What other nodes may not enforce yet is waited
// for again.

package endpoint

import (
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// rememberedRepeats is how many revocations are remembered before the oldest are
// forgotten; at most twice as many are kept. What was forgotten is recorded again,
// which does no harm.
const rememberedRepeats = 1 << 15 // up to 16 MiB, and the records of those that wait

// repeats remembers the last revocation that this endpoint made of a token for a
// client.
type repeats struct {
	made *pace.Generations[repeatKey, made]
}

type repeatKey struct {
	token  revocation.Fingerprint
	client *client // each client's revocation is its own
}

// made is a revocation, and what became of it.
type made struct {
	id             revocation.ID
	records        []revocation.Record // until there is nothing more to do about them
	count          int                 // of them
	expires        int64               // of the token's own, in Unix seconds
	cutoff         int64               // of the cascade, in Unix seconds; before 1970 if there is none
	reinstatements uint64              // the list's number before the revocation
	durable        bool                // else it is enforced only
	settled        bool                // there is nothing more to do
}

func newRepeats() *repeats {
	return &repeats{made: pace.NewGenerations[repeatKey, made](rememberedRepeats)}
}

// newMade carries out a plan now.
func newMade(pl *plan, now time.Time, reinstatements uint64) made {
	records := pl.records(now)
	return made{
		id:             records[0].ID,
		records:        records,
		count:          pl.count(),
		expires:        pl.expires.Unix(),
		cutoff:         pl.cutoff(now).Unix(),
		reinstatements: reinstatements,
	}
}

// settle is what to remember of a revocation of which success was answered.
func (m made) settle() made {
	m.records, m.settled = nil, true
	return m
}

// find returns the revocation of the token that makes another one by the plan
// unnecessary. After a reinstatement there is none: it could be the one that was taken
// back. Nor is there once a cutoff moves forward or records are added: more dies then.
//
// Of a token with a usable exp every record expires at the same time. Of any other
// it expires later every time, by as much as has passed. The first is enough, since
// the token was there already; all the same, a repeat counts as a new revocation
// once it adds more than a 24th of the record's time.
func (r *repeats) find(key repeatKey, pl *plan, now time.Time, reinstatements uint64) (made, bool) {
	m, ok := r.made.Get(key)
	added, tolerated := pl.expires.Unix()-m.expires, max(0, (pl.expires.Unix()-now.Unix())/24)
	if !ok || m.reinstatements != reinstatements || added > tolerated ||
		pl.cutoff(now).Unix() > m.cutoff || pl.count() > m.count {
		return made{}, false
	}
	return m, true
}

func (r *repeats) note(key repeatKey, m made) { r.made.Put(key, m) }
