package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What reject_revoked adds to Caddy: each pair of rows differs by the directive
// alone. Caddy's server is called without a socket in front of it; behind
// reverse_proxy there is a real upstream on the loopback interface.
func BenchmarkCaddy(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }))
	defer upstream.Close()
	for _, behind := range []string{"respond ok", "reverse_proxy " + upstream.Listener.Addr().String()} {
		for _, guard := range []string{"", "reject_revoked"} {
			name := strings.Fields(behind)[0]
			if guard != "" {
				name += "+" + guard
			}
			b.Run(name, func(b *testing.B) {
				startCaddy(b, ":PORT {\n"+guard+"\n"+behind+"\n}\n")
				server := activeServer(b)
				token := jwt(b, `{"iss":"https://idp.example.com","jti":"1","sub":"`+strings.Repeat("x", 450)+`"}`)
				b.ReportAllocs()
				b.ResetTimer()
				for b.Loop() {
					r := httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil)
					r.Header.Set("Authorization", "Bearer "+token)
					w := httptest.NewRecorder()
					server.ServeHTTP(w, r)
					if w.Code != 200 {
						b.Fatalf("status %d", w.Code)
					}
				}
			})
		}
	}
}

// The handler alone, for requests that are no streams.
func BenchmarkServeHTTP(b *testing.B) {
	startCaddy(b, oneSite)
	h := activeHandler(b)
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	for name, headers := range map[string]http.Header{
		"no token": {},
		"opaque":   {"Authorization": {"Bearer 0123456789abcdef0123456789abcdef"}, "Accept": {"application/json, text/plain, */*"}},
		"JWT":      {"Authorization": {"Bearer " + jwt(b, `{"iss":"https://idp.example.com","jti":"1"}`)}},
	} {
		b.Run(name, func(b *testing.B) {
			r, w := httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil), httptest.NewRecorder()
			r.Header = headers
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r, next)
			}
		})
	}
}

// activeServer returns the server of the running Caddyfile's only site.
func activeServer(t testing.TB) *caddyhttp.Server {
	t.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		return server
	}
	t.Fatal("no server")
	return nil
}
