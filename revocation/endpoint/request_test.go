// 1.A of the contract: transport, method, media type.
//
// Not here: A4, the metadata document, comes with issuers (H3, H4).

package endpoint

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTransport(t *testing.T) {
	requireTLS := func(o *Options) { o.RequireTLS = true }
	long := func(o *Options) { o.MaxTokenBytes = 4 }
	run(t, []one{
		{"A1 form over TLS", nil, message{body: "token=T", basic: app}, ok},
		{"A2 plain HTTP where TLS is required", requireTLS, message{body: "token=T", basic: app, plain: true}, refused(400, "invalid_request")},
		{"A2 TLS where TLS is required", requireTLS, message{body: "token=T", basic: app}, ok},
		{"A3 plain HTTP is served", nil, message{body: "token=T", basic: app, plain: true}, ok},
		{"A5 GET", nil, message{method: "GET", target: "/revoke?token=T&client_id=spa", media: "none"}, refused(405, "invalid_request")},
		{"A6 HEAD", nil, message{method: "HEAD", target: "/revoke?token=T&client_id=spa", media: "none"}, refused(405, "invalid_request")},
		{"A6 PUT", nil, message{method: "PUT", body: "token=T", basic: app}, refused(405, "invalid_request")},
		{"A6 PATCH", nil, message{method: "PATCH", body: "token=T", basic: app}, refused(405, "invalid_request")},
		{"A6 DELETE", nil, message{method: "DELETE", body: "token=T", basic: app}, refused(405, "invalid_request")},
		{"A6 QUERY", nil, message{method: "QUERY", body: "token=T", basic: app}, refused(405, "invalid_request")},
		{"A6 post", nil, message{method: "post", body: "token=T", basic: app}, refused(405, "invalid_request")},
		{"A7 charset=UTF-8", nil, message{media: form + ";charset=UTF-8", body: "token=T", basic: app}, ok},
		{"A7 quoted charset", nil, message{media: form + `; charset="utf-8"`, body: "token=T", basic: app}, ok},
		{"A7 an unknown media type parameter", nil, message{media: form + `; boundary=x`, body: "token=T", basic: app}, ok},
		{"A8 mixed case", nil, message{media: "Application/X-WWW-Form-UrlEncoded", body: "token=T", basic: app}, ok},
		{"A9 us-ascii", nil, message{media: form + ";charset=US-ASCII", body: "token=T", basic: app}, ok},
		{"A9 utf-16", nil, message{media: form + ";charset=utf-16", body: "token=T", basic: app}, refused(400, "invalid_request")},
		{"A9 iso-8859-1", nil, message{media: form + ";charset=iso-8859-1", body: "token=T", basic: app}, refused(400, "invalid_request")},
		{"A9 two charsets", nil, message{media: form + ";charset=utf-8;charset=utf-16", body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A10 text/plain", nil, message{media: "text/plain", body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A10 multipart/form-data", nil, message{media: "multipart/form-data; boundary=b", body: "--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nT\r\n--b--\r\n", basic: app}, refused(415, "invalid_request")},
		{"A10 application/xml", nil, message{media: "application/xml", body: "<token>T</token>", basic: app}, refused(415, "invalid_request")},
		{"A10 two types in one header", nil, message{media: form + ", text/plain", body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A10 two Content-Type headers", nil, message{header: []string{"Content-Type", form}, body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A11 no Content-Type", nil, message{media: "none", body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A11 neither Content-Type nor body", nil, message{media: "none", basic: app}, refused(400, "invalid_request")},
		{"A12 JSON", nil, message{media: jsonType, body: `{"token":"T"}`, basic: app}, noContent},
		{"A12 JSON turned off", func(o *Options) { o.DisableJSON = true }, message{media: jsonType, body: `{"token":"T"}`, basic: app}, refused(415, "invalid_request")},
		{"A13 gzip", nil, message{header: []string{"Content-Encoding", "gzip"}, body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A13 identity", nil, message{header: []string{"Content-Encoding", "identity"}, body: "token=T", basic: app}, ok},
		{"A13 identity, then gzip", nil, message{header: []string{"Content-Encoding", "identity", "Content-Encoding", "gzip"}, body: "token=T", basic: app}, refused(415, "invalid_request")},
		{"A14 longer than the limit", nil, message{body: "token=T&x=" + strings.Repeat("x", DefaultMaxBodyBytes-9), basic: app}, refused(413, "invalid_request")},
		{"A14 as long as the limit", nil, message{body: "token=T&x=" + strings.Repeat("x", DefaultMaxBodyBytes-10), basic: app}, ok},
		{"A16 token one too long", long, message{body: "token=abcde", basic: app}, refused(400, "invalid_request")},
		{"A20 a query is not read", nil, message{target: "/revoke?tenant=a;b&%zz", body: "token=T", basic: app}, ok},
	})
	t.Run("A16 token as long as possible", func(t *testing.T) {
		f := newFixture(t, nil)
		token := strings.Repeat("x", DefaultMaxTokenBytes)
		if r := f.send(message{body: "token=" + token, basic: app}); r.StatusCode != 200 || !f.dead(token) {
			t.Errorf("answered %d, dead: %t", r.StatusCode, f.dead(token))
		}
	})
	t.Run("A5 A6 Allow", func(t *testing.T) {
		r := newFixture(t, nil).send(message{method: "GET", media: "none"})
		if got := r.Header.Get("Allow"); got != "POST, OPTIONS" {
			t.Errorf("Allow: %q", got)
		}
	})
	t.Run("A2 A3 logged once", func(t *testing.T) {
		f := newFixture(t, nil)
		const line = "plain HTTP"
		f.send(message{body: "x=y", plain: true})
		if strings.Contains(f.log.String(), line) {
			t.Error("logged without a credential")
		}
		for range 3 {
			f.send(message{body: "token=T", basic: app, plain: true})
		}
		if n := strings.Count(f.log.String(), line); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// conversation is one connection to a server of net/http.
type conversation struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func converse(t *testing.T, f http.Handler) *conversation {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second)) // only so that a failing test ends
	return &conversation{t, conn, bufio.NewReader(conn)}
}

func (c *conversation) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) hear() reply {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	r := reply{res, string(body)}
	checkReply(c.t, r)
	return r
}

func head(extra string, length int) string {
	return fmt.Sprintf("POST /revoke HTTP/1.1\r\nHost: auth.example.com\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s\r\n", form, length, extra)
}

func TestWire(t *testing.T) {
	auth := "Authorization: " + basic(plainID, plainPass) + "\r\n"

	t.Run("A14 the body isn't read", func(t *testing.T) {
		c := converse(t, newFixture(t, nil))
		c.say("%s", head(auth, 1<<40))
		if r := c.hear(); r.StatusCode != 413 || !r.Close {
			t.Errorf("answered %d, closing: %t", r.StatusCode, r.Close)
		}
	})
	t.Run("A15 chunked and too long", func(t *testing.T) {
		f := newFixture(t, nil)
		c := converse(t, f)
		c.say("POST /revoke HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\n%sTransfer-Encoding: chunked\r\n\r\n7\r\ntoken=T\r\n", form, auth)
		for range DefaultMaxBodyBytes/1024 + 1 {
			c.say("400\r\n%s\r\n", strings.Repeat("x", 1024))
		}
		if r := c.hear(); r.StatusCode != 413 || f.dead("T") {
			t.Errorf("answered %d, dead: %t", r.StatusCode, f.dead("T"))
		}
	})
	t.Run("A15 chunked", func(t *testing.T) {
		f := newFixture(t, nil)
		c := converse(t, f)
		c.say("POST /revoke HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\n%sTransfer-Encoding: chunked\r\n\r\n7\r\ntoken=T\r\n0\r\n\r\n", form, auth)
		if r := c.hear(); r.StatusCode != 200 || !f.dead("T") {
			t.Errorf("answered %d, dead: %t", r.StatusCode, f.dead("T"))
		}
	})
	t.Run("A17 truncated", func(t *testing.T) {
		f := newFixture(t, nil)
		c := converse(t, f)
		c.say("%stoken=T", head(auth, 50))
		c.Conn.(*net.TCPConn).CloseWrite()
		if r := c.hear(); r.StatusCode != 400 || f.dead("T") {
			t.Errorf("answered %d, dead: %t", r.StatusCode, f.dead("T"))
		}
	})
	t.Run("A17 slower than BodyTimeout", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.BodyTimeout = 20 * time.Millisecond })
		c := converse(t, f)
		c.say("%stoken=T", head(auth, 50))
		if r := c.hear(); r.StatusCode != 408 || !r.Close || f.dead("T") {
			t.Errorf("answered %d, closing: %t, dead: %t", r.StatusCode, r.Close, f.dead("T"))
		}
	})
	t.Run("A17 slower than BodyTimeout after an early answer", func(t *testing.T) {
		c := converse(t, newFixture(t, func(o *Options) { o.BodyTimeout = 20 * time.Millisecond }))
		c.say("PUT /revoke HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\ntoken")
		if r := c.hear(); r.StatusCode != 405 {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	t.Run("A18 Expect with bad credentials", func(t *testing.T) {
		c := converse(t, newFixture(t, nil))
		c.say("%s", head("Authorization: Basic x\r\nExpect: 100-continue\r\n", 7))
		if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != 100 {
			t.Fatal(res, err) // the body is read first: it may have duplicates (B7)
		}
		c.say("token=T")
		if r := c.hear(); r.StatusCode != 401 {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	t.Run("A18 Expect with a body too long", func(t *testing.T) {
		c := converse(t, newFixture(t, nil))
		c.say("%s", head("Expect: 100-continue\r\n", 1<<20))
		if r := c.hear(); r.StatusCode != 413 {
			t.Errorf("answered %d", r.StatusCode)
		}
	})
	t.Run("A19 the connection after an error", func(t *testing.T) {
		for name, first := range map[string]string{
			"405":         "DELETE /revoke HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\ntoken=T",
			"415":         "POST /revoke HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\r\nGET / HTTP/1.1\r\nHost: smuggled.example\r\n\r\n",
			"415 chunked": "POST /revoke HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ntoken=T\r\n0\r\n\r\n",
			"400":         head(auth, 15) + "token=a&token=T",
			"401":         head("Authorization: Basic x\r\n", 7) + "token=T",
			"422":         strings.Replace(head(auth, 2), form, jsonType, 1) + "{}",
		} {
			f := newFixture(t, func(o *Options) { o.BodyTimeout = 50 * time.Millisecond })
			c := converse(t, f)
			c.say("%s", first)
			if r := c.hear(); r.Close || !strings.HasPrefix(name, fmt.Sprint(r.StatusCode)) {
				t.Errorf("%s: answered %d, closing: %t", name, r.StatusCode, r.Close)
			}
			// The deadline of the first body must not hit the second request.
			time.Sleep(60 * time.Millisecond)
			c.say("%stoken=T", head(auth, 7))
			if r := c.hear(); r.StatusCode != 200 || !f.dead("T") {
				t.Errorf("%s: the next request was answered %d: %s", name, r.StatusCode, r.body)
			}
		}
	})
	t.Run("C20 two Authorization headers", func(t *testing.T) {
		f := newFixture(t, nil)
		c := converse(t, f)
		c.say("%stoken=T", head(auth+"authorization: Bearer x\r\n", 7))
		if r := c.hear(); r.StatusCode != 400 || r.code() != "invalid_request" || f.dead("T") {
			t.Errorf("answered %d %s", r.StatusCode, r.body)
		}
	})
	t.Run("E1 a client that hangs up", func(t *testing.T) {
		f := newFixture(t, nil)
		c := converse(t, f)
		gate := make(chan struct{})
		f.store.gate = gate
		c.say("%stoken=T", head(auth, 7))
		for !f.dead("T") { // it is enforced before the store has it
			time.Sleep(time.Millisecond)
		}
		c.Close()
		close(gate)
		for len(f.store.all()) == 0 {
			time.Sleep(time.Millisecond)
		}
	})
	t.Run("A1 a slow list outlasts BodyTimeout", func(t *testing.T) {
		ended := make(chan error, 1)
		f := newFixture(t, func(o *Options) {
			o.BodyTimeout = 10 * time.Millisecond
			o.List = &stub{revoke: func(ctx context.Context) error {
				time.Sleep(50 * time.Millisecond)
				return nil
			}}
		})
		c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.ServeHTTP(w, r)
			ended <- r.Context().Err()
		}))
		for i := range 2 {
			c.say("%stoken=%d", head(auth, 7), i)
			if r := c.hear(); r.StatusCode != 200 {
				t.Errorf("answered %d", r.StatusCode)
			}
			if err := <-ended; err != nil {
				t.Errorf("the client was taken for gone: %v", err)
			}
		}
	})
}

func TestHTTP2(t *testing.T) {
	serve := func(t *testing.T, change func(*Options)) (*fixture, *httptest.Server) {
		f := newFixture(t, change)
		server := httptest.NewUnstartedServer(f)
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		return f, server
	}
	post := func(t *testing.T, server *httptest.Server, body io.Reader) reply {
		t.Helper()
		r, err := http.NewRequest("POST", server.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", form)
		r.SetBasicAuth(plainID, plainPass)
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		a := reply{res, string(b)}
		checkReply(t, a)
		if res.ProtoMajor != 2 {
			t.Errorf("HTTP/%d", res.ProtoMajor)
		}
		return a
	}
	t.Run("A1 HTTP/2", func(t *testing.T) {
		f, server := serve(t, func(o *Options) { o.RequireTLS = true })
		if r := post(t, server, strings.NewReader("token=T")); r.StatusCode != 200 || !f.dead("T") {
			t.Errorf("answered %d %s", r.StatusCode, r.body)
		}
	})
	t.Run("A15 HTTP/2, too long", func(t *testing.T) {
		f, server := serve(t, nil)
		body := io.MultiReader(strings.NewReader("token=T&x="), strings.NewReader(strings.Repeat("x", DefaultMaxBodyBytes)))
		if r := post(t, server, body); r.StatusCode != 413 || f.dead("T") {
			t.Errorf("answered %d %s", r.StatusCode, r.body)
		}
		if r := post(t, server, strings.NewReader("token=T")); r.StatusCode != 200 || !f.dead("T") {
			t.Errorf("answered %d %s", r.StatusCode, r.body)
		}
	})
	t.Run("A17 HTTP/2, slower than BodyTimeout", func(t *testing.T) {
		f, server := serve(t, func(o *Options) { o.BodyTimeout = 20 * time.Millisecond })
		body, w := io.Pipe()
		defer w.Close()
		go io.WriteString(w, "token=T")
		if r := post(t, server, body); r.StatusCode != 408 || f.dead("T") {
			t.Errorf("answered %d %s", r.StatusCode, r.body)
		}
	})
}
