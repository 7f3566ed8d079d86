// E4 to E7 of the contract: what dies with a refresh token, and what lives on.

package endpoint

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// plain is an issuer whose tokens don't say what they are.
func plain(t *testing.T, i *idp) issuer.Options {
	t.Helper()
	return i.options(t)
}

// keycloak is an issuer whose refresh tokens say what they are.
func keycloak(t *testing.T, i *idp) issuer.Options {
	t.Helper()
	o := i.options(t)
	o.Preset, _ = issuer.LookUpPreset("keycloak")
	return o
}

// grants is an issuer whose tokens name their grant.
func grants(t *testing.T, i *idp) issuer.Options {
	t.Helper()
	o := keycloak(t, i)
	o.Profile = token.Profile{revocation.RoleGrant: {"gid"}}
	return o
}

// cascadeHouse has the tokens of some logins, most of which live on in each case.
type cascadeHouse struct {
	idp   *idp
	login claims // what the tokens of a login have in common
	begun time.Time
}

func newCascadeHouse(t *testing.T) *cascadeHouse {
	begun := time.Now()
	return &cascadeHouse{newIDP(t, acme), claims{
		"sub": "alice", "azp": plainID, "sid": "s1", "gid": "g1", "exp": begun.Add(time.Hour).Unix(),
	}, begun}
}

// sign makes a token that was issued so much later than the test began.
func (h *cascadeHouse) sign(typ string, later time.Duration, c claims) string {
	return h.idp.sign("JWT", c.with("typ", typ).with("iat", h.begun.Add(later).Unix()))
}

// others are access tokens, by what is different from the login that is revoked.
func (h *cascadeHouse) others() map[string]string {
	all := map[string]string{
		"same login":            h.sign("Bearer", -time.Minute, h.login),
		"same login, refreshed": h.sign("Bearer", -time.Second, h.login.with("jti", "2")),
		"same login, later":     h.sign("Bearer", 2*time.Second, h.login),
	}
	for name, claim := range map[string][2]string{
		"another session": {"sid", "s2"}, "another grant": {"gid", "g2"},
		"another user": {"sub", "bob"}, "another client": {"azp", "another"}, "another issuer": {"iss", globex},
	} {
		all[name] = h.sign("Bearer", -time.Minute, h.login.with(claim[0], claim[1]))
	}
	return all
}

func TestCascades(t *testing.T) {
	h := newCascadeHouse(t)
	refresh := func(leftOut ...string) string {
		c := h.login.with("jti", "refresh")
		for _, name := range leftOut {
			c = c.with(name, nil)
		}
		return h.sign("Refresh", -time.Minute, c)
	}
	untyped := h.idp.sign("JWT", h.login.with("jti", "refresh").with("iat", h.begun.Unix()))
	lastLogin := []string{"same login", "same login, refreshed"}
	inSession := append(slices.Clone(lastLogin), "another grant", "another user")
	for _, c := range []struct {
		name        string
		issuer      func(*testing.T, *idp) issuer.Options
		cascade     Cascade
		token, hint string
		credentials []string
		cutoff      revocation.Shape // none: no cascade
		dead        []string
	}{
		{"E4 by session", keycloak, "", refresh(), "", app, "client_id+sid", inSession},
		{"E4 by grant", grants, "", refresh(), "", app, "grant", append(slices.Clone(lastLogin), "another session", "another user", "another client")},
		{"E4 by grant, which can't be recorded", grants, "", h.sign("Refresh", 0, h.login.with("jti", "refresh").with("gid", strings.Repeat("x", 1025))), "", app, "client_id+sid", inSession},
		{"E4 by session, no client is named", keycloak, "", refresh("azp"), "", ops, "sid", append(slices.Clone(inSession), "another client")},
		{"E4 wrong hint", keycloak, "", refresh(), "access_token", app, "client_id+sid", inSession},
		{"E6 a JWT of unknown kind, whatever its hint", plain, "", untyped, "refresh_token", app, "", nil},
		{"E6 a JWT of unknown kind, no hint", plain, "", untyped, "", app, "", nil},
		{"E5 neither session nor grant", keycloak, "", refresh("sid", "gid"), "", app, "", nil},
		{"E5 subject_client", grants, CascadeSubjectClient, refresh(), "", app, "client_id+sub", append(slices.Clone(lastLogin), "another session", "another grant")},
		{"E5 subject_client, neither session nor grant", keycloak, CascadeSubjectClient, refresh("sid", "gid"), "", app, "client_id+sub", append(slices.Clone(lastLogin), "another session", "another grant")},
		{"E5 subject_client, no subject", keycloak, CascadeSubjectClient, refresh("sub"), "", app, "client_id+sid", inSession},
		{"off", grants, CascadeOff, refresh(), "", app, "", nil},
		{"E6 access token", grants, CascadeSubjectClient, h.sign("Bearer", 0, h.login.with("jti", "refresh")), "", app, "", nil},
		{"E6 access token, wrong hint", grants, CascadeSubjectClient, h.sign("Bearer", 0, h.login.with("jti", "refresh")), "refresh_token", app, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := trust(t, func(o *Options) { o.Cascade = c.cascade }, c.issuer(t, h.idp))
			f.wantAnswer(handIn(c.token, c.hint, c.credentials), 200, "", Revoked)
			if c.cutoff == "" {
				f.wantShapes(byTokenID...)
			} else {
				f.wantShapes("token", "jti", c.cutoff)
			}
			f.wantDead(true, map[string]string{"the token": c.token})
			others := h.others()
			for _, name := range c.dead {
				f.wantDead(true, map[string]string{name: others[name]})
				delete(others, name)
			}
			f.wantDead(false, others)
		})
	}
	t.Run("E4 a stranger's", func(t *testing.T) {
		f := trust(t, nil, keycloak(t, h.idp))
		f.wantAnswer(handIn(refresh(), "", spa), 200, "", Foreign)
		f.wantShapes()
		f.wantDead(false, h.others())
	})
	t.Run("E7 after an access token", func(t *testing.T) {
		f := trust(t, nil, keycloak(t, h.idp))
		revoked := h.sign("Bearer", -time.Hour, h.login.with("jti", "1"))
		f.wantAnswer(handIn(revoked, "", app), 200, "", Revoked)
		all := h.others()
		all["refresh token"] = refresh()
		f.wantDead(false, all)
	})
}

// TestCutoff looks at the records of a cascade.
func TestCutoff(t *testing.T) {
	h := newCascadeHouse(t)
	for name, c := range map[string]struct {
		iat  time.Duration
		late bool // the token's iat is the cutoff
	}{
		"of now":                     {-time.Hour, false},
		"of an issuer that is ahead": {24 * time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := keycloak(t, h.idp)
			o.MaxTokenLifetime = 2 * time.Hour
			f := trust(t, func(o *Options) { o.Retention.Leeway = time.Minute }, o)
			f.wantAnswer(handIn(h.sign("Refresh", c.iat, h.login), "", app), 200, "", Revoked)
			records := f.store.all()
			cutoff := records[len(records)-1]
			want := f.clock.Now().Unix()
			if c.late {
				want = h.begun.Add(c.iat).Unix()
			}
			if cutoff.Kind != revocation.IssuedBefore || cutoff.Cutoff.Unix() != want {
				t.Errorf("a %s at %s, want %s", cutoff.Kind, cutoff.Cutoff, time.Unix(want, 0))
			}
			if kept := cutoff.Expires.Sub(cutoff.Cutoff); kept != 2*time.Hour+time.Minute+revocation.Grace {
				t.Errorf("kept for %s", kept)
			}
			for _, r := range records {
				if r.Actor != "client:web-app" || r.Source != endpointSource || r.Validate() != nil {
					t.Errorf("record %+v", r)
				}
			}
		})
	}
}

// TestCutoffMoves: who logs out once more means what was issued until then.
func TestCutoffMoves(t *testing.T) {
	h := newCascadeHouse(t)
	f := trust(t, nil, keycloak(t, h.idp))
	refresh := h.sign("Refresh", -time.Hour, h.login)
	between := h.sign("Bearer", time.Minute, h.login)
	nextLogin := h.sign("Bearer", time.Hour, h.login)
	send := func(outcome Outcome) {
		t.Helper()
		f.wantAnswer(handIn(refresh, "", app), 200, "", outcome)
	}
	send(Revoked)
	send(Repeated) // in the same second nothing is added
	f.wantDead(false, map[string]string{"what was issued since": between})
	f.clock.advance(2 * time.Minute)
	send(Revoked)
	send(Repeated)
	f.wantDead(true, map[string]string{"what was issued since": between, "the refresh token": refresh})
	f.wantDead(false, map[string]string{"the next login": nextLogin})

	ids := map[revocation.ID]int{}
	for _, r := range f.store.all() {
		ids[r.ID]++
	}
	if got := slices.Sorted(maps.Values(ids)); !slices.Equal(got, []int{2, 2}) {
		t.Errorf("revocations of so many records: %v", got)
	}
}

// Its issuer was asked and doesn't say what the token is for: then the client knows.
func TestE4_OfUnknownKindByItsHint(t *testing.T) {
	for hint, shapes := range map[string][]revocation.Shape{
		"": {"token"}, "access_token": {"token"}, "refresh_token": {"token", "grant"},
	} {
		proof := refreshTokenOf(plainID).proof
		proof.Kind, proof.Introspected, proof.Claims = revocation.UnknownKind, true, proof.Claims[1:]
		f := newFixture(t, func(o *Options) { o.Prover = &oracle{proofs: map[string]*revocation.Proof{"opaque": proof}} })
		f.wantAnswer(handIn("opaque", hint, []string{plainID, plainPass}), 200, "", Revoked)
		f.wantShapes(shapes...)
	}
}
