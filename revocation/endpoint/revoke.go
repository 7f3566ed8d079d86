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
// provably dead: durable and enforced, or expired, or of a form that no request can
// carry.
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
	if facts.Malformed == nil && !presentable(token) {
		x.hint = hintFor(token)
		return x.success(Unpresentable)
	}
	now := s.opts.Now()
	expires := s.opts.Retention.Token(facts.Expiry, now)
	if !expires.After(now) {
		return x.success(Expired)
	}
	// Read before the list is: a reinstatement in between must not be missed.
	reinstatements := s.opts.List.Reinstatements()
	if s.repeats.covers(facts.Fingerprint, x.client, expires, now, reinstatements) {
		return x.success(Repeated)
	}
	if wait := s.quotas.admit(x.client, x.address); wait > 0 {
		return tooMany(QuotaExceeded, wait, "the client may not revoke more tokens now")
	}
	defer s.quotas.release(x.client)
	x.err = s.record(x, facts.Fingerprint, now, expires)
	switch {
	case x.err == nil:
		s.repeats.note(facts.Fingerprint, x.client, expires, reinstatements)
		return x.success(Revoked)
	case errors.Is(x.err, revocation.ErrNotDurable):
		return unavailable(NotDurable, failureRetry, "the token must be assumed to be valid still: try again")
	case errors.Is(x.err, revocation.ErrInvalidRecord):
		return refusal(InternalError, http.StatusInternalServerError, codeServerError, "internal error")
	}
	return unavailable(Unavailable, failureRetry, "the token must be assumed to be valid still: try again")
}

// record has the list revoke the token. A client that hangs up doesn't stop it: it
// has asked for its token to be dead.
func (s *Server) record(x *exchange, token revocation.Fingerprint, now, expires time.Time) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), s.opts.RevokeTimeout)
	defer cancel()
	return s.opts.List.Revoke(ctx, revocation.Record{
		ID:         revocation.NewID(),
		Kind:       revocation.Block,
		Selector:   revocation.SelectToken(token),
		Expires:    expires,
		Source:     source,
		Actor:      x.client.actor,
		RecordedAt: now.Truncate(time.Millisecond).UTC(),
	})
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

// presentable reports whether a request can carry the token, if it isn't shaped
// like a JWT. Nothing that finds tokens in requests finds one with such characters.
func presentable(token string) bool {
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c == ',' || c == 0x7f {
			return false
		}
	}
	return true
}

// hintFor is what the operator hears about a token that can't be presented: it is
// most likely a mistake of the client's.
func hintFor(token string) string {
	scheme, _, ok := strings.Cut(strings.TrimSpace(token), " ")
	switch {
	case ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")):
		return "the client sent the value of an Authorization header: only what follows the scheme is the token"
	case presentable(strings.TrimSpace(token)):
		return "the client sent white space around the token"
	case strings.Contains(token, " "):
		return "the token has a space in it: maybe the client didn't encode a plus sign"
	}
	return "the token has a comma or a control character in it"
}
