package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// audited has the audit log written as JSON.
func audited(into *lockedBuffer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(into, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// entries returns the lines of an audit log without what differs every time.
func entries(t *testing.T, log *lockedBuffer) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		delete(e, slog.TimeKey)
		all = append(all, e)
	}
	return all
}

// lastEntry is the only line that was written since the buffer had so many.
func lastEntry(t *testing.T, log *lockedBuffer, before int) map[string]any {
	t.Helper()
	all := entries(t, log)
	if len(all) != before+1 {
		t.Fatalf("%d lines, want one more than %d: %v", len(all), before, all[before:])
	}
	return all[before]
}

func TestEveryRequestIsOneLineOfTheAuditLog(t *testing.T) {
	log := new(lockedBuffer)
	refresh := &revocation.Proof{
		Issuer: acme, Kind: revocation.RefreshToken, Owners: []string{plainID}, IssuedAt: 1_700_000_000,
		Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: "id"}, {Role: revocation.RoleSession, Value: "s1"}},
	}
	prover := &oracle{
		proofs: map[string]*revocation.Proof{"R": refresh, "foreign": {Issuer: acme, Owners: []string{"another"}}},
		errs:   map[string]error{"forged": revocation.ErrForged, "away": revocation.ErrIssuerUnavailable},
	}
	f := newFixture(t, func(o *Options) {
		o.Audit, o.Prover, o.AllowOrigins = audited(log), prover, []string{"https://app.example.com"}
	})
	fingerprint := func(token string) string { return f.opts.Facts.ReadFacts(token).Fingerprint.String() }
	base := func(level, event, outcome string, status int, more map[string]any) map[string]any {
		e := map[string]any{
			"level": level, "msg": "token revocation", "event": event, "outcome": outcome, "source": "endpoint", "status": float64(status),
			"address": "192.0.2.1", "fingerprint": fingerprint("T"), "actor": "client:web-app", "client_id": "web-app",
		}
		maps.Copy(e, more)
		maps.DeleteFunc(e, func(_ string, v any) bool { return v == nil })
		return e
	}
	when := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
	unproven := revocation.ErrUnproven.Error() + ": it isn't known"
	var before int
	for _, c := range []struct {
		name string
		message
		want func(made []revocation.Record) map[string]any
	}{
		{"revoked", handIn("T", "", app), func(made []revocation.Record) map[string]any {
			return base("INFO", "revoked", "revoked", 200, map[string]any{
				"revocation_id": made[0].ID.String(), "expires": when(made[0].Expires), "unproven": unproven,
				"selectors": map[string]any{"token": map[string]any{"token": fingerprint("T")}},
			})
		}},
		{"repeated", handIn("T", "", app), func(made []revocation.Record) map[string]any {
			return base("INFO", "unchanged", "repeated", 200, map[string]any{"revocation_id": made[0].ID.String(), "unproven": unproven})
		}},
		{"with what dies with it", handIn("R", "refresh_token", app), func(made []revocation.Record) map[string]any {
			made = made[1:]
			return base("INFO", "revoked", "revoked", 200, map[string]any{
				"fingerprint": fingerprint("R"), "revocation_id": made[0].ID.String(),
				"expires": when(made[0].Expires), "cutoff": when(made[2].Cutoff),
				"selectors": map[string]any{
					"token": map[string]any{"token": fingerprint("R")}, "jti": map[string]any{"iss": acme, "jti": "id"},
					"sid": map[string]any{"iss": acme, "sid": "s1"},
				},
			})
		}},
		{"forged", handIn("forged", "", app), func([]revocation.Record) map[string]any {
			return base("INFO", "unchanged", "forged", 200, map[string]any{"fingerprint": fingerprint("forged"), "unproven": revocation.ErrForged.Error()})
		}},
		{"foreign", handIn("foreign", "", app), func([]revocation.Record) map[string]any {
			return base("WARN", "refused", "foreign", 400, map[string]any{"fingerprint": fingerprint("foreign"), "detail": "the token was issued to another client"})
		}},
		{"foreign, and the client mustn't find out", handIn("foreign", "", spa), func([]revocation.Record) map[string]any {
			return base("WARN", "refused", "foreign", 200, map[string]any{
				"fingerprint": fingerprint("foreign"), "actor": "client:spa", "client_id": "spa",
			})
		}},
		{"wrong secret", handIn("T", "", []string{plainID, "wrong"}), func([]revocation.Record) map[string]any {
			return base("WARN", "refused", "invalid_client", 401, map[string]any{
				"fingerprint": nil, "actor": nil, "client_id": nil, "claimed_client_id": plainID, "detail": "client authentication failed",
			})
		}},
		{"unknown client", handIn("T", "", []string{"who-is-it", "x"}), func([]revocation.Record) map[string]any {
			return base("WARN", "refused", "invalid_client", 401, map[string]any{
				"fingerprint": nil, "actor": nil, "client_id": nil, "detail": "client authentication failed",
			})
		}},
		{"a mistake of the client's", handIn("Bearer T", "", app), func(made []revocation.Record) map[string]any {
			last := made[len(made)-1]
			return base("INFO", "revoked", "revoked", 200, map[string]any{
				"fingerprint": fingerprint("Bearer T"), "revocation_id": last.ID.String(), "expires": when(last.Expires), "unproven": unproven,
				"selectors": map[string]any{"token": map[string]any{"token": fingerprint("Bearer T")}}, "hint": hintFor("Bearer T"),
			})
		}},
		{"the issuer is away", handIn("away", "", app), func([]revocation.Record) map[string]any {
			return base("ERROR", "failed", "issuer_unavailable", 503, map[string]any{
				"fingerprint": fingerprint("away"), "unproven": revocation.ErrIssuerUnavailable.Error(),
				"detail": "whose the token is can't be found out now: try again",
			})
		}},
		{"wrong method", message{method: "GET"}, func([]revocation.Record) map[string]any {
			return base("WARN", "refused", "method_not_allowed", 405, map[string]any{
				"fingerprint": nil, "actor": nil, "client_id": nil, "detail": "only POST is served here: RFC 7009 section 2.1",
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.send(c.message)
			want := c.want(f.store.all())
			got := lastEntry(t, log, before)
			before++
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the line is\n%v, want\n%v", got, want)
			}
		})
	}
	f.send(message{method: "OPTIONS", header: []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "POST"}})
	if n := len(entries(t, log)); n != before {
		t.Errorf("a preflight is %d lines", n-before)
	}
}

func TestWhatIsNotDurableIsAFailureAndItsRetryTheSameRevocation(t *testing.T) {
	log := new(lockedBuffer)
	f := newFixture(t, func(o *Options) { o.Audit = audited(log) })
	f.store.fail(errors.New("no space"))
	f.send(handIn("T", "", app))
	failed := lastEntry(t, log, 0)
	if failed["event"] != "failed" || failed["outcome"] != "not_durable" || failed["level"] != "ERROR" ||
		failed["revocation_id"] == nil || failed["selectors"] == nil || !strings.Contains(failed["error"].(string), "no space") {
		t.Errorf("the failure is %v", failed)
	}
	f.store.fail(nil)
	f.send(handIn("T", "", app))
	if retried := lastEntry(t, log, 1); retried["event"] != "revoked" || retried["revocation_id"] != failed["revocation_id"] {
		t.Errorf("the retry is %v", retried)
	}
}

// What wasn't recorded has no id that could be looked for.
func TestWhatTheListDidNotTakeHasNoRevocation(t *testing.T) {
	log := new(lockedBuffer)
	f := newFixture(t, func(o *Options) {
		o.Audit = audited(log)
		o.List = &stub{revoke: func(context.Context) error { return revocation.ErrListClosed }}
	})
	f.send(handIn("T", "", app))
	if e := lastEntry(t, log, 0); e["event"] != "failed" || e["outcome"] != "unavailable" || e["revocation_id"] != nil || e["selectors"] != nil {
		t.Errorf("the line is %v", e)
	}
}

func TestAPanicIsOneFailure(t *testing.T) {
	log := new(lockedBuffer)
	f := newFixture(t, func(o *Options) {
		o.Audit = audited(log)
		o.List = &stub{revoke: func(context.Context) error { panic("T-in-panic") }}
	})
	f.send(handIn("T-in-panic", "", app))
	if e := lastEntry(t, log, 0); e["event"] != "failed" || e["outcome"] != "internal_error" || e["client_id"] != plainID {
		t.Errorf("the line is %v", e)
	}
	if strings.Contains(log.String(), "T-in-panic") {
		t.Error("the token is in the audit log")
	}
	// The answer can't be sent, but what was done was done.
	f.opts.List = f.list
	f.ServeHTTP(&brokenWriter{header: http.Header{}}, handIn("T", "", app).request())
	if e := lastEntry(t, log, 1); e["event"] != "revoked" {
		t.Errorf("the line is %v", e)
	}
}

// Anybody can be refused, and can repeat themselves, as often as they like; clients that
// are known can't hide among them, and what is recorded can't either.
func TestOnlyLinesThatAnybodyCanCauseAreLimited(t *testing.T) {
	log := new(lockedBuffer)
	prover := &oracle{
		proofs: map[string]*revocation.Proof{"foreign": {Issuer: acme, Owners: []string{"another"}}},
		errs:   map[string]error{"forged": revocation.ErrForged},
	}
	f := newFixture(t, func(o *Options) {
		o.Limits.Public = Quota{PerMinute: -1, PerMinutePerAddress: -1}
		o.Audit, o.Prover, o.SelfRevocation = audited(log), prover, true
		o.Limits.FailuresPerMinute, o.Limits.FailuresPerMinutePerAddress = -1, -1
	})
	lines := func(outcome Outcome) (n int) {
		for _, e := range entries(t, log) {
			if e["outcome"] == string(outcome) {
				n++
			}
		}
		return n
	}
	const many = 3 * linesPerMinute
	for range many {
		f.send(handIn("T", "", []string{"nobody", "x"}))
		f.send(message{body: "token=self", header: []string{"Authorization", "Bearer self"}}) // not genuine
		f.send(message{method: "PUT"})
		f.send(handIn("foreign", "", app))
		f.send(handIn("T", "", app))
		f.send(handIn("forged", "", spa))
	}
	for i := range many {
		f.send(handIn(fmt.Sprint("spa's ", i), "", spa))
	}
	for outcome, want := range map[Outcome]int{
		InvalidClient: linesPerMinute, MethodNotAllowed: linesPerMinute, Forged: linesPerMinute,
		Foreign: many, Revoked: 1 + many, Repeated: many - 1,
	} {
		if n := lines(outcome); n != want {
			t.Errorf("%s: %d lines, want %d", outcome, n, want)
		}
	}
	f.clock.advance(time.Minute)
	f.send(message{method: "PUT"})
	f.send(message{method: "PUT"})
	all := entries(t, log)
	if got := []any{all[len(all)-2]["left_out"], all[len(all)-1]["left_out"]}; !slices.Equal(got, []any{float64(many - linesPerMinute), nil}) {
		t.Errorf("left out: %v", got)
	}
}

// Nor can anybody fill the disk by asking again and again while the store fails: what is
// recorded has its line, once.
func TestRetriesOfAPublicClientAreLimited(t *testing.T) {
	log := new(lockedBuffer)
	f := newFixture(t, func(o *Options) {
		o.Audit = audited(log)
		o.List = &stub{revoke: func(context.Context) error { return revocation.ErrNotDurable }}
		o.Limits.Public = Quota{PerMinute: -1, PerMinutePerAddress: -1}
	})
	const tokens = 2 * linesPerMinute
	for range 3 {
		for i := range tokens {
			f.send(handIn(fmt.Sprint("token ", i), "", spa))
		}
	}
	if n := len(entries(t, log)); n != tokens+linesPerMinute {
		t.Errorf("%d lines of %d tokens, want %d", n, tokens, tokens+linesPerMinute)
	}
	f.send(handIn("T", "", app))
	f.send(handIn("T", "", app)) // a client that is known is always written of
	if n := len(entries(t, log)); n != tokens+linesPerMinute+2 {
		t.Errorf("%d lines", n)
	}
}

func TestRelayWritesOneLineForEachRequest(t *testing.T) {
	log := new(lockedBuffer)
	status, body := http.StatusOK, ""
	f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}, func(o *Options, r *RelayOptions) { o.Audit, r.RevokeUnsupported = audited(log), true })
	for i, c := range []struct {
		name    string
		message message
		status  int
		body    string
		want    map[string]any
	}{
		{"own", message{body: forToken("own"), basic: app}, 200, "",
			map[string]any{"event": "revoked", "outcome": "revoked", "actor": "relay:web-app", "client_id": plainID, "level": "INFO"}},
		{"again", message{body: forToken("own"), basic: app}, 200, "",
			map[string]any{"event": "unchanged", "outcome": "repeated", "actor": "relay:web-app", "client_id": plainID}},
		{"unproven", message{body: forToken("unknown"), basic: app}, 200, "",
			map[string]any{"event": "revoked", "outcome": "revoked", "actor": "relay", "client_id": nil}},
		{"forged", message{body: forToken("forged"), basic: app}, 200, "",
			map[string]any{"event": "unchanged", "outcome": "forged", "actor": nil, "revocation_id": nil}},
		{"refused", message{body: forToken("refresh"), basic: app}, 401, "{}",
			map[string]any{"event": "refused", "outcome": "relay_refused", "actor": nil, "client_id": nil, "claimed_client_id": plainID, "status": 401.0, "level": "WARN"}},
		{"revoked although the server doesn't", message{body: forToken("refresh"), basic: app}, 400, `{"error":"unsupported_token_type"}`,
			map[string]any{"event": "revoked", "outcome": "revoked", "actor": "relay:web-app"}},
		{"failed", message{body: forToken("x"), basic: app}, 502, "",
			map[string]any{"event": "failed", "outcome": "relay_failed", "status": 502.0, "level": "ERROR"}},
		{"not forwarded", message{body: "a", target: "/revoke?token=x"}, 200, "",
			map[string]any{"event": "refused", "outcome": "invalid_request", "status": 400.0}},
	} {
		status, body = c.status, c.body
		f.send(c.message)
		e := lastEntry(t, log, i)
		c.want["source"] = "relay"
		for field, want := range c.want {
			if e[field] != want {
				t.Errorf("%s: %s is %v, want %v: %v", c.name, field, e[field], want, e)
			}
		}
	}
	f.before = func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) }
	if response, err := f.client.Do(f.request(message{body: forToken("x"), basic: app})); err == nil {
		response.Body.Close()
	}
	if e := lastEntry(t, log, 8); e["event"] != "failed" || e["outcome"] != "relay_failed" {
		t.Errorf("aborted: %v", e)
	}
}

// The line is there before the answer is.
func TestTheLineComesBeforeTheAnswer(t *testing.T) {
	log := new(lockedBuffer)
	f := newFixture(t, func(o *Options) { o.Audit = audited(log) })
	w := &watchedWriter{ResponseRecorder: httptest.NewRecorder(), seen: func() int { return len(entries(t, log)) }}
	f.ServeHTTP(w, handIn("T", "", app).request())
	if w.lines != 1 {
		t.Errorf("%d lines when the answer began", w.lines)
	}
}

type watchedWriter struct {
	*httptest.ResponseRecorder
	seen  func() int
	lines int
}

func (w *watchedWriter) WriteHeader(status int) {
	w.lines = w.seen()
	w.ResponseRecorder.WriteHeader(status)
}
