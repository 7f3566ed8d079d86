package caddymodule

// This file ends WebSockets politely: with a close frame, which must not come in the
// middle of another frame.

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	frameWait = 500 * time.Millisecond // for the end of the frame that is under way
	closeWait = 250 * time.Millisecond // for the client's answer to the close frame
)

// frames follows one direction of a WebSocket and knows where frames begin and end (RFC
// 6455 §5.2). It keeps nothing but the header of the frame that is under way.
type frames struct {
	preface bool // an HTTP header comes first
	newline int  // how much of the empty line that ends it was seen

	head    [14]byte
	size    int    // bytes of head
	payload uint64 // bytes that are missing behind a complete head
	inside  bool   // the head is complete and the payload isn't
	closing bool   // the frame under way, or one before, is a close frame
}

const (
	opcodeClose     = 0x8
	policyViolation = 1008 // RFC 6455 §7.4.1
	blankLine       = "\r\n\r\n"
)

// boundary reports whether no frame is under way.
func (f *frames) boundary() bool { return f.size == 0 && !f.inside && !f.preface }

// pass notes bytes that went by.
func (f *frames) pass(p []byte) {
	for len(p) > 0 {
		p = p[f.next(p):]
	}
}

// rest returns how many of the bytes belong to the frame that is under way.
func (f *frames) rest(p []byte) int {
	if ahead := *f; !f.boundary() && len(p) > 0 {
		return ahead.next(p)
	}
	return 0
}

// next takes bytes up to the end of the frame under way, or else of the next one, and
// returns how many.
func (f *frames) next(p []byte) (n int) {
	for ; f.preface && n < len(p); n++ {
		switch {
		case p[n] == blankLine[f.newline]:
			f.newline++
		case p[n] == blankLine[0]:
			f.newline = 1
		default:
			f.newline = 0
		}
		f.preface = f.newline < len(blankLine)
		if !f.preface {
			return n + 1
		}
	}
	for !f.inside && n < len(p) {
		f.head[f.size] = p[n]
		f.size++
		n++
		if f.size == f.headSize() {
			f.enter()
		}
	}
	if f.inside {
		part := min(uint64(len(p)-n), f.payload)
		f.payload -= part
		n += int(part)
		if f.payload == 0 {
			f.inside, f.size = false, 0
		}
	}
	return n
}

// headSize returns the length of the head as far as it is known.
func (f *frames) headSize() int {
	if f.size < 2 {
		return 2
	}
	size := 2
	switch f.head[1] & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if f.head[1]&0x80 != 0 { // masked
		size += 4
	}
	return size
}

// enter begins the payload.
func (f *frames) enter() {
	switch length := f.head[1] & 0x7f; length {
	case 126:
		f.payload = uint64(binary.BigEndian.Uint16(f.head[2:]))
	case 127:
		f.payload = binary.BigEndian.Uint64(f.head[2:])
	default:
		f.payload = uint64(length)
	}
	f.inside = true
	f.closing = f.closing || f.head[0]&0xf == opcodeClose
}

// closeFrame returns a server's close frame.
func closeFrame(reason string) []byte {
	frame := []byte{0x80 | opcodeClose, byte(2 + len(reason)), policyViolation >> 8, policyViolation & 0xff}
	return append(frame, reason...)
}

// outgoing is a WebSocket's direction to the client. When it is told to end, the frame
// that is under way is let through, and nothing more but a close frame.
type outgoing struct {
	ending atomic.Bool
	over   chan struct{} // closed when nothing more goes out

	mu     sync.Mutex // held while something is written
	frames frames
	reason string // set before ending
	send   func([]byte) (int, error)
	flush  func() error
}

func newOutgoing(send func([]byte) (int, error), flush func() error) *outgoing {
	return &outgoing{over: make(chan struct{}), send: send, flush: flush}
}

// Write implements io.Writer.
func (o *outgoing) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isOver() {
		return 0, errCut
	}
	allowed := p
	if o.ending.Load() {
		allowed = p[:o.frames.rest(p)]
	}
	n, err := o.send(allowed)
	o.frames.pass(allowed[:n])
	if !o.ending.Load() {
		return n, err
	}
	if err != nil || o.frames.boundary() {
		o.finish()
	}
	if err == nil && n < len(p) {
		err = errCut
	}
	return n, err
}

// Flush sends what is buffered.
func (o *outgoing) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isOver() {
		return errCut
	}
	return o.flush()
}

// end ends the direction with a close frame, as soon as no other one is under way. It
// returns when that has gone out or could not. A write that blocks must have a deadline.
func (o *outgoing) end(reason string) {
	timeout := time.NewTimer(frameWait)
	defer timeout.Stop()
	o.reason = reason
	o.ending.Store(true)
	o.mu.Lock()
	if o.frames.boundary() {
		o.finish()
	}
	o.mu.Unlock()
	select {
	case <-o.over:
	case <-timeout.C:
		o.shut()
	}
}

// finish sends the close frame where that is possible. The caller holds the lock.
func (o *outgoing) finish() {
	if o.isOver() {
		return
	}
	if o.frames.boundary() && !o.frames.closing {
		if _, err := o.send(closeFrame(o.reason)); err == nil {
			o.flush()
		}
	}
	close(o.over)
}

// shut lets nothing more out. After it returned nothing is being written.
func (o *outgoing) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.isOver() {
		close(o.over)
	}
}

func (o *outgoing) isOver() bool {
	select {
	case <-o.over:
		return true
	default:
		return false
	}
}

// clientConn is the connection to a client that a handler has taken over. Cutting it
// ends it in the way of a WebSocket if it is one.
type clientConn struct {
	net.Conn
	out  *outgoing     // nil if it isn't a WebSocket
	cut  atomic.Bool   // nothing more comes in
	done chan struct{} // closed when the cut is complete

	reading sync.Mutex // held while something is read from a WebSocket
	in      frames
}

// takeOver wraps a connection as http.Hijacker returns it, with what has been read from
// it already. responded says that the response has been written.
func takeOver(conn net.Conn, rw *bufio.ReadWriter, websocket, responded bool) (*clientConn, *bufio.ReadWriter) {
	c := &clientConn{Conn: conn, done: make(chan struct{})}
	if websocket {
		c.out = newOutgoing(conn.Write, func() error { return nil })
		c.out.frames.preface = !responded
	}
	early, _ := rw.Peek(rw.Reader.Buffered())
	early = bytes.Clone(early)
	c.in.pass(early)
	rw.Writer.Reset(c)
	rw.Reader.Reset(io.MultiReader(bytes.NewReader(early), c))
	rw.Peek(len(early)) // so that it counts as buffered, as before
	return c, rw
}

// Read implements net.Conn. What comes after the cut is the upstream's no more.
func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if !c.cut.Load() {
		return n, err
	}
	if c.out != nil {
		// To return would make the handler hang up in the middle of a frame.
		<-c.out.over
	}
	return 0, errCut
}

func (c *clientConn) read(p []byte) (int, error) {
	if c.out == nil {
		return c.Conn.Read(p)
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	n, err := c.Conn.Read(p)
	c.in.pass(p[:n])
	return n, err
}

// Write implements net.Conn.
func (c *clientConn) Write(p []byte) (int, error) {
	if c.out != nil {
		return c.out.Write(p)
	}
	return c.Conn.Write(p)
}

// CloseWrite ends the direction to the client alone.
func (c *clientConn) CloseWrite() error {
	if c.out != nil && c.cut.Load() {
		<-c.out.over
		return errCut
	}
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn. It waits for a cut that is under way: closing a connection
// with unread bytes makes the client's side forget what it hasn't read.
func (c *clientConn) Close() error {
	if c.cut.Load() {
		<-c.done
		return nil
	}
	return c.Conn.Close()
}

// end cuts the connection, and calls hangUp when the client was told why.
func (c *clientConn) end(reason string, hangUp func()) {
	c.cut.Store(true)
	defer close(c.done)
	if c.out != nil {
		c.Conn.SetWriteDeadline(time.Now().Add(frameWait))
		c.out.end(reason)
	}
	hangUp()
	if c.out != nil {
		c.awaitClose()
	}
	c.Conn.Close()
}

// awaitClose reads until the client's close frame, for a little while.
func (c *clientConn) awaitClose() {
	c.Conn.SetReadDeadline(time.Now().Add(closeWait))
	var space [512]byte
	for {
		c.reading.Lock()
		answered := c.in.closing && c.in.boundary()
		c.reading.Unlock()
		if answered {
			return
		}
		if _, err := c.read(space[:]); err != nil {
			return
		}
	}
}
