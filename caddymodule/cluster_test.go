package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// replicaFiles returns the replicas in a node's data directory.
func replicaFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "caddy", appID, "replica-*.db"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// sharedSite is a Caddyfile of one node.
func sharedSite(e engine, options string) string {
	return fmt.Sprintf("{\n\ttoken_revocation {\n\t\t%s\n%s\n\t}\n}\n", e.store(e.address()), options) + oneSite
}

func wantFresh(t *testing.T, c *testCaddy) {
	t.Helper()
	becomes(t, "the list is fresh", func() bool { return get(t, c.urlOf("ADMIN", "/token_revocation/health")).status == 200 })
}

func TestClusterReloadsCarryRevocationsFromStoreToStore(t *testing.T) {
	onEachEngine(t, testClusterReloadsCarryRevocationsFromStoreToStore)
}

func testClusterReloadsCarryRevocationsFromStoreToStore(t *testing.T, e engine) {
	c := startCaddy(t, oneSite)
	var revoked []string
	for i, config := range []string{
		oneSite, sharedSite(e, ""), sharedSite(e, "max_staleness 20s"), sharedSite(e, "max_staleness 20s\nwarm_start off"),
		sharedSite(e, ""), oneSite, sharedSite(e, ""),
	} {
		c.load(t, config)
		token := fmt.Sprint("token-", i)
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		revoked = append(revoked, token)
		for _, token := range revoked {
			wantStatus(t, bearer(t, c.URL("/"), token), 401)
		}
		wantStatus(t, bearer(t, c.URL("/"), "another"), 200)
	}
	if n := len(replicaFiles(t, c.dir)); n != 1 {
		t.Errorf("%d replicas", n)
	}
	// The server is away while the store changes back and forth.
	e.kill()
	c.load(t, oneSite)
	for _, token := range revoked {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
	wantStatus(t, bearer(t, c.URL("/"), "another"), 200) // bolt knows no staleness
	e.start(t)
	c.restart(t, sharedSite(e, ""))
	wantFresh(t, c)
	for _, token := range revoked {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
}

func TestClusterReplicasThatCantBeUsedAreNoObstacle(t *testing.T) {
	onEachEngine(t, testClusterReplicasThatCantBeUsedAreNoObstacle)
}

func testClusterReplicasThatCantBeUsedAreNoObstacle(t *testing.T, e engine) {
	c := startCaddy(t, sharedSite(e, ""))
	wantFresh(t, c)
	mustRevoke(t, c.URL("/oauth2/revoke"), "known")
	files := replicaFiles(t, c.dir)
	if len(files) != 1 {
		t.Fatalf("the replicas are %v", files)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	// It is damaged, or it can't be a file.
	for _, spoil := range []func() error{
		func() error { return os.WriteFile(files[0], []byte(strings.Repeat("garbage", 10_000)), 0o600) },
		func() error { os.Remove(files[0]); return os.Mkdir(files[0], 0o700) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		c.load(t, sharedSite(e, ""))
		wantFresh(t, c)
		wantStatus(t, bearer(t, c.URL("/"), "known"), 401)
		body := get(t, c.urlOf("ADMIN", "/token_revocation/status")).body
		if !strings.Contains(body, `"replica":"memory"`) {
			t.Errorf("the status is %s", body)
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	c.load(t, sharedSite(e, "warm_start off"))
	wantFresh(t, c)
	wantStatus(t, bearer(t, c.URL("/"), "known"), 401)
	if files := replicaFiles(t, c.dir); len(files) > 0 {
		t.Errorf("without warm_start there is %v", files)
	}
	e.kill()
	c.restart(t, sharedSite(e, "warm_start off\non_stale allow"))
	wantStatus(t, bearer(t, c.URL("/"), "known"), 200)
	if status := postRevoke(t, c.URL("/oauth2/revoke"), "pending").status; status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	wantStatus(t, bearer(t, c.URL("/"), "pending"), 401)
}

func TestClusterStatusSaysWhatIsWrong(t *testing.T) {
	now := time.Now()
	lag := uint64(7)
	s := statusResponse{
		List:  listStatus{Fresh: true},
		Store: storeStatus{Module: "redis", Key: "redis:r:6379/0", Durability: durabilityVerified},
		Cluster: &clusterStatus{MaxStaleness: "5m0s", OnStale: staleDeny, WarmStart: warmOn, Replica: "/data/replica.db", Nodes: []nodeStatus{
			{Name: "one", Fresh: true, Lag: &lag, LastBeat: now}, {Name: "two", Silent: true, LastBeat: now},
		}},
	}
	if wrong := s.wrong(now); len(wrong) != 0 {
		t.Errorf("all is well, and it says %q", wrong)
	}
	var out strings.Builder
	if err := s.describe(&out, now); err != nil {
		t.Fatal(err)
	}
	for _, says := range []string{"Durability    verified\n", "up to 5m, then on_stale deny", "/data/replica.db", "one   yes     7 entries", "two   silent  unknown"} {
		if !strings.Contains(out.String(), says) {
			t.Errorf("the status lacks %q:\n%s", says, &out)
		}
	}
	s.Store.Durability = "everysec"
	s.Cluster.Replica = inMemory
	s.Cluster.Nodes[0].Fresh = false
	s.List = listStatus{Cause: "it is away"}
	wrong := strings.Join(s.wrong(now), "\n")
	for _, says := range []string{"it is away", "durability is everysec", "local copy of the list is in memory", "the node one said"} {
		if !strings.Contains(wrong, says) {
			t.Errorf("it doesn't say %q:\n%s", says, wrong)
		}
	}
}
