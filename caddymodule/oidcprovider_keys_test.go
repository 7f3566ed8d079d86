package caddymodule

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// These tests take a real authorization server's keys away, and the server itself.

func TestOIDCProviderRotatesItsKeysWhileServing(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	api := c.urlOf("PORT1", "/")
	first := client.do(t, "login", "alice").AccessToken
	wantStatus(t, bearer(t, api, first), http.StatusOK)

	p.rotateKeys(t)
	second := client.do(t, "login", "alice").AccessToken
	eventually(t, api, second, http.StatusOK)
	wantStatus(t, bearer(t, api, first), http.StatusOK) // its key is still published

	p.rotateKeys(t)
	eventually(t, api, first, http.StatusUnauthorized)
	wantStatus(t, bearer(t, api, second), http.StatusOK)
	eventually(t, api, client.do(t, "login", "alice").AccessToken, http.StatusOK)

	// Revocations go on, whatever key a token has.
	client.do(t, "revoke", second)
	wantStatus(t, bearer(t, api, second), http.StatusUnauthorized)
}

func TestOIDCProviderStopsAndComesBack(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	api, unverified := c.urlOf("PORT1", "/"), c.urlOf("PORT3", "/")
	jwt := client.do(t, "login", "alice").AccessToken
	another := client.do(t, "login", "alice").AccessToken
	opaque := client.do(t, "login", "alice", "--resource", "urn:api:opaque").AccessToken
	unasked := client.do(t, "login", "alice", "--resource", "urn:api:opaque").AccessToken
	for _, token := range []string{jwt, opaque} {
		wantStatus(t, bearer(t, api, token), http.StatusOK)
	}

	p.stop()
	for _, token := range []string{jwt, opaque, unasked} {
		wantStatus(t, bearer(t, unverified, token), http.StatusOK)
	}
	wantStatus(t, bearer(t, api, jwt), http.StatusOK)
	wantStatus(t, bearer(t, api, another), http.StatusOK) // seen for the first time
	wantStatus(t, bearer(t, api, opaque), http.StatusOK)  // by the last answer
	wantUnavailable(t, bearer(t, api, unasked))
	eventually(t, api, withKeyID(t, jwt, "unknown"), http.StatusServiceUnavailable)
	wantUnavailable(t, bearer(t, api, withKeyID(t, jwt, "unknown")))

	// The relay has nobody to ask who the client is; the own endpoint knows it.
	wantUnavailable(t, postAs(t, c.URL("/token/revocation"), "web-app", "web-app-secret", jwt))
	wantStatus(t, bearer(t, api, jwt), http.StatusOK)
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "web-app", "web-app-secret", another), http.StatusOK)
	wantStatus(t, bearer(t, api, another), http.StatusUnauthorized)

	p.start(t)
	wantStatus(t, bearer(t, api, jwt), http.StatusOK)
	eventually(t, api, client.do(t, "login", "alice").AccessToken, http.StatusOK)
	eventually(t, api, client.do(t, "login", "alice", "--resource", "urn:api:opaque").AccessToken, http.StatusOK)
	eventually(t, api, unasked, http.StatusUnauthorized) // the server has forgotten it
	eventually(t, api, withKeyID(t, jwt, "unknown"), http.StatusUnauthorized)
}

func TestOIDCProviderIsDownWhenCaddyStarts(t *testing.T) {
	c, p := startOIDC(t, oidcSite)
	client := p.newClient(t)
	jwt := client.do(t, "login", "alice").AccessToken
	p.stop()
	c.restart(t, oidcSite)
	wantStatus(t, bearer(t, c.urlOf("PORT3", "/"), jwt), http.StatusOK)
	wantStatus(t, get(t, c.urlOf("PORT1", "/")), http.StatusUnauthorized)
	wantUnavailable(t, bearer(t, c.urlOf("PORT1", "/"), jwt))
	wantUnavailable(t, postAs(t, c.URL("/oauth2/revoke"), "web-app", "web-app-secret", jwt))

	p.start(t)
	eventually(t, c.urlOf("PORT1", "/"), jwt, http.StatusOK)
	client.do(t, "revoke", jwt)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), jwt), http.StatusUnauthorized)
}

// withKeyID returns a JWT that names another key, with the signature that it had.
func withKeyID(t *testing.T, jwt, kid string) string {
	t.Helper()
	_, rest, ok := strings.Cut(jwt, ".")
	if !ok {
		t.Fatal("not a JWT")
	}
	header := `{"alg":"RS256","typ":"at+jwt","kid":"` + kid + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}
