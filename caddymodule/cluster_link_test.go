package caddymodule

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// link is a way on which nodes reach an engine, which can fail as networks do.
type link struct {
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	dial    func() (net.Conn, error)
	cuts    way
	refuses bool
	delay   time.Duration
	conns   map[net.Conn]state
}

// state is that of a connection.
type state int

const (
	ended state = iota
	alive
	stranded // nothing comes through
)

// way is one of the two directions, or both.
type way int

const (
	toEngine way = 1 << iota
	toNode
	bothWays = toEngine | toNode
)

func (w way) String() string {
	return map[way]string{toEngine: "to the engine", toNode: "to the node", bothWays: "both ways"}[w]
}

// startLink makes a link to an address until the test ends.
func startLink(t testing.TB, address string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveLink(t, listener, dialTo(address))
}

func dialTo(address string) func() (net.Conn, error) {
	return func() (net.Conn, error) { return net.DialTimeout("tcp", address, time.Second) }
}

func serveLink(t testing.TB, listener net.Listener, dial func() (net.Conn, error)) *link {
	l := &link{listener: listener, dial: dial, conns: map[net.Conn]state{}}
	l.changed = sync.NewCond(&l.mu)
	t.Cleanup(func() {
		listener.Close()
		l.heal()
		l.reset()
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

func (l *link) address() string { return l.listener.Addr().String() }

// cut holds back what is sent one way or both. Nobody is told: connections stay, and new
// ones are accepted. What is held back comes late, as TCP sends it again when a network is
// mended.
func (l *link) cut(w way) { l.set(func() { l.cuts = w }) }

// strand holds back both ways what is sent on the connections that there are, each with a
// probability. New ones are not affected: a machine between has forgotten the old ones.
func (l *link) strand(probability float64) {
	l.set(func() {
		for conn := range l.conns {
			if rand.Float64() < probability {
				l.conns[conn] = stranded
			}
		}
	})
}

// slow delays everything that is sent.
func (l *link) slow(d time.Duration) { l.set(func() { l.delay = d }) }

// refuse resets all connections and every new one.
func (l *link) refuse() {
	l.set(func() { l.refuses = true })
	l.reset()
}

// heal undoes all of that.
func (l *link) heal() {
	l.set(func() {
		l.cuts, l.refuses, l.delay = 0, false, 0
		for conn := range l.conns {
			l.conns[conn] = alive
		}
	})
}

// aim resets all connections; new ones go to an address.
func (l *link) aim(address string) {
	l.set(func() { l.dial = dialTo(address) })
	l.reset()
}

func (l *link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.changed.Broadcast()
}

// reset ends all connections with what is held back on them.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.conns {
		abort(conn)
	}
	clear(l.conns)
	l.changed.Broadcast()
}

// abort closes a connection so that the other side sees an error.
func abort(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func (l *link) serve(node net.Conn) {
	l.mu.Lock()
	l.conns[node] = alive
	dial, refuses := l.dial, l.refuses
	l.mu.Unlock()
	var engine net.Conn
	err := errors.New("refused")
	if !refuses {
		engine, err = dial()
	}
	l.mu.Lock()
	known := l.conns[node] != ended // else it was reset meanwhile
	if err == nil && known {
		l.conns[engine] = alive
	}
	l.mu.Unlock()
	if err != nil || !known {
		abort(node)
		if err == nil {
			abort(engine)
		}
		return
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(engine, node, toEngine) })
	pumps.Go(func() { l.pump(node, engine, toNode) })
	pumps.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range []net.Conn{node, engine} {
		conn.Close()
		delete(l.conns, conn)
	}
}

// pump passes on what comes from one side, its end included.
func (l *link) pump(to, from net.Conn, w way) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.pass(from, to, w)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				abort(from)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			to.(*net.TCPConn).CloseWrite()
			return
		}
		if err != nil {
			abort(to)
			return
		}
	}
}

// pass returns when something may go on its way.
func (l *link) pass(from, to net.Conn, w way) {
	l.mu.Lock()
	delay := l.delay
	l.mu.Unlock()
	time.Sleep(delay)
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cuts&w != 0 || l.conns[from] == stranded || l.conns[to] == stranded {
		l.changed.Wait()
	}
}
