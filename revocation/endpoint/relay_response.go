// The authorization server's answer on its way to the client: nothing of it leaves
// before what it accepted is enforced here.

package endpoint

import (
	"maps"
	"net/http"
	"slices"
	"time"
)

// maxHeldBody is how long an answer may be that is held back to be read.
const maxHeldBody = 64 << 10

// fate is what becomes of the authorization server's answer.
type fate uint8

const (
	undecided fate = iota
	passing        // the client gets it as it is
	held           // it is kept until all of it is known
	replaced       // the client gets another one
)

// relayResponse is the http.ResponseWriter that the authorization server's answer
// is written to. Informational responses pass at once: RFC 9110 §15.2. The first
// sign of the answer itself has it judged, before any of it is sent.
//
// It has no Unwrap, since what it wraps would let bytes past it; there is nothing to
// hijack.
type relayResponse struct {
	inner http.ResponseWriter
	// judge decides about an answer, and does what must be done before its first byte
	// is sent. It may have written another one to inner when it says replaced.
	judge func(status int) fate

	fate    fate
	status  int
	header  http.Header // of a held answer, as it was to be sent
	body    []byte      // of a held answer
	flushed bool        // a held answer was to be sent in parts
	ignored http.Header // of a replaced one
}

// Header is part of http.ResponseWriter.
func (w *relayResponse) Header() http.Header {
	if w.fate == replaced {
		return w.ignored
	}
	return w.inner.Header()
}

// WriteHeader is part of http.ResponseWriter.
func (w *relayResponse) WriteHeader(status int) {
	switch {
	case w.fate == passing:
		w.inner.WriteHeader(status) // net/http complains about it
	case w.fate != undecided:
	case status >= 100 && status < 200 && status != http.StatusSwitchingProtocols:
		w.inner.WriteHeader(status)
	default:
		w.decide(status)
	}
}

// decide has the answer judged.
func (w *relayResponse) decide(status int) {
	w.status = status
	switch fate := w.judge(status); fate {
	case held:
		w.fate, w.header = held, w.inner.Header().Clone()
	case replaced:
		w.fate, w.ignored = replaced, http.Header{}
	default:
		w.fate = passing
		w.inner.WriteHeader(status)
	}
}

// Write is part of http.ResponseWriter. A replaced answer is read to its end, so
// that the connection it comes from can be used again.
func (w *relayResponse) Write(b []byte) (int, error) {
	if w.fate == undecided {
		w.decide(http.StatusOK)
	}
	if w.fate == held && len(w.body)+len(b) <= maxHeldBody {
		w.body = append(w.body, b...)
		return len(b), nil
	}
	switch w.fate {
	case replaced:
		return len(b), nil
	case held:
		if err := w.release(); err != nil {
			return 0, err
		}
	}
	return w.inner.Write(b)
}

// release sends what was held. Headers that were set since then are trailers.
func (w *relayResponse) release() error {
	h := w.inner.Header()
	trailers := h.Clone()
	clear(h)
	maps.Copy(h, w.header)
	w.fate = passing
	w.inner.WriteHeader(w.status)
	if w.flushed {
		_ = w.control().Flush() // or net/http would tell the length
	}
	var err error
	if len(w.body) > 0 {
		_, err = w.inner.Write(w.body)
	}
	maps.Copy(h, trailers)
	w.body = nil
	return err
}

// replace gives a held answer up for another one.
func (w *relayResponse) replace() {
	h := w.inner.Header()
	clear(h)
	maps.Copy(h, w.header)
	w.fate, w.ignored, w.body = replaced, http.Header{}, nil
}

// Flush is part of http.Flusher.
func (w *relayResponse) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController calls.
func (w *relayResponse) FlushError() error {
	if w.fate == undecided {
		w.decide(http.StatusOK) // as net/http does
	}
	if w.fate != passing {
		w.flushed = true
		return nil
	}
	return w.control().Flush()
}

// SetReadDeadline is what http.ResponseController calls.
func (w *relayResponse) SetReadDeadline(t time.Time) error { return w.control().SetReadDeadline(t) }

// SetWriteDeadline is what http.ResponseController calls.
func (w *relayResponse) SetWriteDeadline(t time.Time) error { return w.control().SetWriteDeadline(t) }

// EnableFullDuplex is what http.ResponseController calls.
func (w *relayResponse) EnableFullDuplex() error { return w.control().EnableFullDuplex() }

func (w *relayResponse) control() *http.ResponseController {
	return http.NewResponseController(w.inner)
}

// ownHeaders say something of the very answer that they come with: its body, or why
// there is no better one.
var ownHeaders = []string{
	"Accept-Ranges", "Connection", "Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language",
	"Content-Length", "Content-Location", "Content-Md5", "Content-Range", "Content-Type", "Digest", "Etag", "Expires",
	"Last-Modified", "Repr-Digest", "Retry-After", "Trailer", "Transfer-Encoding", "Upgrade", "Www-Authenticate",
}

// dropOwnHeaders makes room for another answer. It keeps what that needs as well: what
// lets a page read it (https://fetch.spec.whatwg.org/#http-cors-protocol) and lets
// caches tell answers apart.
func dropOwnHeaders(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool {
		return slices.Contains(ownHeaders, http.CanonicalHeaderKey(name))
	})
}
