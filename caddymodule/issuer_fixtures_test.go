package caddymodule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// testIssuer is an authorization server on a loopback address: it publishes its
// metadata and keys, and answers questions about tokens. That it is down looks to
// callers as if nobody listened.
type testIssuer struct {
	*httptest.Server
	down atomic.Bool

	mu     sync.Mutex
	keys   []jose.JSONWebKey // the last one signs
	active map[string]string // answers, by token
	asked  int
	issued int
}

func startIssuer(t testing.TB) *testIssuer {
	i := &testIssuer{active: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`, i.URL, i.URL+"/keys", i.URL+"/introspect")
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		w.Write(publicKeys(t, i.keys...))
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.asked++
		if id, secret, _ := r.BasicAuth(); id != "caddy" || secret != introspectionSecret {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer, ok := i.active[r.PostFormValue("token")]
		if !ok {
			answer = `{"active":false}`
		}
		w.Write([]byte(answer))
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	i.Config.ErrorLog = nil
	t.Cleanup(i.Close)
	i.addKey(t)
	return i
}

const introspectionSecret = "an-introspection-secret"

// addKey has the issuer sign with a new key. The old ones stay.
func (i *testIssuer) addKey(t testing.TB) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, newKey(t, "key-"+strconv.Itoa(len(i.keys)+1)))
}

// withdrawKeys takes all keys back but the last one.
func (i *testIssuer) withdrawKeys() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
}

// activate lets the issuer know an opaque token, by what it answers about it.
func (i *testIssuer) activate(t testing.TB, token string, claims map[string]any) {
	claims = maps.Clone(claims)
	claims["active"] = true
	answer, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.active[token] = string(answer)
}

func (i *testIssuer) questions() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// token issues an access token for the API with some claims more; nil takes one away.
func (i *testIssuer) token(t testing.TB, changes map[string]any) string {
	return i.sign(t, "at+jwt", changes)
}

func (i *testIssuer) sign(t testing.TB, typ string, changes map[string]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued++
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": i.URL, "sub": "alice", "aud": "api", "client_id": "app", "jti": "token-" + strconv.Itoa(i.issued),
		"iat": now, "exp": now + 3600,
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return signJWT(t, i.keys[len(i.keys)-1], typ, claims)
}

func newKey(t testing.TB, kid string) jose.JSONWebKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}

// publicKeys returns a JWK set.
func publicKeys(t testing.TB, keys ...jose.JSONWebKey) []byte {
	var set jose.JSONWebKeySet
	for _, key := range keys {
		set.Keys = append(set.Keys, key.Public())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Error(err)
	}
	return b
}

func signJWT(t testing.TB, key jose.JSONWebKey, typ string, claims map[string]any) string {
	t.Helper()
	algorithm := jose.ES256
	if key.Algorithm != "" {
		algorithm = jose.SignatureAlgorithm(key.Algorithm)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// advance lets issuers see more time pass than does: what they remember of a failure,
// and keys, get older. It is for configurations that are loaded afterwards.
func advance(t testing.TB) (by func(time.Duration)) {
	var offset atomic.Int64
	issuerClock = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	t.Cleanup(func() { issuerClock = time.Now })
	return func(d time.Duration) { offset.Add(int64(d)) }
}

// verifying is a Caddyfile with issuers, given by their blocks, an endpoint, an API
// that verifies tokens, and one on PORT1 that doesn't.
func verifying(issuers, verify string) string {
	return `
{
	token_revocation {
		` + issuers + `
	}
}
` + strings.Replace(oneSite, "reject_revoked", "reject_revoked {\nverify {\n"+verify+"\n}\n}", 1) + `
:PORT1 {
	reject_revoked
	respond open
}
`
}

// asIssuer is the block of an issuer.
func (i *testIssuer) asIssuer(block string) string {
	return "issuer " + i.URL + " {\n" + block + "\n}\n"
}

const asking = `
introspection {
	client_id caddy
	client_secret ` + introspectionSecret + `
}
`

// poll waits until a condition holds.
func poll(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal("it never came true: " + what)
}
