// 1.G of the contract: browsers.
//
// Not here: G7 to G11, JSONP. It would put the token into the URL, so it isn't
// served: a GET is answered with 405 (A5), and G11's callback is an unknown
// parameter (B9).

package endpoint

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

const page = "https://app.example.com"

func from(origin string, more ...string) []string {
	return append([]string{"Origin", origin}, more...)
}

func allowPage(o *Options) { o.AllowOrigins = []string{page, "capacitor://localhost"} }

func TestCORS(t *testing.T) {
	const T, public = "token=T", "token=T&client_id=spa"
	forbidden := refused(403, "invalid_request")
	run(t, []one{
		{"G2 allowed origin", allowPage, message{body: public, header: from(page)}, ok},
		{"G2 another allowed origin", allowPage, message{body: public, header: from("capacitor://localhost")}, ok},
		{"G4 foreign origin, public client", allowPage, message{body: public, header: from("https://evil.example")}, forbidden},
		{"G4 foreign origin, no origin is allowed", nil, message{body: public, header: from(page)}, forbidden},
		{"G4 foreign origin, public client in Basic", allowPage, message{body: T, basic: []string{spaID, ""}, header: from("https://evil.example")}, forbidden},
		{"G4 foreign origin, confidential client", allowPage, message{body: T, basic: app, header: from("https://evil.example")}, ok},
		{"G4 foreign origin, wrong secret", allowPage, message{body: T, basic: []string{plainID, "x"}, header: from("https://evil.example")}, challenged(401, "invalid_client")},
		{"G4 foreign origin, unknown client", allowPage, message{body: T + "&client_id=nobody", header: from("https://evil.example")}, refused(401, "invalid_client")},
		{"G4 a prefix of an allowed origin", allowPage, message{body: public, header: from(page + ".evil.example")}, forbidden},
		{"G4 another case", allowPage, message{body: public, header: from("https://App.example.com")}, forbidden},
		{"G4 another scheme", allowPage, message{body: public, header: from("http://app.example.com")}, forbidden},
		{"G4 another port", allowPage, message{body: public, header: from(page + ":8443")}, forbidden},
		{"G4 two origins", allowPage, message{body: public, header: from(page, "Origin", "https://evil.example")}, forbidden},
		{"G4 an empty origin", allowPage, message{body: public, header: from("")}, forbidden},
		{"G4 the endpoint's own origin", nil, message{body: public, header: from("https://auth.example.com")}, ok},
		{"G4 the endpoint's own origin with its port", nil, message{body: public, header: from("https://auth.example.com:443")}, ok},
		{"G4 the endpoint's own host over HTTP", nil, message{body: public, header: from("http://auth.example.com")}, forbidden},
		{"G4 the endpoint's own host, TLS ends elsewhere", nil, message{plain: true, body: public, header: from("https://auth.example.com")}, ok},
		{"G4 the browser says same-origin", nil, message{body: public, header: from("https://outside.example", "Sec-Fetch-Site", "same-origin")}, ok},
		{"G5 null", allowPage, message{body: public, header: from("null")}, forbidden},
		{"G4 cross-site with Basic", allowPage, message{body: T, basic: app, header: from("https://evil.example", "Sec-Fetch-Site", "cross-site")}, forbidden},
		{"G4 cross-site with Basic, without Origin", allowPage, message{body: T, basic: app, header: []string{"Sec-Fetch-Site", "cross-site"}}, forbidden},
		{"G2 cross-site with Basic, allowed origin", allowPage, message{body: T, basic: app, header: from(page, "Sec-Fetch-Site", "cross-site")}, ok},
	})

	t.Run("G1 preflight", func(t *testing.T) {
		f := newFixture(t, allowPage)
		preflight := func(origin, headers string) message {
			return message{method: "OPTIONS", media: "none", header: from(origin, headerRequestMethod, "POST", headerRequestHeaders, headers)}
		}
		r := f.expect(preflight(page, "authorization,content-type"), refused(204, ""))
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin":      page,
			"Access-Control-Allow-Methods":     "POST",
			"Access-Control-Allow-Headers":     "authorization,content-type",
			"Access-Control-Max-Age":           "600",
			"Access-Control-Allow-Credentials": "",
			"Allow":                            "POST, OPTIONS",
		} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if vary := r.Header.Values("Vary"); !slices.Contains(vary, "Origin") || !slices.Contains(vary, headerRequestHeaders) {
			t.Errorf("Vary: %q", vary)
		}
		for _, odd := range []string{"", "a\"b", "x: y", strings.Repeat("x", maxPreflightHeaders+1), "é"} {
			r := f.send(preflight(page, odd))
			if got := r.Header.Get("Access-Control-Allow-Headers"); got != preflightHeaders {
				t.Errorf("Access-Control-Allow-Headers for %q: %q", odd, got)
			}
		}
		r = f.expect(preflight("https://evil.example", "authorization"), forbidden)
		for name := range r.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("a foreign page was sent %s", name)
			}
		}
		f.expect(message{method: "OPTIONS", media: "none"}, refused(204, ""))
	})
	t.Run("G2 G3 G6 headers of every answer", func(t *testing.T) {
		for _, m := range []message{
			{body: public},
			{body: "client_id=spa"},
			{body: T + "&client_id=nobody"},
			{body: T, basic: []string{plainID, "wrong"}},
			{media: "text/plain", body: T},
			{method: "PUT"},
			{media: jsonType, body: "{"},
		} {
			for origin, allowed := range map[string]string{page: page, "https://evil.example": "", "null": "", "*": ""} {
				m.header = from(origin)
				r := newFixture(t, allowPage).send(m)
				if got := r.Header.Get("Access-Control-Allow-Origin"); got != allowed {
					t.Errorf("%d for %s: Access-Control-Allow-Origin: %q", r.StatusCode, origin, got)
				}
				if got := r.Header.Get("Access-Control-Expose-Headers"); (got == "WWW-Authenticate, Retry-After") != (allowed != "") {
					t.Errorf("%d for %s: Access-Control-Expose-Headers: %q", r.StatusCode, origin, got)
				}
				if got := r.Header.Values("Vary"); !slices.Contains(got, "Origin") {
					t.Errorf("%d for %s: Vary: %q", r.StatusCode, origin, got)
				}
				if r.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Error("Access-Control-Allow-Credentials")
				}
			}
		}
	})
	t.Run("G3 503 and 429", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { allowPage(o); o.Limits.Public.PerMinute = 1 })
		for i, status := range []int{http.StatusOK, http.StatusTooManyRequests} {
			r := f.send(message{body: "client_id=spa&token=" + string(rune('a'+i)), header: from(page)})
			if r.StatusCode != status || r.Header.Get("Access-Control-Allow-Origin") != page {
				t.Errorf("%d with %v", r.StatusCode, r.Header)
			}
		}
	})
	t.Run("G4 nothing is compared for a cross-site request", func(t *testing.T) {
		f := newFixture(t, nil)
		f.send(message{body: T, basic: app, header: []string{"Sec-Fetch-Site", "cross-site"}})
		if n := f.hash.compared.Load(); n != 0 {
			t.Errorf("compared %d times", n)
		}
	})
	t.Run("H1 no Vary without origins", func(t *testing.T) {
		r := newFixture(t, nil).send(message{body: public})
		if r.Header.Get("Vary") != "" {
			t.Errorf("Vary: %q", r.Header.Values("Vary"))
		}
	})
	t.Run("H5 no error_uri", func(t *testing.T) {
		if r := newFixture(t, nil).send(message{body: T}); strings.Contains(r.body, "error_uri") {
			t.Error(r.body)
		}
	})
}
