package revocation

// Tests of CheckProven: when a prover is asked, and that no proof hides a revocation.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// prover proves tokens as its function says, and counts.
type prover struct {
	prove func(Presented) (*Proof, error)
	asked atomic.Int64
}

func (p *prover) Prove(_ context.Context, presented Presented) (*Proof, error) {
	p.asked.Add(1)
	return p.prove(presented)
}

// always vouches for everything.
func always() *prover {
	return &prover{prove: func(Presented) (*Proof, error) { return &Proof{Issuer: iss}, nil }}
}

func (p *prover) wantAsked(t testing.TB, want int64) {
	t.Helper()
	if got := p.asked.Load(); got != want {
		t.Errorf("the prover was asked %d times, want %d", got, want)
	}
}

func wantProven(t testing.TB, c *Checker, token string, p Prover, want State) (Verdict, *Proof) {
	t.Helper()
	v, proof, err := c.CheckProven(t.Context(), Presented{Token: token}, p)
	if err != nil {
		t.Fatalf("%s: %v", token, err)
	}
	if v.State != want {
		t.Errorf("%s is %s, want %s", token, v.State, want)
	}
	if (proof != nil) != (want == Active) {
		t.Errorf("%s is %s with the proof %v", token, v.State, proof)
	}
	return v, proof
}

func TestAProofIsAskedForOncePerCachedToken(t *testing.T) {
	c := newChecker(t, openList(t, new(memoryStore)), plainReader{})
	p := always()
	_, first := wantProven(t, c, "a", p, Active)
	for range 10 {
		if _, again := wantProven(t, c, "a", p, Active); again != first {
			t.Error("another proof")
		}
	}
	p.wantAsked(t, 1)
	if facts := c.Check("a").Facts; facts.Proof() != first {
		t.Error("the facts don't have the proof")
	}
	wantProven(t, c, "b", p, Active)
	p.wantAsked(t, 2)
}

func TestAProofIsAskedForAlsoWhereFactsAreCachedAlready(t *testing.T) {
	c := newChecker(t, openList(t, new(memoryStore)), plainReader{})
	p := always()
	wantState(t, c, "a", Active)
	wantProven(t, c, "a", p, Active)
	wantProven(t, c, "a", p, Active)
	p.wantAsked(t, 1)
}

func TestTheProverIsToldAboutTheToken(t *testing.T) {
	c := newChecker(t, openList(t, new(memoryStore)), plainReader{})
	given := Presented{Token: "a", Issuers: []string{iss}, Hint: "access_token"}
	p := always()
	p.prove = func(got Presented) (*Proof, error) {
		if got.Facts == nil || got.Facts.Fingerprint != (plainReader{}).ReadFacts("a").Fingerprint {
			t.Error("without the token's facts")
		}
		got.Facts = nil
		if !reflect.DeepEqual(got, given) {
			t.Errorf("%+v, want %+v", got, given)
		}
		return &Proof{}, nil
	}
	if _, _, err := c.CheckProven(t.Context(), given, p); err != nil {
		t.Fatal(err)
	}
	p.wantAsked(t, 1)
}

func TestAProofThatNoLongerHoldsIsAskedForAgain(t *testing.T) {
	c := newChecker(t, openList(t, new(memoryStore)), plainReader{})
	var withdrawn atomic.Bool
	p := &prover{prove: func(Presented) (*Proof, error) {
		return &Proof{Holds: func(time.Time) bool { return !withdrawn.Load() }}, nil
	}}
	_, first := wantProven(t, c, "a", p, Active)
	wantProven(t, c, "a", p, Active)
	p.wantAsked(t, 1)
	withdrawn.Store(true)
	if _, second := wantProven(t, c, "a", p, Active); second == first {
		t.Error("the proof that doesn't hold was taken")
	}
	p.wantAsked(t, 2)
	// And when the prover no longer vouches for the token, it isn't proven.
	p.prove = func(Presented) (*Proof, error) { return nil, ErrUnproven }
	if _, proof, err := c.CheckProven(t.Context(), Presented{Token: "a"}, p); !errors.Is(err, ErrUnproven) || proof != nil {
		t.Errorf("%v, %v", proof, err)
	}
	p.wantAsked(t, 3)
}

func TestTokensThatNobodyVouchesForAreNotCachedAndDisplaceNothing(t *testing.T) {
	for _, failure := range []error{ErrForged, ErrUnproven, ErrIssuerUnavailable} {
		t.Run(failure.Error(), func(t *testing.T) {
			c := newChecker(t, openList(t, new(memoryStore)), plainReader{})
			p := always()
			wantProven(t, c, "honest", p, Active)
			p.prove = func(Presented) (*Proof, error) { return nil, fmt.Errorf("so it is: %w", failure) }
			for i := range 5000 {
				v, proof, err := c.CheckProven(t.Context(), Presented{Token: fmt.Sprint("forged", i)}, p)
				if v.State != Active || proof != nil || !errors.Is(err, failure) {
					t.Fatalf("%s, %v, %v", v.State, proof, err)
				}
			}
			p.wantAsked(t, 5001)
			misses := c.CacheMisses()
			wantProven(t, c, "honest", p, Active)
			p.wantAsked(t, 5001)
			if c.CacheMisses() != misses {
				t.Error("the honest token was displaced")
			}
			if _, known := c.cache.find("forged4999"); known {
				t.Error("the forged token is remembered")
			}
		})
	}
}

func TestARevokedOrMalformedTokenNeedsNoProof(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, factsReader{"odd": {Fingerprint: Fingerprint{7}, Malformed: errBroken}})
	p := always()
	wantProven(t, c, "a", p, Active)
	revoke(t, l, blockToken("a"))
	revoke(t, l, blockToken("b"))
	wantProven(t, c, "a", p, Revoked) // although its proof is known
	wantProven(t, c, "b", p, Revoked)
	wantProven(t, c, "odd", p, Malformed)
	p.wantAsked(t, 1)
}

func TestARevocationWhileTheProverIsAskedCounts(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	p := &prover{prove: func(Presented) (*Proof, error) {
		revoke(t, l, blockToken("a"))
		return &Proof{}, nil
	}}
	v, _, err := c.CheckProven(t.Context(), Presented{Token: "a"}, p)
	if err != nil || v.State != Revoked {
		t.Errorf("%s, %v", v.State, err)
	}
}

// What an issuer says about an opaque token is looked up from then on by every check.
func TestWhatTheIssuerAnsweredIsLookedUpByEveryCheck(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	session := func(sid string) Record { return block(mustSelect(t, iss, Claim{RoleSession, sid})) }
	answer := func(token string) *Proof {
		return &Proof{Introspected: true, Facts: &Facts{
			Issuers: []string{iss}, Claims: []Claim{{RoleSession, "session of " + token}}, IssuedAt: 1000,
		}}
	}
	p := &prover{prove: func(p Presented) (*Proof, error) { return answer(p.Token), nil }}
	for _, token := range []string{"a", "b"} {
		wantProven(t, c, token, p, Active)
	}
	revoke(t, l, session("session of a"))
	revoke(t, l, session("session of c"))
	v, _ := wantProven(t, c, "a", p, Revoked)
	if v.Shape != "sid" || v.Kind != Block || v.Facts.Fingerprint != (plainReader{}).ReadFacts("a").Fingerprint {
		t.Errorf("%+v", v)
	}
	wantState(t, c, "a", Revoked)
	wantState(t, c, "b", Active)
	p.wantAsked(t, 2)
	// Revoked before anybody asked about it.
	wantState(t, c, "c", Active) // nothing is known of it yet
	if v, _, err := c.CheckProven(t.Context(), Presented{Token: "c"}, p); err != nil || v.State != Revoked {
		t.Errorf("%s, %v", v.State, err)
	}
	wantState(t, c, "c", Revoked)
	// A cutoff goes by the iat of the answer.
	revoke(t, l, cutoffAt(IssuedBefore, mustSelect(t, iss, Claim{RoleSession, "session of b"}), time.Unix(999, 0)))
	wantState(t, c, "b", Active)
	revoke(t, l, cutoffAt(IssuedBefore, mustSelect(t, iss, Claim{RoleSession, "session of b"}), time.Unix(1000, 0)))
	wantState(t, c, "b", Revoked)
}

// Provers answer while tokens are revoked, by fingerprint and by what only the
// issuer knows of them; proofs cease to hold at random.
func TestNoTokenIsProvenAndPassesAfterItsRevocationReturned(t *testing.T) {
	for _, cacheBytes := range []int64{1, 64 << 20} {
		t.Run(fmt.Sprint("cache of ", cacheBytes), func(t *testing.T) {
			l := openList(t, new(memoryStore))
			c, err := NewChecker(l, plainReader{}, cacheBytes)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			const tokens, checkers, revokers = 600, 6, 3
			var begun, done [tokens]atomic.Bool
			p := &prover{prove: func(p Presented) (*Proof, error) {
				if rand.IntN(8) == 0 {
					time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
				}
				return &Proof{
					Holds: func(time.Time) bool { return rand.IntN(4) > 0 },
					Facts: &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSession, p.Token}}},
				}, nil
			}}
			var working, checking sync.WaitGroup
			var stop atomic.Bool
			for range checkers {
				checking.Go(func() {
					for !stop.Load() {
						i := rand.IntN(tokens)
						if rand.IntN(3) == 0 {
							i = rand.IntN(12) // some are hot
						}
						before := done[i].Load()
						v, _, err := c.CheckProven(t.Context(), Presented{Token: fmt.Sprint(i)}, p)
						after := begun[i].Load()
						switch {
						case err != nil:
							t.Errorf("token %d: %v", i, err)
						case before && v.State != Revoked:
							t.Errorf("token %d passed after its revocation returned", i)
						case !after && v.State != Active:
							t.Errorf("token %d was rejected and nobody revoked it", i)
						default:
							continue
						}
						return
					}
				})
			}
			for n := range revokers {
				working.Go(func() {
					for i := n; i < tokens; i += revokers {
						if i%4 == 3 {
							continue
						}
						record := blockToken(fmt.Sprint(i))
						if i%4 == 1 {
							record = block(mustSelect(t, iss, Claim{RoleSession, fmt.Sprint(i)}))
						}
						begun[i].Store(true)
						if err := l.Revoke(t.Context(), record); err != nil {
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
				v, _, err := c.CheckProven(t.Context(), Presented{Token: fmt.Sprint(i)}, p)
				if want := i%4 != 3; err != nil || (v.State == Revoked) != want {
					t.Errorf("token %d is %s, %v", i, v.State, err)
				}
			}
		})
	}
}
