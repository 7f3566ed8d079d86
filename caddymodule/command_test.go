package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// These tests give commands to a real Caddy, over its admin API.

// printed is what a command came to.
type printed struct {
	out, asked string
	err        error
}

// tokensWith runs `caddy tokens …` with something as standard input.
func tokensWith(in io.Reader, args ...string) printed {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	cmd := &cobra.Command{Use: "tokens"}
	tokensCommand(cmd)
	root.AddCommand(cmd)
	var out, asked strings.Builder
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&asked)
	root.SetArgs(append([]string{"tokens"}, args...))
	err := root.Execute()
	return printed{out.String(), asked.String(), err}
}

// tokens runs `caddy tokens …` with this Caddy, and a text as standard input.
func (c *testCaddy) tokens(in string, args ...string) printed {
	return c.tokensTyped(strings.NewReader(in), args...)
}

func (c *testCaddy) tokensTyped(in io.Reader, args ...string) printed {
	return tokensWith(in, append(args, "--address", fmt.Sprintf("localhost:%d", c.ports["ADMIN"]))...)
}

// ok insists on success.
func (p printed) ok(t testing.TB) printed {
	t.Helper()
	if p.err != nil {
		t.Fatalf("%v\n%s%s", p.err, p.out, p.asked)
	}
	return p
}

// fails insists on an error with such a text.
func (p printed) fails(t testing.TB, want string) printed {
	t.Helper()
	if p.err == nil || !strings.Contains(p.err.Error(), want) {
		t.Errorf("the error is %v, want %q\n%s", p.err, want, p.out)
	}
	return p
}

// has insists on a part of the output.
func (p printed) has(t testing.TB, want ...string) printed {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(p.out, text) {
			t.Errorf("the output lacks %q:\n%s", text, p.out)
		}
	}
	return p
}

// hides insists that nothing has a secret.
func (p printed) hides(t testing.TB, secret string) printed {
	t.Helper()
	if strings.Contains(fmt.Sprint(p.out, p.asked, p.err), secret) {
		t.Errorf("%s is in %q %q %v", secret, p.out, p.asked, p.err)
	}
	return p
}

var anyID = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

// id returns the first revocation id in the output.
func (p printed) id(t testing.TB) string {
	t.Helper()
	id := anyID.FindString(p.out)
	if id == "" {
		t.Fatalf("no id in %q", p.out)
	}
	return id
}

const idp = "https://idp.example.com"

// claimed returns a JWT of the subject alice that was issued so long ago.
func claimed(t testing.TB, subject string, ago time.Duration) string {
	now := time.Now()
	return jwt(t, fmt.Sprintf(`{"iss":%q,"sub":%q,"jti":"id-of-%s","iat":%d,"exp":%d}`, idp, subject, subject, now.Add(-ago).Unix(), now.Add(time.Hour).Unix()))
}

func TestTokensFromRevokingToReinstating(t *testing.T) {
	c := startCaddy(t, oneSite)
	c.tokens("", "list").ok(t).has(t, "There are no such revocations.")
	c.tokens("", "status").ok(t).has(t, "All is well.\n", "\nIn force      0 records")

	wantStatus(t, bearer(t, c.URL("/"), "opaque-secret"), 200)
	p := c.tokens("opaque-secret\n", "revoke", "--reason", "in a log", "--actor", "eve").ok(t).hides(t, "opaque-secret")
	id := p.id(t)
	p.has(t, "Revoked: "+id+"\n", "  block  token=", "To take it back: caddy tokens reinstate "+id)
	wantStatus(t, bearer(t, c.URL("/"), "opaque-secret"), 401)

	c.tokens("", "list").ok(t).has(t, id+"  token=", "  block  in 30 d", "eve", "in a log")
	c.tokens("", "show", id).ok(t).has(t, "State       live: it is in force\n", "By          eve\n", "Why         in a log\n")
	c.tokens("opaque-secret", "check").fails(t, "exiting with status 3").hides(t, "opaque-secret").
		has(t, "REVOKED. The token is rejected by revocation "+id, "  "+id+", recorded ", "    rejected: block token=", "Form         opaque", "Flags that can't name it:\n  all others: the token has no claims")
	c.tokens("another", "check").ok(t).has(t, "ACTIVE. No record rejects the token.\n")

	p = c.tokens("", "reinstate", id, "--reason", "a test")
	p.fails(t, "--yes")
	wantStatus(t, bearer(t, c.URL("/"), "opaque-secret"), 401)
	c.tokens("", "reinstate", id, "--reason", "a test", "--yes").ok(t).has(t, "Taken back: "+id+"\n")
	wantStatus(t, bearer(t, c.URL("/"), "opaque-secret"), 200)
	c.tokens("", "list").ok(t).has(t, "There are no such revocations.")
	c.tokens("", "list", "--state", "all").ok(t).has(t, id+"  reinstated")
	c.tokens("", "show", id).ok(t).has(t, "State           reinstated", "  by            cli:", "  why           a test\n")
	c.tokens("", "reinstate", id, "--reason", "again", "--yes").fails(t, "reinstated already")
	c.tokens("", "reinstate", id, "--reason", "again").fails(t, "it was taken back and rejects nothing")
	c.tokens("", "show", strings.Replace(id, id[:8], "00000000", 1)).fails(t, "no such revocation")
}

func TestTokensOfAUser(t *testing.T) {
	c := startCaddy(t, oneSite)
	old, bob := claimed(t, "alice", time.Hour), claimed(t, "bob", time.Hour)
	logout := []string{"revoke", "--subject", "alice", "--issuer", idp, "--issued-before", "now", "--reason", "lost phone"}

	c.tokens("", append(logout, "--dry-run")...).ok(t).has(t, "This would be recorded:\n", "issued before 20", "sub=alice @ "+idp)
	c.tokens("", logout...).fails(t, "--yes")
	wantStatus(t, bearer(t, c.URL("/"), old), 200)
	p := c.tokens("", append(logout, "--yes", "--json")...).ok(t)
	var answer revokeResponse
	if err := json.Unmarshal([]byte(p.out), &answer); err != nil || answer.Outcome != outcomeRevoked || strings.Count(p.out, "\n") != 1 {
		t.Errorf("%v: %s", err, p.out)
	}
	wantStatus(t, bearer(t, c.URL("/"), old), 401)
	wantStatus(t, bearer(t, c.URL("/"), bob), 200)
	wantStatus(t, bearer(t, c.URL("/"), claimed(t, "alice", -5*time.Second)), 200)
	c.tokens(old, "check").fails(t, "3").has(t, "issued before 20", "not after the cutoff", "--subject alice --issuer "+idp)

	for flag, found := range map[string]bool{"alice": true, "bob": false} {
		if p := c.tokens("", "list", "--subject", flag).ok(t); strings.Contains(p.out, "lost phone") != found {
			t.Errorf("%s: %s", flag, p.out)
		}
	}
	c.tokens("", "list", "--kind", "block").ok(t).has(t, "no such")
	c.tokens("", "list", "--since", "1h", "--source", "admin", "--shape", "sub", "--kind", "issued_before").ok(t).has(t, "lost phone")
	c.tokens("", "list", "--until", "1h").ok(t).has(t, "no such")

	// A block hits new tokens too, and says so.
	p = c.tokens("", "revoke", "--subject", "bob", "--issuer", idp, "--reason", "left", "--expires-in", "60d", "--yes").ok(t)
	p.has(t, "  block  sub=bob @ "+idp, "(in 60 d)", "Warning: tokens that are issued from now on are rejected as well", "revoke with --issued-before now")
	wantStatus(t, bearer(t, c.URL("/"), bob), 401)
	wantStatus(t, bearer(t, c.URL("/"), claimed(t, "bob", -5*time.Second)), 401)
	c.tokens("", "status").ok(t).has(t, "block          sub       1\n", "issued_before  sub       1\n")
}

func TestTokensAsksAPerson(t *testing.T) {
	c := startCaddy(t, oneSite)
	token := claimed(t, "alice", time.Hour)
	wide := []string{"revoke", "--subject", "alice", "--issuer", idp}

	no := c.tokensTyped(types("stolen", "n"), wide...)
	no.fails(t, "nothing was changed")
	for _, want := range []string{"Why?", "This would be recorded:\n", "sub=alice", "Revoke? [y/N]"} {
		if !strings.Contains(no.asked, want) || no.out != "" {
			t.Errorf("%q wasn't asked: %q, and printed %q", want, no.asked, no.out)
		}
	}
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	yes := c.tokensTyped(types("stolen", "y"), wide...).ok(t).has(t, "Revoked: ")
	wantStatus(t, bearer(t, c.URL("/"), token), 401)

	back := c.tokensTyped(types("found again", "y"), "reinstate", yes.id(t)).ok(t)
	if !strings.Contains(back.asked, "sub=alice") || !strings.Contains(back.asked, "Take back? [y/N]") {
		t.Errorf("asked %q", back.asked)
	}
	wantStatus(t, bearer(t, c.URL("/"), token), 200)

	// One token is revoked without a question, but for why.
	p := types("stolen")
	p.hidden = []string{token}
	one := c.tokensTyped(p, "revoke").ok(t).hides(t, token)
	if strings.Contains(one.asked, "[y/N]") {
		t.Errorf("asked %q", one.asked)
	}
	wantStatus(t, bearer(t, c.URL("/"), token), 401)
}

func TestTokensPages(t *testing.T) {
	c := startCaddy(t, oneSite)
	for i := range 5 {
		c.tokens(fmt.Sprint("token-", i), "revoke", "--reason", fmt.Sprint("reason-", i)).ok(t)
	}
	seen := ""
	args := []string{"list", "--limit", "2"}
	for range 3 {
		p := c.tokens("", args...).ok(t)
		seen += p.out
		_, after, more := strings.Cut(p.out, "--after ")
		if !more {
			break
		}
		args = []string{"list", "--limit", "2", "--after", strings.TrimSpace(after)}
	}
	all := c.tokens("", "list", "--all", "--limit", "2").ok(t)
	for i := range 5 {
		if reason := fmt.Sprint("reason-", i); strings.Count(seen, reason) != 1 || strings.Count(all.out, reason) != 1 {
			t.Errorf("%s isn't there once:\n%s\n%s", reason, seen, all.out)
		}
	}
	if strings.Contains(all.out, "--after") {
		t.Errorf("all pages say that there are more:\n%s", all.out)
	}
}

func TestTokensExportAndImport(t *testing.T) {
	c := startCaddy(t, oneSite)
	token := claimed(t, "alice", time.Hour)
	c.tokens(token, "revoke", "--reason", "leaked").ok(t)
	file := filepath.Join(t.TempDir(), "all.ndjson")
	if p := c.tokens("", "export", "--output", file).ok(t); p.out != "" {
		t.Errorf("printed %q", p.out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has the mode %s", info.Mode())
	}
	if got := c.tokens("", "export").ok(t).out; got != string(content) || !strings.Contains(got, `"reason":"leaked"`) {
		t.Errorf("exported %q, the file has %q", got, content)
	}

	// Another store knows nothing of it. A reload would carry it over.
	c.restart(t, "{\n\ttoken_revocation {\n\t\tstore bolt DIR/other.db\n\t}\n}\n"+oneSite)
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	c.tokens("", "import", file).ok(t).has(t, "LINES  ACCEPTED  MERGED  EXPIRED  REFUSED\n1      1         0       0        0\n")
	wantStatus(t, bearer(t, c.URL("/"), token), 401)
	c.tokens(string(content), "import", "-").ok(t).has(t, "\n1      0         1 ")

	lines := `{"kind":"block","selector":{"iss":"` + idp + `","sub":"bob"}}
{"kind":"nonsense"}
{"kind":"block","selector":{"iss":"` + idp + `","sub":"carol"}}
`
	p := c.tokens(lines, "import", "-", "--strict", "--reason", "left")
	p.fails(t, "line 2")
	c.tokens("", "list", "--subject", "carol").ok(t).has(t, "no such")
	p = c.tokens(lines, "import", "-", "--reason", "left")
	p.fails(t, "refused").has(t, "\n3      1         1       0        1\n", "Refused:\n  line 2: ")
	c.tokens("", "list", "--subject", "carol").ok(t).has(t, "left", "cli:")
	c.tokens("", "import", filepath.Join(t.TempDir(), "none")).fails(t, "no such file")
	c.tokens("", "import", t.TempDir()).fails(t, "is a directory")
}

// An export that breaks off leaves no file, and what was there stays.
func TestAnExportThatBreaksOff(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"kind":"block"}`+"\n")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	address := serveAdmin(t, api)
	dir := t.TempDir()
	file := filepath.Join(dir, "all.ndjson")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokensWith(strings.NewReader(""), "export", "-o", file, "--address", address).fails(t, "not complete")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if content, _ := os.ReadFile(file); string(content) != "before" {
		t.Errorf("the file has %q", content)
	}
	tokensWith(strings.NewReader(""), "export", "--address", address).fails(t, "not complete")
}

func TestTokensSaysWhatIsWrong(t *testing.T) {
	free := fmt.Sprintf("localhost:%d", freePorts(t)["ADMIN"])
	none := strings.NewReader("")
	tokensWith(none, "status", "--address", free).fails(t, "no Caddy answers at "+free)
	tokensWith(none, "status", "--address", free).fails(t, "--address")
	tokensWith(none, "status", "--address", "unix//nowhere/admin.sock|0220").fails(t, "no Caddy answers at unix//nowhere/admin.sock|0220 (connect: no such file")
	tokensWith(none, "status", "--config", "/nowhere/Caddyfile").fails(t, "/nowhere/Caddyfile")

	old := serveAdmin(t, http.NotFoundHandler()) // as a Caddy without this module
	tokensWith(none, "status", "--address", old).fails(t, "doesn't have this module")
	web := serveAdmin(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	tokensWith(none, "status", "--address", web).fails(t, "isn't Caddy's admin API")

	c := startCaddy(t, ":PORT {\n\trespond hello\n}")
	c.tokens("", "status").fails(t, "add reject_revoked")
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(c.fill(oneSite)), 0o600); err != nil {
		t.Fatal(err)
	}
	c.load(t, oneSite)
	tokensWith(none, "status", "--config", config).ok(t).has(t, "All is well.")

	for want, args := range map[string][]string{
		"--subject is empty":       {"revoke", "--subject", "", "--issuer", idp, "--reason", "x"},
		"--reason":                 {"revoke", "--subject", "alice"},
		"--issuer is required":     {"revoke", "--subject", "alice", "--reason", "x", "--yes"},
		"can't be combined":        {"revoke", "--token", "--subject", "alice", "--reason", "x"},
		"only goes with a token":   {"revoke", "--cascade", "session", "--subject", "alice", "--reason", "x"},
		"revoked without a cutoff": {"revoke", "--issued-before", "now", "--reason", "x"},
		"two revocations":          {"revoke", "--issued-before", "now", "--authenticated-before", "now", "--subject", "alice", "--reason", "x"},
		"is not a time":            {"revoke", "--issued-before", "soon", "--subject", "alice", "--reason", "x"},
		"--expires-in must be":     {"revoke", "--expires-in", "soon", "--subject", "alice", "--reason", "x"},
		"--claim takes":            {"revoke", "--claim", "tenant", "--reason", "x"},
		"stands twice":             {"revoke", "--claim", "a=1", "--claim", "a=2", "--reason", "x"},
		"standard input is empty":  {"revoke", "--reason", "x"},
		"did you mean revoke?":     {"revok"},
		"there is no such command": {"frobnicate"},
		"kind must be":             {"list", "--kind", "ban"},
		"state must be":            {"list", "--state", "dead"},
		"limit must be":            {"list", "--limit", "1001"},
		"is not the id":            {"show", "alice"},
		"name the id":              {"show"},
		"name the ids":             {"reinstate", "--reason", "x"},
		"name the file":            {"import"},
		"--since is not a time":    {"list", "--since", "soon"},
	} {
		c.tokens("", args...).fails(t, want)
	}
}

// serveAdmin serves something else than this module's admin API, and returns the address.
func serveAdmin(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// A token that somebody writes where it doesn't belong is refused without repeating it.
func TestTokensAreNotTakenFromTheCommandLine(t *testing.T) {
	c := startCaddy(t, oneSite)
	secret := claimed(t, "alice", time.Hour)
	payload := strings.Split(secret, ".")[1]
	for _, args := range [][]string{
		{secret},
		{"revoke", secret},
		{"revoke", "--token", secret},
		{"revoke", "--token=" + secret},
		{"revoke", "--reason", "x", secret},
		{"check", secret},
		{"check", "--token", secret},
		{"check", "--token=" + secret},
		{"revoke", "-" + secret},
		{"revoke", "--" + secret},
		{"list", "--limit", secret},
		{"list", "--limit=" + secret},
		{"show", secret},
		{"reinstate", secret, "--reason", "x"},
		{"revoke", "--jti", secret, "--reason", "x", "--yes"},
		{"revoke", "--issuer", secret, "--reason", "x", "--yes"},
		{"revoke", "--claim", "tenant=" + secret, "--reason", "x", "--yes"},
		{"revoke", "--claim", secret, "--reason", "x", "--yes"},
		{"list", "--subject", secret},
		{"revoke", "--subject", "alice", "--issuer", idp, "--reason", "found " + secret, "--yes"},
		{"revoke", "--issued-before", secret, "--subject", "alice", "--reason", "x"},
		{"list", "--since", secret},
		{"import", secret},
	} {
		p := c.tokens("", args...)
		if p.err == nil {
			t.Errorf("%.40q succeeded", args)
		}
		p.hides(t, payload)
	}
	wantStatus(t, bearer(t, c.URL("/"), secret), 200)
	c.tokens("", "revoke", secret).fails(t, "shell's history")
}

// TestAnExportReplacesOnlyFiles: to put one into the place of /dev/null would break the
// machine.
func TestAnExportReplacesOnlyFiles(t *testing.T) {
	text := func(w io.Writer) error { _, err := io.WriteString(w, "exported"); return err }
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := writeWhole(fmt.Sprintf("/dev/fd/%d", w.Fd()), text); err != nil {
		t.Error(err)
	}
	w.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "exported" {
		t.Errorf("%q, %v", got, err)
	}

	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := writeWhole(link, text); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "exported" {
		t.Errorf("%q, %v", got, err)
	}
	if err := writeWhole(dir, text); err == nil {
		t.Error("wrote to a directory")
	}
}
