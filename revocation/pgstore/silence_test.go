package pgstore

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// way is a TCP proxy whose connections can be forgotten: they stay, and nothing comes
// through any more. New ones work.
type way struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns []*wayConn
}

type wayConn struct {
	forgotten chan struct{}
	ended     chan struct{}
	sent      bytes.Buffer // to the server
}

func startWay(t testing.TB, target string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &way{listener: l, target: target}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go w.serve(in)
		}
	}()
	return w
}

func (w *way) addr() string { return w.listener.Addr().String() }

func (w *way) serve(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer out.Close()
	c := &wayConn{forgotten: make(chan struct{}), ended: make(chan struct{})}
	w.mu.Lock()
	w.conns = append(w.conns, c)
	w.mu.Unlock()
	pump := func(to, from net.Conn, note bool) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			if err != nil && n == 0 {
				to.Close()
				return
			}
			if note {
				w.mu.Lock()
				c.sent.Write(buffer[:n])
				w.mu.Unlock()
			}
			if isClosed(c.forgotten) {
				_, _ = io.Copy(io.Discard, from)
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				from.Close()
				return
			}
		}
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(out, in, true) })
	pumps.Go(func() { pump(in, out, false) })
	pumps.Wait()
	close(c.ended)
}

// with returns the connections that there are on which something was sent.
func (w *way) with(said string) (conns []*wayConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		if !isClosed(c.ended) && !isClosed(c.forgotten) && bytes.Contains(c.sent.Bytes(), []byte(said)) {
			conns = append(conns, c)
		}
	}
	return conns
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// forget forgets the connections on which something was sent, and returns how many.
func (w *way) forget(said string) int {
	conns := w.with(said)
	for _, c := range conns {
		close(c.forgotten)
	}
	return len(conns)
}

// TestListenerThatIsForgotten: nothing comes on the connection that tells of new records,
// and nobody says that it is dead. It is noticed although nobody looks by himself.
func TestListenerThatIsForgotten(t *testing.T) {
	sv := startServer(t)
	way := startWay(t, sv.addr())
	opts := sv.options()
	opts.Hosts, opts.Timeout = []string{way.addr()}, 500*time.Millisecond
	s, writer := open(t, opts), open(t, sv.options())
	s.poll = time.Hour
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	for round := 1; round <= 3; round++ {
		eventually(t, "the store listens", func() bool { return len(way.with("LISTEN")) == 1 })
		time.Sleep(2 * opts.Timeout) // it has been quiet for long
		if n := way.forget("LISTEN"); n != 1 {
			t.Fatalf("%d connections tell of new records", n)
		}
		appendTo(t, writer, newBatch("a", 1)...)
		eventually(t, "the record comes", func() bool { return len(f.Got()) == round })
	}
}

// TestConnectionsThatAreForgotten: the first call has no answer, and the next ones don't
// find out the same about each of the other connections.
func TestConnectionsThatAreForgotten(t *testing.T) {
	sv := startServer(t)
	way := startWay(t, sv.addr())
	opts := sv.options()
	opts.Hosts, opts.Timeout = []string{way.addr()}, time.Second
	s := open(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	for _, idle := range []time.Duration{0, 1500 * time.Millisecond} { // those are looked at before they are used
		holder := sv.session(t)
		if _, err := holder.Exec(background, "BEGIN; LOCK TABLE token_revocation.meta", pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatal(err)
		}
		var appending sync.WaitGroup
		for range DefaultMaxConnections {
			appending.Go(func() { _ = s.Append(background, newBatch("b", 1)) })
		}
		eventually(t, "each connection is in use", func() bool { return s.pool.Stat().AcquiredConns() == DefaultMaxConnections })
		if _, err := holder.Exec(background, "COMMIT"); err != nil {
			t.Fatal(err)
		}
		appending.Wait()
		eventually(t, "they are idle", func() bool { return s.pool.Stat().IdleConns() == DefaultMaxConnections })
		time.Sleep(idle)
		if n := way.forget(""); n < DefaultMaxConnections {
			t.Fatalf("%d connections were forgotten", n)
		}
		err := s.Append(background, newBatch("c", 1))
		wantWords(t, "Append", err, "doesn't answer within 1s")
		appendTo(t, s, newBatch("d", 1)...)
	}
}

// TestConnectionsThatEnd restarts the server. No call fails for want of the connections that
// there were.
func TestConnectionsThatEnd(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	names := 0
	for range 3 {
		var appending sync.WaitGroup
		for range DefaultMaxConnections {
			appending.Go(func() {
				for range 10 {
					if err := s.Append(background, newBatch("a", 1)); err != nil {
						t.Errorf("Append: %v", err)
					}
				}
			})
		}
		appending.Wait()
		names += 10 * DefaultMaxConnections
		sv.kill()
		sv.start(t)
		if got, _ := mustLoad(t, s); len(got) != names {
			t.Fatalf("there are %d records, want %d", len(got), names)
		}
	}
}
