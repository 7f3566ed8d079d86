// What of a request must be in order before its content is looked at: method,
// transport, media type, length.

package endpoint

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
)

// dialect is the language of a request and its answer.
type dialect uint8

const (
	formDialect dialect = iota // RFC 7009
	jsonDialect                // the Moov SDKs
)

// checkMethod lets POST through: RFC 7009 §2.1. GET would put the token into the
// URL, and with it into logs.
func (s *Server) checkMethod(x *exchange) *answer {
	x.origin = s.originOf(x.r)
	s.limitBody(x)
	switch x.r.Method {
	case http.MethodPost:
		return nil
	case http.MethodOptions:
		return s.preflight(x)
	}
	a := refusal(MethodNotAllowed, http.StatusMethodNotAllowed, codeInvalidRequest, "only POST is served here: RFC 7009 section 2.1")
	a.allow = true
	return a
}

// limitBody makes sure that nobody can hold the connection by sending slowly. It
// comes before every answer, since net/http reads what is left of a body before it
// sends one, and lifts the deadline at its end. A ResponseWriter that can't set
// deadlines goes without.
func (s *Server) limitBody(x *exchange) {
	if s.opts.BodyTimeout > 0 && x.r.ContentLength != 0 {
		http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(s.opts.BodyTimeout))
	}
}

func (s *Server) checkTransport(x *exchange) *answer {
	if s.opts.RequireTLS && x.r.TLS == nil {
		return refusal(TLSRequired, http.StatusBadRequest, codeInvalidRequest, "only HTTPS is served here: RFC 7009 section 2")
	}
	return nil
}

// readBody reads the body of a type that is known, as far as it may go.
func (s *Server) readBody(x *exchange) *answer {
	d, refused := s.dialectOf(x.r)
	if refused != nil {
		return refused
	}
	x.dialect = d
	limit := s.opts.MaxBodyBytes
	if x.r.ContentLength > int64(limit) {
		return tooLarge()
	}
	body, err := readAll(http.MaxBytesReader(x.w, x.r.Body, int64(limit)), x.r.ContentLength)
	var exceeded *http.MaxBytesError
	switch {
	case errors.As(err, &exceeded):
		return tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		a := refusal(IncompleteBody, http.StatusRequestTimeout, codeInvalidRequest, "the body took too long")
		a.closing = true
		return a
	case err != nil:
		a := refusal(IncompleteBody, http.StatusBadRequest, codeInvalidRequest, "the body is incomplete")
		a.closing = true
		return a
	}
	x.body = body
	return nil
}

func tooLarge() *answer {
	a := refusal(TooLarge, http.StatusRequestEntityTooLarge, codeInvalidRequest, "the body is too long")
	a.closing = true
	return a
}

// readAll reads to the end. It trusts the announced length only as far as a usual
// request goes: memory is taken as the bytes arrive.
func readAll(r io.Reader, announced int64) ([]byte, error) {
	const usual = 4 << 10
	size := int64(usual)
	if announced >= 0 {
		size = min(announced+1, usual)
	}
	body := make([]byte, 0, size)
	for {
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
}

// dialectOf finds out what the body is. Several Content-Type lines, and types
// which pages may send to any site unasked (text/plain, multipart/form-data), are
// not read.
func (s *Server) dialectOf(r *http.Request) (dialect, *answer) {
	for _, coding := range r.Header["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return 0, unsupported("the body must not be compressed")
		}
	}
	lines := r.Header["Content-Type"]
	if len(lines) == 0 && r.ContentLength == 0 {
		return formDialect, nil // whatever it should have been, it has no parameters
	}
	if len(lines) != 1 {
		return 0, unsupported("the body must have one Content-Type: application/x-www-form-urlencoded")
	}
	mediaType, params, err := mime.ParseMediaType(lines[0])
	if err != nil {
		return 0, unsupported("the Content-Type is malformed")
	}
	d := formDialect
	switch {
	case mediaType == "application/x-www-form-urlencoded":
	case mediaType == "application/json" && !s.opts.DisableJSON:
		d = jsonDialect
	default:
		return 0, unsupported("the body must be application/x-www-form-urlencoded: RFC 7009 section 2.1")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return 0, invalidRequest("the charset must be UTF-8")
	}
	return d, nil
}

func unsupported(description string) *answer {
	return refusal(UnsupportedMediaType, http.StatusUnsupportedMediaType, codeInvalidRequest, description)
}
