// What the endpoint is for: RFC 7009 §2.1 and §2.2.

package endpoint

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// source is the Source of this endpoint's records.
const source = "endpoint"

// failureRetry is told to a client when the list failed: RFC 7009 §2.2.1.
const failureRetry = 5 * time.Second

// revoke puts the token on the list. Success is answered only when the token is
// provably dead: durable and enforced, or expired. Every token is recorded by its
// fingerprint, whatever its bytes: a query or a form can carry any.
//
// The hint is not needed: what is on the list is the token, whatever its type. RFC
// 7009 §2.1 wants tokens found despite a wrong hint, and §2.2 unknown ones ignored.
func (s *Server) revoke(x *exchange) *answer {
	token := x.params.get(paramToken)
	if refused := s.checkToken(x, token); refused != nil {
		return refused
	}
	facts := s.opts.Facts.ReadFacts(token)
	x.fingerprint = facts.Fingerprint.String()
	if facts.Malformed == nil {
		x.hint = hintFor(token)
	}
	now := s.opts.Now()
	expires := s.opts.Retention.Token(facts.Expiry, now)
	// A clock that is suddenly ahead must not make a living token look expired.
	if !expires.After(earlier(now, s.opts.List.Now())) {
		return x.success(Expired)
	}
	key := repeatKey{facts.Fingerprint, x.client}
	// Read before the list is: a reinstatement in between must not be missed.
	reinstatements := s.opts.List.Reinstatements()
	m, known := s.repeats.find(key, expires, now, reinstatements)
	if known && m.durable {
		return x.success(Repeated)
	}
	if !known {
		if wait := s.quotas.admit(x.client, x.address); wait > 0 {
			return tooMany(QuotaExceeded, wait, "the client may not revoke more tokens now")
		}
		defer s.quotas.release(x.client)
		m = newMade(now, expires, reinstatements)
	}
	return s.record(x, key, m)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// record hands the record to the list and waits until it is durable; not longer
// than the list may take, but also when the client has gone: it wanted the token
// dead. A record that the list has already, enforced but not durable, is handed
// over once more: the list makes the same one durable.
func (s *Server) record(x *exchange, key repeatKey, m made) *answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), s.opts.RevokeTimeout)
	defer cancel()
	x.err = s.opts.List.Revoke(ctx, m.record(key))
	switch {
	case x.err == nil:
		m.durable = true
		s.repeats.note(key, m)
		return x.success(Revoked)
	case errors.Is(x.err, revocation.ErrNotDurable):
		s.repeats.note(key, m)
		return unavailable(NotDurable, failureRetry, "the token must be assumed to be valid still: try again")
	case errors.Is(x.err, revocation.ErrInvalidRecord):
		return refusal(InternalError, http.StatusInternalServerError, codeServerError, "internal error")
	}
	return unavailable(Unavailable, failureRetry, "the token must be assumed to be valid still: try again")
}

// checkToken refuses a request that names no token, and a token that is too long.
func (s *Server) checkToken(x *exchange, token string) *answer {
	problem := ""
	switch {
	case strings.TrimSpace(token) == "":
		problem = "cannot be blank"
	case len(token) > s.opts.MaxTokenBytes:
		problem = "is too long"
	}
	if x.dialect == formDialect {
		if problem != "" {
			return invalidRequest("token " + problem)
		}
		return nil
	}
	var fields []field
	if problem != "" {
		fields = append(fields, field{"token", problem})
	}
	if s.opts.MoovStrict && !moovHint(x.params.get(paramTokenTypeHint)) {
		fields = append(fields, field{"token_type_hint", "must be a valid value"})
	}
	if fields == nil {
		return nil
	}
	a := refusal(InvalidRequest, http.StatusUnprocessableEntity, codeInvalidRequest, "a member of the body is not valid")
	a.fields = fields
	return a
}

// moovHint reports whether Moov knows the hint.
func moovHint(hint string) bool {
	return hint == "" || hint == "access_token" || hint == "refresh_token"
}

// hintFor is what the operator hears about a token that is most likely a mistake
// of the client's, and nothing about any other. It is revoked as it stands.
func hintFor(token string) string {
	trimmed := strings.TrimSpace(token)
	scheme, _, spaced := strings.Cut(trimmed, " ")
	switch {
	case spaced && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")):
		return "the client sent the value of an Authorization header: only what follows the scheme is the token, and it was not revoked"
	case trimmed != token:
		return "the client sent white space around the token"
	case spaced:
		return "the token has a space in it: maybe the client didn't encode a plus sign"
	}
	return ""
}
