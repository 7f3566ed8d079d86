package caddymodule

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
)

// The tests talk over sockets to a real Caddy in this process. There is one of
// it: tests with a Caddy don't run in parallel.

// testCaddy is a running Caddy.
type testCaddy struct {
	dir   string // for what it keeps; a restart finds it again
	ports map[string]int
}

// startCaddy runs a Caddyfile until the test ends. In the Caddyfile, PORT, PORT1
// to PORT9 stand for free ports, ADMIN for the admin API's and DIR for a folder.
func startCaddy(t testing.TB, caddyfile string) *testCaddy {
	t.Helper()
	c := &testCaddy{dir: caddyDir(t), ports: freePorts(t)}
	if old, ok := os.LookupEnv("XDG_DATA_HOME"); ok {
		t.Cleanup(func() { os.Setenv("XDG_DATA_HOME", old) })
	} else {
		t.Cleanup(func() { os.Unsetenv("XDG_DATA_HOME") })
	}
	os.Setenv("XDG_DATA_HOME", c.dir) // where the default store is
	t.Cleanup(func() { caddy.Stop() })
	c.load(t, caddyfile)
	return c
}

// caddyDir is t.TempDir for a Caddy in this process, which may still tidy its storage up for a
// moment when it has been stopped.
func caddyDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			err := os.RemoveAll(dir)
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Error(err)
				return
			}
		}
	})
	return dir
}

// load replaces the running configuration.
func (c *testCaddy) load(t testing.TB, caddyfile string) {
	t.Helper()
	if err := c.tryLoad(caddyfile); err != nil {
		t.Fatal(err)
	}
}

func (c *testCaddy) tryLoad(caddyfile string) error {
	config, err := c.adapt(caddyfile)
	if err != nil {
		return err
	}
	// Those to the old configuration are about to be closed.
	defer http.DefaultClient.CloseIdleConnections()
	return caddy.Load(config, true)
}

func (c *testCaddy) adapt(caddyfile string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(c.fill(caddyfile)), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// restart stops Caddy and starts it with a Caddyfile and what it kept.
func (c *testCaddy) restart(t testing.TB, caddyfile string) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	c.load(t, caddyfile)
}

const testOptions = `
	admin localhost:ADMIN
	persist_config off
	storage file_system DIR/storage
	storage_clean_interval off
	grace_period 1s
	skip_install_trust
	log default {
		output discard
	}
`

// fill puts the test's global options and the ports into a Caddyfile.
func (c *testCaddy) fill(caddyfile string) string {
	caddyfile = strings.TrimSpace(caddyfile)
	if rest, ok := strings.CutPrefix(caddyfile, "{"); ok {
		caddyfile = "{" + testOptions + rest
	} else {
		caddyfile = "{" + testOptions + "}\n" + caddyfile
	}
	pairs := []string{"DIR", c.dir}
	for _, name := range []string{"PORT1", "PORT2", "PORT3", "PORT", "ADMIN"} {
		pairs = append(pairs, name, fmt.Sprint(c.ports[name]))
	}
	return strings.NewReplacer(pairs...).Replace(caddyfile)
}

// URL returns the address of a path on PORT.
func (c *testCaddy) URL(path string) string { return c.urlOf("PORT", path) }

func (c *testCaddy) urlOf(port, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", c.ports[port], path)
}

// freePorts returns ports for a Caddyfile by the names that it uses.
func freePorts(t testing.TB) map[string]int {
	t.Helper()
	ports := map[string]int{}
	for _, name := range []string{"PORT", "PORT1", "PORT2", "PORT3", "ADMIN"} {
		ports[name] = freeport.Next(t)
	}
	return ports
}

// oneSite is a Caddyfile with everything on one port: the endpoint with a
// confidential and a public client, and a protected API that answers "served".
const oneSite = `
:PORT {
	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client app ` + appHash + `
		client spa
		client ops ` + appHash + ` {
			any_token
		}
		limits {
			confidential per_minute unlimited
			public per_minute unlimited
			public per_minute_per_address unlimited
		}
	}
	reject_revoked
	respond served
}
`

const (
	appSecret = "s3cr+t/%&é"
	appHash   = "$sha256$SpYLujdMgUSAaaAmMpR2VH-8tZ4db0Hhhje6Qh_kUtY"
)

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func do(t testing.TB, r *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil { // Caddy may drop a connection that comes while it reloads
		if r.GetBody != nil {
			r.Body, _ = r.GetBody()
		}
		resp, err = http.DefaultClient.Do(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// get requests an address with headers, given as name and value in turn.
func get(t testing.TB, address string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return do(t, r)
}

func bearer(t testing.TB, address, token string) answer {
	t.Helper()
	return get(t, address, "Authorization", "Bearer "+token)
}

// postRevoke sends a token to an endpoint as the client app.
func postRevoke(t testing.TB, address, token string) answer {
	t.Helper()
	return postAs(t, address, "app", appSecret, token)
}

// postAs sends a token to an endpoint.
func postAs(t testing.TB, address, client, secret, token string) answer {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, address, strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client, secret)
	return do(t, r)
}

// mustRevoke sends a token to an endpoint and insists on success.
func mustRevoke(t testing.TB, address, token string) {
	t.Helper()
	if a := postRevoke(t, address, token); a.status != http.StatusOK {
		t.Fatalf("revoking: %d %s", a.status, a.body)
	}
}

func wantStatus(t testing.TB, a answer, want int) {
	t.Helper()
	if a.status != want {
		t.Errorf("status %d, want %d: %s", a.status, want, a.body)
	}
}

// upstream records the requests that reach it.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	seen []seen
}

type seen struct {
	request *http.Request
	body    []byte
}

func startUpstream(t testing.TB) *upstream {
	u := new(upstream)
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		defer u.mu.Unlock()
		u.seen = append(u.seen, seen{r, body})
		io.WriteString(w, "upstream")
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) address() string { return u.Listener.Addr().String() }

// take returns what was seen since the last call.
func (u *upstream) take() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.seen
	u.seen = nil
	return s
}

// raw sends bytes as they are and returns everything that comes back.
func raw(t testing.TB, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	back, _ := io.ReadAll(conn)
	return string(back)
}

// metrics returns what the admin API's /metrics shows of this module.
func (c *testCaddy) metrics(t testing.TB) string {
	t.Helper()
	var ours []string
	for line := range strings.Lines(get(t, c.urlOf("ADMIN", "/metrics")).body) {
		if strings.HasPrefix(line, "caddy_token_revocation_") {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

// within ends a context with the test, or sooner.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
