package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// authorizationServer answers at its revocation endpoint what a test says.
type authorizationServer struct {
	*httptest.Server
	mu     sync.Mutex
	answer http.HandlerFunc
	bodies []string // that were received
}

func startAuthorizationServer(t *testing.T) *authorizationServer {
	a := &authorizationServer{answer: func(http.ResponseWriter, *http.Request) {}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.bodies = append(a.bodies, string(body))
		a.answer(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *authorizationServer) answers(h http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = h
}

// relaying is a Caddyfile with a relay in front of what is behind it, and an API on
// PORT1.
func relaying(i *testIssuer, relay, behind string) string {
	return `
{
	token_revocation {
		` + i.asIssuer("preset keycloak") + `
	}
}
:PORT {
	revocation_endpoint /revoke {
		relay {
			` + relay + `
		}
	}
	` + behind + `
	handle_errors {
		respond "handled {err.status_code}"
	}
}
:PORT1 {
	reject_revoked
	respond open
}
`
}

// relayed sends a token through a relay as a client.
func relayed(t *testing.T, c *testCaddy, token string) answer {
	t.Helper()
	return postAs(t, c.URL("/revoke"), "app", "whatever the server knows", token)
}

func TestRelayEnforcesWhatTheAuthorizationServerAccepts(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	api := c.urlOf("PORT1", "/")
	token := i.token(t, nil)

	as.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Basic realm="as"`)
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"invalid_client"}`)
	})
	a := relayed(t, c, token)
	if a.status != 401 || a.body != `{"error":"invalid_client"}` || a.header.Get("WWW-Authenticate") != `Basic realm="as"` {
		t.Errorf("the refusal became %v", a)
	}
	wantStatus(t, bearer(t, api, token), 200)

	as.answers(func(w http.ResponseWriter, _ *http.Request) {
		// The check may not see it before the client does, but no later.
		w.Header().Set("X-Of-The-Server", "1")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, "revoked, says the server")
	})
	a = relayed(t, c, token)
	if a.status != 202 || a.body != "revoked, says the server" || a.header.Get("X-Of-The-Server") != "1" {
		t.Errorf("the success became %v", a)
	}
	wantStatus(t, bearer(t, api, token), 401)

	foreign := i.token(t, map[string]any{"client_id": "another"})
	wantStatus(t, relayed(t, c, foreign), 202)
	wantStatus(t, bearer(t, api, foreign), 200)
	wantStatus(t, relayed(t, c, "opaque"), 202)
	wantStatus(t, bearer(t, api, "opaque"), 401)

	if want := (url.Values{"token": {"opaque"}}).Encode(); as.bodies[len(as.bodies)-1] != want {
		t.Errorf("the server received %q", as.bodies)
	}
	wantStatus(t, get(t, c.URL("/revoke?token=x")), 405)
	wantStatus(t, get(t, c.URL("/elsewhere")), 202) // isn't relayed, but proxied
	if n := metric(c.metrics(t), `caddy_token_revocation_endpoint_requests_total{outcome="relay_refused"}`); n == 0 {
		t.Error("no refusal is counted")
	}
}

func TestRelayCascades(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	api := c.urlOf("PORT1", "/")
	access := i.token(t, map[string]any{"sid": "s1"})
	stranger := i.token(t, map[string]any{"sid": "s2"})
	refresh := i.sign(t, "JWT", map[string]any{"sid": "s1", "typ": "Refresh"})
	r, _ := http.NewRequest(http.MethodPost, c.URL("/revoke"), strings.NewReader("client_id=app&token="+refresh))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	wantStatus(t, do(t, r), 200)
	wantStatus(t, bearer(t, api, access), 401)
	wantStatus(t, bearer(t, api, stranger), 200)
}

// Keycloak signs refresh tokens with a secret of its own. It answers 200 to valid ones,
// and 200 with an error in the body to others.
func TestRelayBelievesKeycloakAboutItsRefreshTokens(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	api := c.urlOf("PORT1", "/")
	mine := i.token(t, map[string]any{"sid": "s1", "azp": "app"})
	theirs := i.token(t, map[string]any{"sid": "s2", "azp": "app"})
	// refresh is what Keycloak makes of a session; an attacker can make the same.
	refresh := func(session string) string {
		secret := jose.JSONWebKey{Key: []byte("only the authorization server has this secret, and it is long enough"), Algorithm: "HS512"}
		now := time.Now().Unix()
		return signJWT(t, secret, "JWT", map[string]any{
			"iss": i.URL, "typ": "Refresh", "azp": "app", "sub": "alice", "sid": session, "jti": "refresh-" + session, "iat": now, "exp": now + 600,
		})
	}
	relay := func(token string) {
		t.Helper()
		r, _ := http.NewRequest(http.MethodPost, c.URL("/revoke"), strings.NewReader("client_id=app&token="+token))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		wantStatus(t, do(t, r), 200)
	}
	as.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"error":"invalid_token","error_description":"Invalid token"}`)
	})
	relay(refresh("s2")) // a forged one
	wantStatus(t, bearer(t, api, theirs), 200)
	as.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	relay(refresh("s1"))
	wantStatus(t, bearer(t, api, mine), 401)
	wantStatus(t, bearer(t, api, theirs), 200)
}

func TestRelayWithTheAuthorizationServerDown(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	as.Close()
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	token := i.token(t, nil)
	a := relayed(t, c, token)
	wantStatus(t, a, 503)
	if a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "temporarily_unavailable") {
		t.Errorf("it is told by %v", a)
	}
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 200)

	// Other errors behind it are as anywhere else.
	c.load(t, relaying(i, "", "error 418"))
	if a := relayed(t, c, token); a.status != 418 || a.body != "handled 418" {
		t.Errorf("%d %s", a.status, a.body)
	}
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 200)

	// Nothing at all is behind it.
	c.load(t, relaying(i, "", ""))
	wantStatus(t, relayed(t, c, token), 503)
}

func TestRelayWithTheIssuerDown(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	i.down.Store(true)
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	token := i.token(t, nil)
	wantStatus(t, relayed(t, c, token), 503)
	if len(as.bodies) != 0 {
		t.Error("the server was asked")
	}
	c.load(t, relaying(i, "best_effort", "reverse_proxy "+as.Listener.Addr().String()))
	wantStatus(t, relayed(t, c, token), 200)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 401)
}

func TestRelayRevokesWhatTheServerCant(t *testing.T) {
	i, as := startIssuer(t), startAuthorizationServer(t)
	as.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"error":"unsupported_token_type"}`)
	})
	c := startCaddy(t, relaying(i, "", "reverse_proxy "+as.Listener.Addr().String()))
	token := i.token(t, nil)
	wantStatus(t, relayed(t, c, token), 400)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 200)

	c.load(t, relaying(i, "revoke_unsupported", "reverse_proxy "+as.Listener.Addr().String()))
	wantStatus(t, relayed(t, c, token), 200)
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 401)
	wantStatus(t, relayed(t, c, i.token(t, map[string]any{"client_id": "another"})), 400)
	wantStatus(t, relayed(t, c, "opaque"), 400)
}
