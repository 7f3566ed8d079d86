// Processes of their own, for tests that kill one, or let its system calls
// fail: the test binary runs itself.

package boltstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// childVariable holds what a child process does, and with which arguments.
const childVariable = "BOLTSTORE_CHILD"

func TestMain(m *testing.M) {
	if command, args, ok := strings.Cut(os.Getenv(childVariable), " "); ok {
		// strace counts the calls of each thread: let there be one.
		runtime.LockOSThread()
		children[command](strings.Fields(args))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(args []string){
	"hold":    childHold,
	"append":  childAppend,
	"open":    childOpen,
	"creates": childCreates,
	"faults":  childFaults,
}

func childCommand(wrapper []string, args ...string) *exec.Cmd {
	argv := append(wrapper, os.Args[0])
	cmd := exec.Command(argv[0], argv[1:]...)
	// The race detector sleeps for a second at a process's end, unless told not to.
	cmd.Env = append(os.Environ(), childVariable+"="+strings.Join(args, " "), "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	return cmd
}

// say prints a line in one write, so that it is whole or not there.
func say(format string, args ...any) { os.Stdout.WriteString(fmt.Sprintf(format, args...) + "\n") }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

// childHold opens the store and holds it until it is killed.
func childHold(args []string) {
	_, err := Open(context.Background(), args[0], Options{})
	must(err)
	say("open")
	time.Sleep(time.Hour)
}

// childOpen opens the store, appends one record, and closes it.
func childOpen(args []string) {
	s, err := Open(context.Background(), args[0], Options{})
	must(err)
	must(s.Append(context.Background(), []revocation.Record{newRecord("opened", time.Hour)}))
	must(s.Close())
	say("done")
}

// childCreates creates stores in a directory until it is killed.
func childCreates(args []string) {
	for i := 0; ; i++ {
		s, err := Open(context.Background(), filepath.Join(args[0], strconv.Itoa(i), "records.db"), Options{})
		must(err)
		must(s.Append(context.Background(), []revocation.Record{newRecord("created", time.Hour)}))
		say("%d", i)
		must(s.Close())
	}
}

// childAppend appends batches of different sizes, prunes the expired records
// that are among them, and says what has been acknowledged, until it is killed.
func childAppend(args []string) {
	s, err := Open(context.Background(), args[0], Options{})
	must(err)
	for i := 0; ; i++ {
		batch := crashBatch(args[1], i)
		must(s.Append(context.Background(), batch))
		say("%s %d", args[1], i)
		if i%7 == 6 {
			_, err := s.Prune(context.Background(), time.Now())
			must(err)
		}
	}
}

// crashBatch makes the batch of that number, half of which has expired.
func crashBatch(round string, i int) []revocation.Record {
	batch := newBatch(fmt.Sprintf("%s-%d", round, i), 1+i*37%200)
	for j := range batch {
		if j%2 == 1 {
			batch[j].Expires = time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
		}
	}
	return batch
}

// childFaults appends batches of one record and says how each went: a number
// when it was acknowledged, else the kind of error. It ends after so many.
func childFaults(args []string) {
	s, err := Open(context.Background(), args[0], Options{})
	must(err)
	n, err := strconv.Atoi(args[1])
	must(err)
	for i := range n {
		err := s.Append(context.Background(), newBatch(fmt.Sprintf("faults-%d", i), 100))
		say("%d %s", i, kindOf(err))
	}
	_, err = s.Load(context.Background(), func([]revocation.Record) error { return nil })
	say("load %s", kindOf(err))
	must(s.Close())
}

func kindOf(err error) string {
	for kind, target := range map[string]error{"failed": revocation.ErrStoreFailed, "full": revocation.ErrStoreFull, "read-only": revocation.ErrStoreReadOnly} {
		if errors.Is(err, target) {
			return kind
		}
	}
	if err != nil {
		return err.Error()
	}
	return "acknowledged"
}

// runChild runs a child to its end and returns the lines it has printed.
func runChild(t *testing.T, wrapper []string, args ...string) []string {
	t.Helper()
	out, err := childCommand(wrapper, args...).Output()
	lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(out)), " ", "="))
	if err != nil {
		t.Fatalf("child %v: %v (%v)", args, err, lines)
	}
	return lines
}

// killChild starts a child, waits for its first line, kills it after the delay,
// and returns the lines it has printed.
func killChild(t *testing.T, delay time.Duration, args ...string) []string {
	t.Helper()
	cmd := childCommand(nil, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		if lines = append(lines, scan.Text()); len(lines) == 1 {
			time.AfterFunc(delay, func() { _ = cmd.Process.Kill() })
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child %v wasn't killed but ended by itself: %v", args, err)
	}
	return lines
}

// need skips the test, or fails it where everything must be there.
func need(t *testing.T, what string, ok bool) {
	t.Helper()
	switch {
	case ok:
	case os.Getenv("CI") != "":
		t.Fatalf("CI is set, but this test needs %s", what)
	default:
		t.Skipf("this test needs %s", what)
	}
}
