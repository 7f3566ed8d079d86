package caddymodule

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/go-jose/go-jose/v4"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// The libraries that Node programs revoke tokens with are run as they are, against
// a real Caddy. They are scripts in interop/clients, which take a list of steps and
// print what came of each.

// nodeStep is one revocation that a script is told to try.
type nodeStep struct {
	Step         string `json:"step"`
	Auth         string `json:"auth"`
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	BodyClientID string `json:"body_client_id,omitempty"`
	AccessToken  string `json:"access_token,omitempty"`
	Token        string `json:"token"`
	Hint         string `json:"hint,omitempty"`

	PrivateKey json.RawMessage `json:"private_key,omitempty"` // a JWK
	Assertion  map[string]any  `json:"assertion,omitempty"`   // claims in place of the library's own

	want nodeOutcome
}

// nodeOutcome is what a script prints of a step: the answer on the wire, and what
// the library made of it.
type nodeOutcome struct {
	Step            string `json:"step"`
	OK              bool   `json:"ok"`
	Status          int    `json:"status"`
	WWWAuthenticate string `json:"www_authenticate"`
	RetryAfter      string `json:"retry_after"`
	Error           string `json:"error"`       // the class that the library threw
	Code            string `json:"code"`        // its code
	OAuthError      string `json:"oauth_error"` // the "error" member it read from the body
	Detail          string `json:"detail"`
}

var (
	formRevoked   = nodeOutcome{OK: true, Status: http.StatusOK}
	formChallenge = nodeOutcome{Status: http.StatusUnauthorized, Error: "WWWAuthenticateChallengeError", Code: "OAUTH_WWW_AUTHENTICATE_CHALLENGE"}
	formError     = func(status int, code string) nodeOutcome {
		return nodeOutcome{Status: status, Error: "ResponseBodyError", Code: "OAUTH_RESPONSE_BODY_ERROR", OAuthError: code}
	}
	jsonRevoked = nodeOutcome{OK: true, Status: http.StatusNoContent}
	jsonError   = func(status int, class, code string) nodeOutcome {
		return nodeOutcome{Status: status, Error: class, OAuthError: code}
	}
)

// nodeSite has a confidential client, whose id and secret need escaping in a Basic
// header, a public client, and a protected API.
const nodeSite = `
:PORT {
	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client "web app" ` + appHash + `
		client spa
	}
	reject_revoked
	respond served
}
`

func TestNodeClients(t *testing.T) {
	formSteps := []nodeStep{
		{Step: "basic", Auth: "basic", ClientID: "web app", ClientSecret: appSecret, Token: "a+/=1", Hint: "access_token", want: formRevoked},
		{Step: "post", Auth: "post", ClientID: "web app", ClientSecret: appSecret, Token: "a2", Hint: "refresh_token", want: formRevoked},
		{Step: "public", Auth: "none", ClientID: "spa", Token: "a3", want: formRevoked},
		{Step: "again", Auth: "none", ClientID: "spa", Token: "a3", want: formRevoked},
		{Step: "unknown hint", Auth: "none", ClientID: "spa", Token: "a4", Hint: "id_token", want: formRevoked},
		{Step: "wrong secret, basic", Auth: "basic", ClientID: "web app", ClientSecret: "wrong", Token: "b1", want: formChallenge},
		{Step: "unknown client, basic", Auth: "basic", ClientID: "nobody", ClientSecret: "wrong", Token: "b2", want: formChallenge},
		{Step: "wrong secret, body", Auth: "post", ClientID: "web app", ClientSecret: "wrong", Token: "b3", want: formError(http.StatusUnauthorized, "invalid_client")},
		{Step: "unknown client, body", Auth: "none", ClientID: "nobody", Token: "b4", want: formError(http.StatusUnauthorized, "invalid_client")},
		{Step: "secret left out", Auth: "none", ClientID: "web app", Token: "b5", want: formError(http.StatusUnauthorized, "invalid_client")},
		{Step: "blank token", Auth: "none", ClientID: "spa", Token: " ", want: formError(http.StatusBadRequest, "invalid_request")},
	}
	jsonSteps := []nodeStep{
		{Step: "basic", Auth: "basic", ClientID: "web app", ClientSecret: appSecret, Token: "a+/=1", Hint: "access_token", want: jsonRevoked},
		{Step: "body", Auth: "post", ClientID: "web app", ClientSecret: appSecret, Token: "a2", Hint: "refresh_token", want: jsonRevoked},
		{Step: "basic and body", Auth: "both", ClientID: "web app", ClientSecret: appSecret, Token: "a3", want: jsonRevoked},
		{Step: "bearer and body", Auth: "bearer", AccessToken: "an-access-token", ClientID: "web app", ClientSecret: appSecret, Token: "a4", want: jsonRevoked},
		{Step: "public", Auth: "none", ClientID: "spa", Token: "a5", want: jsonRevoked},
		{Step: "again", Auth: "none", ClientID: "spa", Token: "a5", want: jsonRevoked},
		{Step: "wrong secret, basic", Auth: "basic", ClientID: "web app", ClientSecret: "wrong", Token: "b1", want: jsonError(http.StatusUnauthorized, "APIError", "")},
		{Step: "wrong secret, body", Auth: "post", ClientID: "web app", ClientSecret: "wrong", Token: "b2", want: jsonError(http.StatusUnauthorized, "APIError", "")},
		{Step: "bearer alone", Auth: "bearer", AccessToken: "an-access-token", Token: "an-access-token", want: jsonError(http.StatusUnauthorized, "APIError", "")},
		{Step: "two clients", Auth: "both", ClientID: "web app", ClientSecret: appSecret, BodyClientID: "spa", Token: "b3", want: jsonError(http.StatusBadRequest, "GenericError", "invalid_request")},
		{Step: "empty token", Auth: "none", ClientID: "spa", Token: "", want: jsonError(http.StatusUnprocessableEntity, "RevokeTokenRequestError", "")},
	}
	for _, client := range []struct {
		script string
		steps  []nodeStep
	}{
		{"openid-client.mjs", formSteps},
		{"oauth4webapi.mjs", formSteps},
		{"moov-sdk.mjs", jsonSteps},
	} {
		t.Run(client.script, func(t *testing.T) {
			c := startCaddy(t, nodeSite)
			runNodeClient(t, client.script, c, client.steps)

			for _, s := range client.steps {
				want := http.StatusOK
				if s.want.OK {
					want = http.StatusUnauthorized
				}
				if a := bearer(t, c.URL("/"), s.Token); a.status != want {
					t.Errorf("after %q a request with the token is answered %d, want %d", s.Step, a.status, want)
				}
			}
		})
	}
}

// TestNodeClientsWithKeys has the libraries sign assertions (private_key_jwt).
func TestNodeClientsWithKeys(t *testing.T) {
	const server = "https://auth.example"
	jwkOf := func() (private, public []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		jwk := jose.JSONWebKey{Key: key, KeyID: "k1"}
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}}
		return marshal(t, jwk), marshal(t, set)
	}
	private, public := jwkOf()
	stranger, _ := jwkOf()
	step := func(name, token string, key []byte, claims map[string]any, want nodeOutcome) nodeStep {
		return nodeStep{
			Step: name, Auth: "private_key_jwt", ClientID: "web app", PrivateKey: key, Assertion: claims, Token: token, want: want,
		}
	}
	refused := formError(http.StatusUnauthorized, "invalid_client")
	steps := []nodeStep{
		step("own key", "a1", private, nil, formRevoked),
		step("once", "a2", private, map[string]any{"jti": "1"}, formRevoked),
		step("once more", "b1", private, map[string]any{"jti": "1"}, refused),
		step("another key", "b2", stranger, nil, refused),
		step("for another server", "b3", private, map[string]any{"aud": "https://elsewhere.example"}, refused),
		step("expired", "b4", private, map[string]any{"exp": 1}, refused),
	}
	for _, script := range []string{"openid-client.mjs", "oauth4webapi.mjs"} {
		t.Run(script, func(t *testing.T) {
			c := startCaddy(t, "") // for its folder
			if err := os.WriteFile(filepath.Join(c.dir, "web-app.json"), public, 0o600); err != nil {
				t.Fatal(err)
			}
			c.load(t, `
				:PORT {
					revocation_endpoint /oauth2/revoke {
						client "web app" {
							public_keys DIR/web-app.json
						}
						assertion_audience `+server+`
					}
					reject_revoked
					respond served
				}`)
			runNodeClientAt(t, script, c, server, steps)
			for _, s := range steps {
				want := http.StatusOK
				if s.want.OK {
					want = http.StatusUnauthorized
				}
				wantStatus(t, bearer(t, c.URL("/"), s.Token), want)
			}
		})
	}
}

// TestNodeClientRevokesTheTokenThatItHas has @moovio/sdk present an access token and
// nothing else.
func TestNodeClientRevokesTheTokenThatItHas(t *testing.T) {
	i, stranger := startIssuer(t), startIssuer(t)
	c := startCaddy(t, `
		{
			token_revocation {
				`+i.asIssuer("")+`
			}
		}
		:PORT {
			revocation_endpoint /oauth2/revoke {
				client spa
				self_revocation
			}
			reject_revoked
			respond served
		}`)
	own, another := i.token(t, nil), i.token(t, map[string]any{"jti": "another"})
	forged := stranger.token(t, map[string]any{"iss": i.URL, "jti": "forged"})
	refused := jsonError(http.StatusUnauthorized, "APIError", "")
	runNodeClient(t, "moov-sdk.mjs", c, []nodeStep{
		{Step: "its own", Auth: "bearer", AccessToken: own, Token: own, want: jsonRevoked},
		{Step: "another", Auth: "bearer", AccessToken: own, Token: another, want: refused},
		{Step: "forged", Auth: "bearer", AccessToken: forged, Token: forged, want: refused},
		{Step: "opaque", Auth: "bearer", AccessToken: "opaque", Token: "opaque", want: refused},
	})
	wantStatus(t, bearer(t, c.URL("/"), own), http.StatusUnauthorized)
	for _, token := range []string{another, forged, "opaque"} {
		wantStatus(t, bearer(t, c.URL("/"), token), http.StatusOK)
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNodeClientsStoreFails shows what a library's user sees when the revocation
// could not be made durable: a failure, never a success.
func TestNodeClientsStoreFails(t *testing.T) {
	notConform := func(class string) nodeOutcome {
		return nodeOutcome{Status: http.StatusServiceUnavailable, Error: class, Code: "OAUTH_RESPONSE_IS_NOT_CONFORM"}
	}
	for _, client := range []struct {
		script string
		want   nodeOutcome
	}{
		{"openid-client.mjs", notConform("ClientError")},
		{"oauth4webapi.mjs", notConform("OperationProcessingError")},
		{"moov-sdk.mjs", nodeOutcome{Status: http.StatusServiceUnavailable, Error: "APIError"}},
	} {
		t.Run(client.script, func(t *testing.T) {
			c := startCaddy(t, "{\n\ttoken_revocation {\n\t\tstore full\n\t}\n}\n"+nodeSite)
			outcomes := runNodeClient(t, client.script, c, []nodeStep{
				{Step: "unavailable", Auth: "post", ClientID: "web app", ClientSecret: appSecret, Token: "c1", want: client.want},
			})
			if outcomes[0].RetryAfter == "" {
				t.Error("the 503 has no Retry-After")
			}
			wantStatus(t, bearer(t, c.URL("/"), "c1"), http.StatusUnauthorized)
		})
	}
}

// fullStore is a store that never has room.
type fullStore struct{}

func init() { caddy.RegisterModule(fullStore{}) }

func (fullStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appID + ".stores.full", New: func() caddy.Module { return new(fullStore) }}
}

func (fullStore) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (fullStore) StoreKey() string { return "full" }

func (fullStore) OpenStore(context.Context, *slog.Logger) (revocation.Store, error) {
	return fullStore{}, nil
}

func (fullStore) Append(context.Context, []revocation.Record) error { return revocation.ErrStoreFull }

func (fullStore) Load(context.Context, func([]revocation.Record) error) (revocation.Position, error) {
	return "", nil
}

func (fullStore) Close() error { return nil }

// runNodeClient has the script try the steps and compares what it prints.
func runNodeClient(t *testing.T, script string, c *testCaddy, steps []nodeStep) []nodeOutcome {
	t.Helper()
	return runNodeClientAt(t, script, c, "", steps)
}

// runNodeClientAt is runNodeClient with the name that the client knows the server by.
func runNodeClientAt(t *testing.T, script string, c *testCaddy, issuer string, steps []nodeStep) []nodeOutcome {
	t.Helper()
	node := needNodeClients(t)
	config := map[string]any{"endpoint": c.URL("/oauth2/revoke"), "steps": steps}
	if issuer != "" {
		config["issuer"] = issuer
	}
	cmd := exec.CommandContext(t.Context(), node, script, string(marshal(t, config)))
	cmd.Dir = nodeClientsDir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", script, err, stderr.Bytes())
	}

	var outcomes []nodeOutcome
	for line := range bytes.Lines(out) {
		var o nodeOutcome
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatalf("node %s printed %q: %v", script, line, err)
		}
		outcomes = append(outcomes, o)
	}
	if len(outcomes) != len(steps) {
		t.Fatalf("node %s printed %d lines for %d steps:\n%s", script, len(outcomes), len(steps), out)
	}
	for i, s := range steps {
		got := outcomes[i]
		t.Logf("%s: %+v", s.Step, got)
		if got.Step != s.Step || got.OK != s.want.OK || got.Status != s.want.Status ||
			got.Error != s.want.Error || got.Code != s.want.Code || got.OAuthError != s.want.OAuthError {
			t.Errorf("%s:\n got %+v\nwant %+v", s.Step, got, s.want)
		}
		sentAuthorization := s.Auth == "basic" || s.Auth == "bearer" || s.Auth == "both"
		wantChallenge := got.Status == http.StatusUnauthorized && sentAuthorization
		if (got.WWWAuthenticate != "") != wantChallenge {
			t.Errorf("%s: WWW-Authenticate is %q", s.Step, got.WWWAuthenticate)
		}
	}
	return outcomes
}

var nodeClientsDir = filepath.Join("..", "interop", "clients")

// needNodeClients returns the node program. It skips the test where node or the
// packages are missing; CI installs both, so there it fails.
func needNodeClients(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node, which runs the OAuth clients of interop/clients")
	}
	if _, err := os.Stat(filepath.Join(nodeClientsDir, "node_modules")); err != nil {
		missing(t, "the OAuth clients: run `npm ci` in interop/clients")
	}
	return node
}
