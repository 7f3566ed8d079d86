// What a relay still knows when a client tries again, whom it takes for one, and what an
// answer proves.

package endpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestRelayedRetryStillReachesWhatDiesWithTheToken(t *testing.T) {
	for name, first := range map[string]func(f *relayFixture) func(w http.ResponseWriter, r *http.Request) error{
		"the answer is lost": func(*relayFixture) func(http.ResponseWriter, *http.Request) error {
			return func(http.ResponseWriter, *http.Request) error { return errors.New("timeout") }
		},
		"the server fails after it has revoked": func(*relayFixture) func(http.ResponseWriter, *http.Request) error {
			return func(w http.ResponseWriter, r *http.Request) error { w.WriteHeader(500); return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRelayFixture(t, says(200, ""), nil)
			f.before = first(f)
			m := message{body: forToken("refresh", "client_id", plainID)}
			if r := f.send(m); r.StatusCode < 500 {
				t.Fatalf("answered %d", r.StatusCode)
			}
			f.before = nil
			f.script.mu.Lock()
			f.script.lines["refresh"] = line{err: revocation.ErrUnproven} // it is revoked there
			f.script.mu.Unlock()
			if r := f.send(m); r.StatusCode != 200 {
				t.Fatalf("answered %d", r.StatusCode)
			}
			var kinds []string
			for _, r := range f.store.all() {
				kinds = append(kinds, fmt.Sprint(r.Kind, r.Selector))
			}
			if len(kinds) != 3 {
				t.Errorf("success, but only this was recorded: %v", kinds)
			}
		})
	}
}

func TestRelayTakesNobodyForAClientThatTheServerMayNotHaveAuthenticated(t *testing.T) {
	mallory := base64.StdEncoding.EncodeToString([]byte("mallory:secret"))
	assertion := func(iss string) string {
		return "e30=." + base64.URLEncoding.EncodeToString([]byte(`{"iss":"`+iss+`","sub":"`+iss+`" }`)) + ".AA"
	}
	for name, m := range map[string]message{
		"two lines":     {header: []string{"Authorization", "Basic " + mallory, "Authorization", "Basic " + mallory}, body: forToken("refresh", "client_id", plainID)},
		"Basic, Bearer": {header: []string{"Authorization", "Basic " + mallory, "Authorization", "Bearer x"}, body: forToken("refresh", "client_id", plainID)},
		"two spaces":    {header: []string{"Authorization", "Basic  " + mallory}, body: forToken("refresh", "client_id", plainID)},
		"tab":           {header: []string{"Authorization", "Basic\t" + mallory}, body: forToken("refresh", "client_id", plainID)},
		"unpadded":      {header: []string{"Authorization", "Basic " + base64.RawStdEncoding.EncodeToString([]byte("mallory:secret1"))}, body: forToken("refresh", "client_id", plainID)},
		"comma":         {header: []string{"Authorization", "Basic " + mallory + ", Basic " + mallory}, body: forToken("refresh", "client_id", plainID)},
		"query":         {target: "/revoke?client_id=mallory&client_secret=x", body: forToken("refresh", "client_id", plainID)},
		"odd assertion": {body: forToken("refresh", "client_id", plainID, "client_assertion", assertion("mallory!"))},
	} {
		t.Run(name, func(t *testing.T) {
			// Which authenticates mallory, and answers success to what it doesn't know.
			f := newRelayFixture(t, says(200, ""), nil)
			f.send(m)
			for _, r := range f.store.all() {
				if r.Selector.Shape() != "token" {
					t.Errorf("recorded %s %v", r.Kind, r.Selector)
				}
			}
		})
	}
}

func TestRelayedRetryLeavesTheNextLoginAlone(t *testing.T) {
	clock := newClock()
	f := newRelayFixture(t, says(200, ""), func(o *Options, _ *RelayOptions) { o.Now = clock.Now })
	m := message{body: forToken("refresh", "client_id", plainID)}
	first := clock.Now().Unix()
	f.before = func(http.ResponseWriter, *http.Request) error { return errors.New("timeout") }
	f.send(m)
	f.before = nil
	f.script.lines["refresh"] = line{err: revocation.ErrUnproven}
	clock.advance(time.Hour)
	f.send(m)
	clock.advance(time.Hour)
	f.send(m) // settled: nothing more dies
	cutoffs := 0
	for _, r := range f.store.all() {
		if r.Kind == revocation.IssuedBefore {
			if cutoffs++; r.Cutoff.Unix() != first {
				t.Errorf("cutoff %v, want %d", r.Cutoff, first)
			}
		}
	}
	if cutoffs != 1 {
		t.Errorf("%d cutoffs", cutoffs)
	}
}

func TestRelayedRetryIsTheOwnersOnly(t *testing.T) {
	f := newRelayFixture(t, says(200, ""), nil)
	f.before = func(http.ResponseWriter, *http.Request) error { return errors.New("timeout") }
	f.send(message{body: forToken("refresh", "client_id", plainID)})
	f.before = nil
	f.script.lines["refresh"] = line{err: revocation.ErrUnproven}
	f.send(message{body: forToken("refresh", "client_id", "stranger")})
	if n := len(f.store.all()); n != 0 {
		t.Errorf("%d records of a stranger's token", n)
	}
}

func TestRelayBestEffortRecordsNothingOfAStrangers(t *testing.T) {
	for _, token := range []string{"foreign", "forged", "id token"} {
		f := newRelayFixture(t, says(200, ""), func(_ *Options, o *RelayOptions) { o.BestEffort = true })
		if f.send(message{body: forToken(token), basic: app}); len(f.store.all()) != 0 {
			t.Errorf("%s: recorded %v", token, f.store.all())
		}
	}
}

// Of some servers an empty success says that they have verified the token. Nothing
// else does.
func TestRelayTakesNothingButAnEmptySuccessForAProof(t *testing.T) {
	for name, c := range map[string]struct {
		token   string
		answer  http.HandlerFunc
		records int
	}{
		"empty":                  {"told", says(200, ""), 3},
		"an error in a success":  {"told", says(200, `{"error":"invalid_token"}`), 0},
		"another success":        {"told", says(204, ""), 0},
		"unsupported":            {"told", says(400, `{"error":"unsupported_token_type"}`), 0},
		"empty, of a stranger's": {"told other", says(200, ""), 0},
		"of unknown length": {"told", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRelayFixture(t, c.answer, func(_ *Options, o *RelayOptions) { o.RevokeUnsupported = true })
			f.send(message{body: forToken(c.token), basic: app})
			if n := len(f.store.all()); n != c.records {
				t.Errorf("%d records, want %d", n, c.records)
			}
		})
	}
	// A server that failed has proven nothing, whatever it says when asked again.
	f := newRelayFixture(t, says(200, `{"error":"invalid_token"}`), nil)
	f.before = func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(500); return nil }
	f.send(message{body: forToken("told"), basic: app})
	f.before = nil
	f.send(message{body: forToken("told"), basic: app})
	if n := len(f.store.all()); n != 0 {
		t.Errorf("%d records", n)
	}
}
