// Answers: RFC 7009 §2.2 and RFC 6749 §5.2.

package endpoint

import (
	"net/http"
	"strconv"
	"time"
)

// The values of error. RFC 6749 §5.2 and RFC 7009 §2.2.1, but for
// temporarily_unavailable and server_error, which are from RFC 6749 §4.1.2.1 and fit
// better than anything that is registered for this endpoint.
const (
	codeInvalidRequest       = "invalid_request"
	codeInvalidClient        = "invalid_client"
	codeInvalidGrant         = "invalid_grant"
	codeUnsupportedTokenType = "unsupported_token_type"
	codeUnavailable          = "temporarily_unavailable"
	codeServerError          = "server_error"
)

// answer is what a request is answered with.
type answer struct {
	outcome     Outcome
	status      int
	code        string        // error; empty in a success
	description string        // error_description: %x20-21, %x23-5B and %x5D-7E only
	fields      []field       // what is wrong with members in the JSON dialect
	retryAfter  time.Duration // zero: no Retry-After
	allow       bool          // say which methods there are
	closing     bool          // the rest of the body isn't worth reading
}

// field is what is wrong with one member of a JSON body.
type field struct{ name, problem string }

func refusal(o Outcome, status int, code, description string) *answer {
	return &answer{outcome: o, status: status, code: code, description: description}
}

func invalidRequest(description string) *answer {
	return refusal(InvalidRequest, http.StatusBadRequest, codeInvalidRequest, description)
}

// invalidClient is the same for every reason, byte by byte: nobody learns whether
// a client exists.
func invalidClient() *answer {
	return refusal(InvalidClient, http.StatusUnauthorized, codeInvalidClient, "client authentication failed")
}

func tooMany(o Outcome, retryAfter time.Duration, description string) *answer {
	a := refusal(o, http.StatusTooManyRequests, codeUnavailable, description)
	a.retryAfter = retryAfter
	return a
}

func unavailable(o Outcome, retryAfter time.Duration, description string) *answer {
	a := refusal(o, http.StatusServiceUnavailable, codeUnavailable, description)
	a.retryAfter = retryAfter
	return a
}

// success is the answer to a request whose token is dead, in the request's
// dialect.
func (x *exchange) success(o Outcome) *answer {
	if x.dialect == jsonDialect {
		return &answer{outcome: o, status: x.server.opts.JSONSuccessStatus}
	}
	return &answer{outcome: o, status: http.StatusOK}
}

// write sends the answer.
func (x *exchange) write(a *answer) {
	h := x.w.Header()
	h.Set("Cache-Control", "no-store") // RFC 6749 §5.1
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	x.writeCORS(h)
	if a.allow {
		h.Set("Allow", "POST, OPTIONS")
	}
	if a.closing && x.r.ProtoMajor == 1 {
		h.Set("Connection", "close")
	}
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((a.retryAfter+time.Second-1)/time.Second), 10))
	}
	// RFC 6749 §5.2 asks for a challenge when the client used the Authorization
	// header. Without one, it would make browsers ask for a password, and keeps
	// openid-client from reading the error.
	if a.status == http.StatusUnauthorized && x.authorization {
		h.Set("WWW-Authenticate", x.server.challenge)
	}
	if a.status == http.StatusNoContent {
		x.wrote = true
		x.w.WriteHeader(a.status)
		return
	}
	body := a.body()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	x.wrote = true
	x.w.WriteHeader(a.status)
	x.w.Write(body)
}

// body is an error in JSON, or {}. None of its parts needs escaping: they are
// constants of this package.
func (a *answer) body() []byte {
	if a.code == "" {
		return []byte("{}")
	}
	b := make([]byte, 0, 160)
	b = append(b, `{"error":"`...)
	b = append(b, a.code...)
	b = append(b, `","error_description":"`...)
	b = append(b, a.description...)
	b = append(b, '"')
	for _, f := range a.fields {
		b = append(b, `,"`...)
		b = append(b, f.name...)
		b = append(b, `":"`...)
		b = append(b, f.problem...)
		b = append(b, '"')
	}
	return append(b, '}')
}
