package caddymodule

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// redisEngine is a redis-server of its own.
type redisEngine struct {
	server
	port int
	dir  string
}

func newRedis(t testing.TB) engine {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		missing(t, "redis-server")
	}
	e := &redisEngine{port: freePorts(t)["PORT"], dir: t.TempDir()}
	t.Cleanup(e.kill)
	return e
}

func (e *redisEngine) start(t testing.TB) {
	t.Helper()
	e.run(t, exec.Command("redis-server", "--port", fmt.Sprint(e.port), "--bind", "127.0.0.1", "--dir", e.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--requirepass", e.password()), e.address())
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

func (*redisEngine) store(address string) string {
	host, port, _ := net.SplitHostPort(address)
	return fmt.Sprintf(`store redis redis://%s:%s/3 {
			password {env.STORE_PASSWORD}
			timeout 1s
		}`, host, port)
}

func (e *redisEngine) wrongPassword() []string {
	return []string{"redis " + e.address(), "password is wrong"}
}
