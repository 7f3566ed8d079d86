package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// hand is a clock that moves when it is told to.
type hand struct{ atomic.Int64 }

func (h *hand) now() time.Time       { return time.Unix(1_800_000_000, h.Load()) }
func (h *hand) pass(d time.Duration) { h.Add(int64(d)) }

// publisher is the HTTP side of an issuer: it answers with what stands at a path.
type publisher struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]string
	calls map[string]int
	down  bool
	gate  chan struct{} // when set, answers wait until it is closed
}

func newPublisher(t testing.TB) *publisher {
	p := &publisher{pages: map[string]string{}, calls: map[string]int{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.calls[r.URL.Path]++
	page, found := p.pages[r.URL.Path]
	down, gate := p.down, p.gate
	p.mu.Unlock()
	if gate != nil {
		<-gate
	}
	switch {
	case down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !found:
		http.NotFound(w, r)
	default:
		w.Write([]byte(page))
	}
}

func (p *publisher) publish(path, page string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = page
}

func (p *publisher) set(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// called returns how many calls there were in all.
func (p *publisher) called() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, calls := range p.calls {
		n += calls
	}
	return n
}

func (p *publisher) discovery(t *testing.T, path string, change func(*Options)) (*discovery, *hand) {
	clock := new(hand)
	o := Options{Name: p.URL + path, Now: clock.now}
	if change != nil {
		change(&o)
	}
	return newDiscovery(mustFetcher(t, o), o.withDefaults()), clock
}

const openID, oauth = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"

func TestMetadataIsFoundInBothPlaces(t *testing.T) {
	for _, test := range []struct{ issuer, at string }{
		{"", openID},
		{"/", openID},
		{"/realms/a", "/realms/a" + openID},
		{"/realms/a/", "/realms/a" + openID},
		{"", oauth},
		{"/", oauth},
		{"/realms/a", oauth + "/realms/a"},
		{"/realms/a/", oauth + "/realms/a"},
	} {
		p := newPublisher(t)
		d, _ := p.discovery(t, test.issuer, nil)
		p.publish(test.at, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://keys.example/k","introspection_endpoint":"%s/i","other":[1,{}]}`,
			p.URL+test.issuer, p.URL))
		m, err := d.metadata(t.Context())
		if err != nil || m.JWKSURI != "https://keys.example/k" || m.IntrospectionEndpoint != p.URL+"/i" || m.RevocationEndpoint != "" {
			t.Errorf("issuer %q, metadata at %s: %+v, %v", test.issuer, test.at, m, err)
		}
	}
}

func TestAnIssuerWithThePrefixOfAnotherIsAnother(t *testing.T) {
	p := newPublisher(t)
	for _, path := range []string{"/a", "/a/b"} {
		p.publish(path+openID, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"%[2]s%[3]s/keys"}`, p.URL+path, p.URL, path))
	}
	for _, path := range []string{"/a", "/a/b"} {
		d, _ := p.discovery(t, path, nil)
		if m, err := d.metadata(t.Context()); err != nil || m.JWKSURI != p.URL+path+"/keys" {
			t.Errorf("%s: %+v, %v", path, m, err)
		}
	}
}

func TestAWrongDocumentIsRefusedAndTheErrorSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		document string // %s is the server
		says     []string
	}{
		"another issuer": {`{"issuer":"https://evil.example","jwks_uri":"%s/k"}`,
			[]string{`the issuer is "https://evil.example"`, `configure the issuer as "https://evil.example"`, "last byte"}},
		"a slash more":      {`{"issuer":"%s/"}`, []string{"configure the issuer as", "last byte"}},
		"another case":      {`{"issuer":"HTTP%.0s://127.0.0.1"}`, []string{"configure the issuer as"}},
		"no issuer":         {`{"jwks_uri":"%s/k"}`, []string{"has no issuer"}},
		"an issuer of null": {`{"issuer":null,"jwks_uri":"%s/k"}`, []string{"has no issuer"}},
		"a list of issuers": {`{"issuer":["%s"]}`, []string{"not a metadata document"}},
		"issuer twice":      {`{"issuer":"https://evil.example","issuer":"%s"}`, []string{"not a metadata document"}},
		"lying types":       {`{"issuer":"%s","jwks_uri":{"a":1}}`, []string{"not a metadata document"}},
		"HTML":              {`<!DOCTYPE html><html>%s</html>`, []string{"not a metadata document"}},
		"nothing":           {`%.0s`, []string{"not a metadata document"}},
		"an array":          {`["%s"]`, []string{"not a metadata document"}},
		"too much":          {`{"issuer":"%s","x":"` + strings.Repeat("x", maxAnswerBytes) + `"}`, []string{"longer than"}},
		"too deep":          {`{"issuer":"%s","x":` + strings.Repeat("[", 100_000) + `}`, []string{"not a metadata document"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, seen := newPublisher(t), ""
			d, _ := p.discovery(t, "", func(o *Options) { o.Observe = func(c Call, outcome Outcome) { seen += fmt.Sprint(c, " ", outcome) } })
			p.publish(openID, fmt.Sprintf(test.document, p.URL))
			_, err := d.metadata(t.Context())
			if !errors.Is(err, revocation.ErrIssuerUnavailable) {
				t.Errorf("error %v", err)
			}
			wantError(t, err, append(test.says, p.URL+openID)...)
			if len(err.Error()) > 2000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if seen != "metadata invalid" {
				t.Errorf("observed %q", seen)
			}
		})
	}
}

func TestAddressesInMetadataThatAreNotAllowedAreLeftOut(t *testing.T) {
	pages := map[string]string{}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(pages[r.URL.Path])) }))
	defer srv.Close()
	pages[openID] = fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://127.0.0.1:1/internal","introspection_endpoint":"http://idp.example/i","revocation_endpoint":"https://idp.example/r"}`, srv.URL)
	p := &publisher{Server: srv}
	lines := new(log)
	d, _ := p.discovery(t, "", func(o *Options) {
		o.RootCAs = srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		o.Logger = slog.New(slog.NewTextHandler(lines, nil))
	})
	m, err := d.metadata(t.Context())
	if err != nil || m.JWKSURI != "" || m.IntrospectionEndpoint != "" || m.RevocationEndpoint != "https://idp.example/r" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, name := range []string{"jwks_uri", "introspection_endpoint"} {
		if !strings.Contains(lines.String(), name) {
			t.Errorf("nothing about %s in the log: %s", name, lines)
		}
	}
}

func TestMetadataIsFetchedOnceAndAgainLater(t *testing.T) {
	p := newPublisher(t)
	d, clock := p.discovery(t, "", nil)
	document := func(keys string) { p.publish(openID, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+keys)) }
	want := func(keys string, calls int) {
		t.Helper()
		m, err := d.metadata(t.Context())
		if got := p.called(); err != nil || m.JWKSURI != p.URL+keys || got != calls {
			t.Errorf("%+v, %v after %d calls, want %s after %d", m, err, got, keys, calls)
		}
	}
	document("/1")
	p.gate = make(chan struct{})
	var together sync.WaitGroup
	for range 20 {
		together.Go(func() {
			if _, err := d.metadata(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	close(p.gate)
	together.Wait()
	document("/2")
	want("/1", 1)
	clock.pass(metadataLifetime - 1)
	want("/1", 1)
	clock.pass(1)
	want("/2", 2)
	// What is old is better than nothing, and who is down isn't asked at each use.
	p.set(true)
	clock.pass(metadataLifetime)
	for range 5 {
		want("/2", 3)
	}
	// From now on nobody waits for it.
	renew := func() {
		t.Helper()
		clock.pass(minRefresh)
		if m, err := d.metadata(t.Context()); err != nil || m.JWKSURI != p.URL+"/2" {
			t.Errorf("%+v, %v", m, err)
		}
		d.flight.Do("", func() (any, error) { return nil, nil }) // until the call has ended
	}
	renew()
	want("/2", 4)
	p.set(false)
	document("/3")
	renew()
	want("/3", 5)
}

func TestAFailureIsRemembered(t *testing.T) {
	p := newPublisher(t)
	p.set(true)
	d, clock := p.discovery(t, "", nil)
	for range 10 {
		if _, err := d.metadata(t.Context()); !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Fatal(err)
		}
	}
	if got := p.called(); got != 1 {
		t.Errorf("%d calls", got)
	}
	p.publish(openID, fmt.Sprintf(`{"issuer":%q}`, p.URL))
	p.set(false)
	clock.pass(minRefresh)
	if _, err := d.metadata(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhoWaitsForMetadataMayGiveUp(t *testing.T) {
	p := newPublisher(t)
	p.gate = make(chan struct{})
	p.publish(openID, fmt.Sprintf(`{"issuer":%q}`, p.URL))
	d, _ := p.discovery(t, "", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.metadata(ctx); !errors.Is(err, revocation.ErrIssuerUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(p.gate)
	if _, err := d.metadata(t.Context()); err != nil || p.called() != 1 {
		t.Errorf("%v after %d calls: the first goes on", err, p.called())
	}
}
