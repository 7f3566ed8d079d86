// A relay between a client and an authorization server, over real connections.

package endpoint

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// script is a Prover that knows what it says to each token. Of others it knows nothing.
type script struct {
	mu    sync.Mutex
	lines map[string]line
	asked []revocation.Presented
}

type line struct {
	proof  *revocation.Proof
	err    error
	answer *revocation.Proof // with an empty 200
}

func (s *script) ProofByAnswer(p revocation.Presented) *revocation.Proof {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[p.Token].answer
}

func (s *script) Prove(_ context.Context, p revocation.Presented) (*revocation.Proof, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, p)
	if l, ok := s.lines[p.Token]; ok {
		return l.proof, l.err
	}
	return nil, revocation.ErrUnproven
}

const relayIssuer = "https://as.example.com"

func accessTokenOf(owners ...string) line {
	return line{proof: &revocation.Proof{
		Issuer: relayIssuer, Kind: revocation.AccessToken, Owners: owners,
		Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: "id"}},
	}}
}

func refreshTokenOf(owner string) line {
	l := accessTokenOf(owner)
	l.proof.Kind = revocation.RefreshToken
	l.proof.Claims = append(l.proof.Claims, revocation.Claim{Role: revocation.RoleGrant, Value: "grant"})
	return l
}

type relayFixture struct {
	t       *testing.T
	relay   *Relay
	store   *store
	list    *revocation.List
	checker *revocation.Checker
	script  *script
	log     *lockedBuffer

	server *httptest.Server // the authorization server
	front  *httptest.Server // the relay before it, and at /direct nothing
	client *http.Client

	mu       sync.Mutex
	outcomes []Outcome
	received []received                                       // by the authorization server
	before   func(http.ResponseWriter, *http.Request) error   // in place of the authorization server, if it isn't nil
	watch    func(w http.ResponseWriter, outer *http.Request) // sees what the front has received
	errs     []error                                          // of ServeHTTP
}

// received is a request as the authorization server saw it.
type received struct {
	method, target, body string
	header               http.Header
	length               int64
	coding               []string
}

// tokens are the scripted ones: each is named after what it is.
func tokens() map[string]line {
	id := accessTokenOf(plainID)
	id.proof.Kind = revocation.IDToken
	old := accessTokenOf(plainID)
	old.proof.Expires = 1
	return map[string]line{
		"own":        accessTokenOf(plainID),
		"refresh":    refreshTokenOf(plainID),
		"foreign":    accessTokenOf("stranger"),
		"nobody's":   accessTokenOf(),
		"two owners": accessTokenOf(plainID, "stranger"),
		"spaced":     accessTokenOf("my client"),
		"id token":   id,
		"forged":     {err: revocation.ErrForged},
		"unknown":    {err: revocation.ErrUnproven},
		"told":       {err: revocation.ErrUnproven, answer: refreshTokenOf(plainID).proof},
		"told other": {err: revocation.ErrUnproven, answer: refreshTokenOf("stranger").proof},
		"down":       {err: revocation.ErrIssuerUnavailable},
	}
}

func newRelayFixture(t *testing.T, serve http.HandlerFunc, change func(*Options, *RelayOptions)) *relayFixture {
	t.Helper()
	f := &relayFixture{t: t, store: new(store), script: &script{lines: tokens()}, log: new(lockedBuffer)}
	list, err := revocation.Open(t.Context(), f.store, revocation.Options{CommitTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	f.list = list
	o, ro := options(), RelayOptions{}
	f.checker, err = revocation.NewChecker(list, o.Facts, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.checker.Close)
	o.Clients, o.Compare, o.FakeHash = nil, nil, nil
	o.List, o.Prover = list, f.script
	o.Logger = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Audit = o.Logger
	o.Observe = func(o Outcome) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.outcomes = append(f.outcomes, o)
	}
	if change != nil {
		change(&o, &ro)
	}
	if f.relay, err = NewRelay(o, ro); err != nil {
		t.Fatal(err)
	}
	f.startServer(serve)
	f.startFront()
	f.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(f.client.CloseIdleConnections)
	return f
}

func (f *relayFixture) startServer(serve http.HandlerFunc) {
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.received = append(f.received, received{r.Method, r.RequestURI, string(body), r.Header.Clone(), r.ContentLength, r.TransferEncoding})
		f.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		serve(w, r)
	}))
	f.t.Cleanup(f.server.Close)
}

func (f *relayFixture) startFront() {
	target, err := url.Parse(f.server.URL)
	if err != nil {
		f.t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	f.t.Cleanup(transport.CloseIdleConnections)
	next := func(w http.ResponseWriter, r *http.Request) (err error) {
		if f.before != nil {
			return f.before(w, r)
		}
		proxy := &httputil.ReverseProxy{
			Transport:    transport,
			Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host },
			ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, failed error) { err = failed },
			ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		proxy.ServeHTTP(w, r)
		return err
	}
	f.front = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/direct" {
			// net/http closes a body that isn't read to its end when the answer begins,
			// even if the transport is about to.
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			next(w, r)
			return
		}
		if f.watch != nil {
			f.watch(w, r)
		}
		if err := f.relay.ServeHTTP(w, r, next); err != nil {
			f.mu.Lock()
			f.errs = append(f.errs, err)
			f.mu.Unlock()
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	f.front.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f.front.Start()
	f.t.Cleanup(f.front.Close)
}

// request makes a message one for the front.
func (f *relayFixture) request(m message) *http.Request {
	f.t.Helper()
	target := "/revoke"
	if m.target != "" {
		target = m.target
	}
	r := m.request()
	out, err := http.NewRequestWithContext(f.t.Context(), r.Method, f.front.URL+target, strings.NewReader(m.body))
	if err != nil {
		f.t.Fatal(err)
	}
	out.Header = r.Header
	return out
}

func (f *relayFixture) do(r *http.Request) reply {
	f.t.Helper()
	response, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return reply{response, string(body)}
}

func (f *relayFixture) send(m message) reply {
	f.t.Helper()
	return f.do(f.request(m))
}

func (f *relayFixture) dead(token string) bool {
	return f.checker.Check(token).State == revocation.Revoked
}

func (f *relayFixture) observed() []Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.outcomes)
}

func (f *relayFixture) seen() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.received)
}

// expectOutcome waits for nothing: outcomes are told before the answer.
func (f *relayFixture) expectOutcome(want ...Outcome) {
	f.t.Helper()
	if got := f.observed(); !slices.Equal(got, want) {
		f.t.Errorf("outcomes %q, want %q", got, want)
	}
}

// expectNothingInFlight waits until the relay is through: it may answer before.
func (f *relayFixture) expectNothingInFlight() {
	f.t.Helper()
	eventually(f.t, func() bool {
		q := f.relay.server.quotas
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.inFlight == 0
	})
}

func eventually(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never happened")
		}
	}
}

// says is an authorization server that has one answer.
func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// forToken is the form of a request.
func forToken(token string, more ...string) string {
	form := url.Values{"token": {token}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form.Encode()
}
