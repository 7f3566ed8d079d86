package caddymodule

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestAnIdleWebSocketIsClosedWhenItsTokenIsRevoked(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	hit, other := dialWebSocket(t, c, "/ws/echo", "hit", nil), dialWebSocket(t, c, "/ws/echo", "other", nil)
	for _, ws := range []*webSocket{hit, other} {
		ws.say(t, "hello")
		ws.hear(t, "hello")
	}
	began := time.Now()
	mustRevoke(t, c.URL("/oauth2/revoke"), "hit")
	hit.wantClose(t, "token revoked")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	other.say(t, "still there")
	other.hear(t, "still there")
	waitForStreams(t, c, "websocket", 1)
	resp, err := http.ReadResponse(askForWebSocket(t, c, "/ws/echo", "hit", nil).r, nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("opened again: %v, %v", resp, err)
	}
}

// What the client sent along with its request reaches the upstream, and once.
func TestWhatAWebSocketSendsEarlyArrives(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	ws := dialWebSocket(t, c, "/ws/echo", "early", frame(0x80|opBinary, []byte("early"), true))
	ws.hear(t, "early")
	ws.say(t, "later")
	ws.hear(t, "later")
	mustRevoke(t, c.URL("/oauth2/revoke"), "early")
	ws.wantClose(t, "token revoked")
}

// The close frame comes between two others, never inside of one.
func TestABusyWebSocketHasWholeFramesOnly(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	for round := range 10 {
		token := fmt.Sprint("busy-", round)
		ws := dialWebSocket(t, c, "/ws/flood", token, nil)
		revoked := make(chan answer, 1)
		go func() {
			noise := bytes.Repeat(frame(0x80|opBinary, make([]byte, 900), true), 100)
			for {
				if _, err := ws.Write(noise); err != nil {
					return
				}
			}
		}()
		for i := 0; ; i++ {
			if i == 5 {
				go func() { revoked <- postRevoke(t, c.URL("/oauth2/revoke"), token) }()
			}
			first, payload, err := readFrame(ws.r)
			if err != nil {
				t.Fatalf("frame %d: %v", i, err)
			}
			if first == 0x88 {
				if text := string(payload[2:]); i < 5 || text != "token revoked" {
					t.Errorf("frame %d closes: %q", i, text)
				}
				break
			}
			if want := bytes.Repeat([]byte{byte(i)}, 100+i%4*70_000); !bytes.Equal(payload, want) {
				t.Fatalf("frame %d is not what was sent", i)
			}
		}
		wantStatus(t, wait(t, "nothing was revoked", revoked), 200)
		ws.Close()
	}
	waitForStreams(t, c, "websocket", 0)
}

// Where no close frame is possible, the connection ends all the same.
func TestAWebSocketThatIsStuckIsClosed(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	half := dialWebSocket(t, c, "/ws/half", "half", nil)
	half.hear(t, "begin")
	mustRevoke(t, c.URL("/oauth2/revoke"), "half")
	if got, err := io.ReadAll(half.r); err != nil || len(got) > 504 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	dialWebSocket(t, c, "/ws/flood", "unread", nil) // and nobody reads
	waitForStreams(t, c, "websocket", 1)
	mustRevoke(t, c.URL("/oauth2/revoke"), "unread")
	waitForStreams(t, c, "websocket", 0)
}

func TestAWebSocketThatIsNotOpenYetIsRejected(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, ""))
	ws := askForWebSocket(t, c, "/pending", "early", nil)
	wait(t, "the upstream was not asked", u.began)
	mustRevoke(t, c.URL("/oauth2/revoke"), "early")
	wait(t, "the upstream goes on", u.ended)
	resp, err := http.ReadResponse(ws.r, nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("answered %v, %v", resp, err)
	}
	wantStatus(t, get(t, c.URL("/quick"), "Authorization", "Bearer another"), 200)
}

func TestAWebSocketThatOutlivesAReloadIsClosed(t *testing.T) {
	u := startStreamer(t)
	site := streamSite(u, "")
	c := startCaddy(t, site)
	ws := dialWebSocket(t, c, "/ws/echo", "kept", nil)
	c.load(t, strings.Replace(site, "auto_https", "token_revocation {\nstore bolt DIR/second.db\n}\nauto_https", 1))
	ws.say(t, "still there")
	ws.hear(t, "still there")
	mustRevoke(t, c.URL("/oauth2/revoke"), "kept")
	ws.wantClose(t, "token revoked")
}

func TestAWebSocketIsClosedWhenItsTokenExpires(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, "close_on_expiry"))
	exp := time.Now().Add(1500 * time.Millisecond).Unix()
	ws := dialWebSocket(t, c, "/ws/echo", jwt(t, fmt.Sprintf(`{"exp":%d}`, exp)), nil)
	ws.wantClose(t, "token expired")
	if now := time.Now().Unix(); now < exp {
		t.Errorf("it was closed %d s too early", exp-now)
	}
}

// A cut that comes between the response's head and the take-over leaves both whole: the
// head, and the close frame behind it.
func TestAWebSocketThatIsCutWhileItOpensIsClosed(t *testing.T) {
	c := startCaddy(t, oneSite)
	h := activeHandler(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			mustRevoke(t, c.URL("/oauth2/revoke"), "opening")
			<-r.Context().Done()
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return err
			}
			return conn.Close()
		}))
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer opening\r\n\r\n")
	ws := &webSocket{conn, bufio.NewReader(conn)}
	resp, err := http.ReadResponse(ws.r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answered %v, %v", resp, err)
	}
	ws.wantClose(t, "token revoked")
}

// The bytes of any frames, in pieces of any size, have their boundaries where the frames
// end.
func TestFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, masked := range []bool{false, true} {
		all := []byte("HTTP/1.1 101 OK\r\nA: b\r\n\r\r\n\r\n")
		ends := map[int]bool{len(all): true}
		for i := range 300 {
			size := []int{0, 1, 125, 126, 127, 65535, 65536, 70000}[r.IntN(8)]
			all = append(all, frame(byte(i%2)<<7|opBinary, make([]byte, size), masked)...)
			ends[len(all)] = true
		}
		f := frames{preface: true}
		for at := 0; at < len(all); {
			n := min(len(all)-at, 1+r.IntN(1<<r.IntN(18)))
			if rest := f.rest(all[at : at+n]); rest > 0 && rest < n && !ends[at+rest] {
				t.Fatalf("a frame ends at %d", at+rest)
			} else if rest == 0 && at > 0 && !ends[at] {
				t.Fatalf("no frame is under way at %d", at)
			}
			f.pass(all[at : at+n])
			if at += n; f.boundary() != ends[at] {
				t.Fatalf("a boundary at %d: %v", at, f.boundary())
			}
		}
		if f.closing {
			t.Error("it is taken for closed")
		}
		f.pass(frame(0x88, []byte{3, 0xe8}, masked))
		if !f.closing || !f.boundary() {
			t.Error("the close frame was missed")
		}
	}
}

// After the cut nothing of the client's reaches the handler, and a WebSocket that its
// server has closed gets no second close frame.
func TestACutConnectionDeliversNothing(t *testing.T) {
	for _, closed := range []bool{false, true} {
		server, client := net.Pipe()
		c := &clientConn{Conn: server, out: newOutgoing(server.Write, func() error { return nil }), done: make(chan struct{})}
		got := make(chan []byte, 1)
		go func() {
			all, _ := io.ReadAll(client)
			got <- all
		}()
		var want []byte
		if closed {
			want = frame(0x88, []byte{3, 0xe8}, false)
			if _, err := c.Write(want); err != nil {
				t.Fatal(err)
			}
		} else {
			want = closeFrame("why")
		}
		hungUp := make(chan struct{})
		go c.end("why", func() { close(hungUp) })
		wait(t, "nobody hung up", hungUp)
		go client.Write([]byte("more"))
		if n, err := c.Read(make([]byte, 10)); n > 0 || err == nil {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if n, err := c.Write([]byte("more")); n > 0 || err == nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		c.Close()
		if all := wait(t, "the connection is open", got); !bytes.Equal(all, want) {
			t.Errorf("the client got %x, want %x", all, want)
		}
	}
}
