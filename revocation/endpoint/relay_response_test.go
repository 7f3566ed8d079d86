package endpoint

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// compressed is a body in gzip.
func compressed(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	w.Close()
	return b.String()
}

// copied is all that a client sees of an answer.
type copied struct {
	status          int
	body            string
	length          int64
	coding          []string
	header, trailer http.Header
	informational   []string
}

func (f *relayFixture) copy(m message) copied {
	f.t.Helper()
	var c copied
	r := f.request(m)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			c.informational = append(c.informational, fmt.Sprint(code, h))
			return nil
		},
	}))
	reply := f.do(r)
	c.status, c.body, c.length, c.coding = reply.StatusCode, reply.body, reply.ContentLength, reply.TransferEncoding
	c.header, c.trailer = reply.Header, reply.Trailer
	c.header.Del("Date")
	return c
}

func TestRelayPassesEverythingByteForByte(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"200":         says(200, "{}", "Content-Type", jsonType),
		"an empty":    says(200, ""),
		"204":         says(204, "", "X-A", "1", "X-A", "2"),
		"201":         says(201, "x", "Location", "/x"),
		"cookies":     says(200, "", "Set-Cookie", "a=b; Secure", "Set-Cookie", "c=d", "Vary", "Origin", "Vary", "Cookie"),
		"CORS":        says(200, "{}", "Access-Control-Allow-Origin", "*", "Access-Control-Expose-Headers", "X"),
		"compressed":  says(200, compressed("{}"), "Content-Encoding", "gzip", "Etag", `"x"`),
		"caching":     says(200, "{}", "Cache-Control", "max-age=5", "Retry-After", "7", "Content-Type", "text/html; charset=latin1"),
		"400":         says(400, `{"error":"invalid_request"}`, "Content-Type", jsonType),
		"refused":     says(400, ` {"error": "unsupported_token_type"}`+"\n", "Content-Type", jsonType, "Etag", `"x"`),
		"401":         says(401, `{"error":"invalid_client"}`, "Www-Authenticate", `Basic realm="x"`, "Www-Authenticate", "Bearer"),
		"302":         says(302, "x", "Location", "https://x.example.com/?a=b"),
		"500":         says(500, "oops"),
		"503":         says(503, "later", "Retry-After", "120"),
		"large":       says(200, strings.Repeat("0123456789", 1<<17)),
		"a large 400": says(400, strings.Repeat(" ", maxHeldBody)+`{"error":"unsupported_token_type"}`),
		"bytes":       says(200, string([]byte{0, 255, '\r', '\n', 0x80})),
		"trailers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			io.WriteString(w, "body")
			w.Header().Set("X-Sum", "1")
			w.Header().Set(http.TrailerPrefix+"X-More", "2")
		},
		"a 400 with trailers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_request"}`)
			w.Header().Set("X-Sum", "1")
		},
		"a flushed 400": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", jsonType)
			w.WriteHeader(400)
			http.NewResponseController(w).Flush()
			io.WriteString(w, "{}")
		},
		"hints": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</a>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusProcessing)
			w.Header().Set("X-A", "1")
			w.WriteHeader(200)
			io.WriteString(w, "{}")
		},
	}
	messages := map[string]message{
		"form":       {body: forToken("own"), basic: app},
		"JSON":       {body: ` {"token" : "own", "x":[1]} `, media: "application/json; charset=UTF-8", basic: app},
		"no client":  {body: "token=own&&x=%2F&y"},
		"headers":    {body: forToken("own"), basic: app, header: []string{"X-A", "1", "X-A", "2", "Accept-Encoding", "gzip, br", "Cookie", "a=b", "User-Agent", "x", "Dpop", "a.b.c"}},
		"no token":   {body: "client_id=a"},
		"an unknown": {body: forToken("x"), target: "/revoke?a=%2f;b&c"},
	}
	for name, change := range map[string]func(*Options, *RelayOptions){
		"":                     nil,
		", revoke unsupported": func(_ *Options, r *RelayOptions) { r.RevokeUnsupported = true },
		", best effort":        func(_ *Options, r *RelayOptions) { r.BestEffort = true },
	} {
		for _, which := range slices.Sorted(maps.Keys(answers)) {
			t.Run(which+name, func(t *testing.T) {
				f := newRelayFixture(t, answers[which], change)
				for kind, m := range messages {
					if which == "refused" && name == ", revoke unsupported" && kind != "no client" && kind != "no token" && kind != "an unknown" {
						continue // these are answered in another way
					}
					direct := m
					_, query, _ := strings.Cut(m.target, "?")
					direct.target = "/direct?" + query
					want, got := f.copy(direct), f.copy(m)
					if !reflect.DeepEqual(got, want) {
						t.Errorf("%s: answered\n%.600s, want\n%.600s", kind, fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want))
					}
				}
				compareReceived(t, f.seen(), name != "")
			})
		}
	}
}

// compareReceived compares every second request, which came through the relay, with
// the one before.
func compareReceived(t *testing.T, seen []received, identity bool) {
	t.Helper()
	for i := 0; i+1 < len(seen); i += 2 {
		want, got := seen[i], seen[i+1]
		want.target = strings.TrimSuffix(strings.Replace(want.target, "/direct", "/revoke", 1), "?")
		got.target = strings.TrimSuffix(got.target, "?")
		if identity { // only where the answer may have to be read
			want.header.Del("Accept-Encoding")
			if got.header.Get("Accept-Encoding") == "identity" {
				got.header.Del("Accept-Encoding")
			}
			want.header.Del("Accept-Encoding")
			got.header.Del("Accept-Encoding")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the authorization server received\n%+v, want\n%+v", got, want)
		}
	}
}

func TestRelayForwardsChunkedBodies(t *testing.T) {
	f := newRelayFixture(t, says(200, ""), nil)
	r := f.request(message{basic: app})
	r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("token="), strings.NewReader("own"))), -1
	if reply := f.do(r); reply.StatusCode != 200 || !f.dead("own") {
		t.Errorf("answered %d", reply.StatusCode)
	}
	if seen := f.seen(); len(seen) != 1 || seen[0].body != "token=own" || seen[0].length != 9 {
		t.Errorf("forwarded %+v", seen)
	}
}

func TestRelayForwardsABodyThatCanBeSentAgain(t *testing.T) {
	f := newRelayFixture(t, nil, nil)
	var bodies []string
	f.before = func(w http.ResponseWriter, r *http.Request) error {
		for range 2 {
			body, err := r.GetBody()
			if err != nil {
				return err
			}
			b, _ := io.ReadAll(body)
			bodies = append(bodies, string(b))
		}
		w.WriteHeader(200)
		return nil
	}
	f.send(message{body: "token=own", basic: app})
	f.send(message{media: "none"})
	if !slices.Equal(bodies, []string{"token=own", "token=own", "", ""}) {
		t.Errorf("%q", bodies)
	}
}

func TestRelayStreamsALargeAnswer(t *testing.T) {
	proceed := make(chan struct{})
	f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		for range 4 {
			io.WriteString(w, strings.Repeat("x", 1<<20))
			c.Flush()
			<-proceed
		}
	}, nil)
	response, err := f.client.Do(f.request(message{body: forToken("own"), basic: app}))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for range 4 { // each part arrives before the next one is sent
		if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		proceed <- struct{}{}
	}
	if n, err := io.Copy(io.Discard, response.Body); n != 0 || err != nil {
		t.Errorf("%d bytes more, %v", n, err)
	}
}

func TestRelayRevokesUnsupportedTokens(t *testing.T) {
	const refusal = `{"error":"unsupported_token_type"}`
	on := func(_ *Options, r *RelayOptions) { r.RevokeUnsupported = true }
	own := message{body: forToken("own"), basic: app}
	for _, c := range []struct {
		name    string
		serve   http.HandlerFunc
		change  func(*Options, *RelayOptions)
		message message
		status  int
		dead    bool
		outcome Outcome
	}{
		{"own", says(400, refusal), on, own, 200, true, Revoked},
		{"in JSON", says(400, refusal), on, message{body: `{"token":"own"}`, media: jsonType, basic: app}, 204, true, Revoked},
		{"with headers", says(400, refusal, "Content-Type", "text/x", "Etag", "x", "Www-Authenticate", "Basic", "Vary", "Origin"), on, own, 200, true, Revoked},
		{"not asked for", says(400, refusal), nil, own, 400, false, RelayRefused},
		{"no client", says(400, refusal), on, message{body: forToken("own")}, 400, false, RelayRefused},
		{"foreign", says(400, refusal), on, message{body: forToken("foreign"), basic: app}, 400, false, RelayRefused},
		{"unknown", says(400, refusal), on, message{body: forToken("unknown"), basic: app}, 400, false, RelayRefused},
		{"an ID token", says(400, refusal), on, message{body: forToken("id token"), basic: app}, 400, false, RelayRefused},
		{"another error", says(400, `{"error":"invalid_request"}`), on, own, 400, false, RelayRefused},
		{"no JSON", says(400, "unsupported_token_type"), on, own, 400, false, RelayRefused},
		{"too long", says(400, refusal+strings.Repeat(" ", maxHeldBody)), on, own, 400, false, RelayRefused},
		{"compressed all the same", says(400, compressed(refusal), "Content-Encoding", "gzip"), on, own, 400, false, RelayRefused},
		{"401", says(401, refusal), on, own, 401, false, RelayRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newRelayFixture(t, c.serve, c.change)
			r := f.send(c.message)
			if r.StatusCode != c.status || f.dead("own") != c.dead || len(f.store.all()) > 0 != c.dead {
				t.Errorf("answered %d %s, dead %t", r.StatusCode, r.body, f.dead("own"))
			}
			if c.dead {
				if r.StatusCode == 200 {
					checkReply(t, r)
				}
				if r.Header.Get("Www-Authenticate") != "" {
					t.Errorf("a success with %v", r.Header)
				}
			}
			f.expectOutcome(c.outcome)
		})
	}
	t.Run("with trailers", func(t *testing.T) {
		f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(400)
			io.WriteString(w, refusal)
			w.Header().Set("X-Sum", "1")
		}, on)
		if r := f.send(own); r.StatusCode != 200 || len(r.Trailer) > 0 || r.Header.Get("X-Sum") != "" || r.Header.Get("Trailer") != "" {
			t.Errorf("answered %d %v, trailers %v", r.StatusCode, r.Header, r.Trailer)
		}
	})
	t.Run("the store fails", func(t *testing.T) {
		f := newRelayFixture(t, says(400, refusal), on)
		f.store.fail(errors.New("disk full"))
		if r := f.send(own); r.StatusCode != 503 || !f.dead("own") {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	t.Run("the answer breaks off", func(t *testing.T) {
		f := newRelayFixture(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(400)
			io.WriteString(w, refusal)
		}, on)
		if response, err := f.client.Do(f.request(own)); err == nil {
			t.Errorf("answered %d", response.StatusCode)
		}
		if f.dead("own") {
			t.Error("recorded")
		}
	})
}

func TestRelayResponseLetsNothingPast(t *testing.T) {
	t.Run("no hijacking", func(t *testing.T) {
		f := newRelayFixture(t, nil, nil)
		f.before = func(w http.ResponseWriter, _ *http.Request) error {
			if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("hijacked: %v", err)
			}
			w.WriteHeader(200)
			return nil
		}
		f.send(message{body: forToken("own"), basic: app})
	})
	t.Run("no other protocol", func(t *testing.T) {
		f := newRelayFixture(t, nil, nil)
		f.before = func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return nil
		}
		r := f.send(message{body: forToken("own"), basic: app})
		checkReply(t, r)
		if r.StatusCode != 503 || r.Header.Get("Upgrade") != "" || f.dead("own") {
			t.Errorf("answered %d %v", r.StatusCode, r.Header)
		}
		f.expectOutcome(RelayFailed)
	})
	t.Run("deadlines and duplex", func(t *testing.T) {
		f := newRelayFixture(t, nil, nil)
		f.before = func(w http.ResponseWriter, r *http.Request) error {
			c := http.NewResponseController(w)
			if err := errors.Join(c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{}), c.EnableFullDuplex()); err != nil {
				t.Error(err)
			}
			w.WriteHeader(200)
			return nil
		}
		f.send(message{body: forToken("own"), basic: app})
	})
	t.Run("a second header", func(t *testing.T) {
		var judged []int
		inner := httptest.NewRecorder()
		w := &relayResponse{inner: inner, judge: func(status int) fate { judged = append(judged, status); return held }}
		w.WriteHeader(400)
		w.WriteHeader(200)
		io.WriteString(w, "a")
		w.Flush()
		if w.Header().Set("X-Late", "1"); inner.Flushed || inner.Body.Len() > 0 {
			t.Error("a held answer got out")
		}
		w.release()
		io.WriteString(w, "b")
		if !slices.Equal(judged, []int{400}) || inner.Code != 400 || inner.Body.String() != "ab" || inner.Result().Header.Get("X-Late") != "" {
			t.Errorf("judged %v, answered %d %q", judged, inner.Code, inner.Body)
		}
	})
}

func TestRelayPanics(t *testing.T) {
	secret := "T-in-panic"
	for _, c := range []struct {
		name   string
		before func(http.ResponseWriter)
		value  any
		status int // 0: the connection breaks
	}{
		{"before the answer", func(http.ResponseWriter) {}, secret, 500},
		{"aborted before the answer", func(http.ResponseWriter) {}, http.ErrAbortHandler, 0},
		{"within the answer", func(w http.ResponseWriter) { io.WriteString(w, "x"); http.NewResponseController(w).Flush() }, secret, 0},
		{"aborted within the answer", func(w http.ResponseWriter) { io.WriteString(w, "x") }, http.ErrAbortHandler, 0},
		{"behind a replaced answer", func(w http.ResponseWriter) { w.WriteHeader(101) }, secret, 503},
		{"aborted behind a replaced answer", func(w http.ResponseWriter) { w.WriteHeader(101) }, http.ErrAbortHandler, 503},
		{"while the answer is held", func(w http.ResponseWriter) { w.WriteHeader(400) }, secret, 500},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newRelayFixture(t, nil, func(_ *Options, r *RelayOptions) { r.RevokeUnsupported = true })
			f.before = func(w http.ResponseWriter, _ *http.Request) error { c.before(w); panic(c.value) }
			response, err := f.client.Do(f.request(message{body: forToken("own"), basic: app}))
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			switch {
			case c.status == 0 && err == nil:
				t.Errorf("a complete answer: %d", response.StatusCode)
			case c.status != 0 && (err != nil || response.StatusCode != c.status):
				t.Errorf("%v", err)
			}
			if strings.Contains(f.log.String(), secret) {
				t.Error("the log quotes the panic")
			}
			f.expectNothingInFlight()
		})
	}
}
