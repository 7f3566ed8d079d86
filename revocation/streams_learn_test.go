package revocation

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// An answer that comes when a stream is open already, since another route asked, counts
// for it: the last one that there was, for records before and after.
func TestWhatIsLearntLaterCutsStreams(t *testing.T) {
	named := func(user string) *Facts {
		return &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSubject, user}}}
	}
	block := func(user string) Record { return block(mustSelect(t, iss, Claim{RoleSubject, user})) }
	s := NewStreams()
	l := openStreamed(t, new(memoryStore), s)
	revoke(t, l, block("eve"))
	c := newChecker(t, l, plainReader{})
	answers := map[string]string{"a": "alice", "b": "eve", "c": "carol"}
	p := &prover{prove: func(p Presented) (*Proof, error) {
		return &Proof{Facts: named(answers[p.Token]), Holds: func(time.Time) bool { return false }}, nil
	}}
	a, b, other := plainReader{}.ReadFacts("a"), c.Check("b").Facts, c.Check("c").Facts
	first, both, wb, untouched := watch(s, a), watch(s, other, a, a), watch(s, b), watch(s, other)
	for range 3 {
		wantProven(t, c, "a", p, Active)
		wantProven(t, c, "c", p, Active)
	}
	keys := len(s.keys)
	answers["a"] = "alice2"
	wantProven(t, c, "a", p, Active)
	if len(s.keys) != keys {
		t.Errorf("%d keys became %d", keys, len(s.keys))
	}
	revoke(t, l, block("alice"))
	first.wantOpen(t)
	revoke(t, l, block("alice2"))
	first.wantCut(t, "sub", a)
	both.wantCut(t, "sub", a)
	if v, _, _ := c.CheckProven(t.Context(), Presented{Token: "b"}, p); v.State != Revoked {
		t.Errorf("it is %s", v.State)
	}
	wb.wantCut(t, "sub", b)
	untouched.wantOpen(t)
	for _, w := range []watched{first, both, wb, untouched} {
		w.Close()
	}
	if s.Len() != 0 || len(s.keys) != 0 {
		t.Errorf("%d streams and %d keys are left", s.Len(), len(s.keys))
	}
}

// Opening, learning and revoking, in any order and at once.
func TestNoStreamStaysOpenWhileItsTokenIsLearnt(t *testing.T) {
	s := NewStreams()
	l := openStreamed(t, new(memoryStore), s)
	c := newChecker(t, l, plainReader{})
	p := &prover{prove: func(p Presented) (*Proof, error) {
		return &Proof{Facts: &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSubject, "user of " + p.Token}}}}, nil
	}}
	for n := range 300 {
		token := fmt.Sprint("t", n)
		var ended atomic.Bool
		var racing sync.WaitGroup
		racing.Go(func() {
			facts := c.Check(token).Facts
			s.Open(func(Verdict) { ended.Store(true) }, facts)
			if c.CheckAgain(token, facts).State == Revoked {
				ended.Store(true)
			}
		})
		racing.Go(func() { c.CheckProven(t.Context(), Presented{Token: token}, p) })
		racing.Go(func() { revoke(t, l, block(mustSelect(t, iss, Claim{RoleSubject, "user of " + token}))) })
		racing.Wait()
		if c.Check(token).State != Revoked {
			continue // two requests saw it first, and the one that asked wasn't the last
		}
		for end := time.Now().Add(5 * time.Second); !ended.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a stream is open under a revoked token")
			}
		}
	}
}
