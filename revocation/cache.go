package revocation

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// cache remembers the facts of tokens that were seen. It only saves work: what
// it holds is never a decision, and a token that it dropped, or never took, is
// read again.
//
// A token is found by a keyed 64-bit hash, and equality of the token decides
// whether it was found: hashes of different tokens can be made to collide.
//
// In front of ristretto there is a small array of the tokens seen last, since
// one hot token makes all cores write to the same lock and the same counters
// within ristretto.
type cache struct {
	seed   maphash.Seed
	recent []atomic.Pointer[cached] // a power of two
	misses atomic.Uint64

	mu     sync.RWMutex // ristretto must not be closed during a call
	closed bool
	facts  *ristretto.Cache[uint64, *cached]
}

// cached is a token and its facts. It doesn't change.
type cached struct {
	token string
	facts *Facts
}

// overhead is about what a token takes in the cache besides its text and the
// text of its claims.
const overhead = 512

func (c *cached) bytes() int64 {
	n := overhead + len(c.token) + c.facts.bytes()
	if proof := c.facts.proof.Load(); proof != nil {
		n += overhead
		if proof.Facts != nil {
			n += proof.Facts.bytes()
		}
	}
	return int64(n)
}

// bytes is about what the variable part of the facts takes.
func (f *Facts) bytes() int {
	n := 0
	for _, claim := range f.Claims {
		n += len(claim.Role) + len(claim.Value) + 32
	}
	for _, iss := range f.Issuers {
		n += len(iss) + 16
	}
	return n
}

func newCache(bytes int64) (*cache, error) {
	const typical = 2048 // bytes of a cached token
	// An eighth of what ristretto has room for.
	recent := 1 << bits.Len64(uint64(max(bytes/typical/8, 1)-1))
	facts, err := ristretto.NewCache(&ristretto.Config[uint64, *cached]{
		NumCounters:        max(10*bytes/typical, 1000),
		MaxCost:            max(bytes, 1),
		BufferItems:        64,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, err
	}
	return &cache{seed: maphash.MakeSeed(), recent: make([]atomic.Pointer[cached], recent), facts: facts}, nil
}

// get returns the token's facts, from read if they aren't known.
func (c *cache) get(token string, read FactsReader) *Facts {
	if facts, ok := c.find(token); ok {
		return facts
	}
	facts := read.ReadFacts(token)
	if facts.Malformed == nil { // whoever sends garbage doesn't displace what others need
		c.put(token, facts)
	}
	return facts
}

// find returns the token's facts if they are known.
func (c *cache) find(token string) (*Facts, bool) {
	hash := maphash.Comparable(c.seed, token)
	slot := c.slot(hash)
	if known := slot.Load(); known != nil && known.token == token {
		return known.facts, true
	}
	if known := c.load(hash); known != nil && known.token == token {
		slot.Store(known)
		return known.facts, true
	}
	c.misses.Add(1)
	return nil, false
}

// put remembers the token's facts.
func (c *cache) put(token string, facts *Facts) {
	hash := maphash.Comparable(c.seed, token)
	// The request's header would be kept alive by a part of it.
	known := &cached{token: strings.Clone(token), facts: facts}
	c.slot(hash).Store(known)
	c.store(hash, known)
}

func (c *cache) slot(hash uint64) *atomic.Pointer[cached] {
	return &c.recent[hash&uint64(len(c.recent)-1)]
}

func (c *cache) load(hash uint64) *cached {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil
	}
	known, _ := c.facts.Get(hash)
	return known
}

func (c *cache) store(hash uint64, known *cached) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.facts.Set(hash, known, known.bytes())
	}
}

// close stops ristretto's goroutine. The cache can still be asked.
func (c *cache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.facts.Close()
	}
}
