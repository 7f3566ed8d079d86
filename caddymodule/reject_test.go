package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// guarded is a Caddyfile with an endpoint and an API behind reject_revoked with
// a block of its own.
func guarded(block string) string {
	return strings.Replace(oneSite, "reject_revoked", "reject_revoked {\n"+block+"\n}", 1)
}

func TestJ_Check(t *testing.T) {
	good, other := jwt(t, `{"jti":"good"}`), jwt(t, `{"jti":"other"}`)
	bad := jwt(t, `{"jti":"bad"}`)
	spelled := bad[:len(bad)-1] + "B" // another last character of the signature
	const opaque = "opaque-bad"
	type request struct {
		name    string
		block   string
		url     string // behind the host
		headers []string
		status  int
		want    string // in WWW-Authenticate
	}
	auth := func(values ...string) (h []string) {
		for _, v := range values {
			h = append(h, "Authorization", v)
		}
		return h
	}
	const revoked = `Bearer error="invalid_token", error_description="The access token has been revoked"`
	for _, tc := range []request{
		{"J1 revoked", "", "/", auth("Bearer " + bad), 401, revoked},
		{"J1 opaque", "", "/", auth("Bearer " + opaque), 401, revoked},
		{"J1 live", "", "/", auth("Bearer " + good), 200, ""},
		{"J2 lower case", "", "/", auth("bearer " + bad), 401, revoked},
		{"J2 upper case and spaces", "", "/", auth("BEARER   " + bad), 401, revoked},
		{"J2 tab", "", "/", auth("Bearer\t" + bad), 401, revoked},
		{"J3 DPoP", "", "/", auth("DPoP " + bad), 401, `DPoP error="invalid_token", error_description="The access token has been revoked", algs="ES256 `},
		{"J4 two headers, first", "", "/", auth("Bearer "+bad, "Bearer "+good), 401, revoked},
		{"J4 two headers, second", "", "/", auth("Bearer "+good, "Bearer "+bad), 401, revoked},
		{"J4 an empty one before", "", "/", auth("", "Bearer "+bad), 401, revoked},
		{"J4 joined by a comma", "", "/", auth("Bearer " + good + ", Bearer " + bad), 401, revoked},
		{"J4 behind Basic", "", "/", auth("Basic dTpw, Bearer " + bad), 401, revoked},
		{"J4 two live ones", "", "/", auth("Bearer "+good, "Bearer "+other), 200, ""},
		{"J4 two live ones, strict", "strict", "/", auth("Bearer "+good, "Bearer "+other), 400, `error="invalid_request"`},
		{"J4 one live one twice, strict", "strict", "/", auth("Bearer "+good, "Bearer "+good), 200, ""},
		{"J4 revoked and live, strict", "strict", "/", auth("Bearer "+good, "Bearer "+bad), 401, revoked},
		{"J4 behind 64 others", "", "/", auth("Bearer " + strings.Repeat("a, Bearer b", 70) + ", Bearer " + bad), 400, `error="invalid_request"`},
		{"J4 in the place of Basic credentials", "", "/", auth("Basic " + opaque), 401, revoked},
		{"J4 other schemes", "", "/", auth("Token " + bad), 401, revoked},
		{"J4 no scheme", "", "/", auth(bad), 401, revoked},
		{"J5 query", "", "/?access_token=" + bad, nil, 401, revoked},
		{"J5 query, last", "", "/?a=b&access_token=" + good + "&access_token=" + bad, nil, 401, revoked},
		{"J5 query behind a semicolon", "", "/?a=b;access_token=" + bad, nil, 401, revoked},
		{"J5 query, escaped", "", "/?%61ccess_token=%6f" + opaque[1:], nil, 401, revoked},
		{"J5 query with a bad escape", "", "/?access_token=%zz", nil, 400, `error="invalid_request"`},
		{"J5 revoked wins over a bad escape", "", "/?access_token=%zz&access_token=" + bad, nil, 401, revoked},
		{"J6 in two places", "strict", "/?access_token=" + other, auth("Bearer " + good), 400, `error="invalid_request"`},
		{"J6 revoked in one of them", "", "/?access_token=" + bad, auth("Bearer " + good), 401, revoked},
		{"J7 cookie", "token_from cookie session", "/", []string{"Cookie", "a=b; session=" + bad}, 401, revoked},
		{"J7 second cookie of the name", "token_from cookie session", "/", []string{"Cookie", "session=" + good + "; session=" + bad}, 401, revoked},
		{"J7 header", "token_from header X-Access-Token", "/", []string{"X-Access-Token", bad}, 401, revoked},
		{"J7 basic", "token_from basic", "/", auth("Basic " + basic("x", opaque)), 401, revoked},
		{"J7 websocket", "token_from websocket_protocol", "/", []string{"Sec-WebSocket-Protocol", "bearer, " + bad}, 401, revoked},
		{"J7 token_from replaces the default", "token_from cookie session", "/", auth("Bearer " + bad), 200, ""},
		{"J7 undeclared header", "", "/", []string{"X-Access-Token", bad}, 200, ""},
		{"J8 another spelling", "malformed pass", "/", auth("Bearer " + spelled), 401, revoked},
		{"J8 another spelling of a live one", "", "/", auth("Bearer " + good[:len(good)-1] + "B"), 401, `error="invalid_token", error_description="The access token is malformed`},
		{"J8 which may pass", "malformed pass", "/", auth("Bearer " + good[:len(good)-1] + "B"), 200, ""},
		{"J9 no token", "", "/", nil, 200, ""},
		{"J9 no token, required", "require_token", "/", nil, 401, "Bearer"},
		{"J9 Basic is no token", "require_token", "/", auth("Basic " + basic("u", "p")), 401, "Bearer"},
		{"J9 a token, required", "require_token", "/", auth("Bearer " + good), 200, ""},
		{"J9 realm", "realm api\nrequire_token", "/", nil, 401, `Bearer realm="api"`},
		{"J10 resource_metadata", "resource_metadata https://api.example.com/.well-known/oauth-protected-resource", "/", auth("Bearer " + bad), 401,
			revoked + `, resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`},
		{"J22 token over the limit", "", "/?access_token=" + strings.Repeat("x", 16<<10+1), nil, 400, `error="invalid_request"`},
		{"dry run, revoked", "dry_run", "/", auth("Bearer " + bad), 200, ""},
		{"dry run, bad escape", "dry_run", "/?access_token=%zz", nil, 200, ""},
		{"dry run, required", "dry_run\nrequire_token", "/", nil, 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := startCaddy(t, "{\n\tservers {\n\t\tmax_header_size 64KiB\n\t}\n}\n"+guarded(tc.block))
			for _, token := range []string{bad, opaque} {
				mustRevoke(t, c.URL("/oauth2/revoke"), token)
			}
			a := get(t, c.URL(tc.url), tc.headers...)
			wantStatus(t, a, tc.status)
			got := a.header.Get("WWW-Authenticate")
			if !strings.Contains(got, tc.want) || tc.want == "" && got != "" || tc.want == "Bearer" && got != "Bearer" {
				t.Errorf("WWW-Authenticate: %s\nwant %s", got, tc.want)
			}
			if tc.status != 200 && a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("Cache-Control: %s", a.header.Get("Cache-Control"))
			}
			if strings.Contains(fmt.Sprint(a), bad) {
				t.Error("the answer shows the token")
			}
		})
	}
}

func TestJ18_PreflightsWithoutCredentialsPass(t *testing.T) {
	c := startCaddy(t, guarded("require_token"))
	preflight := func(headers ...string) answer {
		r, _ := http.NewRequest(http.MethodOptions, c.URL("/"), nil)
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Access-Control-Request-Method", "GET")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return do(t, r)
	}
	wantStatus(t, preflight(), 200)
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	wantStatus(t, preflight("Authorization", "Bearer bad"), 401)
}

func TestJ20_ACachedTokenIsRejectedAsSoonAsItIsRevoked(t *testing.T) {
	c := startCaddy(t, oneSite)
	for i := range 200 {
		token := fmt.Sprint("token-", i)
		wantStatus(t, bearer(t, c.URL("/"), token), 200)
		wantStatus(t, bearer(t, c.URL("/"), token), 200)
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
}

func TestJ21_TrailersWithCredentials(t *testing.T) {
	u := startUpstream(t)
	c := startCaddy(t, strings.Replace(oneSite, "respond served", "reverse_proxy "+u.address(), 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	host := strings.TrimPrefix(c.URL(""), "http://")
	request := func(headers, trailers string) string {
		return raw(t, host, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"+headers+"\r\n1\r\na\r\n0\r\n"+trailers+"\r\n")
	}
	if got := request("Trailer: Authorization\r\n", "Authorization: Bearer bad\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("an announced credential: %.60s", got)
	}
	request("Trailer: X-Checksum\r\n", "X-Checksum: 1\r\nAuthorization: Bearer bad\r\n")
	request("", "Authorization: Bearer bad\r\n")
	for _, s := range u.take() {
		if strings.Contains(fmt.Sprint(s.request.Header, s.request.Trailer), "bad") {
			t.Errorf("the upstream saw it: %v %v", s.request.Header, s.request.Trailer)
		}
	}
}

func TestJ5_FormsAreSearchedAndReplayed(t *testing.T) {
	u := startUpstream(t)
	c := startCaddy(t, strings.Replace(guarded("token_from header Authorization\ntoken_from form access_token\nform_limit 1KiB"), "respond served", "reverse_proxy "+u.address(), 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	post := func(contentType, body string) answer {
		r, _ := http.NewRequest(http.MethodPost, c.URL("/"), strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return do(t, r)
	}
	const form = "application/x-www-form-urlencoded"
	wantStatus(t, post(form, "a=b&access_token=bad"), 401)
	wantStatus(t, post(form, "a="+strings.Repeat("b", 1024)), 413)
	wantStatus(t, post(form, "access_token=%zz"), 400)
	if n := len(u.take()); n != 0 {
		t.Errorf("%d of these reached the upstream", n)
	}
	for contentType, body := range map[string]string{
		form:                  "a=b&access_token=good&%zz&;&=",
		"application/json":    `{"access_token":"bad"}`,
		"multipart/form-data": strings.Repeat("x", 5000),
	} {
		wantStatus(t, post(contentType, body), 200)
		if s := u.take(); len(s) != 1 || string(s[0].body) != body || s[0].request.ContentLength != int64(len(body)) {
			t.Errorf("%s: the upstream saw %v", contentType, s)
		}
	}
}

func TestRequestsPassUnchanged(t *testing.T) {
	u := startUpstream(t)
	c := startCaddy(t, strings.Replace(oneSite, "respond served", "reverse_proxy "+u.address(), 1))
	path := "/a%2Fb/../c?x=1;y=2&access_token=fine&z=%41"
	host := strings.TrimPrefix(c.URL(""), "http://")
	raw(t, host, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: bEARER \t fine\r\nAuthorization: Basic dTpw\r\nCookie: a=b; c\r\n\r\n")
	s := u.take()
	if len(s) != 1 {
		t.Fatalf("%d requests", len(s))
	}
	r := s[0].request
	if got := r.Header["Authorization"]; len(got) != 2 || got[0] != "bEARER \t fine" || got[1] != "Basic dTpw" {
		t.Errorf("Authorization: %q", got)
	}
	if r.URL.RawQuery != strings.SplitN(path, "?", 2)[1] {
		t.Errorf("query: %s", r.URL.RawQuery)
	}
}

func TestRejectionsAreCaddysErrors(t *testing.T) {
	c := startCaddy(t, strings.Replace(oneSite, "respond served", `respond served
	handle_errors {
		respond "{err.status_code} {err.message}|{http.token_revocation.verdict}|{http.token_revocation.selector}|{http.token_revocation.source}|{http.token_revocation.reason}|{http.token_revocation.fingerprint}" {
			close
		}
	}`, 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	a := bearer(t, c.URL("/"), "bad")
	parts := strings.Split(a.body, "|")
	const reason = "The access token has been revoked"
	if len(parts) != 6 || parts[0] != "401 "+reason || parts[1] != "revoked" || parts[2] != "token" ||
		parts[3] != "header Authorization" || parts[4] != reason || len(parts[5]) != 43 {
		t.Errorf("%q", parts)
	}
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer error=") {
		t.Errorf("WWW-Authenticate: %s", a.header.Get("WWW-Authenticate"))
	}
}

// A page must be able to read why it was rejected: the recipe of docs/check.md.
func TestCORSHeadersOnRejections(t *testing.T) {
	c := startCaddy(t, strings.Replace(oneSite, "reject_revoked", `@app header Origin https://app.example.com
	header @app {
		Access-Control-Allow-Origin https://app.example.com
		Access-Control-Expose-Headers WWW-Authenticate
		+Vary Origin
	}
	reject_revoked`, 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "bad")
	a := get(t, c.URL("/"), "Authorization", "Bearer bad", "Origin", "https://app.example.com")
	wantStatus(t, a, 401)
	if a.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("headers: %v", a.header)
	}
	if a := get(t, c.URL("/"), "Authorization", "Bearer bad", "Origin", "https://evil.example.com"); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("headers: %v", a.header)
	}
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Basic ")
}

// Behind an upgrade to HTTP/2 the upstream would get requests that nobody
// checked.
func TestUpgradesToAnythingButWebSocketAreNotPassedOn(t *testing.T) {
	u := startUpstream(t)
	c := startCaddy(t, strings.Replace(oneSite, "respond served", "reverse_proxy "+u.address(), 1))
	host := strings.TrimPrefix(c.URL(""), "http://")
	for upgrade, passes := range map[string]bool{
		"websocket": true, "WebSocket": true, "h2c": false, "websocket, h2c": false, "h2c\r\nUpgrade: websocket": false, "TLS/1.0": false,
	} {
		raw(t, host, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: "+upgrade+"\r\n\r\n")
		s := u.take()
		if len(s) != 1 {
			t.Fatalf("%s: %d requests", upgrade, len(s))
		}
		if got := s[0].request.Header.Get("Upgrade"); (got != "") != passes {
			t.Errorf("%q: the upstream sees %q", upgrade, got)
		}
	}
}
