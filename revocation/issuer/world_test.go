package issuer

// This file sets up what the tests of whole issuers need: servers that publish keys
// and answer questions, and a list with a checker in front.

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/boltstore"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// provider is the HTTP side of authorization servers: one for each path. Their keys
// are shared.
type provider struct {
	url   string
	calls atomic.Int64

	mu      sync.Mutex
	jwks    []byte
	answers map[string]map[string]any // by token
	broken  int                       // the status of every answer; 0: none is broken

	structured string // how questions about JWTs are refused; empty: they aren't
}

func newProvider(t testing.TB, signers ...*signer) *provider {
	t.Helper()
	p := &provider{jwks: jwksOf(signers...), answers: map[string]map[string]any{}}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.calls.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	const wellKnown = "/.well-known/openid-configuration"
	w.Header().Set("Content-Type", "application/json")
	switch path := r.URL.Path; {
	case p.broken != 0:
		w.WriteHeader(p.broken)
	case path == "/jwks":
		w.Write(p.jwks)
	case path == "/introspect" && p.structured != "" && strings.Count(r.PostFormValue("token"), ".") == 2:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, p.structured)
	case path == "/introspect":
		answer := p.answers[r.PostFormValue("token")]
		if answer == nil {
			answer = map[string]any{"active": false}
		}
		w.Write(mustMarshal(answer))
	case len(path) >= len(wellKnown) && path[len(path)-len(wellKnown):] == wellKnown:
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`,
			p.url+path[:len(path)-len(wellKnown)], p.url+"/jwks", p.url+"/introspect")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (p *provider) set(change func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// knows makes the provider answer that a token is active.
func (p *provider) knows(token string, answer map[string]any) {
	answer = maps.Clone(answer)
	answer["active"] = true
	p.set(func(p *provider) { p.answers[token] = answer })
}

// asked configures introspection.
func (p *provider) asked() *Introspection {
	return &Introspection{URL: p.url + "/introspect", ClientID: "proxy", ClientSecret: "secret"}
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// world is a proxy: its issuers, and a list of what is revoked.
type world struct {
	t       testing.TB
	reader  *token.Reader
	set     *Set
	list    *revocation.List
	checker *revocation.Checker
}

func mustIssuer(t testing.TB, o Options) *Issuer {
	t.Helper()
	i, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func newWorld(t testing.TB, options ...Options) *world {
	t.Helper()
	store, err := boltstore.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := revocation.Open(t.Context(), store, revocation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	return worldOver(t, list, options...)
}

// worldOver is another configuration of a list.
func worldOver(t testing.TB, list *revocation.List, options ...Options) *world {
	t.Helper()
	w := &world{t: t, list: list}
	reading := token.ReaderOptions{MatchClaims: []string{"tenant_id", "realm_access.level"}}
	var issuers []*Issuer
	for _, o := range options {
		i := mustIssuer(t, o)
		issuers = append(issuers, i)
		reading.Issuers = append(reading.Issuers, i.ReaderIssuer())
	}
	var err error
	if w.reader, err = token.NewReader(reading); err != nil {
		t.Fatal(err)
	}
	if w.set, err = NewSet(w.reader, issuers...); err != nil {
		t.Fatal(err)
	}
	if w.checker, err = revocation.NewChecker(list, w.reader, 1<<20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.checker.Close)
	return w
}

func (w *world) check(token string) (revocation.Verdict, *revocation.Proof, error) {
	return w.checker.CheckProven(w.t.Context(), revocation.Presented{Token: token}, w.set)
}

// prove returns the proof of a token that must be active and proven.
func (w *world) prove(token string) *revocation.Proof {
	w.t.Helper()
	v, proof, err := w.check(token)
	if err != nil || v.State != revocation.Active || proof == nil {
		w.t.Fatalf("%s, %v, %v", v.State, proof, err)
	}
	return proof
}

// wantError checks that a token isn't proven, and why.
func (w *world) wantError(token string, want error) error {
	w.t.Helper()
	v, proof, err := w.check(token)
	if v.State != revocation.Active || proof != nil || !errors.Is(err, want) {
		w.t.Fatalf("%s, %v, %v; want the error %q", v.State, proof, err, want)
	}
	for _, other := range []error{revocation.ErrForged, revocation.ErrUnproven, revocation.ErrIssuerUnavailable} {
		if other != want && errors.Is(err, other) {
			w.t.Errorf("the error is also %q: %v", other, err)
		}
	}
	return err
}

// wantState checks a token with and without proof.
func (w *world) wantState(token string, want revocation.State) {
	w.t.Helper()
	if v, _, err := w.check(token); err != nil || v.State != want {
		w.t.Errorf("it is %s, %v, want %s", v.State, err, want)
	}
	if v := w.checker.Check(token); v.State != want {
		w.t.Errorf("without proof it is %s, want %s", v.State, want)
	}
}

// revoke blocks what the issuer's claims select.
func (w *world) revoke(issuer string, claims ...revocation.Claim) {
	w.t.Helper()
	selector, err := revocation.Select(issuer, claims...)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	err = w.list.Revoke(w.t.Context(), revocation.Record{
		ID: revocation.NewID(), Kind: revocation.Block, Selector: selector, Source: "test", Actor: "test",
		Expires: now.Add(time.Hour).Truncate(time.Second), RecordedAt: now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// claimsOf reads claims in JSON, and adds those that every token has.
func claimsOf(t testing.TB, iss, object string) map[string]any {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{"iss": iss, "iat": now, "exp": now + 300}
	maps.Copy(claims, mustParse(t, object))
	return claims
}

// with returns claims with others in their place.
func with(claims map[string]any, object string) map[string]any {
	claims = maps.Clone(claims)
	var changes map[string]any
	if err := json.Unmarshal([]byte(object), &changes); err != nil {
		panic(err)
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

func wantEqual(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %#v, want %#v", what, got, want)
	}
}

// hang returns the address of a server that doesn't answer.
func hang(t testing.TB) string {
	done := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-done:
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(done) })
	return s.URL
}
