package caddymodule

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These are clusters of real Caddy processes on real engines.

// clusterSite is a node: the endpoint and an API on PORT; the same API on PORT1 where
// tokens pass while the list is stale, on PORT2 where everything passes, and a site without
// a check on PORT3. Its log is in DIR/log.
const clusterSite = `
{
	log everything {
		output file DIR/log
	}
	token_revocation {
		STORE
		max_staleness STALENESS
	}
}
` + oneSite + `
:PORT1 {
	reject_revoked {
		on_stale allow
	}
	respond served
}
:PORT2 {
	reject_revoked {
		dry_run
	}
	respond served
}
:PORT3 {
	respond served
}
`

// node is one Caddy of a cluster.
type node struct {
	*process
	config string
}

// newNode prepares a node, which keeps what it knows in a directory of its own and reaches
// the engine at an address.
func newNode(t testing.TB, e engine, address string, staleness time.Duration) *node {
	t.Helper()
	config := strings.NewReplacer("STORE", e.store(address), "STALENESS", staleness.String()).Replace(clusterSite)
	return &node{newProcess(t, t.TempDir()), config}
}

func (n *node) run(t testing.TB) {
	t.Helper()
	n.start(t, n.config)
}

// startCluster runs three nodes that are fresh.
func startCluster(t testing.TB, e engine, staleness time.Duration) []*node {
	t.Helper()
	return startNodes(t, e, staleness, e.address(), e.address(), e.address())
}

// startNodes runs a node for each address of the engine, until all are fresh.
func startNodes(t testing.TB, e engine, staleness time.Duration, addresses ...string) []*node {
	t.Helper()
	var nodes []*node
	for _, address := range addresses {
		n := newNode(t, e, address, staleness)
		n.run(t)
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.awaitFresh(t)
	}
	return nodes
}

func (n *node) status(t testing.TB) (s statusResponse) {
	t.Helper()
	a := get(t, n.urlOf("ADMIN", "/token_revocation/status"))
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return s
}

// wantLag checks what the metrics say of how the node follows the store: how many entries
// it is behind, and within how many seconds it had its last answer.
func (n *node) wantLag(t testing.TB, entries, age float64) {
	t.Helper()
	text := get(t, n.urlOf("ADMIN", "/metrics")).body
	for _, name := range []string{"feed_lag_entries", "feed_answer_age_seconds"} {
		if !strings.Contains(text, "\ncaddy_token_revocation_"+name+" ") {
			t.Errorf("there is no metric %s", name)
		}
	}
	if got := metric(text, "caddy_token_revocation_feed_lag_entries"); got != entries {
		t.Errorf("it is behind by %v entries, want %v", got, entries)
	}
	if got := metric(text, "caddy_token_revocation_feed_answer_age_seconds"); got <= 0 || got > age {
		t.Errorf("its last answer is %v seconds old", got)
	}
}

func (n *node) awaitFresh(t testing.TB) {
	t.Helper()
	becomes(t, "the node is fresh", func() bool { return n.status(t).List.Fresh })
}

func (n *node) awaitStale(t testing.TB) {
	t.Helper()
	becomes(t, "the node is stale", func() bool { return bearer(t, n.URL("/"), "unknown").status == 503 })
}

// mustRevoke revokes a token at the node and insists on success.
func (n *node) mustRevoke(t testing.TB, token string) {
	t.Helper()
	if status, _ := n.tryRevoke(http.DefaultClient, token); status != 200 {
		t.Fatalf("revoking: %d", status)
	}
}

func (n *node) log(t testing.TB) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// wantStale checks what a node answers that can't know what is revoked.
func (n *node) wantStale(t testing.TB, known string) {
	t.Helper()
	wantStatus(t, bearer(t, n.URL("/"), known), 401)
	wantStatus(t, bearer(t, n.urlOf("PORT1", "/"), known), 401)
	a := bearer(t, n.URL("/"), "unknown")
	wantStatus(t, a, 503)
	if a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a stale answer has %v", a.header)
	}
	wantStatus(t, bearer(t, n.urlOf("PORT1", "/"), "unknown"), 200)
	wantStatus(t, bearer(t, n.urlOf("PORT2", "/"), "unknown"), 200)
	wantStatus(t, get(t, n.URL("/")), 200)
	wantStatus(t, get(t, n.URL("/"), "Authorization", "Basic dXNlcjpwYXNz"), 200)
	wantStatus(t, bearer(t, n.urlOf("PORT3", "/"), known), 200)
	wantStatus(t, get(t, n.urlOf("ADMIN", "/token_revocation/health")), 503)
	if metric(n.metrics(t), `caddy_token_revocation_checks_total{verdict="stale"}`) < 1 {
		t.Error("the metrics count no stale verdict")
	}
}
