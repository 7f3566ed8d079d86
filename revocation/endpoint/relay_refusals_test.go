package endpoint

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRelayRefusesWhatTheAuthorizationServerCouldReadOtherwise(t *testing.T) {
	own := forToken("own")
	for _, c := range []struct {
		name string
		message
		status  int
		outcome Outcome
	}{
		{"GET", message{method: "GET", target: "/revoke?a=b", media: "none"}, 405, MethodNotAllowed},
		{"a token by GET", message{method: "GET", target: "/revoke?token=own&callback=f", media: "none"}, 405, MethodNotAllowed},
		{"DELETE", message{method: "DELETE", body: own, basic: app}, 405, MethodNotAllowed},
		{"PUT", message{method: "PUT", body: own, basic: app}, 405, MethodNotAllowed},
		{"a token in the query", message{target: "/revoke?token=own", body: "client_id=a"}, 400, InvalidRequest},
		{"in both", message{target: "/revoke?a&tok%65n=own", body: forToken("foreign"), basic: app}, 400, InvalidRequest},
		{"two tokens", message{body: own + "&token=foreign", basic: app}, 400, InvalidRequest},
		{"the same twice", message{body: own + "&" + own, basic: app}, 400, InvalidRequest},
		{"two tokens in JSON", message{body: `{"token":"own","token":"foreign"}`, media: jsonType, basic: app}, 400, InvalidRequest},
		{"two clients", message{body: own + "&client_id=a&client_id=b"}, 400, InvalidRequest},
		{"another client in Basic", message{body: own + "&client_id=other", basic: app}, 400, InvalidRequest},
		{"another client in the query", message{target: "/revoke?client_id=other", body: own, basic: app}, 400, InvalidRequest},
		{"two Authorization headers", message{body: own, header: []string{"Authorization", basic("web-app", "a"), "Authorization", "Bearer x"}}, 400, InvalidRequest},
		{"semicolons", message{body: "a=b;token=own", basic: app}, 400, InvalidRequest},
		{"a bad escape", message{body: "token=own&a=%zz", basic: app}, 400, InvalidRequest},
		{"no JSON", message{body: own, media: jsonType, basic: app}, 400, InvalidRequest},
		{"a token that is no string", message{body: `{"token":["own"]}`, media: jsonType, basic: app}, 400, InvalidRequest},
		{"latin1", message{body: own, media: form + "; charset=iso-8859-1", basic: app}, 400, InvalidRequest},
		{"gzip", message{body: compressed(own), header: []string{"Content-Encoding", "gzip"}, basic: app}, 415, UnsupportedMediaType},
		{"multipart", message{body: own, media: "multipart/form-data; boundary=x", basic: app}, 415, UnsupportedMediaType},
		{"no type", message{body: own, media: "none", basic: app}, 415, UnsupportedMediaType},
		{"two types", message{body: own, header: []string{"Content-Type", jsonType}, basic: app}, 415, UnsupportedMediaType},
		{"a huge body", message{body: own + "&a=" + strings.Repeat("x", DefaultMaxBodyBytes), basic: app}, 413, TooLarge},
		{"a huge token", message{body: forToken(strings.Repeat("x", DefaultMaxTokenBytes+1)), basic: app}, 400, InvalidRequest},
		{"a huge token in JSON", message{body: `{"token":"` + strings.Repeat("x", DefaultMaxTokenBytes+1) + `"}`, media: jsonType, basic: app}, 422, InvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newRelayFixture(t, says(200, "{}"), nil)
			r := f.send(c.message)
			checkReply(t, r)
			if r.StatusCode != c.status || r.code() != codeInvalidRequest {
				t.Errorf("answered %d %s", r.StatusCode, r.body)
			}
			if (r.Header.Get("Allow") != "") != (c.status == 405) {
				t.Errorf("Allow: %q", r.Header.Get("Allow"))
			}
			if len(f.seen()) != 0 || len(f.store.all()) != 0 {
				t.Errorf("forwarded %v, recorded %v", f.seen(), f.store.all())
			}
			f.expectOutcome(c.outcome)
		})
	}
	t.Run("HEAD", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), nil)
		if r := f.send(message{method: "HEAD", media: "none"}); r.StatusCode != 405 || len(f.seen()) != 0 {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	t.Run("plain HTTP", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), func(o *Options, _ *RelayOptions) { o.RequireTLS = true })
		if r := f.send(message{body: own, basic: app}); r.StatusCode != 400 || len(f.seen()) != 0 {
			t.Errorf("answered %d", r.StatusCode)
		}
		f.expectOutcome(TLSRequired)
	})
}

func TestRelayLeavesOPTIONSToTheAuthorizationServer(t *testing.T) {
	f := newRelayFixture(t, says(204, "", "Access-Control-Allow-Origin", "https://app.example.com"), nil)
	r := f.send(message{method: "OPTIONS", target: "/revoke?token=own", media: "none", header: []string{"Origin", "https://app.example.com", headerRequestMethod, "POST"}})
	if r.StatusCode != 204 || r.Header.Get("Access-Control-Allow-Origin") == "" || len(f.seen()) != 1 {
		t.Errorf("answered %d %v", r.StatusCode, r.Header)
	}
	f.expectOutcome()
}

func TestRelayWithBodiesThatDoNotArrive(t *testing.T) {
	for name, c := range map[string]struct {
		hangUp bool
		want   string
	}{
		"slow":      {false, "408"},
		"truncated": {true, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newRelayFixture(t, says(200, ""), func(o *Options, _ *RelayOptions) { o.BodyTimeout = 50 * time.Millisecond })
			conn, err := net.Dial("tcp", f.front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /revoke HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\ntoken=own", form)
			if c.hangUp {
				conn.(*net.TCPConn).CloseWrite()
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if !strings.HasPrefix(response.Status, c.want) || len(f.seen()) != 0 || f.dead("own") {
				t.Errorf("answered %s", response.Status)
			}
			f.expectOutcome(IncompleteBody)
		})
	}
}

func TestRelayQuotas(t *testing.T) {
	limit := func(o *Options, _ *RelayOptions) {
		o.Limits.Public.PerMinutePerAddress = 2
		o.ClientIP = func(r *http.Request) netip.Addr {
			a, _ := netip.ParseAddr(r.Header.Get("X-Address"))
			return a
		}
	}
	from := func(address, token string) message {
		return message{body: forToken(token), basic: app, header: []string{"X-Address", address}}
	}
	t.Run("tokens that aren't proven, per address", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), limit)
		for i, want := range []int{200, 200, 429, 429} {
			r := f.send(from("192.0.2.1", fmt.Sprint("x", i)))
			if r.StatusCode != want || f.dead(fmt.Sprint("x", i)) != (want == 200) {
				t.Errorf("%d: answered %d", i, r.StatusCode)
			}
			if want == 429 {
				checkReply(t, r)
			}
		}
		if len(f.seen()) != 2 {
			t.Errorf("forwarded %d", len(f.seen()))
		}
		for _, m := range []message{from("192.0.2.2", "y"), from("192.0.2.1", "x1"), from("192.0.2.1", "own"), from("192.0.2.1", "forged")} {
			if r := f.send(m); r.StatusCode != 200 {
				t.Errorf("%s: answered %d", m.body, r.StatusCode)
			}
		}
		f.expectOutcome(Revoked, Revoked, QuotaExceeded, QuotaExceeded, Revoked, Repeated, Revoked, Forged)
	})
	t.Run("all that there may be", func(t *testing.T) {
		f := newRelayFixture(t, says(200, ""), func(o *Options, _ *RelayOptions) { o.Limits.LiveTotal = 6 })
		for _, c := range []struct {
			token  string
			status int
		}{
			{"own", 200}, {"own", 200}, {"x", 200}, {"y", 429}, {"nobody's", 429}, {"foreign", 200},
			{"refresh", 200}, {"spaced", 200}, {"two owners", 200},
		} {
			if r := f.send(message{body: forToken(c.token), basic: app}); r.StatusCode != c.status {
				t.Errorf("%s: answered %d", c.token, r.StatusCode)
			}
		}
	})
	t.Run("what the authorization server refuses is no record", func(t *testing.T) {
		f := newRelayFixture(t, says(400, ""), func(o *Options, _ *RelayOptions) { o.Limits.LiveTotal = 2 })
		for i := range 5 {
			if r := f.send(message{body: forToken("own"), basic: app}); r.StatusCode != 400 {
				t.Errorf("%d: answered %d", i, r.StatusCode)
			}
		}
	})
}

func TestRelayConcurrently(t *testing.T) {
	f := newRelayFixture(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "refuse") {
			w.WriteHeader(400)
		}
		w.Write(body)
	}, func(o *Options, r *RelayOptions) {
		r.RevokeUnsupported = true
		o.Limits.Public.PerMinutePerAddress = -1
	})
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			token, status := fmt.Sprint("t", i/2), 200
			if i%8 == 0 {
				token, status = fmt.Sprint("refuse", i), 400
			} else if i%8 == 1 {
				token = "own"
			}
			r := f.send(message{body: forToken(token), basic: app})
			if r.StatusCode != status || r.body != forToken(token) || f.dead(token) != (status == 200) {
				t.Errorf("%s: answered %d %s", token, r.StatusCode, r.body)
			}
		})
	}
	all.Wait()
	f.expectNothingInFlight()
}

func TestRelayLogsNoSecrets(t *testing.T) {
	f := newRelayFixture(t, says(200, ""), nil)
	f.script.lines["T-secret-own"] = accessTokenOf(plainID)
	for _, m := range []message{
		{body: forToken("T-secret-own"), basic: app},
		{body: forToken("T-secret-x", "client_id", "T-secret-id", "client_secret", "T-secret-s")},
		{body: forToken("T-secret-x", "client_assertion", assertionOf(`{"iss":"T-secret","sub":"T-secret"}`))},
		{body: "a", target: "/revoke?token=T-secret"},
	} {
		f.send(m)
	}
	f.store.fail(io.ErrUnexpectedEOF)
	f.send(message{body: forToken("T-secret-y"), basic: app})
	f.server.Close()
	f.send(message{body: forToken("T-secret-z"), basic: app})
	log := f.log.String()
	if strings.Contains(log, "T-secret") || strings.Contains(log, plainPass) || !strings.Contains(log, " client_id="+plainID) ||
		strings.Count(log, "plain HTTP") != 1 {
		t.Errorf("the log says %s", log)
	}
}

func TestRelayOptions(t *testing.T) {
	list := new(stub)
	for name, change := range map[string]func(*Options, *RelayOptions){
		"a relay has no clients":          func(o *Options, _ *RelayOptions) { o.Clients = []Client{{ID: "spa"}} },
		"refuse refresh tokens":           func(o *Options, _ *RelayOptions) { o.RefuseRefreshTokens = true },
		"no self-revocation":              func(o *Options, _ *RelayOptions) { o.SelfRevocation = true },
		"negative time for the authoriza": func(_ *Options, r *RelayOptions) { r.Timeout = -1 },
		"has no list":                     func(o *Options, _ *RelayOptions) { o.List = nil },
	} {
		o, r := options(), RelayOptions{}
		o.List, o.Clients, o.Compare, o.FakeHash = list, nil, nil, nil
		if _, err := NewRelay(o, r); err != nil {
			t.Fatal(err)
		}
		change(&o, &r)
		if _, err := NewRelay(o, r); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
