package revocation

import (
	"context"
	"time"
)

// State is the outcome of a check.
type State uint8

const (
	// Active: no record hits the token. That says nothing about whether it is
	// genuine or expired.
	Active State = iota
	// Revoked: a record hits the token.
	Revoked
	// Malformed: no record hits the token, but it must not pass, see
	// Facts.Malformed.
	Malformed
)

// String returns the state's name as it stands in metrics and placeholders.
func (s State) String() string {
	switch s {
	case Active:
		return "active"
	case Revoked:
		return "revoked"
	}
	return "malformed"
}

// Verdict is what a check finds out about one presented token.
type Verdict struct {
	State State

	// Kind and Shape say which records revoke the token, when it is Revoked.
	Kind  Kind
	Shape Shape

	// Stale says that nobody can know whether the token is revoked, unless it is
	// Revoked: the list's view of its store is too old, see List.Stale.
	Stale bool

	// Facts are the token's. They are shared and must not be changed.
	Facts *Facts
}

// Checker checks presented tokens against a list. It remembers the facts of
// tokens, never a verdict: every check looks at the list as it is then.
//
// All methods may be called concurrently.
type Checker struct {
	list  *List
	read  FactsReader
	cache *cache
}

// DefaultCacheBytes is a good size for a Checker's cache: some 30,000 tokens.
const DefaultCacheBytes = 64 << 20

// NewChecker returns a checker that remembers the facts of about cacheBytes
// worth of tokens. Zero or less means DefaultCacheBytes.
func NewChecker(list *List, read FactsReader, cacheBytes int64) (*Checker, error) {
	if cacheBytes <= 0 {
		cacheBytes = DefaultCacheBytes
	}
	cache, err := newCache(cacheBytes)
	if err != nil {
		return nil, err
	}
	return &Checker{list, read, cache}, nil
}

// Check says whether the token may pass. A token that a revocation hits is
// Revoked in every Check that begins after Revoke put it in force, which is
// before Revoke returned.
//
// It does no I/O. For a token whose facts are cached it allocates nothing.
func (c *Checker) Check(token string) Verdict {
	return c.decide(c.cache.get(token, c.read))
}

// CheckProven is Check for a token that must be genuine, with the proof that it is.
// A proof is asked for once for a token that is cached, and again when it no longer
// holds. The error is the prover's, and comes only where the verdict is Active: a
// token that is revoked needs no proof.
//
// That the token has its time, and was made for who checks it, is for the caller to
// see in the proof. Presented.Facts are filled in.
func (c *Checker) CheckProven(ctx context.Context, p Presented, prover Prover) (Verdict, *Proof, error) {
	facts, cached := c.cache.find(p.Token)
	if !cached {
		facts = c.read.ReadFacts(p.Token)
	}
	verdict := c.decide(facts)
	if verdict.State != Active {
		return verdict, nil, nil
	}
	proof := facts.proof.Load()
	if proof != nil && proof.holds(time.Now()) {
		return verdict, proof, nil
	}
	p.Facts = facts
	proof, err := prover.Prove(ctx, p)
	if err != nil {
		return verdict, nil, err
	}
	facts.proof.Store(proof)
	if !cached {
		// Not before: who sends forged tokens doesn't displace what others need.
		c.cache.put(p.Token, facts)
	}
	if proof.Facts != nil {
		c.list.streams.learn(c.list, facts)
	}
	// What was revoked while the issuer was asked counts as well.
	return c.decide(facts), proof, nil
}

// CheckOnce is Check for what may not be a token: a password, say. Nothing of it
// is remembered.
func (c *Checker) CheckOnce(token string) Verdict {
	return c.decide(c.read.ReadFacts(token))
}

func (c *Checker) decide(facts *Facts) Verdict {
	outlook := c.list.outlook()
	if g := c.list.revokes(facts); g != nil {
		return Verdict{State: Revoked, Kind: g.kind, Shape: g.shape, Facts: facts}
	}
	v := Verdict{State: Active, Facts: facts, Stale: c.list.staleBy(outlook)}
	if facts.Malformed != nil {
		v.State = Malformed
	}
	return v
}

// revokes returns the group of a record that rejects the token by what is known of it.
func (l *List) revokes(f *Facts) *group {
	if g := l.lookup(f); g != nil {
		return g
	}
	if said := f.said(); said != nil {
		return l.lookup(said)
	}
	return nil
}

// lookup returns the group of a record that rejects the token by these facts, here or in the
// list that takes over from this one.
func (l *List) lookup(f *Facts) *group {
	for ; l != nil; l = l.successor.Load() {
		if g := l.index.lookup(f, l.clock); g != nil {
			return g
		}
	}
	return nil
}

// CacheMisses returns how many checks found no facts in the cache.
func (c *Checker) CacheMisses() uint64 { return c.cache.misses.Load() }

// Close releases the cache. Checks that come later still give right answers.
func (c *Checker) Close() { c.cache.close() }
