// Real servers for the tests: each on a port of its own, with a directory that goes away.

package redisstore

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

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// server is a redis-server process.
type server struct {
	dir, addr string
	args      []string
	cmd       *exec.Cmd
	ended     chan struct{}
}

// needRedis skips the test, or fails it where everything must be there.
func needRedis(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatal("CI is set, but this test needs redis-server")
	}
	t.Skip("this test needs redis-server")
	return ""
}

// freePort returns a port that a cluster's node can have: its bus is at one that is 10,000
// higher.
func freePort(t testing.TB) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; port <= 65535-10000 {
			return strconv.Itoa(port)
		}
	}
}

// startServer runs a server that writes everything to disk, with further settings.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	sv := newServer(t, args...)
	sv.start(t)
	return sv
}

func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	port := freePort(t)
	sv := &server{dir: t.TempDir(), addr: "127.0.0.1:" + port}
	sv.args = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", sv.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0",
		"--logfile", filepath.Join(sv.dir, "log"),
	}, args...)
	return sv
}

// start runs the server, again after kill.
func (sv *server) start(t testing.TB) {
	t.Helper()
	sv.run(t, sv.args...)
	sv.waitReady(t)
}

func (sv *server) run(t testing.TB, args ...string) {
	t.Helper()
	sv.cmd = exec.Command(needRedis(t), args...)
	if err := sv.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	sv.ended = ended
	cmd := sv.cmd
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
}

func (sv *server) waitReady(t testing.TB) {
	t.Helper()
	eventually(t, "the server at "+sv.addr+" is up", func() bool {
		conn, err := net.Dial("tcp", sv.addr)
		if err != nil {
			return false
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write([]byte("PING\r\n"))
		reply := make([]byte, 64)
		n, _ := conn.Read(reply)
		return n > 0 && !strings.HasPrefix(string(reply[:n]), "-LOADING")
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

// do runs a command at the server.
func (sv *server) do(t testing.TB, args ...any) any {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: sv.addr})
	defer c.Close()
	reply, err := c.Do(background, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
	return reply
}

func (sv *server) options() Options {
	return Options{Addrs: []string{sv.addr}, Timeout: 2 * time.Second}
}

var background = context.Background()

func open(t testing.TB, opts Options) *Store {
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
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
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
	case <-time.After(20 * time.Second):
		t.Fatal("Follow doesn't end")
		return nil
	}
}
