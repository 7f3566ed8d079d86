// C22 of the contract: who has the token alone revokes it.

package endpoint

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestSelfRevocation(t *testing.T) {
	i := newIDP(t, acme)
	now := time.Now()
	c := claims{"typ": "Bearer", "jti": "1", "sub": "alice", "sid": "s", "azp": "another", "iat": now.Unix() - 60, "exp": now.Add(time.Hour).Unix()}
	token := i.sign("JWT", c)
	spelled := strings.Replace(token, ".", "=.", 1)
	expired := i.sign("JWT", c.with("exp", now.Unix()-120))
	forged := newIDP(t, acme).sign("JWT", c)
	const without = "without the option"
	for _, c := range []struct {
		name          string
		authorization string
		token, rest   string
		status        int
		outcome       Outcome
		shapes        []revocation.Shape
	}{
		{"C22 access token", "Bearer " + token, token, "", 200, Revoked, byTokenID},
		{"C22 another case, spaces", "bEARER   " + token + " ", token, "", 200, Revoked, byTokenID},
		{"C22 a hint", "Bearer " + token, token, "&token_type_hint=refresh_token", 200, Revoked, byTokenID},
		{"C22 of unknown kind", "Bearer " + i.sign("JWT", c.with("typ", nil)), i.sign("JWT", c.with("typ", nil)), "", 200, Revoked, byTokenID},
		{"C22 another spelling in the header", "Bearer " + spelled, token, "", 200, Revoked, byTokenID},
		{"C22 another spelling in the body", "Bearer " + token, spelled, "", 200, Revoked, byTokenID},
		{"C22 empty parameters", "Bearer " + token, token, "&client_id=&client_secret=&client_assertion=", 200, Revoked, byTokenID},
		{without, "Bearer " + token, token, "", 401, InvalidClient, nil},
		{"C22 not yet valid", "Bearer " + i.sign("JWT", c.with("nbf", now.Unix()+600)), i.sign("JWT", c.with("nbf", now.Unix()+600)), "", 401, InvalidClient, nil},
		{"C22 expired", "Bearer " + expired, expired, "", 401, InvalidClient, nil},
		{"C22 expired long ago", "Bearer " + jwt(`{"exp":1}`), jwt(`{"exp":1}`), "", 401, InvalidClient, nil},
		{"C22 refresh token", "Bearer " + i.sign("JWT", c.with("typ", "Refresh")), i.sign("JWT", c.with("typ", "Refresh")), "", 401, InvalidClient, nil},
		{"C22 forged", "Bearer " + forged, forged, "", 401, InvalidClient, nil},
		{"C22 genuine in the header only", "Bearer " + token, forged, "", 401, InvalidClient, nil},
		{"C22 unproven", "Bearer T", "T", "", 401, InvalidClient, nil},
		{"C22 another token", "Bearer " + token, i.sign("JWT", c.with("jti", "2")), "", 401, InvalidClient, nil},
		{"C22 no token", "Bearer " + token, "", "", 401, InvalidClient, nil},
		{"C22 another scheme", "DPoP " + token, token, "", 401, InvalidClient, nil},
		{"C22 no scheme", token, token, "", 401, InvalidClient, nil},
		{"C22 a client as well, not the owner", "Bearer " + token, token, "&client_id=spa", 200, Foreign, nil},
		{"C22 a client's wrong secret as well", "Bearer " + token, token, "&client_id=web-app&client_secret=x", 401, InvalidClient, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := trust(t, func(o *Options) {
				o.SelfRevocation, o.Cascade = c.name != without, CascadeSubjectClient
			}, keycloak(t, i))
			r := f.send(message{body: "token=" + url.QueryEscape(c.token) + c.rest, header: []string{"Authorization", c.authorization}})
			if got := f.observed()[0]; r.StatusCode != c.status || got != c.outcome {
				t.Errorf("answered %d, %s: %s", r.StatusCode, got, r.body)
			}
			if challenge := r.Header.Get("WWW-Authenticate"); (challenge != "") != (c.status == 401) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			f.wantShapes(c.shapes...)
			for _, r := range f.store.all() {
				if r.Actor != "token" {
					t.Errorf("recorded for %s", r.Actor)
				}
			}
		})
	}
	t.Run("C22 as the Moov SDKs do", func(t *testing.T) {
		f := trust(t, func(o *Options) { o.SelfRevocation = true }, keycloak(t, i))
		m := message{media: jsonType, body: fmt.Sprintf(`{"token":%q}`, token), header: []string{"Authorization", "Bearer " + token}}
		f.wantAnswer(m, 204, "", Revoked)
		f.wantAnswer(m, 204, "", Repeated)
		if log := f.log.String(); strings.Contains(log, token) {
			t.Errorf("the token is logged: %s", log)
		}
	})
	t.Run("C22 the issuer is away", func(t *testing.T) {
		old := jwt(`{"exp":1}`)
		away := &oracle{errs: map[string]error{"T": revocation.ErrIssuerUnavailable, old: revocation.ErrIssuerUnavailable}}
		f := newFixture(t, func(o *Options) { o.SelfRevocation, o.Prover = true, away })
		f.wantAnswer(message{body: "token=T", header: []string{"Authorization", "Bearer T"}}, 503, "temporarily_unavailable", IssuerUnavailable)
		f.wantAnswer(message{body: "token=" + old, header: []string{"Authorization", "Bearer " + old}}, 401, "invalid_client", InvalidClient)
		f.wantShapes()
	})
	t.Run("C22 two headers", func(t *testing.T) {
		f := trust(t, func(o *Options) { o.SelfRevocation = true }, keycloak(t, i))
		f.wantAnswer(message{body: "token=" + token, header: []string{"Authorization", "Bearer " + token, "Authorization", "Bearer " + token}}, 400, "invalid_request", InvalidRequest)
	})
	t.Run("C22 of a foreign page", func(t *testing.T) {
		// Only a page that has the token can send it in a header.
		f := trust(t, func(o *Options) { o.SelfRevocation = true }, keycloak(t, i))
		r := f.send(message{body: "token=" + token, header: []string{"Authorization", "Bearer " + token, "Origin", "https://foreign.example"}})
		if r.StatusCode != 200 || r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("answered %d, %v", r.StatusCode, r.Header)
		}
	})
	t.Run("C22 quota of a public client", func(t *testing.T) {
		f := trust(t, func(o *Options) { o.SelfRevocation, o.Limits.Public.PerMinutePerAddress = true, 2 }, keycloak(t, i))
		for n, status := range []int{200, 200, 429} {
			token := i.sign("JWT", c.with("jti", fmt.Sprint(n)))
			m := message{body: "token=" + token, header: []string{"Authorization", "Bearer " + token}}
			f.wantStatuses(m, 1, map[int]int{status: 1})
			if n == 2 {
				m.from = "198.51.100.7:1"
				f.wantStatuses(m, 1, map[int]int{200: 1})
			}
		}
	})
}
