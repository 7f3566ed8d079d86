package revocation

import (
	"fmt"
	"testing"
	"time"
)

const iss = "https://idp.example.com"

// alice is the token of a user at one issuer, bob's is another's.
func people() factsReader {
	issued := time.Now().Add(-10 * time.Minute).Unix()
	alice := &Facts{
		Fingerprint: Fingerprint{1}, Issuers: []string{iss, "https://alias.example.com"},
		IssuedAt: issued, AuthTime: issued - 3600,
		Claims: []Claim{
			{RoleTokenID, "jti-1"}, {RoleTokenID, "uti-1"}, {RoleSession, "sid-1"}, {RoleSubject, "alice"},
			{RoleClient, "app"}, {RoleGrant, "grant-1"}, {RoleKeyID, "key-1"},
			{RoleKeyBinding, "jkt-1"}, {RoleCertBinding, "cert-1"}, {"tenant_id", "acme"},
		},
	}
	bob := &Facts{
		Fingerprint: Fingerprint{2}, Issuers: []string{iss}, IssuedAt: issued, AuthTime: issued - 3600,
		Claims: []Claim{
			{RoleTokenID, "jti-2"}, {RoleSession, "sid-2"}, {RoleSubject, "bob"}, {RoleClient, "other"},
			{RoleGrant, "grant-2"}, {RoleKeyID, "key-2"}, {RoleKeyBinding, "jkt-2"},
			{RoleCertBinding, "cert-2"}, {"tenant_id", "initech"},
		},
	}
	// Alice's namesake at another issuer has all her values.
	namesake := &Facts{Fingerprint: Fingerprint{3}, Issuers: []string{"https://elsewhere.example.com"}, IssuedAt: issued}
	for _, c := range alice.Claims {
		if !c.Role.selfStanding() {
			namesake.Claims = append(namesake.Claims, c)
		}
	}
	return factsReader{"alice": alice, "bob": bob, "namesake": namesake}
}

func TestJ11_EverySelectorHitsItsTokensAndNoOther(t *testing.T) {
	selectors := map[Shape]Selector{
		"token":             SelectToken(Fingerprint{1}),
		"jti":               mustSelect(t, iss, Claim{RoleTokenID, "jti-1"}),
		"sid":               mustSelect(t, iss, Claim{RoleSession, "sid-1"}),
		"sub":               mustSelect(t, iss, Claim{RoleSubject, "alice"}),
		"client_id":         mustSelect(t, iss, Claim{RoleClient, "app"}),
		"client_id+sub":     mustSelect(t, iss, Claim{RoleSubject, "alice"}, Claim{RoleClient, "app"}),
		"grant":             mustSelect(t, iss, Claim{RoleGrant, "grant-1"}),
		"kid":               mustSelect(t, iss, Claim{RoleKeyID, "key-1"}),
		"jkt":               mustSelect(t, "", Claim{RoleKeyBinding, "jkt-1"}),
		"x5t#S256":          mustSelect(t, "", Claim{RoleCertBinding, "cert-1"}),
		"tenant_id":         mustSelect(t, iss, Claim{"tenant_id", "acme"}),
		"sid+sub+tenant_id": mustSelect(t, iss, Claim{"tenant_id", "acme"}, Claim{RoleSession, "sid-1"}, Claim{RoleSubject, "alice"}),
		"jkt+sub":           mustSelect(t, iss, Claim{RoleKeyBinding, "jkt-1"}, Claim{RoleSubject, "alice"}),
		"jkt+token":         mustSelect(t, "", Claim{RoleKeyBinding, "jkt-1"}, Claim{RoleToken, Fingerprint{1}.String()}),
	}
	for shape, selector := range selectors {
		for _, kind := range []Kind{Block, IssuedBefore, AuthenticatedBefore} {
			t.Run(fmt.Sprint(kind, " ", shape), func(t *testing.T) {
				if selector.Shape() != shape {
					t.Errorf("shape is %s", selector.Shape())
				}
				l := openList(t, new(memoryStore))
				c := newChecker(t, l, people())
				wantState(t, c, "alice", Active) // known to the cache before the group exists
				r := block(selector)
				if kind.cutoff() {
					r = cutoffAt(kind, selector, time.Now())
				}
				revoke(t, l, r)
				wantState(t, c, "alice", Revoked)
				wantState(t, c, "bob", Active)
				wantState(t, c, "namesake", Active)
				if v := c.Check("alice"); v.Kind != kind || v.Shape != shape {
					t.Errorf("revoked by %s %s", v.Kind, v.Shape)
				}
			})
		}
	}
}

func TestASelectorHitsEveryValueAndEveryAlias(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, people())
	revoke(t, l, block(mustSelect(t, "https://alias.example.com", Claim{RoleTokenID, "uti-1"})))
	wantState(t, c, "alice", Revoked)
	wantState(t, c, "bob", Active)
}

func TestAWholeIssuer(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, people())
	revoke(t, l, block(mustSelect(t, iss)))
	wantState(t, c, "alice", Revoked)
	wantState(t, c, "bob", Revoked)
	wantState(t, c, "namesake", Active)
	wantState(t, c, "opaque", Active)
}

func TestASelectorWithAllItsClaimsMustMatch(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, people())
	revoke(t, l, block(mustSelect(t, iss, Claim{RoleSubject, "alice"}, Claim{RoleClient, "other"})))
	wantState(t, c, "alice", Active)
	wantState(t, c, "bob", Active)
}

func TestCutoffs(t *testing.T) {
	cut := time.Unix(1_800_000_000, 0)
	at := cut.Unix()
	for _, tc := range []struct {
		name                string
		issued, auth        int64
		issuedBefore, auth2 State
	}{
		{"J12 issued in the very second of the cutoff", at, 0, Revoked, Revoked},
		{"issued a second later", at + 1, 0, Active, Active},
		{"issued earlier", at - 1, 0, Revoked, Revoked},
		{"J13 no iat", 0, 0, Revoked, Revoked},
		{"J14 authenticated before, refreshed after", at + 100, at - 100, Active, Revoked},
		{"authenticated after", at + 100, at + 50, Active, Active},
		{"authenticated after but issued before", at - 1, at + 50, Revoked, Active},
		{"authenticated after, no iat", 0, at + 50, Revoked, Active},
	} {
		for kind, want := range map[Kind]State{IssuedBefore: tc.issuedBefore, AuthenticatedBefore: tc.auth2} {
			t.Run(fmt.Sprint(tc.name, " ", kind), func(t *testing.T) {
				l := openList(t, new(memoryStore))
				facts := &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSubject, "alice"}}, IssuedAt: tc.issued, AuthTime: tc.auth}
				c := newChecker(t, l, factsReader{"token": facts})
				r := cutoffAt(kind, mustSelect(t, iss, Claim{RoleSubject, "alice"}), cut)
				revoke(t, l, r)
				wantState(t, c, "token", want)
			})
		}
	}
}

func TestRecordsOfOneKeyMergeByMax(t *testing.T) {
	alice := mustSelect(t, iss, Claim{RoleSubject, "alice"})
	now := time.Now().Truncate(time.Second)
	early, late := cutoffAt(IssuedBefore, alice, now.Add(-time.Hour)), cutoffAt(IssuedBefore, alice, now)
	early.Expires = now.Add(2 * time.Hour)
	for name, records := range map[string][]Record{
		"in order": {early, late}, "reordered": {late, early}, "repeated": {late, early, late, early, early},
	} {
		t.Run(name, func(t *testing.T) {
			l := openList(t, new(memoryStore))
			for _, r := range records {
				revoke(t, l, r)
			}
			g := l.index.find(IssuedBefore, "sub")
			v, _ := g.table.get(alice.Key(IssuedBefore))
			if int64(v.cutoff()) != late.Cutoff.Unix() || int64(v.expires()) != early.Expires.Unix() {
				t.Errorf("merged to cutoff %d, expiry %d", v.cutoff(), v.expires())
			}
		})
	}
}

func TestABlockAndACutoffDontDisturbEachOther(t *testing.T) {
	l := openList(t, new(memoryStore))
	facts := &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSubject, "alice"}}, IssuedAt: time.Now().Unix() + 60}
	c := newChecker(t, l, factsReader{"token": facts})
	alice := mustSelect(t, iss, Claim{RoleSubject, "alice"})
	cutoff := cutoffAt(IssuedBefore, alice, time.Now())
	revoke(t, l, cutoff)
	wantState(t, c, "token", Active)
	standing := block(alice)
	revoke(t, l, standing)
	wantState(t, c, "token", Revoked)
	if _, err := l.Reinstate(t.Context(), Note{}, standing.ID); err != nil {
		t.Fatal(err)
	}
	wantState(t, c, "token", Active)
	facts.IssuedAt = time.Now().Unix() - 60
	wantState(t, newChecker(t, l, factsReader{"token": facts}), "token", Revoked)
}
