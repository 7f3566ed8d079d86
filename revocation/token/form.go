package token

// This file reads tokens in a form body (RFC 6750 §2.2), whatever the method,
// and puts the body back.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// formType is what the media type of a form has in it (RFC 6750 §2.2), in any
// case and company: some upstreams just search for it.
const formType = "x-www-form-urlencoded"

func hasForm(r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return false
	}
	for _, line := range r.Header["Content-Type"] {
		for i := 0; i+len(formType) <= len(line); i++ {
			if strings.EqualFold(line[i:i+len(formType)], formType) {
				return true
			}
		}
	}
	return false
}

// readForm adds the tokens in the body.
func (f *Finder) readForm(c *collector, w http.ResponseWriter, r *http.Request) {
	for _, line := range r.Header["Content-Encoding"] {
		if line = trimSpace(line); line != "" && !strings.EqualFold(line, "identity") {
			c.fail(http.StatusBadRequest, "the form has a content encoding")
			return
		}
	}
	for _, line := range r.Header["Content-Type"] {
		if !readableCharset(line) {
			c.fail(http.StatusBadRequest, "the form has an unknown charset")
			return
		}
	}
	restore := limitReading(w, r, f.formTimeout)
	// One byte more, to see whether the form ends there.
	read, err := io.ReadAll(io.LimitReader(r.Body, f.formLimit+1))
	restore()
	r.Body = &replayedBody{read: bytes.NewReader(read), err: err, body: r.Body}
	whole := len(read)
	switch {
	case err != nil:
		c.fail(http.StatusBadRequest, "the form could not be read")
		whole = bytes.LastIndexByte(read, '&') + 1 // the last pair may have been cut
	case int64(len(read)) > f.formLimit:
		c.fail(http.StatusRequestEntityTooLarge, "the form is too long")
		whole = bytes.LastIndexByte(read, '&') + 1
	}
	form := string(read)
	c.pairs(form[:whole], f.form, false)
	c.pairs(form[whole:], f.form, true)
}

// readableCharset reports whether every charset in a Content-Type is one in which
// ASCII is ASCII: some upstreams decode the bytes that were percent-encoded as
// EBCDIC or UTF-16 when they are told to.
func readableCharset(line string) bool {
	const parameter = "charset"
	for i := 0; i+len(parameter) <= len(line); i++ {
		if !strings.EqualFold(line[i:i+len(parameter)], parameter) {
			continue
		}
		rest := trimSpace(line[i+len(parameter):])
		if rest == "" || rest[0] == ';' || rest[0] == ',' {
			continue // it has no value
		}
		if rest[0] != '=' {
			return false // such as charset*=, RFC 2231
		}
		if end := strings.IndexAny(rest, ";,"); end >= 0 {
			rest = rest[:end]
		}
		switch strings.ToLower(strings.Trim(trimSpace(rest[1:]), `"'`)) {
		case "", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
		default:
			return false
		}
	}
	return true
}

// limitReading sets a deadline for reading the body and returns what takes it
// back. It must be taken back even when all was read, since from then on the
// server reads ahead and takes a missed deadline for a client that is gone.
func limitReading(w http.ResponseWriter, r *http.Request, timeout time.Duration) (restore func()) {
	if w == nil {
		return func() {}
	}
	var restored time.Time
	now := time.Now()
	if limit := serverTimeout(r.Context()); limit > 0 {
		// The server's own deadline can't be asked for. This one is later by the
		// time that the request took so far.
		restored = now.Add(limit)
		timeout = min(timeout, limit)
	}
	controller := http.NewResponseController(w)
	if err := controller.SetReadDeadline(now.Add(timeout)); errors.Is(err, errors.ErrUnsupported) {
		return func() {}
	}
	return func() { _ = controller.SetReadDeadline(restored) }
}

func serverTimeout(ctx context.Context) time.Duration {
	if server, ok := ctx.Value(http.ServerContextKey).(*http.Server); ok {
		return server.ReadTimeout
	}
	return 0
}

// replayedBody is a body of which a part was read: first that part, then the
// error that ended it, or the rest.
type replayedBody struct {
	read *bytes.Reader
	err  error
	body io.ReadCloser
}

func (b *replayedBody) Read(p []byte) (int, error) {
	if b.read.Len() > 0 {
		return b.read.Read(p)
	}
	if b.err != nil {
		return 0, b.err
	}
	return b.body.Read(p)
}

func (b *replayedBody) Close() error { return b.body.Close() }
