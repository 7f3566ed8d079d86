package caddymodule

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/quic-go/quic-go/http3"
)

// patience is how long something that takes at most a second may take in a test.
const patience = 10 * time.Second

// streamer is an upstream whose exchanges go on until they are ended.
type streamer struct {
	*httptest.Server
	began, ended chan string   // the tokens of exchanges that began and ended
	events       chan struct{} // each makes one event stream say something
}

func startStreamer(t testing.TB) *streamer {
	u := &streamer{began: make(chan string, 100), ended: make(chan string, 100), events: make(chan struct{})}
	mux := http.NewServeMux()
	goOn := func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		u.began <- token
		defer func() { u.ended <- token }()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-u.events:
				io.WriteString(w, "data: more\n\n")
				http.NewResponseController(w).Flush()
			}
		}
	}
	begin := func(w http.ResponseWriter, text string) {
		io.WriteString(w, text)
		http.NewResponseController(w).Flush()
	}
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		begin(w, "data: begin\n\n")
		goOn(w, r)
	})
	mux.HandleFunc("/download", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		begin(w, "data: begin\n\n"+strings.Repeat("x", 40_000))
		goOn(w, r)
	})
	mux.HandleFunc("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		begin(w, "data: begin\n\n")
		goOn(w, r)
		w.Header().Set("Grpc-Status", "0")
	})
	mux.HandleFunc("/pending", func(w http.ResponseWriter, r *http.Request) {
		go io.Copy(io.Discard, r.Body) // a server that doesn't read wouldn't learn that the client is gone
		goOn(w, r)
	})
	mux.HandleFunc("/quick", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "quick") })
	mux.HandleFunc("/ws/", serveWebSocket)
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.CloseClientConnections)
	return u
}

// wait returns the next token of a channel.
func wait[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("timeout: %s", what)
		panic("unreachable")
	}
}

// streamSite is a Caddyfile with a site on PORT and, with TLS, on PORT1.
func streamSite(u *streamer, reject string) string {
	return strings.NewReplacer("UPSTREAM", u.Listener.Addr().String(), "REJECT", reject).Replace(`
{
	auto_https disable_redirects
	servers {
		protocols h1 h2 h2c h3
	}
}

(site) {
	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client app ` + appHash + `
	}
	reject_revoked {
		REJECT
	}
	header X-Site yes
	handle_path /files/* {
		root * DIR
		file_server
	}
	reverse_proxy UPSTREAM {
		max_fails 1
		fail_duration 10s
		stream_close_delay 1m
	}
}

http://:PORT {
	import site
}

https://localhost:PORT1 {
	tls internal
	import site
}
`)
}

// activeHandler returns a handler of its own, that uses the running app.
func activeHandler(t testing.TB) *RejectRevoked {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	t.Cleanup(cancel)
	h := &RejectRevoked{}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	h.app = activeApp(t)
	return h
}

// version is a client of one version of HTTP.
type version struct {
	name, base string
	http.RoundTripper
}

// versions returns clients of every version, for a streamSite.
func (c *testCaddy) versions(t *testing.T) []version {
	overTLS := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	waitForCertificate(t, c.ports["PORT1"], overTLS)
	h1, h2, h2c := new(http.Protocols), new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	h2.SetHTTP2(true)
	h2c.SetUnencryptedHTTP2(true)
	plain, secure := c.URL(""), fmt.Sprintf("https://localhost:%d", c.ports["PORT1"])
	h3 := &http3.Transport{TLSClientConfig: overTLS.Clone()}
	t.Cleanup(func() { h3.Close() })
	return []version{
		{"HTTP1", plain, &http.Transport{Protocols: h1, DisableCompression: true}},
		{"HTTP1 with TLS", secure, &http.Transport{Protocols: h1, TLSClientConfig: overTLS.Clone()}},
		{"HTTP2 without TLS", plain, &http.Transport{Protocols: h2c}},
		{"HTTP2", secure, &http.Transport{Protocols: h2, TLSClientConfig: overTLS.Clone()}},
		{"HTTP3", secure, h3},
	}
}

// request makes a request with a token.
func (v version) request(t testing.TB, path, token string, body io.Reader) *http.Request {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, v.base+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/html, Text/Event-Stream;q=0.9")
	return r
}

// open begins a response and reads as far as its beginning goes.
func (v version) open(t testing.TB, path, token string) *http.Response {
	t.Helper()
	resp, err := v.RoundTrip(v.request(t, path, token, nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", path, resp.StatusCode)
	}
	wantText(t, resp, "data: begin\n\n")
	return resp
}

func wantText(t testing.TB, resp *http.Response, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != text {
		t.Fatalf("read %q, %v, want %q", got, err, text)
	}
}

// wantBroken insists that the response ends, and not as if it were complete.
func wantBroken(t testing.TB, resp *http.Response) {
	t.Helper()
	broken := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, resp.Body)
		broken <- err
	}()
	if err := wait(t, "the response goes on", broken); err == nil {
		t.Error("the response ends as if it were complete")
	}
}
