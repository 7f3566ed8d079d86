package caddymodule

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func TestARevokedTokenIsRejectedOnItsVeryNextRequestAndAfterARestart(t *testing.T) {
	c := startCaddy(t, oneSite)
	for token, other := range map[string]string{"opaque-token": "opaque-tokem", jwt(t, `{"jti":"1"}`): jwt(t, `{"jti":"2"}`)} {
		wantStatus(t, bearer(t, c.URL("/"), token), 200)
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
		wantStatus(t, bearer(t, c.URL("/"), other), 200)
		c.restart(t, oneSite)
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
		wantStatus(t, bearer(t, c.URL("/"), other), 200)
	}
}

// Everything has a default: there is no global block, and no store is named.
func TestTheDefaultStoreIsInTheDataDirectory(t *testing.T) {
	c := startCaddy(t, oneSite)
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")
	if _, err := os.Stat(filepath.Join(c.dir, "caddy", "token_revocation", "records.db")); err != nil {
		t.Error(err)
	}
}

const appOption = `
{
	token_revocation {
		store bolt DIR/%s.db
		max_token_lifetime %s
	}
}
`

func TestReloadsKeepWhatWasRevoked(t *testing.T) {
	site := func(store, lifetime string) string { return fmt.Sprintf(appOption, store, lifetime) + oneSite }
	c := startCaddy(t, site("a", "30d"))
	var revoked []string
	for i, config := range []string{
		site("a", "30d"), site("a", "never"), // the same store, with and without another change
		site("b", "30d"), site("c", "30d"), // another store, twice
		site("a", "30d"), // the first one again, which is missing something
	} {
		token := fmt.Sprint("token-", i)
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		revoked = append(revoked, token)
		c.load(t, config)
		for _, token := range revoked {
			wantStatus(t, bearer(t, c.URL("/"), token), 401)
		}
		wantStatus(t, bearer(t, c.URL("/"), "another"), 200)
	}
	c.restart(t, site("a", "30d"))
	for _, token := range revoked {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
}

func TestAReloadThatFailsChangesNothing(t *testing.T) {
	site := func(store string) string { return fmt.Sprintf(appOption, store, "1h") + oneSite }
	c := startCaddy(t, site("a"))
	mustRevoke(t, c.URL("/oauth2/revoke"), "before")
	busy := startUpstream(t)
	if err := c.tryLoad(strings.Replace(site("b"), ":PORT", "http://"+busy.address()+", :PORT", 1)); err == nil {
		t.Fatal("a port that is in use is no error")
	}
	if err := c.tryLoad(strings.Replace(site("b"), "DIR/b.db", "DIR", 1)); err == nil {
		t.Fatal("a folder as store is no error")
	}
	// Caddy starts its apps in any order, so the new configuration may serve
	// before another app fails.
	both := strings.Replace(strings.Replace(site("b"), ":PORT", ":PORT, :PORT1", 1), "{\n", "{\n\tfailing_app\n", 1)
	for revoked := 0; revoked < 3; {
		token := fmt.Sprint("during-", revoked)
		beforeFailing = func() {
			conn, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", c.ports["PORT1"]))
			if err != nil {
				return // another order this time
			}
			conn.Close()
			mustRevoke(t, c.urlOf("PORT1", "/oauth2/revoke"), token)
			revoked++
		}
		before := revoked
		if err := c.tryLoad(both); err == nil {
			t.Fatal("an app that fails is no error")
		}
		http.DefaultClient.CloseIdleConnections()
		if revoked > before {
			wantStatus(t, bearer(t, c.URL("/"), token), 401)
		}
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), "after")
	for _, token := range []string{"before", "after"} {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
	c.restart(t, site("a"))
	for _, token := range []string{"before", "after"} {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
}

// Caddy itself drops some connections while it hands over its sockets, so this
// looks at answers only.
func TestNoRevokedTokenIsAnsweredByTheUpstreamWhileCaddyReloadsFiftyTimes(t *testing.T) {
	u := startUpstream(t)
	site := func(store string) string {
		return fmt.Sprintf(appOption, store, "1h") + strings.Replace(oneSite, "respond served", "reverse_proxy "+u.address(), 1)
	}
	c := startCaddy(t, site("a"))
	var latest atomic.Pointer[string] // revoked, and answered so
	var stop atomic.Bool
	var wg sync.WaitGroup
	defer stop.Store(true) // also when loading fails
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	var checked, revoked atomic.Int64
	for range 3 {
		wg.Go(func() {
			for !stop.Load() {
				token := latest.Load()
				if token == nil {
					continue
				}
				r, _ := http.NewRequest(http.MethodGet, c.URL("/"), nil)
				r.Header.Set("Authorization", "Bearer "+*token)
				resp, err := client.Do(r)
				if err != nil {
					continue
				}
				resp.Body.Close()
				checked.Add(1)
				if resp.StatusCode != 401 {
					t.Errorf("%s is revoked and answered with %d", *token, resp.StatusCode)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			token := fmt.Sprint("token-", i)
			r, _ := http.NewRequest(http.MethodPost, c.URL("/oauth2/revoke"), strings.NewReader("token="+token))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.SetBasicAuth("app", appSecret)
			resp, err := client.Do(r)
			if err != nil {
				continue
			}
			resp.Body.Close()
			if resp.StatusCode == 200 {
				revoked.Add(1)
				latest.Store(&token)
			}
		}
	})
	for i := range 50 {
		c.load(t, site([]string{"a", "a", "b"}[i%3])) // the same store and another
		for before := checked.Load(); checked.Load() < before+20 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	}
	stop.Store(true)
	wg.Wait()
	c.restart(t, site("a"))
	if token := latest.Load(); token != nil {
		wantStatus(t, bearer(t, c.URL("/"), *token), 401)
	}
	t.Logf("%d checks, %d revocations, 50 reloads", checked.Load(), revoked.Load())
}

// A request may come before the app started, since Caddy starts its apps in any
// order.
func TestRequestsWaitUntilTheListIsLoaded(t *testing.T) {
	a := &App{ready: make(chan struct{})}
	if _, err := a.wait(within(t, 10*time.Millisecond)); err == nil {
		t.Error("an app that hasn't started is ready")
	}
	go close(a.ready)
	if _, err := a.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestValidateAndAdaptWorkBesideARunningServer(t *testing.T) {
	c := startCaddy(t, oneSite)
	config, err := c.adapt(oneSite)
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
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")
	wantStatus(t, bearer(t, c.URL("/"), "token"), 401)
}

func TestASecondProcessOnOneStoreIsTold(t *testing.T) {
	binary := buildCaddy(t)
	c := startCaddy(t, oneSite)
	file := filepath.Join(t.TempDir(), "Caddyfile")
	second := (&testCaddy{dir: c.dir, ports: freePorts(t)}).fill(oneSite)
	if err := os.WriteFile(file, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, time.Minute), binary, "run", "--config", file)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "records.db") || !strings.Contains(string(out), "in use") {
		t.Errorf("%v: %s", err, out)
	}
	wantStatus(t, bearer(t, c.URL("/"), "token"), 200)
}

func TestAStoreThatCantBeUsedFailsTheStartWithPathAndReason(t *testing.T) {
	c := startCaddy(t, oneSite)
	garbage := filepath.Join(c.dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		"DIR":              "directory",
		"DIR/garbage.db":   "corrupt",
		"DIR/garbage.db/x": "not a directory",
		"/proc/records.db": "/proc/records.db",
	} {
		err := c.tryLoad("{\n\ttoken_revocation {\n\t\tstore bolt " + path + "\n\t}\n}\n" + oneSite)
		full := strings.ReplaceAll(path, "DIR", c.dir)
		if err == nil || !strings.Contains(err.Error(), full) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	c := startCaddy(t, oneSite)
	before := c.metrics(t)
	get(t, c.URL("/"))
	bearer(t, c.URL("/"), "fine")
	bearer(t, c.URL("/"), "fine")
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	bearer(t, c.URL("/"), "bad")
	bearer(t, c.URL("/"), "eyJhbGciOiJub25lIn0.x")
	c.load(t, strings.Replace(oneSite, "respond served", "respond again", 1))
	after := c.metrics(t)
	for name, want := range map[string]float64{
		`caddy_token_revocation_checks_total{verdict="absent"}`:              1,
		`caddy_token_revocation_checks_total{verdict="active"}`:              2,
		`caddy_token_revocation_checks_total{verdict="revoked"}`:             1,
		`caddy_token_revocation_checks_total{verdict="malformed"}`:           1,
		`caddy_token_revocation_endpoint_requests_total{outcome="revoked"}`:  1,
		`caddy_token_revocation_endpoint_requests_total{outcome="repeated"}`: 1,
		`caddy_token_revocation_records{kind="block",shape="token"}`:         1,
		`caddy_token_revocation_pending_records`:                             0,
		`caddy_token_revocation_cache_hits_total`:                            1,
		`caddy_token_revocation_cache_misses_total`:                          3,
	} {
		if got := metric(after, name) - metric(before, name); got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
	if metric(after, "caddy_token_revocation_index_bytes") <= 0 {
		t.Error("the index takes no memory")
	}
}

func metric(text, name string) (v float64) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			fmt.Sscan(rest, &v)
		}
	}
	return v
}

// failingApp fails to start.
type failingApp struct{ app *App }

var beforeFailing func()

func init() {
	caddy.RegisterModule(failingApp{})
	httpcaddyfile.RegisterGlobalOption("failing_app", func(*caddyfile.Dispenser, any) (any, error) {
		return httpcaddyfile.App{Name: "failing_app", Value: []byte("{}")}, nil
	})
}

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "failing_app", New: func() caddy.Module { return new(failingApp) }}
}

func (f *failingApp) Provision(ctx caddy.Context) (err error) {
	f.app, err = appOf(ctx)
	return err
}

func (f *failingApp) Start() error {
	if f.app.started() {
		beforeFailing()
	}
	return errors.New("this app fails")
}

func (*failingApp) Stop() error { return nil }
