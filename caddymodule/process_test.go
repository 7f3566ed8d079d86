package caddymodule

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run Caddy as a process of its own, to kill it and to take its disk
// away.

var built struct {
	once sync.Once
	path string
	err  error
}

// buildCaddy builds cmd/caddy, once for all tests.
func buildCaddy(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		var dir string
		if dir, built.err = os.MkdirTemp("", "caddy-revocation"); built.err != nil {
			return
		}
		built.path = filepath.Join(dir, "caddy")
		out, err := exec.Command("go", "build", "-o", built.path, "../cmd/caddy").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	if filled.dir != "" {
		os.RemoveAll(filled.dir)
	}
	os.Exit(code)
}

// process is a Caddy of its own.
type process struct {
	*testCaddy
	within []string // the command that runs it, if any
	cmd    *exec.Cmd
	log    *strings.Builder
}

// newProcess prepares a Caddy that keeps its data in dir.
func newProcess(t testing.TB, dir string) *process {
	p := &process{testCaddy: &testCaddy{dir: dir, ports: freePorts(t)}}
	t.Cleanup(p.kill)
	return p
}

// start runs a Caddyfile and waits until it is served.
func (p *process) start(t testing.TB, caddyfile string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(p.fill(caddyfile)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.log = new(strings.Builder)
	words := append(slices.Clone(p.within), buildCaddy(t), "run", "--config", file)
	p.cmd = exec.Command(words[0], words[1:]...)
	p.cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(p.URL("/"))
		if err == nil {
			resp.Body.Close()
			return
		}
		if time.Now().After(end) {
			p.kill()
			t.Fatalf("Caddy doesn't serve: %v\n%s", err, p.log)
		}
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p.cmd = nil
	}
}

// tryRevoke returns the status of a revocation, or 0 when there is no answer.
func (p *process) tryRevoke(client *http.Client, token string) (int, http.Header) {
	r, err := http.NewRequest(http.MethodPost, p.URL("/oauth2/revoke"), strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth("app", appSecret)
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header
}

func TestEveryAcknowledgedRevocationIsEnforcedAfterKillMinus9(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	p := newProcess(t, t.TempDir())
	client := &http.Client{Timeout: 10 * time.Second}
	var mu sync.Mutex
	var acknowledged []string
	for round := range rounds {
		p.start(t, oneSite)
		for _, token := range acknowledged {
			if a := bearer(t, p.URL("/"), token); a.status != 401 {
				t.Fatalf("round %d: %s was revoked and is answered with %d", round, token, a.status)
			}
		}
		var wg sync.WaitGroup
		stop := make(chan struct{})
		for n := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					token := fmt.Sprintf("token-%d-%d-%d", round, n, i)
					if status, _ := p.tryRevoke(client, token); status == 200 {
						mu.Lock()
						acknowledged = append(acknowledged, token)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond)
		p.kill()
		close(stop)
		wg.Wait()
		client.CloseIdleConnections()
	}
	if len(acknowledged) < 10*rounds {
		t.Errorf("only %d revocations were acknowledged", len(acknowledged))
	}
	t.Logf("%d acknowledged revocations in %d rounds, none lost", len(acknowledged), rounds)
}

func TestOnAFullDiskTokensAreEnforcedAndBecomeDurableWhenThereIsSpace(t *testing.T) {
	disk := smallDisk(t, "2m")
	p := newProcess(t, t.TempDir())
	site := "{\n\ttoken_revocation {\n\t\tstore bolt " + disk + "/records.db\n\t}\n}\n" + oneSite
	p.start(t, site)
	client := http.DefaultClient
	for i := range 50 {
		if status, _ := p.tryRevoke(client, fmt.Sprint("before-", i)); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	ballast := filepath.Join(disk, "ballast")
	fillDisk(t, ballast)
	acknowledged, refused := []string{}, []string{}
	for i := 0; len(refused) < 10; i++ {
		token := fmt.Sprint("full-", i)
		status, header := p.tryRevoke(client, token)
		switch status {
		case 200: // into pages that the file has already
			acknowledged = append(acknowledged, token)
		case 503:
			refused = append(refused, token)
			if header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		default:
			t.Fatalf("status %d", status)
		}
		wantStatus(t, bearer(t, p.URL("/"), token), 401)
		if i == 100_000 {
			t.Fatal("the disk doesn't get full")
		}
	}
	if n := metric(p.metrics(t), "caddy_token_revocation_pending_records"); n != 10 {
		t.Errorf("%v records are pending, want 10", n)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); metric(p.metrics(t), "caddy_token_revocation_pending_records") != 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("pending records don't become durable although there is space")
		}
	}
	p.kill()
	p.start(t, site)
	for _, token := range append(acknowledged, refused...) {
		wantStatus(t, bearer(t, p.URL("/"), token), 401)
	}
	for i := range 50 {
		wantStatus(t, bearer(t, p.URL("/"), fmt.Sprint("before-", i)), 401)
	}
}

// smallDisk mounts a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		missing(t, fmt.Sprintf("the right to mount a small file system (run as root): %v", err))
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func fillDisk(t testing.TB, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; size /= 2 {
		for {
			if _, err := f.Write(make([]byte, size)); err != nil {
				break
			}
		}
	}
}

// missing skips a test for want of something, which CI must have.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI lacks %s", what)
	}
	t.Skipf("skipped for want of %s", what)
}
