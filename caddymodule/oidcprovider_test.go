package caddymodule

import (
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// These tests revoke what a real authorization server issued to a real client.

// oidcSite has the authorization server on PORT, an API that verifies tokens on
// PORT1, and one that doesn't on PORT3. Answers of the introspection count for
// long, so that what dies at once died of a revocation here.
const oidcSite = oidcIssuer + `
:PORT {
	revocation_endpoint /token/revocation {
		relay {
			revoke_unsupported
		}
		cascade subject_client
	}
	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client web-app $sha256$mbVb55mD6VRjgMp9fxUGrvJjFDRRoeFXUfh-ED0EQ3E
		cascade subject_client
	}
	reject_revoked {
		token_from form refresh_token
	}
	reverse_proxy 127.0.0.1:PORT2
}
:PORT1 {
	reject_revoked {
		require_token
		verify {
			audience urn:api:jwt urn:api:opaque
		}
	}
	respond served
}
:PORT3 {
	reject_revoked
	respond served
}
`

const oidcIssuer = `
{
	token_revocation {
		issuer http://127.0.0.1:PORT {
			preset oidc-provider
			refresh_interval 2s
			jwks_uri http://127.0.0.1:PORT2/jwks
			introspection http://127.0.0.1:PORT2/token/introspection {
				client_id caddy
				client_secret caddy-secret
				ttl 10m
				unknown_per_minute 1000
			}
		}
	}
}
`

// The ways to revoke a token of the client web-app.
var waysToRevoke = map[string]func(t *testing.T, c *testCaddy, client *oidcClient, token, hint string){
	"relay": func(t *testing.T, _ *testCaddy, client *oidcClient, token, hint string) {
		t.Helper()
		client.do(t, "revoke", token, "--hint", hint)
	},
	"own endpoint": func(t *testing.T, c *testCaddy, _ *oidcClient, token, hint string) {
		t.Helper()
		form := url.Values{"token": {token}, "token_type_hint": {hint}}
		r, err := http.NewRequest(http.MethodPost, c.URL("/oauth2/revoke"), strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("web-app", "web-app-secret")
		if a := do(t, r); a.status != http.StatusOK {
			t.Fatalf("revoking: %d %s", a.status, a.body)
		}
	},
}

// The resources of the authorization server: one has JWTs as access tokens.
var oidcResources = []string{"urn:api:jwt", "urn:api:opaque"}

// forEachWay runs a test for each way and resource, each with a user of its own.
func forEachWay(t *testing.T, test func(t *testing.T, user, resource string, revoke func(t *testing.T, c *testCaddy, client *oidcClient, token, hint string))) {
	for _, way := range slices.Sorted(maps.Keys(waysToRevoke)) {
		for _, resource := range oidcResources {
			user := strings.NewReplacer(" ", "-", ":", "-").Replace("alice-" + way + resource)
			t.Run(way+"/"+resource, func(t *testing.T) { test(t, user, resource, waysToRevoke[way]) })
		}
	}
}

func TestOIDCProviderRevokedAccessTokenDies(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	forEachWay(t, func(t *testing.T, user, resource string, revoke func(*testing.T, *testCaddy, *oidcClient, string, string)) {
		token := client.do(t, "login", user, "--resource", resource).AccessToken
		another := client.do(t, "login", user, "--resource", resource).AccessToken
		for _, port := range []string{"PORT1", "PORT3"} {
			wantStatus(t, bearer(t, c.urlOf(port, "/"), token), http.StatusOK)
			wantStatus(t, bearer(t, c.urlOf(port, "/"), another), http.StatusOK)
		}

		revoke(t, c, client, token, "access_token")
		for _, port := range []string{"PORT1", "PORT3"} {
			wantStatus(t, bearer(t, c.urlOf(port, "/"), token), http.StatusUnauthorized)
			wantStatus(t, bearer(t, c.urlOf(port, "/"), another), http.StatusOK)
		}
		revoke(t, c, client, token, "access_token") // a client may try again
	})
}

func TestOIDCProviderRevokedRefreshTokenTakesItsAccessTokensAlong(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	forEachWay(t, func(t *testing.T, user, resource string, revoke func(*testing.T, *testCaddy, *oidcClient, string, string)) {
		login := client.do(t, "login", user, "--resource", resource)
		hit := []string{login.AccessToken}
		for range 3 {
			hit = append(hit, client.do(t, "refresh", login.RefreshToken).AccessToken)
		}
		strangers := []string{
			client.do(t, "login", user+"-other", "--resource", resource).AccessToken,
			client.do(t, "login", user, "--resource", resource, "--client", "other-app").AccessToken,
			client.do(t, "login", user, "--resource", resource, "--client", "spa").AccessToken,
		}
		for _, token := range slices.Concat(hit, strangers) {
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusOK)
		}

		revoke(t, c, client, login.RefreshToken, "refresh_token")
		for _, token := range hit {
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusUnauthorized)
			if resource == "urn:api:jwt" { // whose claims everybody can read
				wantStatus(t, bearer(t, c.urlOf("PORT3", "/"), token), http.StatusUnauthorized)
			}
		}
		for _, token := range strangers {
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusOK)
		}
		nextSecond()
		next := client.do(t, "login", user, "--resource", resource)
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), next.AccessToken), http.StatusOK)
		refreshed := client.do(t, "refresh", next.RefreshToken)
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), refreshed.AccessToken), http.StatusOK)
	})
}

// TestOIDCProviderForeignTokensLive has clients revoke what isn't theirs: the
// authorization server says no to a confidential client, and to a public one yes
// without doing it.
func TestOIDCProviderForeignTokensLive(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	for _, resource := range oidcResources {
		t.Run(resource, func(t *testing.T) {
			login := client.do(t, "login", "alice", "--resource", resource)
			for _, other := range []string{"other-app", "spa"} {
				for _, token := range []string{login.AccessToken, login.RefreshToken} {
					a := client.try(t, "revoke", token, "--client", other)
					isJWT := strings.Contains(token, ".")
					if yes := other == "spa" && !isJWT; yes != (a.Error == "") {
						t.Errorf("%s: %+v", other, a)
					}
				}
			}
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), login.AccessToken), http.StatusOK)
			wantStatus(t, postAs(t, c.URL("/token/revocation"), "web-app", "wrong", login.AccessToken), http.StatusUnauthorized)
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), login.AccessToken), http.StatusOK)
			refreshed := client.do(t, "refresh", login.RefreshToken)
			wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), refreshed.AccessToken), http.StatusOK)
		})
	}
}

// TestOIDCProviderRelayedAnswersAreUnchanged compares answers through the relay
// with those of the authorization server itself.
func TestOIDCProviderRelayedAnswersAreUnchanged(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	login := func() string { return client.do(t, "login", "alice", "--resource", "urn:api:opaque").AccessToken }
	garbage := func() string { return "garbage" }
	for _, test := range []struct {
		name, client, secret string
		token                func() string
	}{
		{"accepted", "web-app", "web-app-secret", login},
		{"garbage", "web-app", "web-app-secret", garbage},
		{"wrong secret", "web-app", "wrong", login},
		{"unknown client", "nobody", "nothing", garbage},
		{"another's", "other-app", "other-app-secret", login},
	} {
		t.Run(test.name, func(t *testing.T) {
			relayed := postAs(t, c.URL("/token/revocation"), test.client, test.secret, test.token())
			itself := postAs(t, c.urlOf("PORT2", "/token/revocation"), test.client, test.secret, test.token())
			if relayed.status != itself.status || relayed.body != itself.body {
				t.Errorf("\n got %d %s\nwant %d %s", relayed.status, relayed.body, itself.status, itself.body)
			}
			for _, a := range []answer{relayed, itself} {
				for _, name := range []string{"Date", "Via", "Server", "Connection", "Keep-Alive"} { // of the hop
					a.header.Del(name)
				}
			}
			if !maps.EqualFunc(relayed.header, itself.header, slices.Equal) {
				t.Errorf("\n got %v\nwant %v", relayed.header, itself.header)
			}
		})
	}
}

// TestOIDCProviderGuardedTokenRoute revokes a refresh token at our own endpoint,
// of which the authorization server hears nothing, and uses it.
func TestOIDCProviderGuardedTokenRoute(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	login := client.do(t, "login", "alice")
	other := client.do(t, "login", "bob")
	client.do(t, "refresh", login.RefreshToken)

	waysToRevoke["own endpoint"](t, c, client, login.RefreshToken, "refresh_token")
	if a := client.try(t, "refresh", login.RefreshToken); a.Status != http.StatusUnauthorized {
		t.Errorf("a refresh token that was revoked here is answered %+v", a)
	}
	client.do(t, "refresh", other.RefreshToken)

	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.RefreshToken}}
	r, err := http.NewRequest(http.MethodPost, c.urlOf("PORT2", "/token"), strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("web-app", "web-app-secret")
	wantStatus(t, do(t, r), http.StatusOK) // so it was Caddy that said no
}

// TestOIDCProviderOtherTokensAreNotAccessTokens has them presented to the API and
// to the endpoint.
func TestOIDCProviderOtherTokensAreNotAccessTokens(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	login := p.newClient(t).do(t, "login", "alice")
	for _, token := range []string{login.IDToken, login.RefreshToken, "garbage"} {
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusUnauthorized)
	}
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "web-app", "web-app-secret", login.IDToken), http.StatusBadRequest)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), login.AccessToken), http.StatusOK)
}

// TestOIDCProviderExample runs the example's Caddyfile; only the ports are others.
func TestOIDCProviderExample(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(oidcExample, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, caddyfile, _ := strings.Cut(string(b), "\n{\n")
	c, p := startOIDC(t, "{\n"+strings.NewReplacer("8080", "PORT", "9000", "PORT1", "3000", "PORT2").Replace(caddyfile))
	client := p.newClient(t)
	for _, resource := range oidcResources {
		token := client.do(t, "login", "alice", "--resource", resource).AccessToken
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusOK)
		client.do(t, "revoke", token)
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), http.StatusUnauthorized)

		login := client.do(t, "login", "alice", "--resource", resource)
		refreshed := client.do(t, "refresh", login.RefreshToken).AccessToken
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), refreshed), http.StatusOK)
		client.do(t, "revoke", login.RefreshToken, "--hint", "refresh_token")
		wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), refreshed), http.StatusUnauthorized)
		if a := client.try(t, "refresh", login.RefreshToken); a.Error == "" {
			t.Error("a revoked refresh token can be used")
		}
		nextSecond()
	}
}
