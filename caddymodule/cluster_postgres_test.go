package caddymodule

import (
	"context"
	"fmt"
	"net"
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
)

// postgresEngine is a PostgreSQL server of its own, and may have another one as its standby.
type postgresEngine struct {
	server
	port  int
	dir   string
	clock string // the file that has how far the server's clock is ahead, if it has one
	pids  []int  // that are paused

	standby *postgresEngine
	link    *link // of the standby to this
}

var (
	_ clocked  = (*postgresEngine)(nil)
	_ polluted = (*postgresEngine)(nil)
	_ fillable = (*postgresEngine)(nil)
	_ forkable = (*postgresEngine)(nil)
)

// The nodes' role, which can do nothing elsewhere, and its database.
const (
	postgresRole     = "caddy"
	postgresDatabase = "revocations"
)

func newPostgres(t testing.TB) engine {
	e := newPostgresServer(t)
	e.fillDir(t)
	return e
}

// newPostgresServer makes a server without files.
func newPostgresServer(t testing.TB) *postgresEngine {
	t.Helper()
	dir := postgresDir(t)
	e := &postgresEngine{port: freePorts(t)["PORT"], dir: dir}
	t.Cleanup(func() { // a standby may be in its place by now
		e.kill()
		if log, err := os.ReadFile(e.logFile()); err == nil && t.Failed() {
			t.Logf("the server's log ends with\n%s", log[max(0, len(log)-8<<10):])
		}
		os.RemoveAll(dir)
	})
	return e
}

// postgresDir makes a directory of the server's user, who couldn't get into one of the
// test's.
func postgresDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "caddy-postgres")
	if err != nil {
		t.Fatal(err)
	}
	giveToPostgres(t, dir)
	return dir
}

func giveToPostgres(t testing.TB, path string) {
	t.Helper()
	if as := postgresUser(t); as != nil {
		if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
}

// postgresUser returns who the server runs as: it refuses to run as root.
func postgresUser(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		if u, err := user.Lookup(name); err == nil {
			uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
			gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
			if err1 == nil && err2 == nil {
				return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
			}
		}
	}
	missing(t, "a user postgres or nobody")
	return nil
}

// postgresCommand prepares one of the server's programs.
func postgresCommand(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.Sort(installed)
	if path, err := exec.LookPath("initdb"); err == nil {
		installed = append([]string{path}, installed...)
	}
	if len(installed) == 0 {
		missing(t, "PostgreSQL's initdb and postgres")
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(installed[len(installed)-1]), name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: postgresUser(t)}
	cmd.Dir = "/"
	return cmd
}

func mustRun(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
}

// filled has the files of a server that has the role and its database and was never
// started: to copy them is faster than to make them.
var filled struct {
	sync.Mutex
	dir string
}

func (e *postgresEngine) fillDir(t testing.TB) {
	t.Helper()
	filled.Lock()
	defer filled.Unlock()
	if filled.dir == "" {
		dir := postgresDir(t)
		defer func() {
			if filled.dir == "" {
				os.RemoveAll(dir)
			}
		}()
		data, password := filepath.Join(dir, "data"), filepath.Join(dir, "password")
		if err := os.WriteFile(password, []byte(e.password()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		giveToPostgres(t, password)
		mustRun(t, postgresCommand(t, "initdb", "--pgdata", data, "--username", "postgres", "--pwfile", password,
			"--auth", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C", "--wal-segsize", "1"))
		single := postgresCommand(t, "postgres", "--single", "-D", data, "postgres")
		single.Stdin = strings.NewReader(fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'\nCREATE DATABASE %s OWNER %[1]s\n", postgresRole, e.password(), postgresDatabase))
		mustRun(t, single)
		filled.dir = dir
	}
	mustRun(t, exec.Command("cp", "-a", filepath.Join(filled.dir, "data"), e.data()))
}

func (e *postgresEngine) data() string    { return filepath.Join(e.dir, "data") }
func (e *postgresEngine) logFile() string { return filepath.Join(e.dir, "log.txt") }

func (e *postgresEngine) start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(e.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := postgresCommand(t, "postgres", "-D", e.data(), "-c", fmt.Sprint("port=", e.port), "-c", "listen_addresses=127.0.0.1",
		"-c", "unix_socket_directories=", "-c", "shared_buffers=32MB")
	cmd.Stdout, cmd.Stderr = log, log
	if e.clock != "" {
		cmd.Env = withClock(t, e.clock, "")
	}
	e.run(t, cmd, e.address())
	becomes(t, "the server lets clients in", func() bool {
		conn, err := e.connect(t.Context())
		if err == nil {
			conn.Close(context.Background())
		}
		return err == nil
	})
}

// stop stops all of the server's processes and returns those that it has started.
func (e *postgresEngine) stop() (children []int) {
	pid := e.cmd.Process.Pid
	syscall.Kill(pid, syscall.SIGSTOP)
	for end := time.Now().Add(time.Second); processState(pid) != 'T' && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // it may just start one
	}
	list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for field := range strings.FieldsSeq(string(list)) {
		if child, err := strconv.Atoi(field); err == nil {
			syscall.Kill(child, syscall.SIGSTOP)
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

func (e *postgresEngine) kill() {
	if e.cmd == nil {
		return
	}
	children := e.stop()
	e.server.kill()
	for _, pid := range children {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	// As long as there is one, the server doesn't start again.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !slices.ContainsFunc(children, func(pid int) bool { state := processState(pid); return state != 0 && state != 'Z' }) {
			return
		}
	}
}

func (e *postgresEngine) pause(testing.TB) { e.pids = e.stop() }

func (e *postgresEngine) resume(t testing.TB) {
	t.Helper()
	for _, pid := range e.pids {
		syscall.Kill(pid, syscall.SIGCONT)
	}
	e.server.resume(t)
}

func (e *postgresEngine) empty(t testing.TB) {
	t.Helper()
	e.kill()
	if err := os.RemoveAll(e.data()); err != nil {
		t.Fatal(err)
	}
	e.fillDir(t)
	e.start(t)
}

func (e *postgresEngine) address() string { return fmt.Sprint("127.0.0.1:", e.port) }

func (*postgresEngine) password() string { return "p@ss/w:rd%{}" }

func (*postgresEngine) durability() string { return "verified" }

func (*postgresEngine) store(address string) string {
	return fmt.Sprintf(`store postgres postgres://%s@%s/%s {
			password {env.STORE_PASSWORD}
			timeout 1s
		}`, postgresRole, address, postgresDatabase)
}

func (e *postgresEngine) wrongPassword() []string {
	return []string{"postgres " + e.address(), "password is wrong"}
}

// connect connects as the superuser to the nodes' database.
func (e *postgresEngine) connect(ctx context.Context) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=%s sslmode=disable connect_timeout=10", e.port, postgresDatabase))
	if err != nil {
		return nil, err
	}
	c.Password = e.password()
	return pgx.ConnectConfig(ctx, c)
}

// do runs statements, each a transaction of its own.
func (e *postgresEngine) do(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := e.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// ask returns the one text that a query has.
func (e *postgresEngine) ask(t testing.TB, sql string, args ...any) (value string) {
	t.Helper()
	conn, err := e.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func (e *postgresEngine) setClock(t testing.TB, ahead time.Duration) {
	t.Helper()
	first := e.clock == ""
	e.clock = filepath.Join(e.dir, "clock")
	writeClock(t, e.clock, ahead)
	if first {
		e.kill()
		e.start(t)
	}
	now, err := strconv.ParseFloat(e.ask(t, "SELECT extract(epoch FROM clock_timestamp())::text"), 64)
	if off := time.Until(time.UnixMicro(int64(now*1e6))) - ahead; err != nil || off.Abs() > 10*time.Second {
		t.Fatalf("the server's clock is %s from where it should be: %v", off, err)
	}
}

// pollute adds a row with garbage, which nodes don't pass, and which it deletes after a
// moment as their errors say; another node's record again; and what isn't a beat.
func (e *postgresEngine) pollute(t testing.TB) (written int) {
	t.Helper()
	garbage := e.ask(t, `INSERT INTO token_revocation.records (number, tag, expires, payload)
		VALUES (nextval('token_revocation.numbers'), 1, now() + '1 hour', 'garbage') RETURNING number::text`)
	time.Sleep(10 * time.Millisecond)
	e.do(t, "DELETE FROM token_revocation.records WHERE number = "+garbage,
		`WITH m AS MATERIALIZED (SELECT FROM token_revocation.meta FOR NO KEY UPDATE)
		INSERT INTO token_revocation.records (number, tag, expires, payload)
		SELECT nextval('token_revocation.numbers'), tag, expires, payload
		FROM m, LATERAL (SELECT tag, expires, payload FROM token_revocation.records ORDER BY random() LIMIT 1) r`,
		`INSERT INTO token_revocation.nodes (id, number, at, said) VALUES ('garbage', 7, '-infinity', 'garbage') ON CONFLICT DO NOTHING`)
	return 3
}

func (e *postgresEngine) disk() string { return filepath.Join(e.dir, "disk") }

func (e *postgresEngine) ballast() string { return filepath.Join(e.disk(), "ballast") }

// fill moves the tables to a small disk, and fills that. What can't be written there is
// refused; a server that can't write its log of transactions would end.
func (e *postgresEngine) fill(t testing.TB) {
	t.Helper()
	tables := filepath.Join(e.disk(), "tables")
	if err := os.Mkdir(e.disk(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", e.disk(), "tmpfs", 0, "size=8m,mode=0755"); err != nil {
		missing(t, fmt.Sprintf("the right to mount a small file system (run as root): %v", err))
	}
	t.Cleanup(func() {
		e.kill()
		if err := syscall.Unmount(e.disk(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(tables, 0o700); err != nil {
		t.Fatal(err)
	}
	giveToPostgres(t, tables)
	e.do(t, "CREATE TABLESPACE small LOCATION '"+tables+"'")
	moves := e.ask(t, `SELECT string_agg(format('ALTER %s %s SET TABLESPACE small', CASE relkind WHEN 'i' THEN 'INDEX' ELSE 'TABLE' END, oid::regclass), ';')
		FROM pg_class WHERE relnamespace = 'token_revocation'::regnamespace AND relkind IN ('r', 'i')`)
	e.do(t, strings.Split(moves, ";")...)
	fillDisk(t, e.ballast())
}

func (e *postgresEngine) makeRoom(t testing.TB) {
	t.Helper()
	if err := os.Remove(e.ballast()); err != nil {
		t.Fatal(err)
	}
}

func (e *postgresEngine) addStandby(t testing.TB) {
	t.Helper()
	e.link = startLink(t, e.address())
	_, port, _ := net.SplitHostPort(e.link.address())
	e.standby = newPostgresServer(t)
	backup := postgresCommand(t, "pg_basebackup", "--pgdata", e.standby.data(), "--dbname", "host=127.0.0.1 port="+port+" user=postgres sslmode=disable",
		"--checkpoint", "fast", "--no-sync", "--write-recovery-conf", "--wal-method", "stream")
	backup.Env = append(os.Environ(), "PGPASSWORD="+e.password())
	mustRun(t, backup)
	e.standby.start(t)
	at := e.ask(t, "SELECT pg_current_wal_lsn()::text")
	becomes(t, "the standby has what the primary has", func() bool {
		return e.standby.ask(t, "SELECT (pg_last_wal_replay_lsn() >= $1::text::pg_lsn)::text", at) == "true"
	})
}

func (e *postgresEngine) cutStandby(testing.TB) { e.link.cut(bothWays) }

func (e *postgresEngine) promote(t testing.TB) {
	t.Helper()
	e.kill()
	e.server, e.port, e.dir = e.standby.server, e.standby.port, e.standby.dir
	e.standby.cmd = nil
	if e.ask(t, "SELECT pg_promote()::text") != "true" {
		t.Fatal("the standby wasn't promoted in time")
	}
}
