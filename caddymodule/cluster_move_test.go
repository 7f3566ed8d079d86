package caddymodule

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mustTokens runs `caddy tokens`, which must succeed, and returns what it prints.
func (p *process) mustTokens(t *testing.T, args ...string) string {
	t.Helper()
	r := p.tokens(t, "", append(args, "--address", fmt.Sprint("localhost:", p.ports["ADMIN"]))...)
	if r.code != 0 {
		t.Fatalf("caddy tokens %s: %d: %s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.out
}

// TestMovingFromOneStoreToAnother goes from a file to each engine and back, as
// docs/clusters.md says.
func TestMovingFromOneStoreToAnother(t *testing.T) {
	onEachEngine(t, func(t *testing.T, e engine) {
		before, there, back := newProcess(t, t.TempDir()), newNode(t, e, e.address(), time.Minute), newProcess(t, t.TempDir())
		before.start(t, oneSite)
		client := newHistory(time.Minute).client
		for i := range 20 {
			if status, _ := before.tryRevoke(client, fmt.Sprint("token-", i)); status != 200 {
				t.Fatalf("revoking: %d", status)
			}
		}
		before.mustTokens(t, "revoke", "--subject", "alice", "--issuer", "https://idp.example.com", "--issued-before", "now", "--reason", "lost phone", "--yes")
		var mistake revokeResponse
		made := before.mustTokens(t, "revoke", "--jti", "mistake", "--issuer", "https://idp.example.com", "--reason", "a mistake", "--yes", "--json")
		if err := json.Unmarshal([]byte(made), &mistake); err != nil {
			t.Fatalf("%v: %s", err, made)
		}
		id := mistake.Revocation.ID

		file := filepath.Join(t.TempDir(), "revocations.ndjson")
		export := func(from *process) {
			t.Helper()
			if err := os.WriteFile(file, []byte(from.mustTokens(t, "export")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		export(before)
		there.run(t)
		there.awaitFresh(t)
		there.mustTokens(t, "import", file)
		// What is revoked and taken back meanwhile, with the old one.
		before.tryRevoke(client, "meanwhile")
		before.mustTokens(t, "reinstate", id, "--reason", "it was one", "--yes")
		export(before)
		there.mustTokens(t, "import", file)
		there.mustTokens(t, "import", file) // again does no harm
		export(there.process)
		back.start(t, oneSite)
		back.mustTokens(t, "import", file)
		for _, p := range []*process{there.process, back} {
			for i := range 20 {
				wantStatus(t, bearer(t, p.URL("/"), fmt.Sprint("token-", i)), 401)
			}
			wantStatus(t, bearer(t, p.URL("/"), "meanwhile"), 401)
			wantStatus(t, bearer(t, p.URL("/"), "another"), 200)
			list := p.mustTokens(t, "list", "--state", "all", "--limit", "100")
			if strings.Count(list, "alice") != 1 || strings.Count(list, "token=") != 21 {
				t.Errorf("the list is\n%s", list)
			}
			if live := p.mustTokens(t, "list", "--jti", "mistake"); strings.Contains(live, id) {
				t.Errorf("what was taken back is live:\n%s", live)
			}
		}
	})
}
