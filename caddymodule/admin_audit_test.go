package caddymodule

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheAuditLogHasEveryChangeOfTheAdminAPIAndEveryRefusal(t *testing.T) {
	c := startCaddy(t, `
{
	log audit {
		include token_revocation.audit
		output file DIR/audit.log
	}
	token_revocation {
		store switched DIR/records.db
	}
}
`+oneSite)
	id := c.revokeBy(t, `"token":"a-token","actor":"alice"`).Revocation.ID
	c.revokeBy(t, `"sub":"bob","iss":"https://idp.example.com","issued_before":"now"`)
	mustAdmin[revokeResponse](t, c, 200, "POST", "records", `{"reason":"r","dry_run":true,"token":"x"}`)
	refused(t, c.admin(t, "POST", "records", `{"token":"x"}`), 400)
	refused(t, c.admin(t, "GET", "records/x", ``), 400)
	refused(t, c.admin(t, "DELETE", "records/"+strings.ReplaceAll(id, "0", "1"), `{"reason":"r","actor":"carol"}`), 404)
	made := mustAdmin[reinstateResponse](t, c, 200, "DELETE", "records/"+id, `{"reason":"a mistake","actor":"dave"}`).ID
	refused(t, c.admin(t, "DELETE", "records/"+id, `{"reason":"r"}`), 409)
	c.importLines(t, lines(3, "a")+"nonsense\n", "?actor=erin&reason=moved")
	refused(t, c.admin(t, "POST", "import?strict=true", "nonsense\n"), 400)
	refused(t, c.admin(t, "POST", "import?strict=true", lines(2, "b")+"nonsense\n"), 400)
	mend := failStore(t)
	refused(t, c.admin(t, "POST", "records", `{"reason":"r","token":"b-token"}`), 503)
	mend()

	text, err := os.ReadFile(filepath.Join(c.dir, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["logger"] != "token_revocation.audit" || entry["address"] != "127.0.0.1" {
			t.Errorf("%s", line)
		}
		got = append(got, entry)
	}
	want := []map[string]any{
		{"event": "revoked", "outcome": "revoked", "source": "admin", "actor": "alice", "reason": "a test", "revocation_id": id, "status": 201.0, "level": "info"},
		{"event": "revoked", "actor": "admin", "source": "admin"},
		{"event": "refused", "outcome": "invalid_request", "status": 400.0, "source": "admin", "level": "warn"},
		{"event": "refused", "outcome": "unknown_revocation", "status": 404.0, "actor": "carol", "reason": "r"},
		{"event": "reinstated", "outcome": "reinstated", "actor": "dave", "reason": "a mistake", "revocation_id": made, "status": 200.0},
		{"event": "refused", "outcome": "reinstated_already", "status": 409.0, "revocation_id": id},
		{"event": "imported", "outcome": "imported", "source": "import", "actor": "erin", "reason": "moved", "detail": "4 lines read, 3 accepted, 0 merged, 0 expired, 1 refused"},
		{"event": "refused", "outcome": "invalid_request", "source": "import", "status": 400.0},
		{"event": "imported", "outcome": "invalid_request", "source": "import", "status": 400.0}, // two are in force
		{"event": "failed", "outcome": "not_durable", "status": 503.0, "level": "error"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), text)
	}
	for n := range want {
		for field, value := range want[n] {
			if got[n][field] != value {
				t.Errorf("line %d: %s is %v, want %v", n+1, field, got[n][field], value)
			}
		}
	}
	if got[0]["fingerprint"] == nil || got[0]["selectors"] == nil || got[1]["cutoff"] == nil || got[9]["revocation_id"] == nil {
		t.Errorf("a field is missing:\n%s", text)
	}
}

func TestTheAdminAPIsChangesAreCounted(t *testing.T) {
	c := startCaddy(t, adminSite)
	before := c.metrics(t)
	id := c.revokeBy(t, `"token":"a-token"`).Revocation.ID
	mustAdmin[reinstateResponse](t, c, 200, "DELETE", "records/"+id, `{"reason":"r"}`)
	c.importLines(t, lines(5, "a"), "")
	after := c.metrics(t)
	for name, want := range map[string]float64{
		`recorded_total{source="admin"}`:  1,
		`recorded_total{source="import"}`: 5,
		`reinstatements_total`:            1,
	} {
		name = "caddy_token_revocation_" + name
		if got := metric(after, name) - metric(before, name); got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
}
