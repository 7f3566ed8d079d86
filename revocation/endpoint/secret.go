// Secrets are compared under limits: a guess must cost the guesser more than the
// server. RFC 6749 §2.3.1 and §10.10, RFC 6819 §4.3.4 and §5.1.4.2.3.

package endpoint

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// verification is the result of a proof. Its outcome is empty when the proof was
// good.
type verification struct {
	outcome    Outcome
	retryAfter time.Duration
}

// secrets verifies them.
type secrets struct {
	clients map[string]*client
	compare Comparer
	fake    []byte
	work    int // comparisons that every wrong reading costs
	journal *journal
	*attempts

	slots chan struct{} // held while comparing
	wait  time.Duration

	// What was verified. Comparing takes up to a core-second, a MAC takes a
	// microsecond. Keys are MACs under a key that leaves with the process.
	key     [32]byte
	right   *pace.Generations[proof, struct{}] // secrets that are right
	origins *pace.Generations[proof, struct{}] // right secrets and the address they came from
}

// rememberedProofs is how many of each kind are remembered, before those that were
// not used for the longest time are forgotten. At most twice as many are kept.
const rememberedProofs = 1024

// proof stands for a secret that was right.
type proof [sha256.Size]byte

func newSecrets(opts Options, clients map[string]*client, a *attempts, j *journal) *secrets {
	v := &secrets{
		clients:  clients,
		compare:  opts.Compare,
		fake:     opts.FakeHash,
		journal:  j,
		attempts: a,
		slots:    make(chan struct{}, opts.Limits.ConcurrentCompares),
		wait:     opts.Limits.CompareWait,
		right:    pace.NewGenerations[proof, struct{}](rememberedProofs),
		origins:  pace.NewGenerations[proof, struct{}](rememberedProofs),
	}
	for _, c := range clients {
		v.work = max(v.work, len(c.hashes))
	}
	rand.Read(v.key[:])
	return v
}

// verify returns the client whose secret one of the readings has.
//
// The limits come before everything else, also before what is remembered: a guess
// past the limit must be answered the same whether right or wrong. A secret that
// was right when it came from the same address before is excepted, so that nobody
// behind that address can keep the client out by failing in its name.
func (v *secrets) verify(ctx context.Context, readings []credentials, from netip.Prefix) (*client, verification) {
	readings = slices.DeleteFunc(readings, func(c credentials) bool {
		return len(c.id) > MaxClientIDBytes || len(c.secret) > MaxSecretBytes
	})
	if len(readings) == 0 {
		return nil, verification{outcome: InvalidClient}
	}
	if wait := v.limited(readings, from); wait > 0 {
		if c, ok := v.returning(readings, from); ok {
			return c, verification{}
		}
		return nil, verification{RateLimited, wait}
	}
	c, reading := v.recall(v.right, readings, netip.Prefix{})
	if c == nil {
		var failed verification
		if c, reading, failed = v.prove(ctx, readings, from); c == nil {
			return nil, failed
		}
		v.right.Put(v.proof(c, reading, netip.Prefix{}), struct{}{})
	}
	v.origins.Put(v.proof(c, reading, from), struct{}{})
	return c, verification{}
}

// prove compares when its turn comes.
func (v *secrets) prove(ctx context.Context, readings []credentials, from netip.Prefix) (*client, credentials, verification) {
	if !v.acquire(ctx) {
		return nil, credentials{}, verification{Busy, time.Second}
	}
	defer func() { <-v.slots }()
	// A client that starts with many requests at once has one of them compared.
	if c, reading := v.recall(v.right, readings, netip.Prefix{}); c != nil {
		return c, reading, verification{}
	}
	attempt, wait := v.begin(readings, from)
	if wait > 0 {
		return nil, credentials{}, verification{RateLimited, wait}
	}
	c, reading := v.search(readings)
	if c == nil {
		return nil, credentials{}, verification{outcome: InvalidClient}
	}
	v.succeed(attempt)
	return c, reading, verification{}
}

// returning finds the client whose secret came from the same address before. How
// often it may look in vain is limited too, at a rate that only guessing reaches.
func (v *secrets) returning(readings []credentials, from netip.Prefix) (*client, bool) {
	t, wait := v.looks.Take(pace.Key(from), v.elapsed())
	if wait > 0 {
		return nil, false
	}
	c, _ := v.recall(v.origins, readings, from)
	if c != nil {
		v.looks.GiveBack(t, v.elapsed())
	}
	return c, c != nil
}

// search compares. Every reading that isn't right costs the same, whether the
// client exists or not and however many secrets it has.
func (v *secrets) search(readings []credentials) (*client, credentials) {
	for _, reading := range readings {
		c, secret, compared := v.clients[reading.id], []byte(reading.secret), 0
		if c != nil {
			for _, hash := range c.hashes {
				ok, err := v.compare.Compare(hash, secret)
				if ok && err == nil {
					return c, reading
				}
				if err != nil {
					v.journal.badHash(c)
				}
				compared++
			}
		}
		for ; compared < v.work; compared++ {
			v.compare.Compare(v.fake, secret)
		}
	}
	return nil, credentials{}
}

// acquire waits for its turn to compare, but not for long.
func (v *secrets) acquire(ctx context.Context) bool {
	select {
	case v.slots <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(v.wait)
	defer timer.Stop()
	select {
	case v.slots <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// recall finds a reading that was right before. It takes as long for a client that
// doesn't exist.
func (v *secrets) recall(known *pace.Generations[proof, struct{}], readings []credentials, from netip.Prefix) (*client, credentials) {
	for _, reading := range readings {
		c := v.clients[reading.id]
		if c == nil {
			c = &nobody
		}
		if _, ok := known.Get(v.proof(c, reading, from)); ok {
			return c, reading
		}
	}
	return nil, credentials{}
}

// nobody has no secret, so none was ever right.
var nobody client

// proof is a MAC over all that a comparison depends on, every part with its length
// in front: two different questions have two different keys.
func (v *secrets) proof(c *client, reading credentials, from netip.Prefix) proof {
	var space [512]byte
	b := space[:0]
	address, _ := from.MarshalBinary()
	for _, part := range [...][]byte{[]byte(reading.id), c.digest[:], []byte(reading.secret), address} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	mac := hmac.New(sha256.New, v.key[:])
	mac.Write(b)
	return proof(mac.Sum(nil))
}
