package caddymodule

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The authorization server and its client are those of the example, as they are:
// oidc-provider with Caddy in front of it, and openid-client.

var oidcExample = filepath.Join("..", "examples", "relay-oidc-provider")

// needOIDCProvider returns the node program. It skips the test where node or the
// packages are missing; CI installs both, so there it fails.
func needOIDCProvider(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node, which runs the authorization server of the example")
	}
	if _, err := os.Stat(filepath.Join(oidcExample, "node", "node_modules")); err != nil {
		missing(t, "the authorization server: run `npm ci` in examples/relay-oidc-provider/node")
	}
	return node
}

// oidcProvider is an authorization server on PORT2, which clients know by the
// address of PORT.
type oidcProvider struct {
	node, port, issuer, keys string
	cmd                      *exec.Cmd
	said                     *bufio.Scanner
}

// startOIDC runs Caddy and the authorization server behind it. The server comes
// first: a configuration with an issuer asks for its keys when it is loaded.
func startOIDC(t *testing.T, caddyfile string) (*testCaddy, *oidcProvider) {
	t.Helper()
	node := needOIDCProvider(t)
	c := startCaddy(t, ":PORT\n")
	p := &oidcProvider{
		node: node, port: c.portOf("PORT2"), issuer: c.URL(""),
		keys: filepath.Join(c.dir, "keys.json"),
	}
	p.start(t)
	t.Cleanup(p.stop)
	c.load(t, caddyfile)
	return c, p
}

// portOf returns the port that stands for a name in Caddyfiles.
func (c *testCaddy) portOf(name string) string { return strconv.Itoa(c.ports[name]) }

// start runs the server, with the keys that it had before, until it listens.
func (p *oidcProvider) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.node, "server.mjs", "--port", p.port, "--issuer", p.issuer, "--keys", p.keys)
	p.cmd.Dir = filepath.Join(oidcExample, "node")
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.said = bufio.NewScanner(out)
	p.await(t, "listening")
}

// stop ends the server, which forgets everything but its keys.
func (p *oidcProvider) stop() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

// rotateKeys has the server sign with a new key. It publishes that and the one
// before, so a key is gone after two of them.
func (p *oidcProvider) rotateKeys(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.await(t, "keys")
}

// await reads what the server prints up to a line that begins with a word.
func (p *oidcProvider) await(t *testing.T, word string) {
	t.Helper()
	for p.said.Scan() {
		if strings.HasPrefix(p.said.Text(), word) {
			return
		}
	}
	t.Fatalf("the authorization server has ended without saying %q: %v", word, p.said.Err())
}

// oidcClient does what client.mjs does, one command after the other.
type oidcClient struct {
	issuer string
	in     io.Writer
	out    *bufio.Scanner
}

// oidcAnswer is what a command prints: tokens, an introspection, an error.
type oidcAnswer struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	Active       bool   `json:"active"`
	Error        string `json:"error"`
	Description  string `json:"error_description"`
	Status       int    `json:"status"` // of an error
}

// newClient starts a client that finds the server by its public address.
func (p *oidcProvider) newClient(t *testing.T) *oidcClient {
	t.Helper()
	cmd := exec.Command(p.node, "client.mjs")
	cmd.Dir = filepath.Join(oidcExample, "node")
	in, err := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	return &oidcClient{p.issuer, in, lines}
}

// try does a command, whatever comes of it.
func (c *oidcClient) try(t *testing.T, args ...string) oidcAnswer {
	t.Helper()
	args = append(args, "--issuer", c.issuer)
	if _, err := io.WriteString(c.in, strings.Join(args, " ")+"\n"); err != nil {
		t.Fatal(err)
	}
	if !c.out.Scan() {
		t.Fatalf("%s: no answer: %v", args[0], c.out.Err())
	}
	var a oidcAnswer
	if err := json.Unmarshal(c.out.Bytes(), &a); err != nil {
		t.Fatalf("%s prints %q: %v", args[0], c.out.Text(), err)
	}
	return a
}

// do does a command that must succeed.
func (c *oidcClient) do(t *testing.T, args ...string) oidcAnswer {
	t.Helper()
	a := c.try(t, args...)
	if a.Error != "" {
		t.Fatalf("%s: %d %s: %s", args[0], a.Status, a.Error, a.Description)
	}
	return a
}

// nextSecond waits for the next second to begin: cutoffs and the times in tokens
// have no fractions.
func nextSecond() {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1010 * time.Millisecond)))
}

// eventually calls an API with a token until the answer has the status. Keys are
// asked for at most every ten seconds, so it may take a while.
func eventually(t *testing.T, address, token string, want int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		a := bearer(t, address, token)
		if a.status == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the status stays %d, want %d: %s", a.status, want, a.body)
		}
	}
}

// wantUnavailable fails the test unless the answer is that nobody can tell now.
func wantUnavailable(t *testing.T, a answer) {
	t.Helper()
	wantStatus(t, a, http.StatusServiceUnavailable)
	if a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "" {
		t.Error("the 503 has no Retry-After")
	}
}
