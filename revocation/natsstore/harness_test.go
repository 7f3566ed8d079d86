// Real servers for the tests: each on a port of its own, with a directory that goes away.

package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// server is a nats-server process.
type server struct {
	dir, addr string
	port      string
	config    string // the file
	cmd       *exec.Cmd
	ended     chan struct{}
}

// needNATS skips the test, or fails it where everything must be there.
func needNATS(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("nats-server")
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI is set, but this test needs nats-server")
	}
	t.Skip("this test needs nats-server")
	return ""
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startServer runs a server that writes everything to disk, with further lines in its
// configuration.
func startServer(t testing.TB, lines ...string) *server {
	t.Helper()
	sv := newServer(t, lines...)
	sv.start(t)
	return sv
}

func newServer(t testing.TB, lines ...string) *server {
	t.Helper()
	sv := &server{dir: t.TempDir(), port: freePort(t)}
	sv.addr = "127.0.0.1:" + sv.port
	sv.configure(t, "", lines...)
	return sv
}

// configure writes the server's configuration. store is what stands beside sync_interval.
func (sv *server) configure(t testing.TB, store string, lines ...string) {
	t.Helper()
	sv.config = filepath.Join(sv.dir, "server.conf")
	sync := "sync_interval: always"
	if strings.Contains(store, "sync_interval") {
		sync = ""
	}
	text := fmt.Sprintf("listen: %q\nserver_name: %q\nlog_file: %q\njetstream {\n%s\nstore_dir: %q\n%s\n}\n%s\n",
		sv.addr, "n"+sv.port, filepath.Join(sv.dir, "log"), sync, sv.dir, store, strings.Join(lines, "\n"))
	if err := os.WriteFile(sv.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the server, again after kill.
func (sv *server) start(t testing.TB) {
	t.Helper()
	sv.run(t)
	sv.waitReady(t)
}

func (sv *server) run(t testing.TB) {
	t.Helper()
	cmd := exec.Command(needNATS(t), "-c", sv.config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	sv.cmd, sv.ended = cmd, ended
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if text, err := os.ReadFile(filepath.Join(sv.dir, "log")); err == nil && t.Failed() {
			t.Logf("the log of %s ends with:\n%s", sv.addr, text[max(0, len(text)-3000):])
		}
	})
}

func (sv *server) waitReady(t testing.TB) {
	t.Helper()
	eventually(t, "the server at "+sv.addr+" is up", func() bool {
		conn, err := net.Dial("tcp", sv.addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// kill ends the server at once.
func (sv *server) kill() {
	_ = sv.cmd.Process.Kill()
	<-sv.ended
}

// pause and resume stop the process and let it go on.
func (sv *server) pause()  { _ = sv.cmd.Process.Signal(syscall.SIGSTOP) }
func (sv *server) resume() { _ = sv.cmd.Process.Signal(syscall.SIGCONT) }

// admin is another program's connection to the server.
func (sv *server) admin(t testing.TB, options ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("nats://"+sv.addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (sv *server) options() Options {
	return Options{Servers: []string{"nats://" + sv.addr}, SyncAlways: true, Timeout: 5 * time.Second}
}

// startCluster runs several servers that are one.
func startCluster(t testing.TB, n int) []*server {
	t.Helper()
	began := time.Now()
	var all []*server
	var routes []string
	for range n {
		sv := &server{dir: t.TempDir(), port: freePort(t)}
		sv.addr = "127.0.0.1:" + sv.port
		all = append(all, sv)
		routes = append(routes, "nats://127.0.0.1:"+freePort(t))
	}
	for i, sv := range all {
		_, listen, _ := strings.Cut(routes[i], "://")
		sv.configure(t, "", fmt.Sprintf("cluster {\nname: test\nlisten: %q\nroutes: [%s]\n}", listen, strings.Join(routes, ", ")))
		sv.run(t)
	}
	for _, sv := range all {
		sv.waitReady(t)
	}
	js := all[0].admin(t)
	// While connections between them are put in order, servers take each other for gone.
	for inARow := 0; inARow < 3; {
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ready", Replicas: n})
		if err == nil {
			err = js.DeleteStream(ctx, "ready")
		}
		cancel()
		if inARow++; err != nil {
			inARow = 0
			t.Logf("the cluster isn't ready: %v", err)
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the cluster doesn't become ready")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return all
}

func clusterOptions(all []*server) Options {
	opts := all[0].options()
	for _, sv := range all[1:] {
		opts.Servers = append(opts.Servers, "nats://"+sv.addr)
	}
	return opts
}

var background = context.Background()

func openStore(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(background, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func newRecord(name string, ttl time.Duration) revocation.Record {
	now := time.Now().UTC()
	return revocation.Record{
		ID:         revocation.NewID(),
		Kind:       revocation.Block,
		Selector:   revocation.Selector{Issuer: "https://idp.example.com/realms/acme", Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: name}}},
		Expires:    now.Add(ttl).Truncate(time.Second),
		Source:     "endpoint",
		Actor:      "client:web-app",
		RecordedAt: now.Truncate(time.Millisecond),
	}
}

func newBatch(prefix string, n int) []revocation.Record {
	batch := make([]revocation.Record, n)
	for i := range batch {
		batch[i] = newRecord(fmt.Sprintf("%s/%d", prefix, i), time.Hour)
	}
	return batch
}

func appendTo(t testing.TB, s *Store, records ...revocation.Record) {
	t.Helper()
	if err := s.Append(background, records); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func load(s *Store) (names []string, p revocation.Position, err error) {
	p, err = s.Load(background, func(batch []revocation.Record) error {
		for i := range batch {
			names = append(names, batch[i].Selector.Claims[0].Value)
		}
		return nil
	})
	return names, p, err
}

func mustLoad(t testing.TB, s *Store) ([]string, revocation.Position) {
	t.Helper()
	names, p, err := load(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return names, p
}

func wantErrorIs(t testing.TB, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("%s: got error %v, want one that wraps %q", what, err, target)
		}
	}
}

// wantWords fails the test unless the error says all of it, and nothing secret.
func wantWords(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error, want one", what)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q doesn't say %q", what, err, w)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%s: error %q has the password", what, err)
	}
}

const secret = "correct-horse"

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// follower collects what Follow hands out.
type follower struct {
	mu    sync.Mutex
	names []string
	last  revocation.Position
	done  chan error
	stop  context.CancelFunc
}

func follow(t testing.TB, s *Store, from revocation.Position) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(background)
	f := &follower{done: make(chan error, 1), stop: cancel, last: from}
	t.Cleanup(cancel)
	go func() {
		f.done <- s.Follow(ctx, from, func(batch []revocation.Record, p revocation.Position) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			for i := range batch {
				f.names = append(f.names, batch[i].Selector.Claims[0].Value)
			}
			f.last = p
			return nil
		})
	}()
	return f
}

func (f *follower) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.names...)
}

func (f *follower) position() revocation.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// wait returns the error with which Follow ended.
func (f *follower) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("Follow doesn't end")
		return nil
	}
}
