package caddymodule

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisEngine is a redis-server of its own, and may have another one as its replica.
type redisEngine struct {
	server
	port  int
	dir   string
	args  []string
	clock string // the file that has how far the server's clock is ahead, if it has one

	standby *redisEngine
	link    *link // of the standby to this
}

var (
	_ clocked  = (*redisEngine)(nil)
	_ polluted = (*redisEngine)(nil)
	_ fillable = (*redisEngine)(nil)
	_ forkable = (*redisEngine)(nil)
)

func newRedis(t testing.TB) engine { return newRedisServer(t) }

func newRedisServer(t testing.TB, args ...string) *redisEngine {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "redis-server")
	}
	e := &redisEngine{port: freePorts(t)["PORT"], dir: t.TempDir(), args: args}
	t.Cleanup(e.kill)
	return e
}

func (e *redisEngine) start(t testing.TB) {
	t.Helper()
	cmd := exec.Command("redis-server", append([]string{"--port", fmt.Sprint(e.port), "--bind", "127.0.0.1", "--dir", e.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0",
		"--requirepass", e.password(), "--masterauth", e.password()}, e.args...)...)
	if e.clock != "" {
		// The library asks for memory before it is ready, and the server's allocator for the
		// time before it has any: that of libc doesn't.
		cmd.Env = withClock(t, e.clock, " libc.so.6")
	}
	e.run(t, cmd, e.address())
}

func (e *redisEngine) empty(t testing.TB) {
	t.Helper()
	e.kill()
	if err := os.RemoveAll(filepath.Join(e.dir, "appendonlydir")); err != nil {
		t.Fatal(err)
	}
	e.start(t)
}

func (e *redisEngine) address() string { return fmt.Sprint("127.0.0.1:", e.port) }

func (*redisEngine) password() string { return "p@ss/w:rd%{}" }

const redisDatabase = 3

func (*redisEngine) store(address string) string {
	return fmt.Sprintf(`store redis redis://%s/%d {
			password {env.STORE_PASSWORD}
			timeout 1s
		}`, address, redisDatabase)
}

func (e *redisEngine) wrongPassword() []string {
	return []string{"redis " + e.address(), "password is wrong"}
}

func (*redisEngine) durability() string { return "verified" }

// client returns another client than those of the nodes.
func (e *redisEngine) client(t testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: e.address(), Password: e.password(), DB: redisDatabase})
	t.Cleanup(func() { c.Close() })
	return c
}

// do runs a command, whose words are separated by spaces.
func (e *redisEngine) do(t testing.TB, command string) string {
	t.Helper()
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	c := e.client(t)
	defer c.Close()
	reply, err := c.Do(t.Context(), words...).Text()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return reply
}

// info returns a line of what the server tells about itself.
func (e *redisEngine) info(t testing.TB, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(e.do(t, "INFO"), "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}

func (e *redisEngine) setClock(t testing.TB, ahead time.Duration) {
	t.Helper()
	first := e.clock == ""
	e.clock = filepath.Join(e.dir, "clock")
	writeClock(t, e.clock, ahead)
	if first {
		e.kill()
		e.start(t)
	}
	now, err := e.client(t).Time(t.Context()).Result()
	if off := time.Until(now) - ahead; err != nil || off.Abs() > 10*time.Second {
		t.Fatalf("the server's clock is %s from where it should be: %v", off, err)
	}
}

// pollute adds to each stream: garbage behind everything, under a number that is a time; an
// entry without fields that mean anything; and the next number, with what was in another one.
func (e *redisEngine) pollute(t testing.TB) (written int) {
	t.Helper()
	c, ctx := e.client(t), t.Context()
	defer c.Close()
	streams, err := c.Keys(ctx, "*:log:*").Result()
	if err != nil {
		t.Error(err)
	}
	for _, stream := range streams {
		last, err := c.XRevRangeN(ctx, stream, "+", "-", 1).Result()
		if err != nil || len(last) == 0 {
			continue // it is being cleaned
		}
		number, _ := strconv.ParseUint(strings.TrimSuffix(last[0].ID, "-0"), 10, 64)
		for _, entry := range []redis.XAddArgs{
			{ID: fmt.Sprint(number+1, "-0"), Values: last[0].Values},
			{ID: fmt.Sprint(number+1, "-1"), Values: []string{"what", "is this"}},
			{ID: "*", Values: []string{"v", "garbage", "c", "0123456789abcdef"}},
		} {
			entry.Stream = stream
			if c.XAdd(ctx, &entry).Err() == nil { // else the number is taken
				written++
			}
		}
	}
	return written
}

func (e *redisEngine) fill(t testing.TB) {
	t.Helper()
	e.do(t, "CONFIG SET maxmemory 1")
}

func (e *redisEngine) makeRoom(t testing.TB) {
	t.Helper()
	e.do(t, "CONFIG SET maxmemory 0")
}

func (e *redisEngine) addStandby(t testing.TB) {
	t.Helper()
	e.link = startLink(t, e.address())
	host, port, _ := net.SplitHostPort(e.link.address())
	e.standby = newRedisServer(t, "--replicaof", host+" "+port)
	e.standby.start(t)
	becomes(t, "the replica has what the master has", func() bool {
		return e.standby.info(t, "master_link_status") == "up" && e.standby.info(t, "master_repl_offset") == e.info(t, "master_repl_offset")
	})
}

func (e *redisEngine) cutStandby(testing.TB) { e.link.cut(bothWays) }

func (e *redisEngine) promote(t testing.TB) {
	t.Helper()
	e.kill()
	e.server, e.port, e.dir, e.args = e.standby.server, e.standby.port, e.standby.dir, nil
	e.standby.cmd = nil
	e.do(t, "REPLICAOF NO ONE")
}
