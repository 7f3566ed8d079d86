package caddymodule

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// idleUpstream holds what it is asked for open: an event stream or a WebSocket.
func idleUpstream(b *testing.B) string {
	ended := make(chan struct{})
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			r.URL.Path = "/ws/echo"
			serveWebSocket(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	b.Cleanup(func() { close(ended); u.CloseClientConnections(); u.Close() })
	return u.Listener.Addr().String()
}

// openIdle opens n streams, each on a connection of its own; the token is a user's.
func openIdle(b *testing.B, c *testCaddy, n int, headers string, token func(i int) string) []net.Conn {
	conns := make([]net.Conn, n)
	var opening sync.WaitGroup
	for worker := range 16 {
		opening.Go(func() {
			for i := worker; i < n; i += 16 {
				conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports["PORT"]))
				if err != nil {
					b.Error(err)
					return
				}
				conns[i] = conn
				fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\n%sAuthorization: Bearer %s\r\n\r\n", headers, token(i))
				resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
				if err != nil || resp.StatusCode != 200 && resp.StatusCode != 101 {
					b.Errorf("%v, %v", resp, err)
					return
				}
			}
		})
	}
	opening.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() {
		for _, conn := range conns {
			conn.Close()
		}
	})
	return conns
}

const (
	eventHeaders  = "Accept: text/event-stream\r\n"
	socketHeaders = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
)

// BenchmarkIdleStream prints the memory of an idle stream in all three parties, which
// are in this process, so that only the difference between rows tells something.
func BenchmarkIdleStream(b *testing.B) {
	const n = 1000
	for _, kind := range []struct{ name, headers string }{{"event stream", eventHeaders}, {"WebSocket", socketHeaders}} {
		for _, watch := range []string{closeOff, closeStreams} {
			b.Run(kind.name+" "+watch, func(b *testing.B) {
				c := startCaddy(b, ":PORT {\nreject_revoked {\nclose_streams "+watch+"\n}\nreverse_proxy "+idleUpstream(b)+"\n}\n")
				token := func(i int) string { return jwt(b, fmt.Sprintf(`{"jti":"%d","sub":"user"}`, i)) }
				openIdle(b, c, 100, kind.headers, token) // what is made once
				for b.Loop() {
					before := inUse()
					openIdle(b, c, n, kind.headers, func(i int) string { return token(i + 100) })
					b.ReportMetric(float64(inUse()-before)/n, "B/stream")
				}
			})
		}
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// BenchmarkCutting revokes one token in ten and waits until its streams have ended at
// the clients: 1,000 of 10,000, or fewer where the process may have fewer files open.
func BenchmarkCutting(b *testing.B) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	limit.Cur = limit.Max
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	n := 10_000
	for uint64(n)*5 > limit.Max { // a stream has four sockets here
		n /= 2
	}
	for _, kind := range []struct{ name, headers string }{{"event streams", eventHeaders}, {"WebSockets", socketHeaders}} {
		b.Run(fmt.Sprintf("%d of %d %s", n/10, n, kind.name), func(b *testing.B) {
			c := startCaddy(b, ":PORT {\nrevocation_endpoint /revoke {\nhash_algorithm sha256\nclient app "+appHash+"\n}\nreject_revoked\nreverse_proxy "+idleUpstream(b)+"\n}\n")
			for round := 0; b.Loop(); round++ {
				b.StopTimer()
				conns := openIdle(b, c, n, kind.headers, func(i int) string { return fmt.Sprintf("%p-%d-%d", b, round, i%10) })
				var ending sync.WaitGroup
				for i, conn := range conns {
					if i%10 == 3 {
						ending.Go(func() {
							conn.SetReadDeadline(time.Now().Add(time.Minute))
							if end, err := bufio.NewReaderSize(conn, 64).ReadByte(); err == nil && end == 0x88 {
								conn.Write(frame(0x88, []byte{3, 0xf0}, true))
							}
						})
					}
				}
				b.StartTimer()
				mustRevoke(b, c.URL("/revoke"), fmt.Sprintf("%p-%d-3", b, round))
				ending.Wait()
			}
		})
	}
}

// BenchmarkCuttingMultiplexed revokes one token in ten, of 10,000 event streams that share
// few connections, from client to Caddy and from there to the upstream: HTTP/2.
func BenchmarkCuttingMultiplexed(b *testing.B) {
	const n = 10_000
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	ended := make(chan struct{})
	u := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	u.Config.Protocols = h2c
	u.Start()
	b.Cleanup(func() { close(ended); u.CloseClientConnections(); u.Close() })
	c := startCaddy(b, "{\nservers {\nprotocols h1 h2c\n}\n}\n:PORT {\nrevocation_endpoint /revoke {\nhash_algorithm sha256\nclient app "+appHash+
		"\n}\nreject_revoked\nreverse_proxy h2c://"+u.Listener.Addr().String()+"\n}\n")
	transport := &http.Transport{Protocols: h2c}
	b.Cleanup(transport.CloseIdleConnections)
	for round := 0; b.Loop(); round++ {
		b.StopTimer()
		streams := make([]*http.Response, n)
		var opening, ending sync.WaitGroup
		for worker := range 16 {
			opening.Go(func() {
				for i := worker; i < n; i += 16 {
					r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, c.URL("/"), nil)
					if err != nil {
						b.Error(err)
						return
					}
					r.Header.Set("Accept", "text/event-stream")
					r.Header.Set("Authorization", fmt.Sprintf("Bearer %p-%d-%d", b, round, i%10))
					if streams[i], err = transport.RoundTrip(r); err != nil || streams[i].StatusCode != http.StatusOK {
						b.Errorf("%v, %v", streams[i], err)
						return
					}
				}
			})
		}
		opening.Wait()
		if b.Failed() {
			b.FailNow()
		}
		for i := 3; i < n; i += 10 {
			ending.Go(func() { streams[i].Body.Read(make([]byte, 1)) })
		}
		b.StartTimer()
		mustRevoke(b, c.URL("/revoke"), fmt.Sprintf("%p-%d-3", b, round))
		ending.Wait()
		b.StopTimer()
		for _, stream := range streams {
			stream.Body.Close()
		}
		b.StartTimer()
	}
}
