// Real servers for the tests: each on a port of its own, with a directory that goes away.

package natsstore

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/feedtest"
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
	return strconv.Itoa(freeport.Next(t))
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
