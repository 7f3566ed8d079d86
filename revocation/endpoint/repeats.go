// Clients repeat themselves: they retry, and log out in two tabs. What was made
// durable once needs no second record.

package endpoint

import (
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// rememberedRepeats is how many revocations are remembered before the oldest are
// forgotten; at most twice as many are kept. What was forgotten is recorded again,
// which does no harm.
const rememberedRepeats = 1 << 15 // up to 6 MiB

// repeats remembers what this endpoint made durable.
type repeats struct {
	made *generations[repeatKey, made]
}

type repeatKey struct {
	token  revocation.Fingerprint
	client *client // each client's revocation is its own
}

type made struct {
	expires        int64  // of the record, in Unix seconds
	reinstatements uint64 // the list's number before the revocation
}

func newRepeats() *repeats {
	return &repeats{made: newGenerations[repeatKey, made](rememberedRepeats)}
}

// covers reports whether a record of the token exists that makes another one, to
// expire at the given time, unnecessary.
//
// Of a token with a usable exp every record expires at the same time. Of any other
// it expires later every time, by as much as has passed. The first is enough, since
// the token was there already; all the same, a repeat counts as a new revocation
// once it adds more than a 24th of the record's time.
func (r *repeats) covers(token revocation.Fingerprint, c *client, expires, now time.Time, reinstatements uint64) bool {
	m, ok := r.made.get(repeatKey{token, c})
	return ok && m.reinstatements == reinstatements && expires.Unix()-m.expires <= (expires.Unix()-now.Unix())/24
}

func (r *repeats) note(token revocation.Fingerprint, c *client, expires time.Time, reinstatements uint64) {
	r.made.put(repeatKey{token, c}, made{expires.Unix(), reinstatements})
}
