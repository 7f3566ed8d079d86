package caddymodule

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// A WebSocket on a stream of HTTP/3 (RFC 9220).
func TestAWebSocketOverHTTP3IsClosed(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	versions := c.versions(t)
	h3 := versions[len(versions)-1]
	wantStreamsClosed(t, c, h3, func(r *http.Request) { r.Proto = "websocket" })
}

// A WebSocket on a stream of HTTP/2 (RFC 8441), which Go only has when it is started with
// this.
const withExtendedConnect = "GODEBUG=http2xconnect=1"

func TestAWebSocketOverHTTP2IsClosed(t *testing.T) {
	if !strings.Contains(os.Getenv("GODEBUG"), "http2xconnect=1") {
		again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		again.Env = append(os.Environ(), withExtendedConnect)
		out, err := again.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
			t.Fatalf("with %s: %v\n%s", withExtendedConnect, err, out)
		}
		return
	}
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	versions := c.versions(t)
	asWebSocket := func(r *http.Request) { r.Header[":protocol"] = []string{"websocket"} }
	// That of net/http doesn't send :protocol.
	for _, v := range []version{
		{"TLS", versions[1].base, &http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		{"h2c", versions[0].base, &http2.Transport{
			AllowHTTP: true,
			DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}},
	} {
		t.Run(v.name, func(t *testing.T) { wantStreamsClosed(t, c, v, asWebSocket) })
	}
}

// wantStreamsClosed opens WebSockets on streams and insists that they end politely.
func wantStreamsClosed(t *testing.T, c *testCaddy, v version, asWebSocket func(*http.Request)) {
	open := func(path, token string) (io.Reader, io.Writer) {
		read, write := io.Pipe()
		t.Cleanup(func() { write.Close() })
		r := v.request(t, path, token, nil)
		r.Method, r.Body, r.ContentLength = http.MethodConnect, read, -1
		r.Header.Set("Sec-WebSocket-Version", "13")
		asWebSocket(r)
		resp, err := v.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return resp.Body, write
	}
	// On the same connection, and none of its business.
	other, toOther := open("/ws/echo", v.name+"other")
	for _, path := range []string{"/ws/echo", "/ws/flood"} {
		token := v.name + path
		body, write := open(path, token)
		if path == "/ws/echo" {
			go write.Write(frame(0x80|opBinary, []byte("hello"), true))
		}
		if _, _, err := readFrame(body); err != nil {
			t.Fatal(err)
		}
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		closed := make(chan error, 1)
		go func() {
			for {
				first, payload, err := readFrame(body)
				if err == nil && first == 0x88 && string(payload[2:]) == "token revoked" {
					_, err := io.Copy(io.Discard, body)
					closed <- err
					return
				}
				if err != nil {
					closed <- fmt.Errorf("%s: frame %x %.40q, %w", path, first, payload, err)
					return
				}
			}
		}()
		if err := wait(t, "the stream goes on", closed); err != nil {
			t.Error(err)
		}
	}
	open("/ws/flood", v.name+"unread") // and nobody reads
	waitForStreams(t, c, "websocket", 2)
	mustRevoke(t, c.URL("/oauth2/revoke"), v.name+"unread")
	waitForStreams(t, c, "websocket", 1)
	go toOther.Write(frame(0x80|opBinary, []byte("still there"), true))
	if _, payload, err := readFrame(other); err != nil || string(payload) != "still there" {
		t.Errorf("the other one: %q, %v", payload, err)
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), v.name+"other")
	waitForStreams(t, c, "websocket", 0)
}
