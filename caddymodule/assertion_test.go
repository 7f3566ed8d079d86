package caddymodule

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// signing is a Caddyfile with an endpoint for a client that signs assertions.
func signing(client, endpoint string) string {
	return `
:PORT {
	revocation_endpoint /oauth2/revoke {
		client signer {
			` + client + `
		}
		` + endpoint + `
	}
	reject_revoked
	respond served
}
`
}

const assertionAudience = "https://as.example.com"

// assertion returns one by the client signer.
func assertion(t *testing.T, key jose.JSONWebKey, changes map[string]any) string {
	assertions++
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": "signer", "sub": "signer", "aud": assertionAudience, "jti": "assertion-" + strconv.Itoa(assertions),
		"iat": now, "exp": now + 60,
	}
	maps.Copy(claims, changes)
	return signJWT(t, key, "JWT", claims)
}

var assertions int

// postAsserted sends a token to an endpoint with an assertion.
func postAsserted(t *testing.T, address, assertion, token string) answer {
	t.Helper()
	form := url.Values{
		"token": {token}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
	}
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, r)
}

func TestClientsMayAuthenticateByAssertions(t *testing.T) {
	key, stranger := newKey(t, "1"), newKey(t, "1")
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, publicKeys(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	published := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(publicKeys(t, key)) }))
	defer published.Close()
	for name, client := range map[string]string{"public_keys": "public_keys " + file, "jwks_uri": "jwks_uri " + published.URL} {
		t.Run(name, func(t *testing.T) {
			text := signing(client, "assertion_audience "+assertionAudience)
			c := startCaddy(t, text)
			endpoint := c.URL("/oauth2/revoke")
			used := assertion(t, key, nil)
			wantStatus(t, postAsserted(t, endpoint, used, "a-token"), 200)
			wantStatus(t, bearer(t, c.URL("/"), "a-token"), 401)

			refused := map[string]string{
				"a stranger's":        assertion(t, stranger, nil),
				"for another server":  assertion(t, key, map[string]any{"aud": "https://other.example.com"}),
				"for the endpoint":    assertion(t, key, map[string]any{"aud": endpoint}),
				"for several servers": assertion(t, key, map[string]any{"aud": []string{assertionAudience}}),
				"by another client":   assertion(t, key, map[string]any{"iss": "other", "sub": "other"}),
				"expired":             assertion(t, key, map[string]any{"exp": time.Now().Unix() - 3600}),
			}
			for name, a := range refused {
				if got := postAsserted(t, endpoint, a, "another-token"); got.status != 401 {
					t.Errorf("%s: %d %s", name, got.status, got.body)
				}
			}
			wantStatus(t, postAs(t, endpoint, "signer", "", "another-token"), 401)
			wantStatus(t, bearer(t, c.URL("/"), "another-token"), 200)

			// Each counts once, whatever is reloaded.
			wantStatus(t, postAsserted(t, endpoint, used, "another-token"), 401)
			c.load(t, strings.Replace(text, "served", "reloaded", 1))
			wantStatus(t, postAsserted(t, endpoint, used, "another-token"), 401)
			wantStatus(t, postAsserted(t, endpoint, assertion(t, key, nil), "another-token"), 200)

			c.load(t, strings.Replace(text, "assertion_audience", "legacy_assertions\nassertion_audience", 1))
			wantStatus(t, postAsserted(t, endpoint, refused["for the endpoint"], "t"), 200)
			wantStatus(t, postAsserted(t, endpoint, refused["for several servers"], "t"), 200)
		})
	}
}

func TestAssertionsAreForTheConfiguredIssuersByDefault(t *testing.T) {
	i, key := startIssuer(t), newKey(t, "1")
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, publicKeys(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	c := startCaddy(t, "{\ntoken_revocation {\n"+i.asIssuer("")+"}\n}\n"+signing("public_keys "+file, ""))
	endpoint := c.URL("/oauth2/revoke")
	wantStatus(t, postAsserted(t, endpoint, assertion(t, key, nil), "token"), 401)
	wantStatus(t, postAsserted(t, endpoint, assertion(t, key, map[string]any{"aud": i.URL}), "token"), 200)
}

func TestATokenMayRevokeItself(t *testing.T) {
	i := startIssuer(t)
	site := strings.Replace(verifying(i.asIssuer(""), ""), "hash_algorithm sha256", "hash_algorithm sha256\nself_revocation", 1)
	c := startCaddy(t, site)
	token, other := i.token(t, nil), i.token(t, nil)
	post := func(presented, named string) answer {
		r, _ := http.NewRequest(http.MethodPost, c.URL("/oauth2/revoke"), strings.NewReader("token="+named))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+presented)
		return do(t, r)
	}
	wantStatus(t, post(token, other), 401)
	wantStatus(t, post("opaque", "opaque"), 401)
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	wantStatus(t, post(token, token), 200)
	wantStatus(t, bearer(t, c.URL("/"), token), 401)
	wantStatus(t, bearer(t, c.URL("/"), other), 200)
}
