package revocation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Many goroutines check while others revoke, with a cache that is far too small
// for the tokens, and with one that isn't.
func TestNoTokenPassesAfterItsRevocationReturnedAndNoOtherIsRejected(t *testing.T) {
	for _, cacheBytes := range []int64{1, 20_000, 64 << 20} {
		t.Run(fmt.Sprint("cache of ", cacheBytes), func(t *testing.T) {
			l := openList(t, new(memoryStore))
			c, err := NewChecker(l, plainReader{}, cacheBytes)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const tokens, checkers, revokers = 4000, 4, 4
			// A token is revoked by the number of a revoker, begun before the call
			// and done after it. One in four never is.
			var begun, done [tokens]atomic.Bool
			names := [tokens]string{}
			for i := range names {
				names[i] = fmt.Sprint("token-", i, strings.Repeat("x", i%700))
			}
			var working, checking sync.WaitGroup
			var stop atomic.Bool
			for n := range checkers {
				checking.Go(func() {
					r := rand.New(rand.NewPCG(uint64(n), 1))
					for !stop.Load() {
						i := r.IntN(tokens)
						if r.IntN(3) == 0 {
							i = r.IntN(20) // some are hot
						}
						before := done[i].Load()
						state := c.Check(names[i]).State
						after := begun[i].Load()
						if before && state != Revoked {
							t.Errorf("token %d passed after its revocation returned", i)
							return
						}
						if !after && state != Active {
							t.Errorf("token %d was rejected and nobody revoked it", i)
							return
						}
					}
				})
			}
			for n := range revokers {
				working.Go(func() {
					for i := n; i < tokens; i += revokers {
						if i%4 == 3 {
							continue
						}
						begun[i].Store(true)
						if err := l.Revoke(t.Context(), blockToken(names[i])); err != nil {
							t.Error(err)
						}
						done[i].Store(true)
					}
				})
			}
			working.Wait()
			stop.Store(true)
			checking.Wait()
			for i := range tokens {
				want := Revoked
				if i%4 == 3 {
					want = Active
				}
				wantState(t, c, names[i], want)
			}
		})
	}
}

func TestACacheHitIsDecidedByTheTokenItself(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	revoke(t, l, blockToken("revoked"))
	wantState(t, c, "revoked", Revoked)
	wantState(t, c, "innocent", Active)
	// Pretend that the two tokens have one hash.
	known := &cached{"revoked", plainReader{}.ReadFacts("revoked")}
	for i := range c.cache.recent {
		c.cache.recent[i].Store(known)
	}
	wantState(t, c, "innocent", Active)
	wantState(t, c, "another", Active)
}

func TestCheckOnceRemembersNothing(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	for range 2 {
		if s := c.CheckOnce("password").State; s != Active {
			t.Error(s)
		}
	}
	for i := range c.cache.recent {
		if c.cache.recent[i].Load() != nil {
			t.Error("it is remembered")
		}
	}
	revoke(t, l, blockToken("password"))
	if s := c.CheckOnce("password").State; s != Revoked {
		t.Error(s)
	}
}

func TestMalformedTokensAreLookedUpAndNotCached(t *testing.T) {
	l := openList(t, new(memoryStore))
	odd := func() *Facts { return &Facts{Fingerprint: Fingerprint{7}, Malformed: errBroken} }
	c := newChecker(t, l, factsReader{"odd": odd()})
	wantState(t, c, "odd", Malformed)
	wantState(t, c, "odd", Malformed)
	if c.CacheMisses() != 2 {
		t.Errorf("%d misses", c.CacheMisses())
	}
	revoke(t, l, block(SelectToken(Fingerprint{7})))
	wantState(t, c, "odd", Revoked)
}

func TestAChecksAfterCloseAreRight(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	revoke(t, l, blockToken("a"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 {
				wantState(t, c, "a", Revoked)
				wantState(t, c, fmt.Sprint("b", i), Active)
			}
		})
	}
	c.Close()
	c.Close()
	wg.Wait()
	wantState(t, c, "a", Revoked)
}

func TestNothingRunsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
		l := openList(t, new(memoryStore))
		c := newChecker(t, l, plainReader{})
		revoke(t, l, blockToken("a"))
		wantState(t, c, "a", Revoked)
		c.Close()
		l.Close()
	})
}
