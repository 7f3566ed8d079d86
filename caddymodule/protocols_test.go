package caddymodule

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// TestProtocols revokes a token and is rejected over each version of HTTP that
// Caddy serves, and a token that was revoked over one of them is rejected over all.
func TestProtocols(t *testing.T) {
	c := startCaddy(t, `
{
	auto_https disable_redirects
	servers {
		protocols h1 h2 h2c h3
	}
}

(site) {
	revocation_endpoint /oauth2/revoke {
		client spa
	}
	reject_revoked
	respond served
}

http://:PORT {
	import site
}

https://localhost:PORT1 {
	tls internal
	import site
}
`)

	overTLS := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"} // Caddy's own authority, made for this test
	waitForCertificate(t, c.ports["PORT1"], overTLS)
	h1, h2, h2c := new(http.Protocols), new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	h2.SetHTTP2(true)
	h2c.SetUnencryptedHTTP2(true)
	plain := c.URL("")
	secure := fmt.Sprintf("https://localhost:%d", c.ports["PORT1"])
	versions := []struct {
		name, base string
		major      int
		transport  http.RoundTripper
	}{
		{"HTTP/1.1", plain, 1, &http.Transport{Protocols: h1}},
		{"HTTP/1.1 with TLS", secure, 1, &http.Transport{Protocols: h1, TLSClientConfig: overTLS.Clone()}},
		{"HTTP/2 without TLS", plain, 2, &http.Transport{Protocols: h2c}},
		{"HTTP/2", secure, 2, &http.Transport{Protocols: h2, TLSClientConfig: overTLS.Clone()}},
		{"HTTP/3", secure, 3, &http3.Transport{TLSClientConfig: overTLS.Clone()}},
	}

	t.Cleanup(func() {
		for _, v := range versions {
			if h3, ok := v.transport.(*http3.Transport); ok {
				h3.Close()
			} else {
				v.transport.(*http.Transport).CloseIdleConnections()
			}
		}
	})

	// send sends a request over the version and returns the answer and its body.
	send := func(t *testing.T, version int, method, path, token, body string) (*http.Response, string) {
		t.Helper()
		v := versions[version]
		req, err := http.NewRequestWithContext(t.Context(), method, v.base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		if body != "" {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := v.transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s: %v", v.name, err)
		}
		if resp.ProtoMajor != v.major {
			t.Fatalf("%s was spoken, want %s", resp.Proto, v.name)
		}
		return resp, string(got)
	}

	for i, v := range versions {
		t.Run(v.name, func(t *testing.T) {
			token := fmt.Sprintf("token-%d", i)
			if resp, body := send(t, i, http.MethodGet, "/", token, ""); resp.StatusCode != http.StatusOK || body != "served" {
				t.Fatalf("before it is revoked: %s %q", resp.Status, body)
			}
			if resp, body := send(t, i, http.MethodPost, "/oauth2/revoke", "", "client_id=spa&token="+token); resp.StatusCode != http.StatusOK || body != "{}" {
				t.Fatalf("the revocation: %s %q", resp.Status, body)
			}
			for j := range versions {
				resp, body := send(t, j, http.MethodGet, "/", token, "")
				if resp.StatusCode != http.StatusUnauthorized || strings.Contains(body, "served") {
					t.Errorf("over %s after it is revoked: %s %q", versions[j].name, resp.Status, body)
				}
				if !strings.Contains(resp.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
					t.Errorf("over %s the WWW-Authenticate is %q", versions[j].name, resp.Header.Get("WWW-Authenticate"))
				}
			}
		})
	}
}

// waitForCertificate returns when the site has the certificate that Caddy issues to
// itself after it has started to listen.
func waitForCertificate(t *testing.T, port int, config *tls.Config) {
	t.Helper()
	var err error
	for range 500 {
		var conn *tls.Conn
		conn, err = tls.Dial("tcp", fmt.Sprintf("localhost:%d", port), config)
		if err == nil {
			conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the TLS site has no certificate:", err)
}
