package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsEngine is a nats-server of its own.
type natsEngine struct {
	server
	port  int
	dir   string
	clock string // the file that has how far the server's clock is ahead, if it has one

	standby string // where there is a copy of what it had
}

var (
	_ clocked  = (*natsEngine)(nil)
	_ polluted = (*natsEngine)(nil)
	_ fillable = (*natsEngine)(nil)
	_ forkable = (*natsEngine)(nil)
)

func newNATS(t testing.TB) engine {
	t.Helper()
	if _, err := exec.LookPath("nats-server"); err != nil {
		missing(t, "nats-server")
	}
	e := &natsEngine{port: freePorts(t)["PORT"], dir: t.TempDir()}
	t.Cleanup(func() {
		e.kill()
		if text, err := os.ReadFile(e.logFile()); err == nil && t.Failed() {
			t.Logf("the server's log ends with:\n%s", text[max(0, len(text)-3000):])
		}
	})
	return e
}

func (e *natsEngine) logFile() string { return filepath.Join(e.dir, "log") }
func (e *natsEngine) disk() string    { return filepath.Join(e.dir, "disk") }

const natsUser = "caddy"

func (e *natsEngine) start(t testing.TB) {
	t.Helper()
	config := filepath.Join(e.dir, "server.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "listen: %q\nlog_file: %q\nauthorization { user: %s, password: %q }\njetstream { store_dir: %q, sync_interval: always }\n",
		e.address(), e.logFile(), natsUser, e.password(), e.disk()), 0o600); err != nil {
		t.Fatal(err)
	}
	program := "nats-server"
	if e.clock != "" {
		program = natsServerWithClock(t)
	}
	cmd := exec.Command(program, "-c", config)
	if e.clock != "" {
		cmd.Env = append(os.Environ(), "CLOCK_AHEAD="+e.clock)
	}
	e.run(t, cmd, e.address())
}

func (e *natsEngine) empty(t testing.TB) {
	t.Helper()
	e.kill()
	if err := os.RemoveAll(e.disk()); err != nil {
		t.Fatal(err)
	}
	e.start(t)
}

func (e *natsEngine) address() string { return fmt.Sprint("127.0.0.1:", e.port) }

func (*natsEngine) password() string { return "p@ss/w:rd%{}" }

func (*natsEngine) store(address string) string {
	return fmt.Sprintf(`store nats nats://%s {
			username %s
			password {env.STORE_PASSWORD}
			sync_always
			timeout 1s
		}`, address, natsUser)
}

func (e *natsEngine) durability() string { return "stated" }

func (e *natsEngine) wrongPassword() []string {
	return []string{"nats " + e.address(), "the password", "is wrong"}
}

// natsRecords is the stream that has the revocations.
const natsRecords = "token_revocation"

// client returns another client than those of the nodes.
func (e *natsEngine) client(t testing.TB) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect("nats://"+e.address(), nats.UserInfo(natsUser, e.password()))
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

func (e *natsEngine) setClock(t testing.TB, ahead time.Duration) {
	t.Helper()
	first := e.clock == ""
	e.clock = filepath.Join(e.dir, "clock")
	if err := os.WriteFile(e.clock+".new", fmt.Append(nil, int(ahead.Seconds())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(e.clock+".new", e.clock); err != nil {
		t.Fatal(err)
	}
	if first {
		e.kill()
		e.start(t)
	}
	clock, err := e.client(t).CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "clock", Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatal(err)
	}
	becomes(t, "the server's clock is set", func() bool {
		info, err := clock.Info(t.Context())
		return err == nil && (time.Until(info.TimeStamp)-ahead).Abs() < 10*time.Second
	})
}

// natsServerWithClock builds a nats-server whose package time adds to the wall clock what a
// file says, in seconds. Go programs ask the kernel for the time without the C library, so
// that libfaketime can do nothing about it.
func natsServerWithClock(t testing.TB) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const now = "\tsec, nsec, mono := runtimeNow()\n"
	if bytes.Count(text, []byte(now)) != 1 {
		t.Fatalf("package time of this Go has another way to the clock than %q", now)
	}
	dir := t.TempDir()
	files := map[string][]byte{
		"time.go":  bytes.Replace(text, []byte(now), []byte(now+"\tsec += clockAhead.Load()\n"), 1),
		"ahead.go": []byte(clockAhead),
	}
	overlay := map[string]string{}
	for name, text := range files {
		overlay[filepath.Join(source, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), replace, 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "nats-server")
	command(t, "go", "build", "-C", "../tools", "-trimpath", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, "github.com/nats-io/nats-server/v2")
	return program
}

// clockAhead is what package time gets. It looks into the file by itself: Now is called
// where no other call to the system is possible.
const clockAhead = `package time

import (
	"sync/atomic"
	"syscall"
)

var clockAhead atomic.Int64

func init() {
	readClock()
	go func() {
		for {
			Sleep(Millisecond)
			readClock()
		}
	}()
}

func readClock() {
	name, _ := syscall.Getenv("CLOCK_AHEAD")
	f, err := open(name)
	if err != nil {
		return
	}
	defer closefd(f)
	text := make([]byte, 32)
	n, _ := read(f, text)
	if seconds, err := atoi(text[:max(n, 0)]); err == nil {
		clockAhead.Store(int64(seconds))
	}
}
`

// pollute writes garbage to all subjects, and again what is already there.
func (e *natsEngine) pollute(t testing.TB) (written int) {
	t.Helper()
	js, ctx := e.client(t), t.Context()
	defer js.Conn().Close()
	records, err := js.Stream(ctx, natsRecords)
	if err != nil {
		t.Fatal(err)
	}
	last, err := records.GetLastMsgForSubject(ctx, natsRecords+".log")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []nats.Msg{
		{Subject: natsRecords + ".log", Data: []byte("garbage")},
		{Subject: natsRecords + ".log", Data: last.Data},
		{Subject: natsRecords + ".log", Header: nats.Header{"What": {"is this"}}},
		{Subject: natsRecords + ".part", Data: []byte("tr")},
		{Subject: natsRecords + ".head.nobody", Data: []byte("garbage")},
		{Subject: natsRecords + ".node.0.nobody", Data: []byte("garbage")},
		{Subject: natsRecords + ".node.f.nobody", Data: []byte(`{"node":"","fresh":true}`)},
	} {
		if _, err := js.PublishMsg(ctx, &m); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
			continue
		}
		written++
	}
	return written
}

func (e *natsEngine) fill(t testing.TB)     { e.limit(t, 1) }
func (e *natsEngine) makeRoom(t testing.TB) { e.limit(t, -1) }

// limit sets how many bytes the stream of revocations may have.
func (e *natsEngine) limit(t testing.TB, size int64) {
	t.Helper()
	js := e.client(t)
	records, err := js.Stream(t.Context(), natsRecords)
	if err != nil {
		t.Fatal(err)
	}
	config := records.CachedInfo().Config
	config.MaxBytes = size
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
}

// A server of its own has no standby. What takes its place is what it had on its disk a
// while ago, as a volume that is restored from a snapshot.
func (e *natsEngine) addStandby(t testing.TB) { e.standby = t.TempDir() }

func (e *natsEngine) cutStandby(t testing.TB) {
	t.Helper()
	e.pause(t)
	defer e.resume(t)
	if err := os.CopyFS(e.standby, os.DirFS(e.disk())); err != nil {
		t.Fatal(err)
	}
}

func (e *natsEngine) promote(t testing.TB) {
	t.Helper()
	e.kill()
	if err := os.RemoveAll(e.disk()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(e.disk(), os.DirFS(e.standby)); err != nil {
		t.Fatal(err)
	}
	e.port = freePorts(t)["PORT"]
	e.start(t)
}
