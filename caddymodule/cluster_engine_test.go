package caddymodule

import (
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// engine is a server on which nodes share a list, as safe as it gets. All that these
// tests know of engines is here and in a file for each of them.
type engine interface {
	start(t testing.TB)  // with what it kept
	kill()               // as a power cut would, but for what its kernel has
	pause(t testing.TB)  // it says nothing, and keeps its connections
	resume(t testing.TB) // it goes on as if nothing had been
	empty(t testing.TB)  // it runs, and has lost everything

	address() string // where it listens, the same after each start
	password() string
	store(address string) string // a node's Caddyfile: the store at an address, with {env.STORE_PASSWORD}
	wrongPassword() []string     // what a node says whose password is wrong
	durability() string          // what the status says of it
}

// These are faults that engines don't have in the same way. Each engine has all of them: one
// that is added fails until it does.
type (
	// clocked is an engine with a wall clock of its own.
	clocked interface {
		engine
		setClock(t testing.TB, ahead time.Duration) // of the machine's; the first call may start it anew
	}
	// polluted is one in which other clients can write among the records.
	polluted interface {
		engine
		// pollute writes garbage, and what looks like a record and isn't. It returns how much.
		pollute(t testing.TB) int
	}
	// fillable is one that can be full.
	fillable interface {
		engine
		fill(t testing.TB) // until there is no room for a record
		makeRoom(t testing.TB)
	}
	// forkable is one with a standby that can be promoted although it lacks something.
	forkable interface {
		engine
		addStandby(t testing.TB) // which has everything when this returns
		cutStandby(t testing.TB) // it gets nothing from now on, and nobody is told
		promote(t testing.TB)    // the engine is dead; the standby is it, at its own address
	}
)

// engines make those that the tests run on. They are stopped when the test ends.
var engines = []struct {
	name string
	make func(testing.TB) engine
}{
	{"redis", newRedis},
	{"postgres", newPostgres},
	{"nats", newNATS},
}

// onEachEngine runs a test on each engine that is an E, which is started for it.
func onEachEngine[E engine](t *testing.T, test func(t *testing.T, e E)) {
	t.Helper()
	for _, kind := range engines {
		t.Run(kind.name, func(t *testing.T) {
			e, ok := kind.make(t).(E)
			if !ok {
				t.Fatalf("%s can't be made to have this fault yet: it lacks the methods of %T", kind.name, new(E))
			}
			t.Setenv("STORE_PASSWORD", e.password())
			e.start(t)
			test(t, e)
		})
	}
}

// server is an engine's process.
type server struct {
	cmd *exec.Cmd
}

// run starts a command that ends with the tests, and waits until it listens.
func (s *server) run(t testing.TB, cmd *exec.Cmd, address string) {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.cmd = cmd
	becomes(t, cmd.Args[0]+" listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (s *server) kill() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) pause(t testing.TB)  { signal(t, s.cmd, syscall.SIGSTOP) }
func (s *server) resume(t testing.TB) { signal(t, s.cmd, syscall.SIGCONT) }

func signal(t testing.TB, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func becomes(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never becomes true that %s", what)
		}
	}
}
