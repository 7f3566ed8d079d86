package caddymodule

// This file cuts an exchange, whatever its handlers are doing at that moment: waiting
// for an upstream, sending a response, or carrying a WebSocket.

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// errCut is what handlers get once the exchange is cut, and the cause of their context's
// end. It passes for context.Canceled, which reverse_proxy doesn't blame its upstream
// for.
var errCut error = cutError{}

type cutError struct{}

func (cutError) Error() string { return "the token of this exchange has been revoked or has expired" }

// Is makes it a context.Canceled.
func (cutError) Is(target error) bool { return target == context.Canceled }

// pastDeadline makes what blocks fail at once.
var pastDeadline = time.Unix(1, 0)

// exchange is a request that was let through and is watched, and its response's writer.
type exchange struct {
	caddyhttp.ResponseWriterWrapper

	handler  *RejectRevoked
	kind     streamKind
	tokens   []presentedToken
	began    time.Time
	stream   *revocation.Stream
	onStream bool // it opens a WebSocket on a stream of HTTP/2 or HTTP/3

	request *http.Request // with the context that ends
	end     context.CancelCauseFunc

	mu        sync.Mutex
	header    http.Header // as it was; nil once the response has begun
	responded bool        // the response has begun
	switching bool        // and was 101: a handler is about to take the connection over
	finished  bool        // the handlers have returned
	why       *rejection  // why it was cut; nil if it wasn't
	reason    cutReason
	conn      *clientConn // after a handler took the connection over
	out       *outgoing   // of a WebSocket on a stream
	timer     *time.Timer
}

func newExchange(h *RejectRevoked, w http.ResponseWriter, r *http.Request, kind streamKind) *exchange {
	ctx, end := context.WithCancelCause(r.Context())
	x := &exchange{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		handler:               h, kind: kind, began: time.Now(), end: end,
		request: r.WithContext(ctx), header: w.Header().Clone(),
		onStream: isExtendedConnect(r),
	}
	if x.onStream {
		x.request.Body = &clientStream{r.Body, x}
	}
	return x
}

// serve hands the request on and sees to its end.
func (x *exchange) serve(r *http.Request, next caddyhttp.Handler) error {
	err := x.handOn(next)
	switch {
	case x.why == nil, x.conn != nil, x.out != nil:
		return err
	case x.responded:
		// The client must not take what it has for all that there is.
		panic(http.ErrAbortHandler)
	}
	h := x.Header()
	clear(h)
	maps.Copy(h, x.header)
	if r.ProtoMajor == 1 && hasBody(r) {
		// The server would read the body before it answers, however long that takes.
		x.control().SetReadDeadline(pastDeadline)
		h.Set("Connection", "close")
	}
	x.why.setPlaceholders(r)
	x.handler.challenge(x.ResponseWriter, r, x.why)
	return caddyhttp.Error(x.why.status, errors.New(x.why.reason))
}

// handOn calls the next handler. It may panic, as reverse_proxy does when a response
// breaks off.
func (x *exchange) handOn(next caddyhttp.Handler) error {
	defer x.finish()
	return next.ServeHTTP(x, x.request)
}

// finish ends what open began. Afterwards nothing is cut and the writer is left alone.
func (x *exchange) finish() {
	x.stream.Close()
	x.mu.Lock()
	x.finished = true
	timer, out := x.timer, x.out
	x.mu.Unlock()
	if timer != nil {
		timer.Stop()
	}
	if out != nil {
		out.shut()
	}
	x.end(nil)
	openGauges[x.kind].Dec()
	releaseStreams()
}

// cut ends the exchange in the way that its state allows.
func (x *exchange) cut(reason cutReason, why *rejection) {
	x.mu.Lock()
	if x.finished || x.why != nil {
		x.mu.Unlock()
		return
	}
	x.why, x.reason = why, reason
	if x.timer != nil {
		x.timer.Stop()
	}
	conn, out := x.conn, x.out
	switch {
	case conn != nil:
	case out != nil:
		x.control().SetWriteDeadline(time.Now().Add(frameWait))
	default:
		x.end(errCut)
		if x.switching {
			break // Hijack sees to it; the client must have the head before
		}
		if x.responded {
			// Who only looks at the writer learns of it as well.
			x.control().SetWriteDeadline(pastDeadline)
		} else if hasBody(x.request) {
			x.timer = time.AfterFunc(frameWait, x.stopReading)
		}
	}
	x.mu.Unlock()
	x.report(reason, why)
	switch {
	case conn != nil:
		conn.end(x.closeReason(), x.hangUp)
	case out != nil:
		out.end(x.closeReason())
		x.hangUp()
	}
}

// hangUp ends the context, and with it the connection to an upstream.
func (x *exchange) hangUp() { x.end(errCut) }

// closeReason is what the close frame of a WebSocket says.
func (x *exchange) closeReason() string { return "token " + string(x.reason) }

// stopReading ends handlers that wait for the request's body. It isn't done at once: the
// upstream would be blamed for an upload that fails before the context ends.
func (x *exchange) stopReading() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.finished {
		x.control().SetReadDeadline(pastDeadline)
	}
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// control reaches the server's own writer.
func (x *exchange) control() *http.ResponseController {
	return http.NewResponseController(x.ResponseWriter)
}

// begin notes that the response begins, unless the exchange was cut before.
func (x *exchange) begin(status int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.responded {
		return true
	}
	if x.why != nil {
		return false
	}
	x.responded, x.header = true, nil
	x.switching = status == http.StatusSwitchingProtocols
	if status/100 == 2 && x.onStream {
		x.out = newOutgoing(x.ResponseWriter.Write, x.control().Flush)
	}
	return true
}

// writer returns where the body goes.
func (x *exchange) writer() (w io.Writer, flush func() error, err error) {
	if !x.begin(http.StatusOK) {
		return nil, nil, errCut
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.out != nil:
		return x.out, x.out.Flush, nil
	case x.why != nil:
		return nil, nil, errCut
	}
	return x.ResponseWriter, x.control().Flush, nil
}

// WriteHeader implements http.ResponseWriter. What would be the response of an exchange
// that is cut already is dropped.
func (x *exchange) WriteHeader(status int) {
	informational := status < 200 && status != http.StatusSwitchingProtocols
	if informational || x.begin(status) {
		x.ResponseWriter.WriteHeader(status)
	}
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	w, _, err := x.writer()
	if err != nil {
		return 0, err
	}
	return w.Write(p)
}

// FlushError is what http.ResponseController calls.
func (x *exchange) FlushError() error {
	_, flush, err := x.writer()
	if err != nil {
		return err
	}
	return flush()
}

// Flush implements http.Flusher.
func (x *exchange) Flush() { x.FlushError() }

// sendPiece is how much is handed to the system at once: it isn't asked in between
// whether the exchange was cut.
const sendPiece = 4 << 20

// ReadFrom implements io.ReaderFrom.
func (x *exchange) ReadFrom(r io.Reader) (total int64, err error) {
	whole, bounded := r.(*io.LimitedReader)
	if !bounded {
		whole = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for whole.N > 0 {
		w, _, err := x.writer()
		if err != nil {
			return total, err
		}
		// The system's way from file to socket knows one LimitedReader, not two.
		piece := &io.LimitedReader{R: whole.R, N: min(whole.N, sendPiece)}
		asked := piece.N
		n, err := io.Copy(w, piece)
		total, whole.N = total+n, whole.N-n
		if err != nil || n < asked {
			return total, err
		}
	}
	return total, nil
}

// Hijack implements http.Hijacker.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.mu.Lock()
	responded, cut := x.responded, x.why != nil
	x.mu.Unlock()
	if cut && !responded {
		return nil, nil, errCut
	}
	conn, rw, err := x.control().Hijack()
	if err != nil {
		return nil, nil, err
	}
	taken, rw := takeOver(conn, rw, x.kind == kindWebSocket, responded)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn, x.responded, x.header = taken, true, nil
	if x.why != nil {
		taken.cut.Store(true) // before the handler could close it
		go taken.end(x.closeReason(), x.hangUp)
	}
	return taken, rw, nil
}

// clientStream is the body of a request that opens a WebSocket on a stream.
type clientStream struct {
	io.ReadCloser
	exchange *exchange
}

// Read implements io.Reader. What comes after the cut is the upstream's no more.
func (s *clientStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.exchange.mu.Lock()
	cut, out := s.exchange.why != nil, s.exchange.out
	s.exchange.mu.Unlock()
	if !cut {
		return n, err
	}
	if out != nil {
		// To return would make the handler hang up in the middle of a frame.
		<-out.over
	}
	return 0, errCut
}

// Interface guards
var (
	_ http.Hijacker = (*exchange)(nil)
	_ http.Flusher  = (*exchange)(nil)
	_ io.ReaderFrom = (*exchange)(nil)
)
