// Real servers for the tests: each on a port of its own, with a directory that goes away.

package redisstore

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/feedtest"
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

func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(freeport.Next(t))
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

// What the tests of all such stores share.
var (
	eventually  = feedtest.Eventually
	newRecord   = feedtest.NewRecord
	newBatch    = feedtest.NewBatch
	wantErrorIs = feedtest.WantErrorIs
	wantWords   = feedtest.WantWords
)

const secret = feedtest.Secret

type lines = feedtest.Lines

func appendTo(t testing.TB, s *Store, records ...revocation.Record) {
	t.Helper()
	feedtest.AppendTo(t, s, records...)
}

func load(s *Store) ([]string, revocation.Position, error) { return feedtest.Load(s) }

func mustLoad(t testing.TB, s *Store) ([]string, revocation.Position) {
	t.Helper()
	return feedtest.MustLoad(t, s)
}

func follow(t testing.TB, s *Store, from revocation.Position) *feedtest.Follower {
	t.Helper()
	return feedtest.Follow(t, s, from)
}
