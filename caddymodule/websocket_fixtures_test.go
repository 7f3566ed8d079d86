package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// Both ends of a WebSocket, by hand: the tests look at single bytes.

const (
	opContinue = 0x0
	opBinary   = 0x2
)

// frame returns a frame; a client masks it (here with a key of zeros).
func frame(first byte, payload []byte, masked bool) []byte {
	b, mask := []byte{first}, byte(0)
	if masked {
		mask = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

// readFrame reads a frame, of a client or of a server.
func readFrame(r io.Reader) (first byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1] & 0x7f)
	if size := map[uint64]int{126: 2, 127: 8}[length]; size > 0 {
		var long [8]byte
		if _, err := io.ReadFull(r, long[8-size:]); err != nil {
			return 0, nil, io.ErrUnexpectedEOF
		}
		length = binary.BigEndian.Uint64(long[:])
	}
	if head[1]&0x80 != 0 {
		length += 4
	}
	payload = make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, io.ErrUnexpectedEOF
	}
	if head[1]&0x80 != 0 {
		payload = payload[4:]
	}
	return head[0], payload, nil
}

// serveWebSocket is the upstream's end. The path says what it does once it is open.
func serveWebSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
	switch r.URL.Path {
	case "/ws/echo":
		for {
			first, payload, err := readFrame(rw)
			if err != nil {
				return
			}
			if _, err := conn.Write(frame(first, payload, false)); err != nil {
				return
			}
		}
	case "/ws/half": // a frame that is never completed
		whole := frame(0x80|opBinary, make([]byte, 1000), false)
		conn.Write(append(frame(0x80|opBinary, []byte("begin"), false), whole[:500]...))
		io.Copy(io.Discard, rw)
	case "/ws/flood": // messages of large fragments, in pieces that end anywhere
		for i := 0; ; i++ {
			first := byte(opContinue)
			switch i % 3 {
			case 0:
				first = opBinary
			case 2:
				first = 0x80
			}
			b := frame(first, bytes.Repeat([]byte{byte(i)}, 100+i%4*70_000), false)
			for len(b) > 0 {
				n := min(len(b), 7_001)
				if _, err := conn.Write(b[:n]); err != nil {
					return
				}
				b = b[n:]
			}
		}
	}
}

// webSocket is a client's end.
type webSocket struct {
	net.Conn
	r *bufio.Reader
}

// dialWebSocket opens a WebSocket. early is sent right behind the request.
func dialWebSocket(t testing.TB, c *testCaddy, path, token string, early []byte) *webSocket {
	t.Helper()
	ws := askForWebSocket(t, c, path, token, early)
	resp, err := http.ReadResponse(ws.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return ws
}

// askForWebSocket does so without waiting for the answer.
func askForWebSocket(t testing.TB, c *testCaddy, path, token string, early []byte) *webSocket {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports["PORT"]))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	request := "GET " + path + " HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	if _, err := conn.Write(append([]byte(request), early...)); err != nil {
		t.Fatal(err)
	}
	return &webSocket{conn, bufio.NewReader(conn)}
}

// say sends a message.
func (ws *webSocket) say(t testing.TB, text string) {
	t.Helper()
	if _, err := ws.Write(frame(0x80|opBinary, []byte(text), true)); err != nil {
		t.Fatal(err)
	}
}

// hear insists on a message.
func (ws *webSocket) hear(t testing.TB, text string) {
	t.Helper()
	if first, payload, err := readFrame(ws.r); err != nil || first != 0x80|opBinary || string(payload) != text {
		t.Fatalf("frame %x %.40q, %v; want %q", first, payload, err, text)
	}
}

// wantClose insists on a close frame that says why, and answers it.
func (ws *webSocket) wantClose(t testing.TB, reason string) {
	t.Helper()
	first, payload, err := readFrame(ws.r)
	if err != nil || first != 0x88 || len(payload) < 2 || binary.BigEndian.Uint16(payload) != 1008 || string(payload[2:]) != reason {
		t.Fatalf("frame %x %.40q, %v; want close 1008 %s", first, payload, err, reason)
	}
	ws.Write(frame(0x88, payload[:2], true))
	if rest, err := io.ReadAll(ws.r); err != nil || len(rest) > 0 {
		t.Errorf("after the close frame: %.40q, %v", rest, err)
	}
}
