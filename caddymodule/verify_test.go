package caddymodule

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestVerifyLetsOnlyGenuineTokensPass(t *testing.T) {
	i, stranger, elsewhere := startIssuer(t), startIssuer(t), startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(""), "audience api other-api"))
	now := time.Now().Unix()
	forged := i.token(t, nil)
	forged = forged[:strings.LastIndexByte(forged, '.')+1] + strings.Split(stranger.token(t, nil), ".")[2]
	for _, tc := range []struct {
		name, token string
		status      int
		says        string
	}{
		{"genuine", i.token(t, nil), 200, ""},
		{"genuine, for several", i.token(t, map[string]any{"aud": []string{"x", "other-api"}}), 200, ""},
		{"genuine, of no declared type", i.sign(t, "JWT", nil), 200, ""},
		{"forged", forged, 401, reasonForged},
		{"unsigned", jwtOf(t, `{"alg":"none"}`, `{"iss":"`+i.URL+`"}`), 401, reasonForged},
		{"signed by a stranger in the issuer's name", stranger.token(t, map[string]any{"iss": i.URL}), 401, reasonForged},
		{"of an unknown issuer", elsewhere.token(t, nil), 401, reasonUntrusted},
		{"opaque", "opaque", 401, reasonUntrusted},
		{"for another API", i.token(t, map[string]any{"aud": "billing"}), 401, reasonAudience},
		{"for nobody", i.token(t, map[string]any{"aud": nil}), 401, reasonAudience},
		{"expired", i.token(t, map[string]any{"exp": now - 3600}), 401, reasonExpired},
		{"expired within the leeway", i.token(t, map[string]any{"exp": now - 10}), 200, ""},
		{"not valid yet", i.token(t, map[string]any{"nbf": now + 3600}), 401, reasonNotYetValid},
		{"issued in the future", i.token(t, map[string]any{"iat": now + 3600, "exp": now + 7200}), 401, reasonNotYetValid},
		{"without exp", i.token(t, map[string]any{"exp": nil}), 401, reasonNoExpiry},
		{"an ID token", i.sign(t, "JWT", map[string]any{"nonce": "n"}), 401, reasonIDToken},
		{"a logout token", i.sign(t, "logout+jwt", nil), 401, reasonOtherToken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for range 2 { // the second time it is cached
				a := bearer(t, c.URL("/"), tc.token)
				wantStatus(t, a, tc.status)
				challenge := a.header.Get("WWW-Authenticate")
				if tc.says != "" && challenge != `Bearer error="invalid_token", error_description="`+quotable(tc.says)+`"` {
					t.Errorf("WWW-Authenticate: %s", challenge)
				}
			}
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), tc.token), 200) // without verify
		})
	}
	if got := metric(c.metrics(t), `caddy_token_revocation_checks_total{verdict="unverified"}`); got == 0 {
		t.Error("no check is counted as unverified")
	}
}

func TestVerifyAcceptsTheIssuersThatARouteNames(t *testing.T) {
	one, two := startIssuer(t), startIssuer(t)
	c := startCaddy(t, verifying(one.asIssuer("")+two.asIssuer(""), "issuer "+two.URL)+`
:PORT2 {
	reject_revoked {
		verify
	}
	respond any
}
`)
	token := one.token(t, nil)
	wantStatus(t, bearer(t, c.urlOf("PORT2", "/"), token), 200)
	wantStatus(t, bearer(t, c.URL("/"), token), 401) // although the proof is there
	wantStatus(t, bearer(t, c.URL("/"), two.token(t, nil)), 200)
}

func TestVerifyRevokedComesFirst(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(""), "audience api"))
	foreign := i.token(t, map[string]any{"aud": "billing"})
	mustRevoke(t, c.URL("/oauth2/revoke"), foreign)
	a := get(t, c.URL("/?access_token=unknown"), "Authorization", "Bearer "+foreign)
	if got := a.header.Get("WWW-Authenticate"); a.status != 401 || !strings.Contains(got, "has been revoked") {
		t.Errorf("%d %s", a.status, got)
	}
	a = get(t, c.URL("/?access_token=%zz"), "Authorization", "Bearer "+i.token(t, map[string]any{"aud": "billing"}))
	wantStatus(t, a, 400)
	a = get(t, c.URL("/"), "Authorization", "Bearer opaque, Bearer a.b.c.d")
	wantStatus(t, a, 401)
}

func TestVerifyDryRunLetsEverythingPass(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, strings.Replace(verifying(i.asIssuer(""), "audience api"), "verify {", "dry_run\nverify {", 1))
	wantStatus(t, bearer(t, c.URL("/"), "opaque"), 200)
	i.down.Store(true)
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, map[string]any{"aud": "billing"})), 200)
}

func TestAnIssuerThatIsDownAtTheStartIsFoundWhenItComesUp(t *testing.T) {
	later := advance(t)
	i := startIssuer(t)
	i.down.Store(true)
	c := startCaddy(t, verifying(i.asIssuer(""), ""))
	token := i.token(t, nil)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 200)
	a := bearer(t, c.URL("/"), token)
	wantStatus(t, a, 503)
	if a.header.Get("Retry-After") == "" || a.header.Get("WWW-Authenticate") != "" {
		t.Errorf("the answer has the headers %v", a.header)
	}
	if shown := c.metrics(t); !strings.Contains(shown, `caddy_token_revocation_issuer_ready{issuer="`+i.URL+`"} 0`) ||
		!strings.Contains(shown, `caddy_token_revocation_issuer_requests_total{call="metadata",issuer="`+i.URL+`",outcome="failed"}`) {
		t.Errorf("the metrics don't show that it is down:\n%s", shown)
	}
	a = get(t, c.URL("/"), "Authorization", "Bearer "+token+", Bearer opaque")
	wantStatus(t, a, 401) // whatever the issuer would say about the other one

	i.down.Store(false)
	later(11 * time.Second)
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	shown := c.metrics(t)
	for _, line := range []string{"issuer_ready", "issuer_keys"} {
		if !strings.Contains(shown, "caddy_token_revocation_"+line+`{issuer="`+i.URL+`"} 1`) {
			t.Errorf("%s isn't 1:\n%s", line, shown)
		}
	}
}

func TestKeysMayChangeWhileServing(t *testing.T) {
	later := advance(t)
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer("refresh_interval 10m"), ""))
	old := i.token(t, nil)
	wantStatus(t, bearer(t, c.URL("/"), old), 200)

	i.addKey(t)
	later(11 * time.Second)
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200)
	wantStatus(t, bearer(t, c.URL("/"), old), 200)

	i.withdrawKeys()
	later(11 * time.Minute)
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200) // so the keys are fetched anew
	poll(t, "the token of a withdrawn key is rejected", func() bool { return bearer(t, c.URL("/"), old).status == 401 })
}

func TestReloadsKeepTheKeysOfAnIssuerThatIsDown(t *testing.T) {
	i := startIssuer(t)
	text := verifying(i.asIssuer(""), "")
	c := startCaddy(t, text)
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200)
	i.down.Store(true)
	c.load(t, strings.Replace(text, "respond open", "respond reloaded", 1))
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200)
	if n := metric(c.metrics(t), `caddy_token_revocation_issuer_requests_total{call="keys",issuer="`+i.URL+`",outcome="ok"}`); n == 0 {
		t.Error("the counter of calls hasn't survived the reload")
	}

	if err := c.tryLoad(strings.Replace(text, ":PORT1 {", ":PORT1 {\nbind 192.0.2.1", 1)); err == nil {
		t.Fatal("a configuration that can't start was loaded")
	}
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	issuers.Range(func(any, any) bool {
		t.Error("an issuer is left behind")
		return false
	})
}

func TestAReloadThatChangesAnIssuerCountsForTokensThatWereSeen(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer("claim client_id client_id"), ""))
	token := i.token(t, map[string]any{"tenant": "acme", "azp": "web", "client_id": "app"})
	opaque := "an-opaque-token"
	i.activate(t, opaque, map[string]any{"sub": "alice"})
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	wantStatus(t, bearer(t, c.URL("/"), opaque), 401)

	// The issuer can be asked now.
	c.load(t, verifying(i.asIssuer(asking), ""))
	wantStatus(t, bearer(t, c.URL("/"), opaque), 200)
	wantStatus(t, bearer(t, c.URL("/"), token), 200)

	// What its claims mean is known now.
	id := i.sign(t, "JWT", map[string]any{"typ": "ID"})
	wantStatus(t, bearer(t, c.URL("/"), id), 200)
	c.load(t, verifying(i.asIssuer("preset keycloak"), ""))
	wantStatus(t, bearer(t, c.URL("/"), id), 401)

	// Nobody vouches for them any more.
	other := startIssuer(t)
	c.load(t, verifying(other.asIssuer(""), ""))
	wantStatus(t, bearer(t, c.URL("/"), opaque), 401)
	wantStatus(t, bearer(t, c.URL("/"), token), 401)

	// Another name of the same issuer.
	c.load(t, verifying(other.asIssuer("alias "+i.URL+"\njwks_uri "+i.URL+"/keys"), ""))
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
}

func TestOpaqueTokensAreAskedAbout(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(asking), ""))
	exp := time.Now().Unix() + 3600
	i.activate(t, "live", map[string]any{"sub": "alice", "client_id": "app", "exp": exp})
	i.activate(t, "endless", map[string]any{"sub": "alice"})
	i.activate(t, "expired", map[string]any{"sub": "alice", "exp": exp - 7200})
	i.activate(t, "refresh", map[string]any{"sub": "alice", "exp": exp, "token_type": "refresh_token"})
	for token, status := range map[string]int{"live": 200, "endless": 200, "expired": 401, "refresh": 401, "unknown": 401} {
		if a := bearer(t, c.URL("/"), token); a.status != status {
			t.Errorf("%s: %d %s, want %d", token, a.status, a.header, status)
		}
	}

	before := i.questions()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { bearer(t, c.URL("/"), "live") })
	}
	all.Wait()
	if now := i.questions(); now != before {
		t.Errorf("%d questions about a token that is known", now-before)
	}

	// Our own revocation counts whatever the issuer said, and says.
	mustRevoke(t, c.URL("/oauth2/revoke"), "live")
	wantStatus(t, bearer(t, c.URL("/"), "live"), 401)
}

func TestAnIntrospectorThatIsDownIsNeverTheClientsFault(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(asking), ""))
	i.down.Store(true)
	a := bearer(t, c.URL("/"), "opaque")
	wantStatus(t, a, 503)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	i.down.Store(false)
	wrong := strings.Replace(asking, introspectionSecret, "wrong", 1)
	c.load(t, verifying(i.asIssuer(wrong), ""))
	wantStatus(t, bearer(t, c.URL("/"), "opaque"), 503)
	if shown := c.metrics(t); !strings.Contains(shown, `{call="introspection",issuer="`+i.URL+`",outcome="unauthorized"} `) {
		t.Errorf("the metrics don't show that our credentials are wrong:\n%s", shown)
	}
}

func TestABrokenIssuerDoesntStopAnother(t *testing.T) {
	good, broken := startIssuer(t), startIssuer(t)
	broken.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) })
	c := startCaddy(t, verifying(broken.asIssuer(asking)+good.asIssuer(asking), ""))
	good.activate(t, "opaque", map[string]any{"sub": "alice"})
	wantStatus(t, bearer(t, c.URL("/"), good.token(t, nil)), 200)
	wantStatus(t, bearer(t, c.URL("/"), "opaque"), 200)
	wantStatus(t, bearer(t, c.URL("/"), broken.token(t, nil)), 503)
}

func TestKeysMayStandInFiles(t *testing.T) {
	i := startIssuer(t)
	i.down.Store(true)
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	der, err := x509.MarshalPKIXPublicKey(&i.keys[0].Key.(*ecdsa.PrivateKey).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]string{
		"jwks_file":       "jwks_file " + write("keys.json", publicKeys(t, i.keys...)),
		"public_key_file": "public_key_file {env.KEY_FILE}",
	} {
		t.Setenv("KEY_FILE", write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
		t.Run(name, func(t *testing.T) {
			c := startCaddy(t, verifying(i.asIssuer(block), ""))
			wantStatus(t, bearer(t, c.URL("/"), i.token(t, nil)), 200)
			wantStatus(t, bearer(t, c.URL("/"), startIssuer(t).token(t, map[string]any{"iss": i.URL})), 401)
		})
	}
}

func TestClaimsOfIssuersRevokeMoreThanOneToken(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer("preset keycloak"), ""))
	session := map[string]any{"sid": "s1"}
	access, refresh := i.token(t, session), i.sign(t, "JWT", map[string]any{"sid": "s1", "typ": "Refresh"})
	stranger := i.token(t, map[string]any{"sid": "s2"})
	wantStatus(t, bearer(t, c.URL("/"), access), 200)
	r, _ := http.NewRequest(http.MethodPost, c.URL("/oauth2/revoke"), strings.NewReader("token="+refresh))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("app", appSecret)
	wantStatus(t, do(t, r), 200)
	wantStatus(t, bearer(t, c.URL("/"), access), 401)
	wantStatus(t, bearer(t, c.URL("/"), stranger), 200)
	foreign := i.token(t, map[string]any{"client_id": "other", "azp": "other"})
	a := postRevoke(t, c.URL("/oauth2/revoke"), foreign)
	wantStatus(t, a, 400)
	wantStatus(t, bearer(t, c.URL("/"), foreign), 200)
}

func TestValidatingAConfigurationCallsNobody(t *testing.T) {
	called := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the issuer is called") }))
	defer called.Close()
	config, err := adapt("{\ntoken_revocation {\nissuer " + called.URL + " {\n" + asking + "}\n}\n}\n" + `
:80 {
	revocation_endpoint /revoke {
		client app {
			jwks_uri ` + called.URL + `
		}
	}
	reject_revoked {
		verify
	}
}`)
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
}

func TestIssuersCountUnknownTokensByNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"": "invalid Prefix", "nowhere": "invalid Prefix",
	} {
		ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: address})
		if got := network(ctx).String(); got != want {
			t.Errorf("%q is counted as %s, want %s", address, got, want)
		}
	}
}
