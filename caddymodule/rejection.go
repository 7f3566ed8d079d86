package caddymodule

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// This file says how a request is turned away: status, challenge, placeholders, log.

// The verdicts on requests, as they stand in metrics and placeholders.
const (
	verdictActive         = "active"
	verdictRevoked        = "revoked"
	verdictAbsent         = "absent"
	verdictMalformed      = "malformed"
	verdictInvalidRequest = "invalid_request"
	verdictUnverified     = "unverified"
	verdictUnavailable    = "unavailable"
	verdictStale          = "stale"
)

var allVerdicts = []string{
	verdictActive, verdictRevoked, verdictAbsent, verdictMalformed, verdictInvalidRequest, verdictUnverified, verdictUnavailable,
	verdictStale,
}

// rejection is why a request must not pass, and how it is told so.
type rejection struct {
	status  int
	verdict string
	code    string // RFC 6750 §3.1; none where there was no token
	reason  string // for people, and error_description
	cause   error  // for the log; may be nil

	retryAfter string // seconds, with status 503

	found       bool            // it is about a token:
	candidate   token.Candidate // a copy, so that candidates stay off the heap
	fingerprint revocation.Fingerprint
	selector    revocation.Shape
}

// unsearchable is the rejection of a request whose tokens can't be found
// reliably.
func unsearchable(err error) *rejection {
	r := &rejection{status: http.StatusBadRequest, verdict: verdictInvalidRequest, code: "invalid_request", reason: err.Error()}
	if e := new(token.FindError); errors.As(err, &e) {
		r.status, r.reason = e.Status, strings.ToUpper(e.Reason[:1])+e.Reason[1:]
	}
	return r
}

// stale is the rejection of a request with a token that may have been revoked.
func stale() *rejection {
	return &rejection{
		status: http.StatusServiceUnavailable, verdict: verdictStale, retryAfter: retryStale,
		reason: "Whether the access token has been revoked can't be told at the moment",
	}
}

// about notes which token of the request it is because of.
func (r *rejection) about(c *token.Candidate, facts *revocation.Facts) *rejection {
	r.found, r.candidate, r.fingerprint = true, *c, facts.Fingerprint
	return r
}

// keepFirst keeps a rejection on account of a token, unless there is one already.
func keepFirst(kept **rejection, c *token.Candidate, facts *revocation.Facts, why *rejection) {
	if *kept == nil {
		*kept = why.about(c, facts)
	}
}

func (r *rejection) source() string {
	if !r.found {
		return ""
	}
	return r.candidate.Source.String()
}

func (r *rejection) fingerprintText() string {
	if !r.found {
		return ""
	}
	return r.fingerprint.String()
}

func (r *rejection) setPlaceholders(req *http.Request) {
	repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	repl.Set("http.token_revocation.verdict", r.verdict)
	repl.Set("http.token_revocation.selector", string(r.selector))
	repl.Set("http.token_revocation.source", r.source())
	repl.Set("http.token_revocation.reason", r.reason)
	repl.Set("http.token_revocation.fingerprint", r.fingerprintText())
}

// dpopAlgs are the signature algorithms for DPoP proofs that the challenge
// names (RFC 9449 §7.1): which of them count is for the upstream to say.
const dpopAlgs = "ES256 ES384 ES512 PS256 PS384 PS512 RS256 RS384 RS512 EdDSA"

// How many seconds to wait after status 503.
const (
	retryList   = "1"  // the list is being loaded
	retryIssuer = "10" // as long as a failed call to an issuer is remembered
	retryStale  = "5"  // about as often as the store is asked
)

// challenge sets the response's headers. They are still there when the error is
// handled.
func (h *RejectRevoked) challenge(w http.ResponseWriter, r *http.Request, rejected *rejection) {
	w.Header().Set("Cache-Control", "no-store")
	switch rejected.status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", rejected.retryAfter)
		return
	case http.StatusRequestEntityTooLarge:
		return
	}
	scheme := "Bearer"
	if strings.EqualFold(rejected.candidate.Scheme, "DPoP") {
		scheme = "DPoP"
	}
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+`="`+value+`"`)
		}
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		repl = caddy.NewReplacer()
	}
	add("realm", quotable(repl.ReplaceAll(h.Realm, "")))
	add("error", rejected.code)
	if rejected.code != "" {
		add("error_description", quotable(rejected.reason))
	}
	add("resource_metadata", quotable(repl.ReplaceAll(h.ResourceMetadata, "")))
	if scheme == "DPoP" {
		add("algs", dpopAlgs)
	}
	value := scheme
	if len(params) > 0 {
		value += " " + strings.Join(params, ", ")
	}
	w.Header().Set("WWW-Authenticate", value)
}

// log writes one line on a rejection: at level debug, since whoever holds a
// revoked token can cause any number of them, or info in a dry run.
func (h *RejectRevoked) log(r *http.Request, rejected *rejection) {
	level, message := zapcore.DebugLevel, "request rejected"
	if h.DryRun {
		level, message = zapcore.InfoLevel, "request would be rejected"
	}
	if line := h.logger.Check(level, message); line != nil {
		line.Write(
			zap.String("verdict", rejected.verdict),
			zap.Int("status", rejected.status),
			zap.String("reason", rejected.reason),
			zap.String("selector", string(rejected.selector)),
			zap.String("source", rejected.source()),
			zap.String("fingerprint", rejected.fingerprintText()),
			zap.String("method", r.Method),
			zap.String("host", r.Host),
			zap.NamedError("cause", rejected.cause),
		)
	}
}

// quotable leaves out what can't stand in error_description (RFC 6750 §3) or
// would end a quoted string.
func quotable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, s)
}
