package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// grown returns by how much a figure has grown since earlier metrics were read.
func (c *testCaddy) grown(t testing.TB, earlier, name string) float64 {
	t.Helper()
	return metric(c.metrics(t), "caddy_token_revocation_"+name) - metric(earlier, "caddy_token_revocation_"+name)
}

func TestMetricsOfWhatIsRecorded(t *testing.T) {
	c := startCaddy(t, oneSite)
	before := c.metrics(t)
	for _, source := range allSources {
		if !strings.Contains(before, `recorded_total{source="`+source+`"}`) {
			t.Errorf("source %s isn't shown from the start", source)
		}
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), "a")
	mustRevoke(t, c.URL("/oauth2/revoke"), "a") // nothing is recorded
	l := ledger{activeApp(t)}
	record := func(source, token string) revocation.Record {
		now := time.Now().Truncate(time.Second)
		return revocation.Record{
			ID: revocation.NewID(), Kind: revocation.Block, Selector: revocation.SelectToken(l.app.reader.ReadFacts(token).Fingerprint),
			Expires: now.Add(time.Hour), Source: source, Actor: "bob", RecordedAt: now,
		}
	}
	admin := record("admin", "b")
	second := record("admin", "c")
	second.ID = admin.ID
	for _, records := range [][]revocation.Record{{admin, second}, {record("somebody\nelse's", "d")}, {record("", "e")}} {
		if err := l.Revoke(t.Context(), records...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Revoke(t.Context()); !errors.Is(err, revocation.ErrInvalidRecord) {
		t.Errorf("no records: %v", err)
	}
	l.imported(1000)
	if _, err := l.Reinstate(t.Context(), revocation.Note{Source: "admin"}, admin.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Reinstate(t.Context(), revocation.Note{Source: "admin"}, revocation.NewID()); err == nil {
		t.Error("the unknown was reinstated")
	}
	c.load(t, strings.Replace(oneSite, "respond served", "respond again", 1)) // everything survives it
	for name, want := range map[string]float64{
		`recorded_total{source="endpoint"}`: 1, `recorded_total{source="relay"}`: 0, `recorded_total{source="admin"}`: 2,
		`recorded_total{source="import"}`: 1000, `recorded_total{source="other"}`: 2,
		"reinstatements_total": 1, "store_append_duration_seconds_count": 5, "store_errors_total": 0,
		`store_append_duration_seconds_bucket{le="10"}`: 5,
	} {
		if got := c.grown(t, before, name); got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
	if n := strings.Count(c.metrics(t), "recorded_total{"); n != len(allSources) {
		t.Errorf("%d sources are shown, want %d", n, len(allSources))
	}
}

func TestMetricsOfAStoreThatFails(t *testing.T) {
	c := startCaddy(t, oneSite)
	before := c.metrics(t)
	observeAppend(3, 20*time.Millisecond, errors.New("no space"))
	observeAppend(3, 20*time.Millisecond, nil)
	for name, want := range map[string]float64{
		"store_errors_total": 1, "store_append_duration_seconds_count": 2,
		`store_append_duration_seconds_bucket{le="0.01"}`: 0, `store_append_duration_seconds_bucket{le="0.025"}`: 2,
	} {
		if got := c.grown(t, before, name); got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
}

func TestMetricsOfAFreshList(t *testing.T) {
	c := startCaddy(t, oneSite)
	metrics := c.metrics(t)
	if strings.Contains(metrics, "token_revocation_feed_") {
		t.Error("a list of its own follows a feed")
	}
	for name, want := range map[string]float64{"list_fresh": 1, "list_staleness_seconds": 0} {
		if !strings.Contains(metrics, "caddy_token_revocation_"+name+" ") || metric(metrics, "caddy_token_revocation_"+name) != want {
			t.Errorf("%s is not %v", name, want)
		}
	}
}

// About one check in 1024 is timed.
func TestSomeChecksAreTimed(t *testing.T) {
	c := startCaddy(t, ":PORT {\nreject_revoked\nrespond ok\n}\n")
	server, before := activeServer(t), c.metrics(t)
	const checks = 40 * sampledChecks
	for range checks {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer token")
		server.ServeHTTP(httptest.NewRecorder(), r)
	}
	count := c.grown(t, before, "check_duration_seconds_count")
	if count == 0 || count > 200 { // 40 are expected
		t.Errorf("%v of %d checks were timed", count, checks)
	}
	if sum := c.grown(t, before, "check_duration_seconds_sum"); sum <= 0 || sum > 10 {
		t.Errorf("together they took %v s", sum)
	}
}

// After a reload that failed, the admin API has the metrics of that configuration's
// registry. They tell of the one that runs.
func TestMetricsAreThoseOfTheConfigurationThatRuns(t *testing.T) {
	c := startCaddy(t, oneSite)
	mustRevoke(t, c.URL("/oauth2/revoke"), "a")
	beforeFailing = func() {}
	for n := range 8 { // apps are started in any order
		failing := "{\n\tfailing_app\n\ttoken_revocation {\n\t\tstore bolt DIR/other.db\n\t}\n}\n" + oneSite
		if n%2 == 0 {
			failing = "{\n\tfailing_app\n}\n" + oneSite
		}
		before := c.metrics(t)
		if err := c.tryLoad(failing); err == nil {
			t.Fatal("an app that fails is no error")
		}
		bearer(t, c.URL("/"), fmt.Sprint("token-", n))
		mustRevoke(t, c.URL("/oauth2/revoke"), fmt.Sprint("token-", n))
		for name, want := range map[string]float64{
			`records{kind="block",shape="token"}`: 1, "cache_misses_total": 1, "cache_hits_total": 0, "list_fresh": 0,
		} {
			if got := c.grown(t, before, name); got != want {
				t.Errorf("%s grew by %v, want %v", name, got, want)
			}
		}
	}
}
