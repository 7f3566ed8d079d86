// Real servers for the tests: each on a port of its own, with a directory that goes away.

package pgstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/internal/freeport"
)

// server is a PostgreSQL server.
type server struct {
	bin, dir, port string
	as             *syscall.Credential // nil: as whoever runs the tests
	args           []string
	cmd            *exec.Cmd
	ended          chan struct{}
}

// needPostgres returns where the server's programs are. Without them it skips the test, or
// fails it where everything must be there.
func needPostgres(t testing.TB) string {
	t.Helper()
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.Sort(installed)
	if len(installed) > 0 {
		return filepath.Dir(installed[len(installed)-1])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	missing(t, "PostgreSQL's initdb and postgres")
	return ""
}

// missing skips the test for want of something, or fails it where everything must be there.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, but this test needs %s", what)
	}
	t.Skipf("this test needs %s", what)
}

// unprivileged returns who the server runs as: it refuses to run as root.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL doesn't run as root, and there is neither a user postgres nor a user nobody")
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(freeport.Next(t))
}

// startServer runs a server with its defaults and further settings, each as name=value. Its
// superuser is postgres.
func startServer(t testing.TB, settings ...string) *server {
	t.Helper()
	sv := newServer(t, settings...)
	sv.fill(t)
	sv.start(t)
	return sv
}

// fill makes the server's files.
func (sv *server) fill(t testing.TB, args ...string) {
	t.Helper()
	sv.tool(t, "initdb", append([]string{"--pgdata", sv.dir, "--username", "postgres", "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"}, args...)...)
}

// newServer makes the directory of a server that has to be filled.
func newServer(t testing.TB, settings ...string) *server {
	t.Helper()
	// Not t.TempDir: the server's user must get through.
	dir, err := os.MkdirTemp("", "pgstore")
	if err != nil {
		t.Fatal(err)
	}
	sv := &server{bin: needPostgres(t), dir: dir, port: freePort(t), as: unprivileged(t)}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if sv.as != nil {
		if err := os.Chown(dir, int(sv.as.Uid), int(sv.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range append([]string{"port=" + sv.port, "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=32MB"}, settings...) {
		sv.args = append(sv.args, "-c", s)
	}
	return sv
}

// tool runs one of the server's programs.
func (sv *server) tool(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := sv.command(name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func (sv *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(sv.bin, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: sv.as}
	cmd.Dir = "/"
	return cmd
}

// start runs the server, again after kill.
func (sv *server) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(sv.dir, "log.txt"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := sv.command("postgres", append([]string{"-D", sv.dir}, sv.args...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	sv.cmd, sv.ended = cmd, ended
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // takes its children along
		<-ended
	})
	eventually(t, "the server is up", func() bool {
		conn, err := sv.connect(background)
		if err != nil {
			return false
		}
		_ = conn.Close(background)
		return true
	})
}

// stop stops all of the server's processes, and returns those that it has started.
func (sv *server) stop() (children []int) {
	pid := sv.cmd.Process.Pid
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for end := time.Now().Add(time.Second); processState(pid) != 'T' && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // it may just start one
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for field := range strings.FieldsSeq(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(child, syscall.SIGSTOP)
			children = append(children, child)
		}
	}
	return children
}

// processState is the letter that ps shows, or 0.
func processState(pid int) byte {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(stat), ") ")
	if !ok {
		return 0
	}
	return rest[0]
}

// kill ends the server and its children at once. As long as there is one of them, the server
// doesn't start again.
func (sv *server) kill() {
	children := sv.stop()
	_ = sv.cmd.Process.Kill()
	<-sv.ended
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(children, func(pid int) bool { state := processState(pid); return state != 0 && state != 'Z' }) {
			return
		}
	}
}

// pause stops all of the server's processes until resume is called.
func (sv *server) pause(t testing.TB) (resume func()) {
	t.Helper()
	pids := append(sv.stop(), sv.cmd.Process.Pid)
	resume = sync.OnceFunc(func() {
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})
	t.Cleanup(resume)
	return resume
}

func (sv *server) addr() string { return "127.0.0.1:" + sv.port }

// connect connects as the superuser.
func (sv *server) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, "postgres://postgres@"+sv.addr()+"/postgres?sslmode=disable")
}

// session is a connection of the superuser.
func (sv *server) session(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := sv.connect(background)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(background) })
	return conn
}

// do runs statements as the superuser.
func (sv *server) do(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := sv.connect(background)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(background)
	for _, sql := range statements {
		if _, err := conn.Exec(background, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// ask returns the one value that a query has.
func ask[T any](t testing.TB, sv *server, sql string, args ...any) (value T) {
	t.Helper()
	conn, err := sv.connect(background)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(background)
	if err := conn.QueryRow(background, sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func (sv *server) options() Options {
	return Options{Hosts: []string{sv.addr()}, Username: "postgres", Database: "postgres", Parameters: map[string]string{"sslmode": "disable"}, Timeout: 3 * time.Second}
}

// writeFor writes a file that the server's user can read.
func writeFor(t testing.TB, sv *server, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if sv.as != nil {
		if err := os.Chown(path, int(sv.as.Uid), int(sv.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}
