package token

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const allRoles = `"jti":"jti","uti":"uti","sid":"sid","session_state":"state","sub":"sub","oid":"oid","uid":"uid",` +
	`"client_id":"client","azp":"azp","cid":"cid","appid":"appid","origin_jti":"origin","event_id":"event","ext":{"session":"nested"}`

// rolesOf returns the claims of the facts as role=value, sorted.
func rolesOf(f *revocation.Facts) string {
	var all []string
	for _, c := range f.Claims {
		all = append(all, fmt.Sprintf("%s=%s", c.Role, c.Value))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestAnIssuersProfileSaysWhichClaimsPlayARole(t *testing.T) {
	r, err := NewReader(ReaderOptions{
		MatchClaims: []string{"oid"},
		Issuers: []Issuer{
			{Names: []string{"https://plain"}},
			{Names: []string{"https://a", "https://alias.a"}, Profile: Profile{
				revocation.RoleSubject: {"uid"}, revocation.RoleSession: {"event_id", "ext.session"}, revocation.RoleTokenID: {"jti"},
			}},
			{Names: []string{"https://b"}, Profile: Profile{revocation.RoleSession: {"jti"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	byDefault := "client_id=appid client_id=azp client_id=cid client_id=client grant=origin jti=jti jti=uti oid=oid sid=sid sid=state sub=oid sub=sub sub=uid"
	for _, c := range []struct {
		iss, roles string
		issuers    []string
	}{
		{`"iss":"https://plain",`, byDefault, []string{"https://plain"}},
		{`"iss":"https://unknown",`, byDefault, []string{"https://unknown"}},
		{``, byDefault, nil},
		{`"iss":7,`, byDefault, nil},
		{`"iss":"https://a",`, "jti=jti oid=oid sid=event sid=nested sub=uid", []string{"https://a", "https://alias.a"}},
		{`"iss":"https://alias.a",`, "jti=jti oid=oid sid=event sid=nested sub=uid", []string{"https://alias.a", "https://a"}},
		{`"iss":"https://b",`, "oid=oid sid=jti", []string{"https://b"}},
		// Two readings of one token: both count.
		{`"iss":"https://a","iss":"https://b",`, "jti=jti oid=oid sid=event sid=jti sid=nested sub=uid", []string{"https://a", "https://b", "https://alias.a"}},
	} {
		f := r.ReadFacts(jws(`{"alg":"ES256"}`, "{"+c.iss+allRoles+"}"))
		if got := rolesOf(f); got != c.roles {
			t.Errorf("%s:\n got %s\nwant %s", c.iss, got, c.roles)
		}
		if !reflect.DeepEqual(f.Issuers, c.issuers) {
			t.Errorf("%s: issuers %q, want %q", c.iss, f.Issuers, c.issuers)
		}
	}
}

// An answer to a question about a token has the same claims as the token would.
func TestReadClaimsReadsAnAnswerAsItsIssuersToken(t *testing.T) {
	r, err := NewReader(ReaderOptions{Issuers: []Issuer{{Names: []string{"https://a", "https://b"}, Profile: Profile{revocation.RoleSubject: {"username"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{`{"active":true,"username":"u","sub":"s","iat":7}`, `{"iss":"https://b","username":"u","iat":7.5}`} {
		f := r.ReadClaims([]byte(object), "https://a")
		if rolesOf(f) != "sub=u" || f.IssuedAt != 7 || len(f.Issuers) != 2 {
			t.Errorf("%s: %s, iat %d, issuers %q", object, rolesOf(f), f.IssuedAt, f.Issuers)
		}
	}
	if f := r.ReadClaims([]byte("<html>"), "https://a"); len(f.Claims) != 0 {
		t.Errorf("claims in HTML: %v", f.Claims)
	}
}

func TestNewReaderRefusesIssuers(t *testing.T) {
	many := make([]Issuer, maxProfiles)
	for i := range many {
		many[i] = Issuer{Names: []string{fmt.Sprint(i)}, Profile: Profile{revocation.RoleSubject: {fmt.Sprint("claim", i)}}}
	}
	for name, issuers := range map[string][]Issuer{
		"a name twice":      {{Names: []string{"a"}}, {Names: []string{"b", "a"}}},
		"an unknown role":   {{Names: []string{"a"}, Profile: Profile{"tenant": {"tid"}}}},
		"the token's role":  {{Names: []string{"a"}, Profile: Profile{revocation.RoleToken: {"x"}}}},
		"iss in a role":     {{Names: []string{"a"}, Profile: Profile{revocation.RoleSubject: {"iss"}}}},
		"a nameless claim":  {{Names: []string{"a"}, Profile: Profile{revocation.RoleSubject: {""}}}},
		"too many profiles": many,
	} {
		if _, err := NewReader(ReaderOptions{Issuers: issuers}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := NewReader(ReaderOptions{Issuers: many[:maxProfiles-1]}); err != nil {
		t.Error(err)
	}
	same := make([]Issuer, 200)
	for i := range same {
		same[i] = Issuer{Names: []string{fmt.Sprint(i)}, Profile: Profile{revocation.RoleSubject: {"oid"}}}
	}
	if _, err := NewReader(ReaderOptions{Issuers: same}); err != nil {
		t.Errorf("issuers with one profile: %v", err)
	}
}
