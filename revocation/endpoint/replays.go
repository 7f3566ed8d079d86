// Each assertion counts once: RFC 7523 §3.

package endpoint

import (
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// Replays remembers assertions until they expire. One is shared by all configurations
// of a process, so that none is accepted again after a reload. Its methods may be
// called concurrently. The zero Replays is ready for use.
//
// Only what a client has signed is remembered, and of each client only so much: about
// 5 MiB. So its size is bounded by the number of clients, and none can keep another
// one out.
type Replays struct {
	mu      sync.Mutex
	start   time.Time // what times are counted from
	swept   time.Duration
	clients map[string]map[assertionID]time.Duration // until when to remember
}

// assertionID stands for a jti.
type assertionID [16]byte

const (
	// maxLiveAssertions is how many a client may have that haven't expired: more than
	// its default quota lets it use.
	maxLiveAssertions = 100_000

	// clockSteps is by how much the time of day may be set back without making an
	// assertion acceptable again that was forgotten. It is remembered for so much
	// longer, by a clock that nobody sets.
	clockSteps = 5 * time.Minute

	sweepReplaysEvery  = time.Minute
	sweepFullReplaysIn = time.Second // when a client has too many
)

// errTooManyAssertions says that a client can't have any more remembered.
var errTooManyAssertions = errors.New("the client has used too many assertions that have not expired")

// accept remembers a client's assertion, which can be used as long as remains. The
// error is errAssertionReplayed or errTooManyAssertions. Of several that are the same
// at the same time, one is accepted.
func (r *Replays) accept(client, jti string, remains time.Duration, now time.Time) error {
	sum := sha256.Sum256([]byte(jti))
	id := assertionID(sum[:])

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clients == nil {
		r.start, r.clients = now, map[string]map[assertionID]time.Duration{}
	}
	elapsed := now.Sub(r.start)
	if until, ok := r.clients[client][id]; ok && elapsed < until {
		return errAssertionReplayed
	}
	every := sweepReplaysEvery
	if len(r.clients[client]) >= maxLiveAssertions {
		every = sweepFullReplaysIn
	}
	if elapsed-r.swept >= every {
		r.sweep(elapsed)
	}
	known := r.clients[client]
	if len(known) >= maxLiveAssertions {
		return errTooManyAssertions
	}
	if known == nil {
		known = map[assertionID]time.Duration{}
		r.clients[client] = known
	}
	known[id] = elapsed + remains + clockSteps
	return nil
}

// sweep forgets what can't be used any more. It looks at all of them, so it does so
// only once in a while.
func (r *Replays) sweep(elapsed time.Duration) {
	r.swept = elapsed
	for client, known := range r.clients {
		for id, until := range known {
			if until <= elapsed {
				delete(known, id)
			}
		}
		if len(known) == 0 {
			delete(r.clients, client)
		}
	}
}
