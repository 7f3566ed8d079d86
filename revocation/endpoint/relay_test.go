package endpoint

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestRelayEnforcesWhatTheAuthorizationServerAccepted(t *testing.T) {
	own := forToken("own")
	for _, c := range []struct {
		name    string
		token   string
		message message
		status  int // the authorization server's
		outcome Outcome
		records int
		actor   string
	}{
		{"own, by Basic", "own", message{body: own, basic: app}, 200, Revoked, 2, "relay:web-app"},
		{"own, in JSON", "own", message{body: `{"token":"own"}`, media: jsonType, basic: app}, 200, Revoked, 2, "relay:web-app"},
		{"own, with 204", "own", message{body: own, basic: app}, 204, Revoked, 2, "relay:web-app"},
		{"own, by a secret in the body", "own", message{body: forToken("own", "client_id", plainID, "client_secret", plainPass)}, 200, Revoked, 2, "relay:web-app"},
		{"own, of a public client", "own", message{body: forToken("own", "client_id", plainID)}, 200, Revoked, 2, "relay:web-app"},
		{"own, by an assertion", "own", message{body: forToken("own", "client_assertion", assertionOf(`{"iss":"web-app","sub":"web-app"}`))}, 200, Revoked, 2, "relay:web-app"},
		{"own, by one reading of Basic", "spaced", message{body: forToken("spaced"), basic: []string{"my+client", "s"}}, 200, Revoked, 2, "relay:my client"},
		{"own refresh token", "refresh", message{body: forToken("refresh"), basic: app}, 200, Revoked, 3, "relay:web-app"},
		{"no client", "own", message{body: own}, 200, Revoked, 1, "relay"},
		{"no client, and a refresh token", "refresh", message{body: forToken("refresh")}, 200, Revoked, 1, "relay"},
		{"nobody's", "nobody's", message{body: forToken("nobody's"), basic: app}, 200, Revoked, 1, "relay"},
		{"unknown", "unknown", message{body: forToken("unknown"), basic: app}, 200, Revoked, 1, "relay"},
		{"garbage", "?!", message{body: forToken("?!"), basic: app}, 200, Revoked, 1, "relay"},

		{"foreign", "foreign", message{body: forToken("foreign"), basic: app}, 200, Foreign, 0, ""},
		{"of two owners", "two owners", message{body: forToken("two owners"), basic: app}, 200, Foreign, 0, ""},
		{"forged", "forged", message{body: forToken("forged"), basic: app}, 200, Forged, 0, ""},
		{"an ID token", "id token", message{body: forToken("id token"), basic: app}, 200, Relayed, 0, ""},
		{"no token", "own", message{body: "a=b", basic: app}, 200, Relayed, 0, ""},
		{"an empty token", "own", message{body: "token=", basic: app}, 200, Relayed, 0, ""},
		{"an empty body", "own", message{media: "none", basic: app}, 200, Relayed, 0, ""},

		{"refused", "own", message{body: own, basic: app}, 400, RelayRefused, 0, ""},
		{"unauthorized", "own", message{body: own, basic: app}, 401, RelayRefused, 0, ""},
		{"redirected", "own", message{body: own, basic: app}, 302, RelayRefused, 0, ""},
		{"broken", "own", message{body: own, basic: app}, 500, RelayFailed, 0, ""},
		{"busy", "own", message{body: own, basic: app}, 503, RelayFailed, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newRelayFixture(t, says(c.status, "", "X-From", "server"), nil)
			r := f.send(c.message)
			if r.StatusCode != c.status || r.Header.Get("X-From") != "server" || r.body != "" {
				t.Errorf("answered %d %q", r.StatusCode, r.body)
			}
			if f.dead(c.token) != (c.records > 0) {
				t.Errorf("dead: %t", f.dead(c.token))
			}
			f.expectOutcome(c.outcome)
			records := f.store.all()
			if len(records) != c.records {
				t.Fatalf("%d records: %v", len(records), records)
			}
			for _, r := range records {
				if r.Actor != c.actor || r.Source != "relay" {
					t.Errorf("recorded by %q, %q", r.Source, r.Actor)
				}
			}
			f.expectNothingInFlight()
		})
	}
}

func TestRelayKeepsTheAnswerBackUntilTheTokenIsDead(t *testing.T) {
	t.Run("before the first byte", func(t *testing.T) {
		finish := make(chan struct{})
		f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			<-finish
			io.WriteString(w, "done")
		}, nil)
		response, err := f.client.Do(f.request(message{body: forToken("own"), basic: app}))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if !f.dead("own") || len(f.store.all()) != 2 {
			t.Error("the client has an answer, and the token lives")
		}
		close(finish)
		if body, err := io.ReadAll(response.Body); string(body) != "done" || err != nil {
			t.Errorf("%q, %v", body, err)
		}
	})
	for name, answer := range map[string]http.HandlerFunc{
		"a header": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"a body":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") },
		"a flush":  func(w http.ResponseWriter, _ *http.Request) { http.NewResponseController(w).Flush() },
		"an old flush": func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
		},
	} {
		t.Run("while the store writes, "+name, func(t *testing.T) {
			f := newRelayFixture(t, nil, nil)
			f.before = func(w http.ResponseWriter, r *http.Request) error { answer(w, r); return nil }
			f.store.gate = make(chan struct{})
			answered := make(chan reply)
			go func() { answered <- f.send(message{body: forToken("own"), basic: app}) }()
			eventually(t, func() bool { return f.dead("own") })
			select {
			case r := <-answered:
				t.Fatalf("answered %d before the store has the record", r.StatusCode)
			case <-time.After(30 * time.Millisecond):
			}
			close(f.store.gate)
			if r := <-answered; r.StatusCode != 200 {
				t.Errorf("answered %d", r.StatusCode)
			}
		})
	}
}

func TestRelayGoesOnWithoutTheClient(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	var cancelled atomic.Bool
	f := newRelayFixture(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-gone
		time.Sleep(20 * time.Millisecond) // what would be cancelled is cancelled by then
		cancelled.Store(r.Context().Err() != nil)
		w.WriteHeader(200)
	}, nil)
	f.watch = func(_ http.ResponseWriter, r *http.Request) {
		go func() { <-r.Context().Done(); close(gone) }()
	}
	ctx, hangUp := context.WithCancel(t.Context())
	go func() { <-arrived; hangUp() }()
	if _, err := f.client.Do(f.request(message{body: forToken("own"), basic: app}).WithContext(ctx)); err == nil {
		t.Fatal("the client didn't hang up")
	}
	eventually(t, func() bool { return f.dead("own") && len(f.store.all()) == 2 })
	if cancelled.Load() {
		t.Error("the authorization server was told")
	}
	f.expectOutcome(Revoked)
}

func TestRelayOutlastsTheDeadlineOfTheBody(t *testing.T) {
	var outer atomic.Pointer[http.Request]
	var broken atomic.Bool
	f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond)
		broken.Store(outer.Load().Context().Err() != nil)
		io.WriteString(w, "{}")
	}, func(o *Options, _ *RelayOptions) { o.BodyTimeout = 20 * time.Millisecond })
	f.watch = func(_ http.ResponseWriter, r *http.Request) { outer.Store(r) }
	if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != 200 || broken.Load() {
		t.Errorf("answered %d; the connection broke: %t", r.StatusCode, broken.Load())
	}
}

func TestRelayWithoutAnAuthorizationServer(t *testing.T) {
	down := func(f *relayFixture) { f.server.Close() }
	for _, c := range []struct {
		name    string
		prepare func(*relayFixture)
		options func(*Options, *RelayOptions)
	}{
		{"down", down, nil},
		{"down, and best effort", down, func(_ *Options, r *RelayOptions) { r.BestEffort = true }},
		{"down, and revoking unsupported ones", down, func(_ *Options, r *RelayOptions) { r.RevokeUnsupported = true }},
		{"silent", nil, func(_ *Options, r *RelayOptions) { r.Timeout = 20 * time.Millisecond }},
		{"not there at all", func(f *relayFixture) {
			f.before = func(http.ResponseWriter, *http.Request) error { return nil }
		}, nil},
		{"failing with headers set", func(f *relayFixture) {
			f.before = func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Encoding", "gzip")
				w.Header().Set("Content-Length", "7")
				return errors.New("x")
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newRelayFixture(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, c.options)
			if c.prepare != nil {
				c.prepare(f)
			}
			r := f.send(message{body: forToken("own"), basic: app})
			checkReply(t, r)
			if r.StatusCode != 503 || r.code() != codeUnavailable {
				t.Errorf("answered %d %s", r.StatusCode, r.body)
			}
			if f.dead("own") || len(f.store.all()) != 0 {
				t.Error("something was recorded")
			}
			f.expectOutcome(RelayFailed)
			if len(f.errs) != 0 {
				t.Errorf("errors %v", f.errs)
			}
		})
	}
}

func TestRelayReturnsTheErrorsThatAreNotItsOwn(t *testing.T) {
	refused := errors.New("somebody in between refuses")
	f := newRelayFixture(t, nil, func(_ *Options, r *RelayOptions) {
		r.Unreachable = func(err error) bool { return !errors.Is(err, refused) }
	})
	f.before = func(http.ResponseWriter, *http.Request) error { return refused }
	if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != http.StatusTeapot || r.body != "" {
		t.Errorf("answered %d %q", r.StatusCode, r.body)
	}
	f.before = func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(202)
		return errors.New("too late")
	}
	if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != 202 || !f.dead("own") {
		t.Errorf("answered %d", r.StatusCode)
	}
	if len(f.errs) != 2 {
		t.Errorf("errors %v", f.errs)
	}
	f.expectOutcome(RelayRefused, Revoked)
}

func TestRelayWithAFailingStore(t *testing.T) {
	accept := says(200, strings.Repeat("x", 1<<16), "Content-Type", "text/x", "Content-Encoding", "x", "Etag", `"x"`,
		"Vary", "Origin", "Access-Control-Allow-Origin", "https://app.example.com", "Set-Cookie", "a=b")
	t.Run("strict", func(t *testing.T) {
		f := newRelayFixture(t, accept, nil)
		f.store.fail(errors.New("disk full"))
		r := f.send(message{body: forToken("own"), basic: app})
		checkReply(t, r)
		if r.StatusCode != 503 || r.code() != codeUnavailable || r.Header.Get("Content-Encoding") != "" {
			t.Errorf("answered %d %v %s", r.StatusCode, r.Header, r.body)
		}
		if r.Header.Get("Vary") != "Origin" || r.Header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("pages can't read the answer: %v", r.Header)
		}
		if !f.dead("own") {
			t.Error("the token isn't enforced")
		}
		f.expectOutcome(NotDurable)
		f.store.fail(nil)
		if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != 200 || len(r.body) != 1<<16 {
			t.Errorf("then answered %d", r.StatusCode)
		}
		if n := len(f.store.all()); n != 2 {
			t.Errorf("%d records, and the retry waits for those of before", n)
		}
	})
	t.Run("best effort", func(t *testing.T) {
		f := newRelayFixture(t, accept, func(_ *Options, r *RelayOptions) { r.BestEffort = true })
		f.store.fail(errors.New("disk full"))
		r := f.send(message{body: forToken("own"), basic: app})
		if r.StatusCode != 200 || len(r.body) != 1<<16 || r.Header.Get("Etag") == "" || !f.dead("own") {
			t.Errorf("answered %d %v", r.StatusCode, r.Header)
		}
		f.expectOutcome(NotDurable)
	})
	t.Run("a closed list", func(t *testing.T) {
		f := newRelayFixture(t, accept, nil)
		f.list.Close()
		if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != 503 {
			t.Errorf("answered %d", r.StatusCode)
		}
		f.expectOutcome(Unavailable)
	})
}

func TestRelayWithAnIssuerThatCannotBeAsked(t *testing.T) {
	t.Run("strict", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), nil)
		r := f.send(message{body: forToken("down"), basic: app})
		checkReply(t, r)
		if r.StatusCode != 503 || len(f.seen()) != 0 || f.dead("down") {
			t.Errorf("answered %d, forwarded %d times", r.StatusCode, len(f.seen()))
		}
		f.expectOutcome(IssuerUnavailable)
	})
	t.Run("best effort", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), func(_ *Options, r *RelayOptions) { r.BestEffort = true })
		if r := f.send(message{body: forToken("down"), basic: app}); r.StatusCode != 200 || !f.dead("down") || len(f.store.all()) != 1 {
			t.Errorf("answered %d, recorded %v", r.StatusCode, f.store.all())
		}
		f.expectOutcome(Revoked)
	})
}

func TestRelayAsksBeforeItForwards(t *testing.T) {
	f := newRelayFixture(t, says(200, ""), nil)
	f.send(message{body: forToken("own", "token_type_hint", "access_token"), basic: app})
	if len(f.script.asked) != 1 {
		t.Fatalf("asked %d times", len(f.script.asked))
	}
	asked := f.script.asked[0]
	if asked.Hint != "access_token" || asked.Facts == nil || !asked.From.IsValid() {
		t.Errorf("asked %+v", asked)
	}
}

func TestRelayRecognizesRepeats(t *testing.T) {
	f := newRelayFixture(t, says(200, ""), nil)
	for range 3 {
		f.send(message{body: forToken("own"), basic: app})
	}
	f.expectOutcome(Revoked, Repeated, Repeated)
	if len(f.seen()) != 3 || len(f.store.all()) != 2 {
		t.Errorf("forwarded %d times, %d records", len(f.seen()), len(f.store.all()))
	}
	if _, err := f.list.Reinstate(t.Context(), revocation.Note{Source: "test"}, f.store.all()[0].ID); err != nil {
		t.Fatal(err)
	}
	f.send(message{body: forToken("own"), basic: app})
	if !f.dead("own") {
		t.Error("a repeat after a reinstatement did nothing")
	}
}
