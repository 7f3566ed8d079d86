package revocation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// explain explains a token and insists that the verdict is that of Check.
func explain(t testing.TB, c *Checker, token string, prover Prover) Explanation {
	t.Helper()
	e, err := c.Explain(t.Context(), Presented{Token: token}, prover)
	if err != nil {
		t.Fatal(err)
	}
	rejects := slices.ContainsFunc(e.Records, func(m Match) bool { return m.Rejects })
	if rejects != (e.Verdict.State == Revoked) {
		t.Errorf("%s is %s, and that a record rejects it is %v: %+v", token, e.Verdict.State, rejects, e.Records)
	}
	return e
}

// TestExplanationsAgreeWithChecks for every kind and shape of record: what Check
// rejects, a record is named for.
func TestExplanationsAgreeWithChecks(t *testing.T) {
	l := openList(t, new(memoryStore))
	tokens := people()
	c := newChecker(t, l, tokens)
	issued := time.Unix(tokens["alice"].IssuedAt, 0)
	selectors := []Selector{
		SelectToken(Fingerprint{1}),
		mustSelect(t, "https://alias.example.com", Claim{RoleTokenID, "uti-1"}),
		mustSelect(t, iss, Claim{RoleSubject, "alice"}, Claim{RoleClient, "app"}),
		mustSelect(t, "", Claim{RoleKeyBinding, "jkt-1"}),
		mustSelect(t, iss, Claim{RoleKeyBinding, "jkt-1"}, Claim{RoleSubject, "alice"}),
		mustSelect(t, iss, Claim{"tenant_id", "acme"}),
		mustSelect(t, iss),
	}
	for _, selector := range selectors {
		for _, r := range []Record{
			block(selector),
			cutoffAt(IssuedBefore, selector, issued), cutoffAt(IssuedBefore, selector, issued.Add(-time.Second)),
			cutoffAt(AuthenticatedBefore, selector, issued.Add(-time.Hour)), cutoffAt(AuthenticatedBefore, selector, issued.Add(-2*time.Hour)),
		} {
			revoke(t, l, r)
			for _, token := range []string{"alice", "bob", "namesake", "opaque"} {
				e := explain(t, c, token, nil)
				if want := c.Check(token).State; e.Verdict.State != want {
					t.Errorf("%s is explained as %s, and is %s", token, e.Verdict.State, want)
				}
			}
			e := explain(t, c, "alice", nil)
			if len(e.Records) != 1 || e.Records[0].Record.ID != r.ID || e.Records[0].Why == "" {
				t.Errorf("%s of %s: %+v", r.Kind, selector.Shape(), e.Records)
			}
			if _, err := l.Reinstate(t.Context(), Note{}, r.ID); err != nil {
				t.Fatal(err)
			}
			if e := explain(t, c, "alice", nil); len(e.Records) != 0 {
				t.Errorf("after the reinstatement: %+v", e.Records)
			}
		}
	}
}

func TestExplainSaysWhatCanNeverMatch(t *testing.T) {
	l := openList(t, new(memoryStore))
	revoke(t, l, block(mustSelect(t, iss, Claim{"device", "phone"}, Claim{RoleSubject, "alice"})))
	c := newChecker(t, l, people())

	why := func(e Explanation, shape Shape) string {
		for _, m := range e.Impossible {
			if m.Shape == shape {
				return m.Why
			}
		}
		return ""
	}
	opaque := explain(t, c, "opaque", nil)
	if len(opaque.Matches) != 1 || opaque.Matches[0].Selector.Shape() != "token" {
		t.Errorf("an opaque token matches %+v", opaque.Matches)
	}
	if got := why(opaque, "sub"); !strings.Contains(got, "no claims that can be read") {
		t.Errorf("why an opaque token has no sub: %q", got)
	}
	alice := explain(t, c, "alice", nil)
	if got := why(alice, "device+sub"); got != "the token has no device" {
		t.Errorf("why the token has no such shape: %q", got)
	}
	if got := why(alice, "sub"); got != "" {
		t.Errorf("the token has a sub, and yet %q", got)
	}
	ids := 0
	for _, m := range alice.Matches {
		if m.Selector.Shape() == "jti" {
			ids++
		}
	}
	if ids != 4 { // two ids, and an issuer with an alias
		t.Errorf("%d ways to name the token by its id, want 4", ids)
	}
}

// proverFunc is a Prover.
type proverFunc func(Presented) (*Proof, error)

func (f proverFunc) Prove(_ context.Context, p Presented) (*Proof, error) { return f(p) }

// TestExplainKnowsWhatTheIssuerAnswers: an opaque token has the claims that its issuer
// vouches for.
func TestExplainKnowsWhatTheIssuerAnswers(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	revoke(t, l, block(mustSelect(t, iss, Claim{RoleSubject, "alice"})))
	answer := &Facts{Fingerprint: plainReader{}.ReadFacts("opaque").Fingerprint, Issuers: []string{iss}, Claims: []Claim{{RoleSubject, "alice"}}}
	e := explain(t, c, "opaque", proverFunc(func(Presented) (*Proof, error) {
		return &Proof{Issuer: iss, Introspected: true, Facts: answer}, nil
	}))
	if len(e.Records) != 1 || !e.Records[0].Rejects || e.Proof == nil || !e.ByAnswer {
		t.Errorf("explained as %+v", e)
	}
	wantState(t, c, "opaque", Active) // nobody asks the issuer here
	e = explain(t, c, "opaque", proverFunc(func(Presented) (*Proof, error) { return nil, ErrUnproven }))
	if len(e.Records) != 0 || !errors.Is(e.Unproven, ErrUnproven) || e.Proof != nil {
		t.Errorf("explained as %+v", e)
	}
}

func TestExplainShowsPendingRecords(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	if err := l.Revoke(t.Context(), blockToken("leaked")); !errors.Is(err, ErrNotDurable) {
		t.Fatal(err)
	}
	e := explain(t, newChecker(t, l, plainReader{}), "leaked", nil)
	if len(e.Records) != 1 || !e.Records[0].Pending || e.ByAnswer {
		t.Errorf("explained as %+v", e)
	}
	store.set(func(s *memoryStore) { s.fail = nil })
}
