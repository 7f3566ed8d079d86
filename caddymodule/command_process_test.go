package caddymodule

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// These tests run the program as a user does, beside a Caddy that is a process of its
// own.

// ran is what a program came to.
type ran struct {
	out, stderr string
	code        int
}

// tokens runs the program's `tokens …` with a text as standard input.
func (p *process) tokens(t *testing.T, in string, args ...string) ran {
	t.Helper()
	cmd := exec.CommandContext(within(t, time.Minute), buildCaddy(t), append([]string{"tokens"}, args...)...)
	cmd.Env = append(cmd.Environ(), "TZ=UTC")
	cmd.Stdin = strings.NewReader(in)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if exited := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return ran{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestTheProgramsExitCodes(t *testing.T) {
	p := newProcess(t, t.TempDir())
	p.start(t, oneSite)
	address := fmt.Sprintf("localhost:%d", p.ports["ADMIN"])
	want := func(in string, code int, out string, args ...string) ran {
		t.Helper()
		r := p.tokens(t, in, append(args, "--address", address)...)
		if r.code != code || !strings.Contains(r.out, out) || out == "" && r.out != "" {
			t.Errorf("%q: exit code %d, printed %q %q, want %d and %q", args, r.code, r.out, r.stderr, code, out)
		}
		if strings.Contains(r.out+r.stderr, "very-secret") {
			t.Errorf("%q shows the token: %q %q", args, r.out, r.stderr)
		}
		return r
	}
	want("very-secret", 0, "ACTIVE", "check")
	want("very-secret", 0, "", "check", "--quiet")
	revoked := want("very-secret\n", 0, "Revoked: ", "revoke", "--reason", "leaked")
	wantStatus(t, bearer(t, p.URL("/"), "very-secret"), 401)
	want("very-secret", 3, "REVOKED", "check")
	if r := want("very-secret", 3, "", "check", "-q"); r.stderr != "" {
		t.Errorf("a quiet check says %q", r.stderr)
	}
	want(jwt(t, `{"sub":"alice","sub":"bob"}`), 4, "MALFORMED", "check")
	want("", 1, "", "check")
	want("", 1, "", "revoke", "--issuer", idp, "--reason", "x")
	id := anyID.FindString(revoked.out)
	want("", 0, "Taken back: "+id, "reinstate", id, "--reason", "a test", "--yes")
	want("very-secret", 0, "ACTIVE", "check")
	want("{}\n", 1, "REFUSED", "import", "-")

	p.kill()
	if r := p.tokens(t, "very-secret", "check", "--address", address); r.code != 1 || !strings.Contains(r.stderr, "Error: no Caddy answers at "+address) {
		t.Errorf("without a Caddy: %d %q", r.code, r.stderr)
	}
}

// At a terminal the program asks, and doesn't show the token that is typed, however long
// it is. The program script makes a terminal for it.
func TestTheProgramAtATerminal(t *testing.T) {
	if _, err := exec.LookPath("script"); err != nil {
		missing(t, "script (of util-linux)")
	}
	p := newProcess(t, t.TempDir())
	p.start(t, oneSite)
	secret := "very-secret-" + strings.Repeat("0123456789", 1000) // a terminal cuts lines at 4096
	screen := startTerminal(t, fmt.Sprintf("%s tokens revoke --address localhost:%d", buildCaddy(t), p.ports["ADMIN"]))
	screen.waitFor(t, "Token (it isn't shown): ")
	screen.types(t, secret+"\r")
	screen.waitFor(t, "Why?")
	screen.types(t, "typed\r")
	screen.waitFor(t, "Revoked: ")
	if strings.Contains(screen.seen.String(), "very-secret") {
		t.Errorf("the terminal shows the token: %q", &screen.seen)
	}
	wantStatus(t, bearer(t, p.URL("/"), secret), 401)

	screen = startTerminal(t, fmt.Sprintf("%s tokens revoke --subject alice --issuer %s --reason x --address localhost:%d", buildCaddy(t), idp, p.ports["ADMIN"]))
	screen.waitFor(t, "Revoke? [y/N] ")
	screen.types(t, "n\r")
	screen.waitFor(t, "nothing was changed")
	wantStatus(t, bearer(t, p.URL("/"), claimed(t, "alice", time.Hour)), 200)
}

// screen is a terminal in which a program runs.
type screen struct {
	in   io.Writer
	out  io.Reader
	seen bytes.Buffer
}

func startTerminal(t *testing.T, command string) *screen {
	t.Helper()
	cmd := exec.CommandContext(within(t, time.Minute), "script", "-qec", command, "/dev/null")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return &screen{in: in, out: out}
}

func (s *screen) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.in, text); err != nil {
		t.Fatal(err)
	}
}

// waitFor reads what is shown until there is a text.
func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for b := make([]byte, 4096); !strings.Contains(s.seen.String(), text); {
		n, err := s.out.Read(b)
		s.seen.Write(b[:n])
		if err != nil && !strings.Contains(s.seen.String(), text) {
			t.Fatalf("%v, and %q wasn't shown: %q", err, text, &s.seen)
		}
	}
}
