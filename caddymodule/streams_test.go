package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What is under way when its token is revoked breaks off, over each version of HTTP, and
// nothing else does.
func TestResponsesBreakOffWhenTheirTokenIsRevoked(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, "close_streams all"))
	for i, v := range c.versions(t) {
		for _, path := range []string{"/events", "/download", "/trailers"} {
			t.Run(v.name+path, func(t *testing.T) {
				bad, good := fmt.Sprintf("bad%s%d", path[1:], i), fmt.Sprintf("good%s%d", path[1:], i)
				hit := v.open(t, path, bad)
				wait(t, "the upstream was not asked", u.began)
				other := v.open(t, path, good)
				wait(t, "the upstream was not asked", u.began)
				mustRevoke(t, c.URL("/oauth2/revoke"), bad)
				wantBroken(t, hit)
				if status := hit.Trailer.Get("Grpc-Status"); status != "" {
					t.Errorf("it has the trailer of a complete response: %s", status)
				}
				if got := wait(t, "the upstream goes on", u.ended); got != bad {
					t.Errorf("the upstream's exchange of %s ended", got)
				}
				if path == "/events" {
					u.events <- struct{}{}
					wantText(t, other, "data: more\n\n")
				}
				other.Body.Close()
				if got := wait(t, "the upstream goes on", u.ended); got != good {
					t.Errorf("the upstream's exchange of %s ended", got)
				}
			})
		}
	}
}

// A request that waits for its upstream is answered like one that comes too late, and
// the upstream isn't blamed.
func TestPendingRequestsAreRejectedWhenTheirTokenIsRevoked(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, "realm api\nclose_streams all"))
	for i, v := range c.versions(t) {
		for _, kind := range []string{"GET", "stalled upload"} {
			t.Run(v.name+" "+kind, func(t *testing.T) {
				token := fmt.Sprintf("pending-%d-%s", i, kind[:1])
				var body io.Reader
				if kind != "GET" {
					read, write := io.Pipe()
					t.Cleanup(func() { write.Close() })
					go io.WriteString(write, "a part")
					body = read
				}
				type answered struct {
					resp *http.Response
					err  error
				}
				answers := make(chan answered, 1)
				go func() {
					resp, err := v.RoundTrip(v.request(t, "/pending", token, body))
					answers <- answered{resp, err}
				}()
				wait(t, "the upstream was not asked", u.began)
				mustRevoke(t, c.URL("/oauth2/revoke"), token)
				a := wait(t, "the request is not answered", answers)
				if a.err != nil {
					t.Fatal(a.err)
				}
				defer a.resp.Body.Close()
				if a.resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("status %d", a.resp.StatusCode)
				}
				if got := a.resp.Header.Get("WWW-Authenticate"); got != `Bearer realm="api", error="invalid_token", error_description="The access token has been revoked"` {
					t.Errorf("challenge %q", got)
				}
				if a.resp.Header.Get("X-Site") != "yes" || a.resp.Header.Get("Cache-Control") != "no-store" || len(a.resp.Header["Via"]) > 0 {
					t.Errorf("headers %v", a.resp.Header)
				}
				wait(t, "the upstream goes on", u.ended)
				resp, err := v.RoundTrip(v.request(t, "/quick", "another", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK || string(text) != "quick" {
					t.Errorf("the next request is answered %d %q", resp.StatusCode, text)
				}
			})
		}
	}
}

// file_server looks at no context, and waits for a client who doesn't read.
func TestAFileToASlowClientBreaksOff(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, "close_streams all"))
	const size = 1 << 30
	if err := os.Truncate(createFile(t, filepath.Join(c.dir, "large")), size); err != nil {
		t.Fatal(err)
	}
	for i, v := range c.versions(t) {
		for _, pace := range []string{"slow", "fast"} {
			t.Run(v.name+" "+pace, func(t *testing.T) {
				token := fmt.Sprintf("file-%d-%s", i, pace)
				resp, err := v.RoundTrip(v.request(t, "/files/large", token, nil))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				rest := func() {
					n, err := io.Copy(io.Discard, resp.Body)
					if err == nil || n > size-2000 {
						err = fmt.Errorf("%d bytes came, and then %v", n, err)
					} else {
						err = nil
					}
					ended <- err
				}
				if pace == "fast" {
					go rest()
				}
				mustRevoke(t, c.URL("/oauth2/revoke"), token)
				waitForStreams(t, c, "event_stream", 0)
				if pace == "slow" {
					go rest()
				}
				if err := wait(t, "the download goes on", ended); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func createFile(t *testing.T, name string) string {
	t.Helper()
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// waitForStreams waits until the metrics show a number of open streams.
func waitForStreams(t testing.TB, c *testCaddy, kind string, n int) {
	t.Helper()
	want := fmt.Sprintf("caddy_token_revocation_streams_open{kind=%q} %d\n", kind, n)
	for end := time.Now().Add(patience); !strings.Contains(c.metrics(t), want); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the metrics don't show %s", want)
		}
	}
}

// By default only what asks for events, or for a WebSocket, is watched; in a dry run and
// with off nothing is.
func TestWhatIsWatched(t *testing.T) {
	for name, tc := range map[string]struct {
		reject string
		cut    []string
	}{
		"default":         {"", []string{"event_stream"}},
		"streams":         {"close_streams streams", []string{"event_stream"}},
		"all":             {"close_streams all", []string{"event_stream", "other"}},
		"off":             {"close_streams off", nil},
		"dry run":         {"close_streams all\ndry_run", nil},
		"dry run expired": {"close_on_expiry\ndry_run", nil},
	} {
		t.Run(name, func(t *testing.T) {
			u := startStreamer(t)
			c := startCaddy(t, streamSite(u, tc.reject))
			h1 := c.versions(t)[0]
			open := func(accept string) *http.Response {
				r := h1.request(t, "/events", name, nil)
				r.Header["Accept"] = []string{"text/html", accept}
				resp, err := h1.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { resp.Body.Close() })
				wantText(t, resp, "data: begin\n\n")
				wait(t, "the upstream was not asked", u.began)
				return resp
			}
			streams := map[string]*http.Response{"event_stream": open("text/plain;q=0.5, TEXT/event-stream"), "other": open("text/event-streams")}
			m := c.metrics(t)
			for kind := range streams {
				if got := metric(m, `caddy_token_revocation_streams_open{kind="`+kind+`"}`) == 1; got != slices.Contains(tc.cut, kind) {
					t.Errorf("watched as %s: %v", kind, got)
				}
			}
			mustRevoke(t, c.URL("/oauth2/revoke"), name)
			for _, kind := range tc.cut {
				wantBroken(t, streams[kind])
				wait(t, "the upstream goes on", u.ended)
				delete(streams, kind)
			}
			select {
			case token := <-u.ended:
				t.Errorf("the exchange of %s ended", token)
			default:
			}
		})
	}
}

// Streams that began under configurations before are found, whatever store came since.
func TestStreamsAreCutAfterReloads(t *testing.T) {
	u := startStreamer(t)
	site := streamSite(u, "")
	withStore := func(name string) string {
		return strings.Replace(site, "auto_https", "token_revocation {\nstore bolt DIR/"+name+".db\n}\nauto_https", 1)
	}
	c := startCaddy(t, site)
	h1 := c.versions(t)[0]
	var open []*http.Response
	for i := range 3 {
		open = append(open, h1.open(t, "/events", fmt.Sprint("old-", i)))
		wait(t, "the upstream was not asked", u.began)
	}
	cut := func(i int, when string) {
		t.Helper()
		token := fmt.Sprint("old-", i)
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		wantBroken(t, open[i])
		if got := wait(t, "the upstream goes on "+when, u.ended); got != token {
			t.Errorf("the exchange of %s ended %s", got, when)
		}
	}
	c.load(t, strings.Replace(site, "header X-Site yes", "header X-Site again", 1))
	cut(0, "after a reload")
	c.load(t, withStore("second"))
	cut(1, "after a reload with another store")
	c.load(t, "")
	c.load(t, withStore("third"))
	cut(2, "after the module wasn't there for a while")
	waitForStreams(t, c, "event_stream", 0)
}

// A response that comes when the exchange is cut already leaves nothing in the answer.
func TestAResponseThatComesTooLateIsDropped(t *testing.T) {
	c := startCaddy(t, oneSite)
	h := activeHandler(t)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer late")
	r.Header.Set("Accept", "text/event-stream")
	w := httptest.NewRecorder()
	w.Header().Set("X-Before", "kept")
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		mustRevoke(t, c.URL("/oauth2/revoke"), "late")
		<-r.Context().Done()
		w.Header().Set("Content-Length", "4")
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(http.StatusOK)
		if n, err := io.WriteString(w, "late"); n > 0 || err == nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		if err := http.NewResponseController(w).Flush(); err == nil {
			t.Error("flushed")
		}
		if _, _, err := http.NewResponseController(w).Hijack(); !errors.Is(err, context.Canceled) {
			t.Errorf("hijacked: %v", err)
		}
		return nil
	}))
	var answer caddyhttp.HandlerError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("answered %v", err)
	}
	want := http.Header{"X-Before": {"kept"}, "Cache-Control": {"no-store"}, "Www-Authenticate": w.Header()["Www-Authenticate"]}
	if !reflect.DeepEqual(w.Header(), want) || len(want["Www-Authenticate"]) != 1 || w.Body.Len() > 0 {
		t.Errorf("headers %v, body %q", w.Header(), w.Body)
	}
}

// After a cut the connection isn't one that more could be sent on.
func TestAPlainConnectionIsClosedAfterACut(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports["PORT"]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nAuthorization: Bearer plain\r\n\r\n")
	conn.SetReadDeadline(time.Now().Add(patience))
	var text []byte
	for !strings.Contains(string(text), "data: begin") {
		piece := make([]byte, 4096)
		n, err := conn.Read(piece)
		if err != nil {
			t.Fatalf("%q, %v", text, err)
		}
		text = append(text, piece[:n]...)
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), "plain")
	rest, err := io.ReadAll(conn)
	if text = append(text, rest...); err != nil || strings.HasSuffix(string(text), "0\r\n\r\n") {
		t.Errorf("%q, %v", text, err)
	}
}
