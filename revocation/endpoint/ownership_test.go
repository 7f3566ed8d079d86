// D4, D5, D12, D14 to D21, D24, F3 and F4 of the contract: whose tokens a client may
// revoke, found out from real signatures.

package endpoint

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	acme   = "https://idp.example.com"
	globex = "https://login.example.org"
)

// Shapes of what is recorded of a token.
var (
	byToken   = []revocation.Shape{"token"}
	byTokenID = []revocation.Shape{"token", "jti"}
)

func TestOwnership(t *testing.T) {
	a, b := newIDP(t, acme), newIDP(t, globex)
	exp := time.Now().Add(time.Hour).Unix()
	own := claims{"jti": "1", "sub": "alice", "client_id": plainID, "exp": exp}
	foreign := own.with("client_id", "another")
	silent := func(o *Options) { o.SilentMismatch = true }
	refuse := func(o *Options) { o.RefuseRefreshTokens = true }
	only := func(issuers ...string) func(*Options) {
		return func(o *Options) {
			for i := range o.Clients {
				o.Clients[i].Issuers = issuers
			}
		}
	}
	forged := func(typ string, c claims) string { return newIDP(t, acme).sign(typ, c) }
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := encode([]byte(`{"alg":"none"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":%q,"jti":"1","client_id":%q}`, acme, plainID)) + "."
	const at, jwt = "at+jwt", "JWT"

	for _, c := range []struct {
		name        string
		change      func(*Options)
		token, hint string
		credentials []string
		status      int
		code        string
		outcome     Outcome
		shapes      []revocation.Shape
	}{
		{"own token", nil, a.sign(at, own), "", app, 200, "", Revoked, byTokenID},
		{"own token without jti", nil, a.sign(at, own.with("jti", nil)), "", app, 200, "", Revoked, byToken},
		{"own token with a jti that can't be recorded", nil, a.sign(at, own.with("jti", strings.Repeat("x", 1025))), "", app, 200, "", Revoked, byToken},
		{"own token of a public client", nil, a.sign(at, own.with("client_id", spaID)), "", spa, 200, "", Revoked, byTokenID},
		{"D2 own, expired", nil, a.sign(at, own.with("exp", exp-7200)), "", app, 200, "", Expired, nil},
		{"D4 forged", nil, forged(at, own), "", app, 200, "", Forged, nil},
		{"D4 forged, a stranger's jti", nil, forged(at, foreign), "", app, 200, "", Forged, nil},
		{"D4 forged, by an operator", nil, forged(at, own), "", ops, 200, "", Forged, nil},
		{"D4 alg none", nil, unsigned, "", app, 200, "", Forged, nil},
		{"D4 unknown issuer", nil, a.sign(at, own.with("iss", "https://evil.example")), "", app, 200, "", Revoked, byToken},
		{"D7 wrong hint", nil, a.sign(at, own), "refresh_token", app, 200, "", Revoked, byTokenID},
		{"D12 ID token", nil, a.sign(jwt, own.with("nonce", "n")), "", app, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"D12 ID token, by an operator", nil, a.sign(jwt, own.with("at_hash", "h")), "", ops, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"D12 logout token", nil, a.sign("logout+jwt", own), "", app, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"D12 forged ID token", nil, forged(jwt, own.with("nonce", "n")), "", app, 200, "", Forged, nil},
		{"D14 foreign, confidential client", nil, a.sign(at, foreign), "", app, 400, "invalid_grant", Foreign, nil},
		{"D15 foreign, public client", nil, a.sign(at, foreign), "", spa, 200, "", Foreign, nil},
		{"D16 foreign, confidential client, silent", silent, a.sign(at, foreign), "", app, 200, "", Foreign, nil},
		{"D16 foreign, public client, silent", silent, a.sign(at, foreign), "", spa, 200, "", Foreign, nil},
		{"D17 azp", nil, a.sign(at, own.with("client_id", nil).with("azp", plainID)), "", app, 200, "", Revoked, byTokenID},
		{"D17 cid", nil, a.sign(at, own.with("client_id", nil).with("cid", plainID)), "", app, 200, "", Revoked, byTokenID},
		{"D17 appid", nil, a.sign(at, own.with("client_id", nil).with("appid", plainID)), "", app, 200, "", Revoked, byTokenID},
		{"D17 another azp", nil, a.sign(at, own.with("client_id", nil).with("azp", spaID)), "", app, 400, "invalid_grant", Foreign, nil},
		{"D17 azp and client_id agree", nil, a.sign(at, own.with("azp", plainID)), "", app, 200, "", Revoked, byTokenID},
		{"D17 azp and client_id differ", nil, a.sign(at, own.with("azp", spaID)), "", app, 400, "invalid_grant", Foreign, nil},
		{"D17 another case", nil, a.sign(at, own.with("client_id", "Web-App")), "", app, 400, "invalid_grant", Foreign, nil},
		{"D18 no owner", nil, a.sign(at, own.with("client_id", nil)), "", app, 200, "", Revoked, byToken},
		{"D18 no owner, a refresh token's hint", nil, a.sign(jwt, own.with("client_id", nil).with("sid", "s")), "refresh_token", app, 200, "", Revoked, byToken},
		{"D19 any_token", nil, a.sign(at, foreign), "", ops, 200, "", Revoked, byTokenID},
		{"D19 any_token, no owner", nil, a.sign(at, own.with("client_id", nil)), "", ops, 200, "", Revoked, byTokenID},
		{"D20 of an issuer of the client's", only(globex), b.sign(at, own), "", app, 200, "", Revoked, byTokenID},
		{"D20 of another issuer", only(globex), a.sign(at, own), "", app, 400, "invalid_grant", Foreign, nil},
		{"D20 of another issuer, public client", only(globex), a.sign(at, own.with("client_id", spaID)), "", spa, 200, "", Foreign, nil},
		{"D20 of another issuer, no owner", only(globex), a.sign(at, own.with("client_id", nil)), "", app, 400, "invalid_grant", Foreign, nil},
		{"D20 of another issuer, operator", only(globex), a.sign(at, foreign), "", ops, 400, "invalid_grant", Foreign, nil},
		{"D20 of an issuer of the operator's", only(acme, globex), a.sign(at, foreign), "", ops, 200, "", Revoked, byTokenID},
		{"D21 exchanged", nil, a.sign(at, own.with("act", claims{"sub": "b", "client_id": "another"})), "", app, 200, "", Revoked, byTokenID},
		{"refresh tokens refused, unproven", refuse, "opaque", "refresh_token", app, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"refresh tokens refused, by its URN", refuse, "opaque", "urn:ietf:params:oauth:token-type:refresh_token", app, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"refresh tokens refused, of unknown kind", refuse, a.sign(jwt, own), "refresh_token", app, 400, "unsupported_token_type", UnsupportedTokenType, nil},
		{"refresh tokens refused, wrong hint", refuse, a.sign(at, own), "refresh_token", app, 200, "", Revoked, byTokenID},
		{"refresh tokens refused, no hint", refuse, "opaque", "", app, 200, "", Revoked, byToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := trust(t, c.change, a.options(t), b.options(t))
			f.wantAnswer(handIn(c.token, c.hint, c.credentials), c.status, c.code, c.outcome)
			f.wantShapes(c.shapes...)
			f.wantDead(len(c.shapes) > 0, map[string]string{"the token": c.token})
			sameID := f.dead(a.sign(at, claims{"jti": "1"})) || f.dead(b.sign(at, claims{"jti": "1"}))
			if want := slices.Equal(c.shapes, byTokenID); sameID != want {
				t.Errorf("what has the same jti is revoked: %t, want %t", sameID, want)
			}
		})
	}
}

// TestForeignSpellings has a client hand in another's token in spellings that pass
// nowhere, but have the same fingerprint.
func TestForeignSpellings(t *testing.T) {
	a := newIDP(t, acme)
	own := claims{"jti": "1", "client_id": plainID, "exp": time.Now().Add(time.Hour).Unix()}
	for name, spell := range map[string]func(string) string{
		"signature":       func(s string) string { return s[:len(s)-1] + string(s[len(s)-1]+1) }, // its last bits mean nothing
		"padding":         func(s string) string { return strings.Replace(s, ".", "=.", 1) },
		"space":           func(s string) string { return s[:9] + " " + s[9:] },
		"end of line":     func(s string) string { return s + "\n" },
		"another segment": func(s string) string { return s + ".x" },
		"no signature":    func(s string) string { return s[:strings.LastIndexByte(s, '.')] },
		"JSON": func(s string) string {
			parts := strings.Split(s, ".")
			return fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2])
		},
	} {
		t.Run("D5 "+name, func(t *testing.T) {
			f := trust(t, nil, a.options(t))
			token := a.sign("at+jwt", own.with("client_id", "another"))
			spelled := spell(token)
			r := f.send(handIn(spelled, "", app))
			forged := r.StatusCode == 200 && f.observed()[0] == Forged // the signature was lost
			if !forged && r.code() != "invalid_grant" {
				t.Errorf("answered %d: %s", r.StatusCode, r.body)
			}
			f.wantShapes()
			f.wantDead(false, map[string]string{"the stranger's": token, "its spelling": spelled})

			mine := a.sign("at+jwt", own)
			if r := f.send(handIn(spell(mine), "", app)); r.StatusCode != 200 {
				t.Errorf("answered %d: %s", r.StatusCode, r.body)
			}
			encoding := slices.Contains([]string{"signature", "padding", "space", "end of line"}, name)
			if encoding {
				f.wantShapes(byTokenID...) // it is the token that was proven
			}
			if got := f.observed()[1]; got == Revoked {
				f.wantDead(true, map[string]string{"one's own": mine, "its spelling": spell(mine)})
			} else if got != Forged || encoding {
				t.Errorf("outcome %s", got)
			}
		})
	}
}

// TestNothingOfAStrangers hands in tokens that say everything of a stranger's, but
// that nobody vouches for.
func TestNothingOfAStrangers(t *testing.T) {
	a, evil := newIDP(t, acme), newIDP(t, "https://evil.example")
	all := claims{
		"jti": "victim", "sid": "victim", "sub": "victim", "client_id": plainID, "origin_jti": "victim",
		"cnf": claims{"jkt": "victim"}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	victim := a.sign("at+jwt", all.with("nbf", 1))
	for name, c := range map[string]struct {
		token  string
		shapes []revocation.Shape
	}{
		"forged":         {newIDP(t, acme).sign("at+jwt", all), nil},
		"forged refresh": {newIDP(t, acme).sign("JWT", all), nil},
		"unverifiable":   {evil.sign("JWT", all), byToken},
		"another's iss":  {evil.sign("JWT", all.with("iss", "https://nobody.example")), byToken},
		"no iss":         {evil.sign("JWT", all.with("iss", "")), byToken},
	} {
		for _, hint := range []string{"", "refresh_token"} {
			for _, cascade := range []Cascade{CascadeSession, CascadeSubjectClient} {
				f := trust(t, func(o *Options) { o.Cascade = cascade }, a.options(t))
				if r := f.send(handIn(c.token, hint, app)); r.StatusCode != 200 {
					t.Errorf("%s: answered %d: %s", name, r.StatusCode, r.body)
				}
				f.wantShapes(c.shapes...)
				f.wantDead(false, map[string]string{name + " killed a stranger's": victim})
			}
		}
	}
}

// TestIssuerUnavailable: a client must try again, but for an operator.
func TestIssuerUnavailable(t *testing.T) {
	expired := jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(-time.Hour).Unix()))
	away := &oracle{errs: map[string]error{}}
	for _, token := range []string{"T", expired} {
		away.errs[token] = fmt.Errorf("%w: no answer", revocation.ErrIssuerUnavailable)
	}
	for _, c := range []struct {
		name        string
		change      func(*Options)
		token       string
		credentials []string
		status      int
		code        string
		outcome     Outcome
		shapes      []revocation.Shape
	}{
		{"F3 F4 confidential client", nil, "T", app, 503, "temporarily_unavailable", IssuerUnavailable, nil},
		{"F3 F4 public client", nil, "T", spa, 503, "temporarily_unavailable", IssuerUnavailable, nil},
		{"F3 F4 operator", nil, "T", ops, 200, "", Revoked, byToken},
		{"F3 F4 operator of one issuer", func(o *Options) { o.Clients[3].Issuers = []string{acme} }, "T", ops, 503, "temporarily_unavailable", IssuerUnavailable, nil},
		{"F3 expired in any case", nil, expired, app, 200, "", Expired, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) {
				o.Prover = away
				if c.change != nil {
					c.change(o)
				}
			})
			f.wantAnswer(handIn(c.token, "", c.credentials), c.status, c.code, c.outcome)
			f.wantShapes(c.shapes...)
			f.wantDead(len(c.shapes) > 0, map[string]string{"the token": c.token})
			if level := map[bool]string{true: "level=ERROR", false: "level=INFO"}[c.status == 503]; !strings.Contains(f.log.String(), level) {
				t.Errorf("log: %s", f.log)
			}
		})
	}
}

// TestSameWork: whoever measures how long an answer takes learns nothing about a token.
func TestSameWork(t *testing.T) {
	foreign := &revocation.Proof{Issuer: acme, Owners: []string{"another"}}
	own := &revocation.Proof{Issuer: acme, Owners: []string{plainID}}
	o := &oracle{proofs: map[string]*revocation.Proof{"foreign": foreign, "own": own}}
	f := newFixture(t, func(opts *Options) { opts.Prover = o })
	for i, token := range []string{"unknown", "own", "foreign", "own", "unknown", "foreign"} {
		f.send(handIn(token, "access_token", app))
		if len(o.asked) != i+1 {
			t.Fatalf("D24 the issuer was asked %d times about %d tokens", len(o.asked), i+1)
		}
		asked := o.asked[i]
		if asked.Token != token || asked.Hint != "access_token" || asked.Issuers != nil || asked.From.String() != "192.0.2.1/32" ||
			asked.Facts.Fingerprint != f.opts.Facts.ReadFacts(token).Fingerprint {
			t.Errorf("asked about %+v", asked)
		}
	}
	if want := []Outcome{Revoked, Revoked, Foreign, Repeated, Repeated, Foreign}; !slices.Equal(f.observed(), want) {
		t.Errorf("outcomes %v", f.observed())
	}
	if log := f.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "outcome=foreign") {
		t.Errorf("an operator doesn't hear of foreign tokens: %s", log)
	}
}
