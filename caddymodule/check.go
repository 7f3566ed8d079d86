package caddymodule

// This file decides whether a request may pass.

import (
	"context"
	"net/http"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// check finds the reason why the request must not pass, in this order: a
// revoked token, a request that can't be searched, a malformed token, one that isn't
// genuine or not for here and now, one of which that can't be told, one that may have been
// revoked, too many tokens, none. None of them, nil, lets it pass. The facts of the candidates are returned where they
// are to be kept.
func (h *RejectRevoked) check(r *http.Request, candidates []token.Candidate, findErr error, keep bool) ([]*revocation.Facts, *rejection) {
	// A request that is refused in any case isn't worth asking an issuer about it.
	var found verdicts
	rejected := h.verdicts(&found, r, candidates, h.Verify != nil && findErr == nil, keep)
	if rejected == nil {
		rejected = h.judge(r, &found, findErr)
	}
	return found.facts, rejected
}

// judge finds the reason why a request without a revoked token must not pass.
func (h *RejectRevoked) judge(r *http.Request, verdicts *verdicts, findErr error) *rejection {
	if findErr != nil {
		return unsearchable(findErr)
	}
	if verdicts.malformed != nil {
		return verdicts.malformed
	}
	if verdicts.unverified != nil {
		return verdicts.unverified
	}
	if verdicts.unavailable != nil {
		return verdicts.unavailable
	}
	if verdicts.stale != nil {
		return verdicts.stale
	}
	if h.Strict && verdicts.several {
		return &rejection{
			status: http.StatusBadRequest, verdict: verdictInvalidRequest, code: "invalid_request",
			reason: "The request carries more than one access token",
		}
	}
	if h.RequireToken && !verdicts.presented && !isPreflight(r) {
		return &rejection{status: http.StatusUnauthorized, verdict: verdictAbsent, reason: "An access token is required"}
	}
	return nil
}

// verdicts is what the tokens of one request amount to when none is revoked.
type verdicts struct {
	presented bool // there is a token
	several   bool // there are different ones

	// Because of the first token that is:
	malformed   *rejection
	unverified  *rejection
	unavailable *rejection
	stale       *rejection

	facts []*revocation.Facts // of each candidate
}

// verdicts looks up all candidates, and verifies them if it should, and fills v in. It
// returns a rejection when one is revoked or when that can't be known.
func (h *RejectRevoked) verdicts(v *verdicts, r *http.Request, candidates []token.Candidate, verify, keep bool) *rejection {
	if len(candidates) == 0 {
		return nil
	}
	ctx, cancel := r.Context(), func() {}
	run, err := h.app.wait(ctx)
	if err != nil {
		return &rejection{
			status: http.StatusServiceUnavailable, verdict: verdictUnavailable, reason: "The revocation list is not loaded yet",
			retryAfter: retryList,
		}
	}
	if verify && len(candidates) > 1 { // together they have no more time than one
		ctx, cancel = context.WithTimeout(ctx, proofTimeout)
	}
	defer cancel()
	var first *revocation.Facts
	for i := range candidates {
		c := &candidates[i]
		var verdict revocation.Verdict
		var unverified *rejection
		// What only a sloppy upstream takes for a token could be a forged one beside a
		// genuine one. Others it can't read without asking, so that they may be anything.
		prove := verify && (!c.Probe || token.IsJWT(c.Token))
		if prove {
			tokensChecked.Add(1)
			var proof *revocation.Proof
			verdict, proof, err = run.checker.CheckProven(ctx, h.Verify.presented(c), run.prover)
			if verdict.State == revocation.Active {
				unverified = h.Verify.outcome(proof, err)
			}
		} else {
			verdict = look(run.checker, c)
		}
		if verdict.State == revocation.Revoked {
			return revoked(c, verdict)
		}
		if keep {
			v.facts = append(v.facts, verdict.Facts)
		}
		// As with verify, what only a sloppy upstream reads counts where it is surely a
		// token: to refuse passwords would take down what this handler isn't for.
		if verdict.Stale && h.denyStale && (!c.Probe || token.IsJWT(c.Token)) {
			keepFirst(&v.stale, c, verdict.Facts, stale())
		}
		if c.Probe && !prove {
			continue
		}
		v.presented = v.presented || !c.Probe
		switch {
		case c.Probe:
		case first == nil:
			first = verdict.Facts
		case first.Fingerprint != verdict.Facts.Fingerprint:
			v.several = true
		}
		if verdict.State == revocation.Malformed && !h.mayPass(verdict.Facts.Malformed) {
			keepFirst(&v.malformed, c, verdict.Facts, &rejection{
				status: http.StatusUnauthorized, verdict: verdictMalformed, code: "invalid_token",
				reason: "The access token is malformed: " + verdict.Facts.Malformed.Error(),
			})
		}
		switch {
		case unverified == nil:
		case unverified.verdict == verdictUnavailable:
			keepFirst(&v.unavailable, c, verdict.Facts, unverified)
		default:
			keepFirst(&v.unverified, c, verdict.Facts, unverified)
		}
	}
	return nil
}

// look looks a candidate up. Of one that may be a password nothing is kept.
func look(checker *revocation.Checker, c *token.Candidate) revocation.Verdict {
	if c.Secret {
		return checker.CheckOnce(c.Token)
	}
	tokensChecked.Add(1)
	return checker.Check(c.Token)
}

// revoked is the rejection of a request with a revoked token.
func revoked(c *token.Candidate, v revocation.Verdict) *rejection {
	return (&rejection{
		status: http.StatusUnauthorized, verdict: verdictRevoked, code: "invalid_token",
		reason: "The access token has been revoked", selector: v.Shape,
	}).about(c, v.Facts)
}

// mayPass reports whether a malformed token is let through. JSON serializations
// aren't in any case: one may have several signatures, and libraries differ in
// which of them makes the token.
func (h *RejectRevoked) mayPass(malformed error) bool {
	return h.Malformed == "pass" && malformed != token.MalformedSerialization
}

// isPreflight reports whether the request is a CORS preflight, which carries no
// credentials: Fetch standard, CORS-preflight request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}
