package caddymodule

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is shared by configurations logs to the one that is in use, also after one that
// failed: the log of any other is closed.
func TestWhatIsSharedLogsToTheConfigurationInUse(t *testing.T) {
	var out [3]bytes.Buffer
	var logs [3]*slog.Logger
	for i := range out {
		logs[i] = slog.New(slog.NewTextHandler(&out[i], nil))
	}
	l := newCurrentLog(logs[0])
	logger := l.logger().With("a", 1).WithGroup("g").With("b", 2)
	wantLine := func(want int) {
		t.Helper()
		logger.Info("message")
		for i := range out {
			text := out[i].String()
			if (i == want) != strings.Contains(text, "message a=1 g.b=2\n") && (i == want || text != "") {
				t.Errorf("log %d: %q, want the line in %d", i, text, want)
			}
			out[i].Reset()
		}
		if logger.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("debug is enabled")
		}
	}
	wantLine(0)
	l.use(logs[0])
	l.use(logs[1]) // a reload
	wantLine(1)
	l.leave(logs[0])
	wantLine(1)
	l.use(logs[2]) // one that fails
	wantLine(2)
	l.leave(logs[2])
	wantLine(1)
	l.leave(logs[1]) // the end
	wantLine(1)
}

// The audit log has a name of its own, under which Caddy's logs include and exclude it.
func TestAuditLog(t *testing.T) {
	c := startCaddy(t, `
{
	log audit {
		include token_revocation.audit
		output file DIR/audit.log
	}
	log rest {
		exclude token_revocation.audit
		level DEBUG
		output file DIR/rest.log
	}
}
`+oneSite)
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "app", "wrong", "token"), 401)
	c.load(t, strings.Replace(`
{
	log audit {
		include token_revocation.audit
		level WARN
		output file DIR/audit.log
	}
}
`+oneSite, "respond served", "respond again", 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "another") // below the level
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "app", "wrong", "token"), 401)

	fingerprint := activeApp(t).reader.ReadFacts("token").Fingerprint.String()
	lines := logLines(t, filepath.Join(c.dir, "audit.log"))
	if len(lines) != 3 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	for n, want := range []map[string]any{
		{"level": "info", "event": "revoked", "outcome": "revoked", "actor": "client:app", "client_id": "app", "source": "endpoint", "fingerprint": fingerprint},
		{"level": "warn", "event": "refused", "outcome": "invalid_client", "claimed_client_id": "app", "status": 401.0},
		{"level": "warn", "event": "refused", "outcome": "invalid_client"},
	} {
		want["logger"], want["msg"] = "token_revocation.audit", "token revocation"
		for name, value := range want {
			if lines[n][name] != value {
				t.Errorf("line %d has the %s %v, want %v: %v", n, name, lines[n][name], value, lines[n])
			}
		}
	}
	selectors, _ := json.Marshal(lines[0]["selectors"])
	if want := `{"token":{"token":"` + fingerprint + `"}}`; string(selectors) != want || lines[0]["stacktrace"] != nil {
		t.Errorf("the selectors are %s, want %s: %v", selectors, want, lines[0])
	}
	rest := logLines(t, filepath.Join(c.dir, "rest.log"))
	if len(rest) == 0 {
		t.Error("the other log has nothing")
	}
	for _, line := range rest {
		if line["logger"] == "token_revocation.audit" || line["outcome"] != nil {
			t.Errorf("the other log has %v", line)
		}
	}
}

// logLines reads a log in JSON.
func logLines(t testing.TB, file string) (lines []map[string]any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		lines = append(lines, fields)
	}
	return lines
}

// TestPersonalDataCanBeTakenOutOfTheAuditLog by the filter that docs/monitoring.md shows.
func TestPersonalDataCanBeTakenOutOfTheAuditLog(t *testing.T) {
	c := startCaddy(t, `
{
	log audit {
		include token_revocation.audit
		output file DIR/audit.log
		format filter {
			selectors>sub>sub hash
			selectors>client_id+sub delete
			address ip_mask {
				ipv4 24
			}
			reason delete
		}
	}
}
`+oneSite)
	for _, body := range []string{
		`{"iss":"https://idp.example.com","sub":"alice","reason":"alice left"}`,
		`{"iss":"https://idp.example.com","sub":"alice","client_id":"app","reason":"alice left"}`,
	} {
		r, err := http.NewRequest(http.MethodPost, c.urlOf("ADMIN", "/token_revocation/records"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		wantStatus(t, do(t, r), http.StatusCreated)
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")

	path := filepath.Join(c.dir, "audit.log")
	lines := logLines(t, path)
	if len(lines) != 3 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	sub, _ := lines[0]["selectors"].(map[string]any)["sub"].(map[string]any)
	if sub["iss"] != "https://idp.example.com" || sub["sub"] == "" || sub["sub"] == "alice" {
		t.Errorf("the selector is %v", sub)
	}
	for i, line := range lines {
		if line["address"] != "127.0.0.0" {
			t.Errorf("line %d has the address %v", i, line["address"])
		}
	}
	if content, err := os.ReadFile(path); err != nil || strings.Contains(string(content), "alice") {
		t.Errorf("the log has the name, %v: %s", err, content)
	}
}

// A log that includes all of the module has the audit log as well.
func TestTheAuditLogBelongsToTheModule(t *testing.T) {
	c := startCaddy(t, `
{
	log module {
		include token_revocation
		output file DIR/module.log
	}
}
`+oneSite)
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")
	lines := logLines(t, filepath.Join(c.dir, "module.log"))
	if len(lines) != 1 || lines[0]["logger"] != "token_revocation.audit" {
		t.Errorf("the log has %v", lines)
	}
}
