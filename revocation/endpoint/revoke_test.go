// 1.D, 1.E and 1.F of the contract: what becomes of the token.
//
// Here nobody vouches for tokens; what comes of it when somebody does is in
// ownership_test.go and cascade_test.go, and F5 in those of the relay. E2, E3, E11, E12
// and F7 are the list's and the check's. F9 is a note on a client.

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestToken(t *testing.T) {
	hinted := func(hint string) message { return message{body: "token=T&token_type_hint=" + hint, basic: app} }
	run(t, []one{
		{"D1 unknown opaque token", nil, message{body: "token=T", basic: app}, ok},
		{"D6 hint access_token", nil, hinted("access_token"), ok},
		{"D7 hint refresh_token", nil, hinted("refresh_token"), ok},
		{"D9 hint foo", nil, hinted("foo"), ok},
		{"D9 hint id_token", nil, hinted("id_token"), ok},
		{"D9 hint pct", nil, hinted("pct"), ok},
		{"D10 hint as a URN", nil, hinted("urn:ietf:params:oauth:token-type:access_token"), ok},
		{"D11 empty hint", nil, hinted(""), ok},
		{"D19 any_token", nil, message{body: "token=T", basic: []string{opsID, opsSecret}}, ok},
		{"D23 JSON array", nil, message{media: jsonType, body: `[{"token":"T"},{"token":"U"}]`, basic: app}, refused(400, "invalid_request")},
		{"D23 array of tokens", nil, message{media: jsonType, body: `{"token":["T","U"]}`, basic: app}, refused(400, "invalid_request")},
	})

	send := func(f *fixture, token string) {
		f.t.Helper()
		if r := f.send(message{body: "token=" + url.QueryEscape(token), basic: app}); r.StatusCode != 200 {
			f.t.Errorf("answered %d: %s", r.StatusCode, r.body)
		}
	}
	t.Run("D2 expired JWT", func(t *testing.T) {
		f := newFixture(t, nil)
		now := f.clock.Now().Unix()
		const margin = 10 * 60 // leeway and grace
		send(f, jwt(fmt.Sprintf(`{"exp":%d}`, now-margin-1)))
		if n := len(f.store.all()); n != 0 {
			t.Errorf("%d records of an expired token", n)
		}
		send(f, jwt(fmt.Sprintf(`{"exp":%d}`, now-margin+60)))
		if n := len(f.store.all()); n != 1 {
			t.Errorf("%d records of a token that somebody may accept still", n)
		}
		if got := f.observed(); !reflect.DeepEqual(got, []Outcome{Expired, Revoked}) {
			t.Errorf("outcomes %v", got)
		}
	})
	t.Run("D2 expired by a wall clock that is ahead", func(t *testing.T) {
		f := newFixture(t, nil)
		token := jwt(fmt.Sprintf(`{"exp":%d}`, f.clock.Now().Add(time.Hour).Unix()))
		f.clock.advance(24 * time.Hour) // the list's own doesn't follow
		wall := f.clock.Now()
		for range 3 {
			send(f, token)
		}
		records := f.store.all()
		if len(records) != 1 || !f.dead(token) || !records[0].RecordedAt.Equal(wall.Truncate(time.Millisecond)) {
			t.Errorf("a live token's records are %v", records)
		}
		if got := f.observed(); !reflect.DeepEqual(got, []Outcome{Revoked, Repeated, Repeated}) {
			t.Errorf("outcomes %v", got)
		}
	})
	t.Run("D2 expired by the list's clock, not by the wall clock", func(t *testing.T) {
		behind := newClock()
		token := jwt(fmt.Sprintf(`{"exp":%d}`, behind.Now().Add(-time.Hour).Unix()))
		behind.advance(-24 * time.Hour)
		f := newFixture(t, func(o *Options) { o.Now = behind.Now })
		send(f, token)
		if n := len(f.store.all()); n != 1 {
			t.Errorf("%d records", n)
		}
	})
	t.Run("D4 unverified, alg none, unknown issuer", func(t *testing.T) {
		f := newFixture(t, nil)
		token := "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2V2aWwuZXhhbXBsZSIsImp0aSI6IjEifQ."
		send(f, token)
		for _, r := range f.store.all() { // by its fingerprint: a stranger's jti must live
			if r.Selector.Shape() != revocation.Shape(revocation.RoleToken) {
				t.Errorf("recorded %v", r.Selector)
			}
		}
		if !f.dead(token) || f.dead(jwt(`{"iss":"https://evil.example","jti":"1"}`)) {
			t.Error("a forged token killed another one, or lives itself")
		}
	})
	t.Run("D5 other spellings", func(t *testing.T) {
		token := jwt(`{"sub":"someone"}`)
		for _, spelling := range []string{
			token,
			token[:len(token)-1] + "B",           // signature
			strings.Replace(token, ".", "=.", 1), // padding
			strings.Replace(token, "ey", "e y", 1),
			token + "\n",
		} {
			f := newFixture(t, nil)
			send(f, spelling)
			if !f.dead(token) || !f.dead(spelling) {
				t.Errorf("%q was revoked and lives", spelling)
			}
		}
	})
	t.Run("D8 refresh token", func(t *testing.T) {
		f := newFixture(t, nil)
		token := jwt(`{"typ":"Refresh"}`)
		f.send(message{body: "token_type_hint=access_token&token=" + token, basic: app})
		if !f.dead(token) {
			t.Error("lives")
		}
	})
	t.Run("D22 DPoP-bound token without proof", func(t *testing.T) {
		f := newFixture(t, nil)
		token := jwt(`{"cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`)
		send(f, token)
		if n := len(f.store.all()); n != 1 || !f.dead(token) {
			t.Errorf("%d records", n)
		}
	})
	t.Run("D24 the same way for all", func(t *testing.T) {
		// Known, unknown and revoked tokens: one comparison or none, one record each.
		f := newFixture(t, nil)
		for i := range 3 {
			send(f, fmt.Sprintf("T%d", i))
		}
		if n := len(f.store.all()); n != 3 {
			t.Errorf("%d records", n)
		}
	})
}

func TestEffect(t *testing.T) {
	t.Run("E1 E10 no answer before it is durable and enforced", func(t *testing.T) {
		f := newFixture(t, nil)
		gate := make(chan struct{})
		f.store.gate = gate
		answered := make(chan reply)
		go func() { answered <- f.send(message{body: "token=T", basic: app}) }()
		for !f.dead("T") {
			time.Sleep(time.Millisecond)
		}
		select {
		case r := <-answered:
			t.Errorf("answered %d before the record was durable", r.StatusCode)
		default:
		}
		close(gate)
		if r := <-answered; r.StatusCode != 200 || len(f.store.all()) != 1 {
			t.Errorf("answered %d with %d records", r.StatusCode, len(f.store.all()))
		}
	})
	t.Run("E6 E7 nothing but that token", func(t *testing.T) {
		f := newFixture(t, nil)
		claims := `{"iss":"https://idp.example.com","sub":"a","sid":"s","client_id":"web-app","jti":"%d"}`
		f.send(message{body: "token=" + jwt(fmt.Sprintf(claims, 1)), basic: app})
		if !f.dead(jwt(fmt.Sprintf(claims, 1))) || f.dead(jwt(fmt.Sprintf(claims, 2))) {
			t.Error("the token lives, or another of its session doesn't")
		}
	})
	t.Run("E8 E9 the record", func(t *testing.T) {
		retention := revocation.Retention{Leeway: time.Minute, MaxTokenLifetime: time.Hour}
		for token, want := range map[string]func(now time.Time) time.Time{
			jwt(`{"exp":1900000000}`): func(time.Time) time.Time { return time.Unix(1900000000+60+300, 0) },
			jwt(`{"exp":9e18}`):       func(time.Time) time.Time { return revocation.Never },
			"opaque": func(now time.Time) time.Time {
				return now.Add(time.Hour + time.Minute + revocation.Grace).Truncate(time.Second).Add(time.Second)
			},
		} {
			f := newFixture(t, func(o *Options) { o.Retention = retention })
			now := f.clock.Now()
			f.send(message{body: "token=" + token, basic: app})
			records := f.store.all()
			if len(records) != 1 {
				t.Fatalf("%d records", len(records))
			}
			r := records[0]
			if d := r.Expires.Sub(want(now)); d != 0 && (token != "opaque" || d != -time.Second) {
				t.Errorf("%s expires %s, want %s", token, r.Expires, want(now))
			}
			if r.Kind != revocation.Block || r.Source != "endpoint" || r.Actor != "client:web-app" || r.Reason != "" ||
				!r.RecordedAt.Equal(now.Truncate(time.Millisecond)) || r.Validate() != nil {
				t.Errorf("record %+v", r)
			}
			if r.Selector.Key(r.Kind) != revocation.SelectToken(options().Facts.ReadFacts(token).Fingerprint).Key(revocation.Block) {
				t.Errorf("selector %v", r.Selector)
			}
		}
	})
	t.Run("E10 restart", func(t *testing.T) {
		f := newFixture(t, nil)
		f.expect(message{body: "token=T", basic: app}, ok)
		again, err := revocation.Open(t.Context(), f.store, revocation.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		checker, err := revocation.NewChecker(again, options().Facts, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer checker.Close()
		if checker.Check("T").State != revocation.Revoked {
			t.Error("lives after a restart")
		}
	})
}

func TestFailure(t *testing.T) {
	t.Run("F1 F6 I16 the store fails", func(t *testing.T) {
		f := newFixture(t, nil)
		f.store.fail(revocation.ErrStoreFull)
		for _, m := range []message{
			{body: "token=T", basic: app},
			{media: jsonType, body: `{"token":"T"}`, basic: app},
		} {
			r := f.expect(m, expect{503, "temporarily_unavailable", false, true}) // and enforced all the same
			if got := r.Header.Get("Retry-After"); got != "5" {
				t.Errorf("Retry-After: %q", got)
			}
		}
		if got := f.observed(); !reflect.DeepEqual(got, []Outcome{NotDurable, NotDurable}) {
			t.Errorf("outcomes %v", got)
		}
		if !strings.Contains(f.log.String(), "level=ERROR") {
			t.Error("no error is logged")
		}
		f.store.fail(nil)
		f.expect(message{body: "token=T", basic: app}, ok) // a retry is no repeat
		if len(f.store.all()) == 0 {
			t.Error("the retry wasn't recorded")
		}
	})
	t.Run("F1 the list is closed", func(t *testing.T) {
		f := newFixture(t, nil)
		f.list.Close()
		f.expect(message{body: "token=T", basic: app}, refused(503, "temporarily_unavailable"))
		if got := f.observed(); !reflect.DeepEqual(got, []Outcome{Unavailable}) {
			t.Errorf("outcomes %v", got)
		}
	})
	t.Run("F2 the list doesn't answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := options()
			o.List = &stub{revoke: func(ctx context.Context) error {
				<-ctx.Done()
				return fmt.Errorf("%w: %w", revocation.ErrNotDurable, ctx.Err())
			}}
			o.Compare = new(hash)
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, message{body: "token=T", basic: app}.request())
			if w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("answered %d", w.Code)
			}
		})
	})
	t.Run("F2 a client that has gone doesn't stop it", func(t *testing.T) {
		f := newFixture(t, nil)
		type key struct{}
		var value any
		f.opts.List = &stub{revoke: func(ctx context.Context) error { value = ctx.Value(key{}); return ctx.Err() }}
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "kept"))
		cancel()
		w := httptest.NewRecorder()
		f.ServeHTTP(w, message{body: "token=T&client_id=spa"}.request().WithContext(ctx))
		if w.Code != 200 || value != "kept" {
			t.Errorf("answered %d; the list saw the request's value %v", w.Code, value)
		}
	})
	t.Run("F1 a record that the list finds invalid", func(t *testing.T) {
		f := newFixture(t, func(o *Options) {
			o.List = &stub{revoke: func(context.Context) error { return revocation.ErrInvalidRecord }}
		})
		f.expect(message{body: "token=T", basic: app}, refused(500, "server_error"))
	})
	t.Run("F8 panic", func(t *testing.T) {
		for _, panicked := range []any{"token=T-in-panic", errors.New("T-in-panic"), any(nil)} {
			f := newFixture(t, func(o *Options) {
				o.List = &stub{revoke: func(context.Context) error {
					if panicked == nil {
						var none []int
						_ = none[len(o.Clients)] // the runtime's own
					}
					panic(panicked)
				}}
			})
			f.expect(message{body: "token=T-in-panic", basic: app}, refused(500, "server_error"))
			if got := f.observed(); !reflect.DeepEqual(got, []Outcome{InternalError}) {
				t.Errorf("outcomes %v", got)
			}
			log := f.log.String()
			if strings.Contains(log, "T-in-panic") || !strings.Contains(log, "stack=") {
				t.Errorf("the log says %s", log)
			}
			if f.quotas.inFlight != 0 {
				t.Error("the quota still waits for the record")
			}
		}
	})
	t.Run("F8 http.ErrAbortHandler passes", func(t *testing.T) {
		f := newFixture(t, func(o *Options) {
			o.List = &stub{revoke: func(context.Context) error { panic(http.ErrAbortHandler) }}
		})
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("recovered %v", v)
			}
		}()
		f.send(message{body: "token=T", basic: app})
	})
	t.Run("F8 panic while answering", func(t *testing.T) {
		w := &brokenWriter{header: http.Header{}}
		newFixture(t, nil).ServeHTTP(w, message{body: "token=T", basic: app}.request())
		if !reflect.DeepEqual(w.statuses, []int{200}) {
			t.Errorf("answered %v", w.statuses)
		}
	})
	t.Run("F8 panic while comparing", func(t *testing.T) {
		f := newFixture(t, func(o *Options) {
			o.Limits.ConcurrentCompares = 1
			o.Compare = &hash{during: func() { panic("x") }}
		})
		for range 3 { // the slot comes back each time
			f.expect(message{body: "token=T", basic: app}, refused(500, "server_error"))
		}
	})
}

type brokenWriter struct {
	header   http.Header
	statuses []int
}

func (w *brokenWriter) Header() http.Header       { return w.header }
func (w *brokenWriter) WriteHeader(status int)    { w.statuses = append(w.statuses, status) }
func (w *brokenWriter) Write([]byte) (int, error) { panic("broken") }
