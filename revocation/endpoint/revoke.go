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

// endpointSource is the Source of a Server's own records.
const endpointSource = "endpoint"

// failureRetry is told to a client when the list failed: RFC 7009 §2.2.1.
const failureRetry = 5 * time.Second

// revoke puts the token on the list, if it is the client's. Success is answered only
// when the token is provably dead: durable and enforced, expired, or forged; or to
// who must not find out that it is another's. Every token that nobody vouches for is
// recorded by its fingerprint, whatever its bytes: a query or a form can carry any.
func (s *Server) revoke(x *exchange) *answer {
	token := x.params.get(paramToken)
	if refused := s.checkToken(x, token); refused != nil {
		return refused
	}
	h := s.holderOf(x)
	// Read before the list is: a reinstatement in between must not be missed.
	reinstatements := s.opts.List.Reinstatements()
	pl := s.planner.plan(x.r.Context(), h, revocation.Presented{Token: token, Hint: x.params.get(paramTokenTypeHint), From: x.address})
	x.fingerprint, x.unproven = pl.facts.Fingerprint.String(), pl.err
	if pl.facts.Malformed == nil {
		x.hint = hintFor(token)
	}
	switch {
	case pl.refused != nil:
		return pl.refused
	case pl.outcome == Foreign:
		// It costs what an unknown token does, or the quota would tell them apart.
		if wait := s.quotas.admit(h.client, x.address, 1); wait > 0 {
			return tooMany(QuotaExceeded, wait, "the client may not revoke more tokens now")
		}
		s.quotas.release(h.client, 1)
		return x.success(Foreign)
	case pl.outcome != Revoked:
		return x.success(pl.outcome)
	}
	now, key := s.opts.Now(), repeatKey{pl.facts.Fingerprint, h.client}
	m, known := s.repeats.find(key, &pl, now, reinstatements)
	if known && m.settled {
		x.revocation = m.id
		return x.success(Repeated)
	}
	if !known {
		if wait := s.quotas.admit(h.client, x.address, pl.count()); wait > 0 {
			return tooMany(QuotaExceeded, wait, "the client may not revoke more tokens now")
		}
		defer s.quotas.release(h.client, pl.count())
		m = newMade(&pl, now, reinstatements)
	}
	x.again = known
	return s.record(x, key, m)
}

// holderOf returns who hands in the token.
func (s *Server) holderOf(x *exchange) holder {
	if x.self {
		return s.bearer
	}
	c := x.client
	return holder{id: c.id, actor: c.actor, public: c.public(), anyToken: c.anyToken, issuers: c.issuers, client: c}
}

// record makes a revocation durable, and waits for other nodes if it should. Success is
// answered, or what is still to be done is remembered for when the client tries again.
func (s *Server) record(x *exchange, key repeatKey, m made) *answer {
	if !m.durable {
		if failed := s.makeDurable(x, key, m); failed != nil {
			return failed
		}
		m.durable = true
	}
	x.records = m.records
	if s.opts.WaitFor > 0 {
		ctx, cancel := context.WithTimeout(x.r.Context(), s.opts.WaitFor)
		defer cancel()
		if x.err = s.opts.List.AwaitNodes(ctx, m.records...); x.err != nil {
			s.repeats.note(key, m)
			return unavailable(NotEverywhere, failureRetry, "the token is revoked, but other nodes may accept it still: try again")
		}
	}
	s.repeats.note(key, m.settle())
	return x.success(Revoked)
}

// makeDurable hands the records to the list and waits until they are durable; not longer
// than the list may take, but also when the client has gone: it wanted the token
// dead. Records that the list has already, enforced but not durable, are handed
// over once more: the list makes the same ones durable.
func (s *Server) makeDurable(x *exchange, key repeatKey, m made) *answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), s.opts.RevokeTimeout)
	defer cancel()
	x.err = s.opts.List.Revoke(ctx, m.records...)
	switch {
	case x.err == nil:
		return nil
	case errors.Is(x.err, revocation.ErrNotDurable):
		x.records = m.records
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
