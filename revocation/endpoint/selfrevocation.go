// A token is revoked by who has nothing but it: no client, only
// Authorization: Bearer and the same token in the body.

package endpoint

import (
	"slices"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// newBearer returns who hands in a token that is its own credential. Anybody can be
// that, so a public client's quota counts, for all of them together.
func newBearer(opts Options) holder {
	c := &client{actor: "token", quota: opts.Limits.Public}
	return holder{actor: c.actor, self: true, client: c}
}

// revokesItself reports whether the request has no client and says that it comes from
// who holds the very token that it revokes. Whether it is genuine is seen later.
func (s *Server) revokesItself(x *exchange) bool {
	lines := x.r.Header["Authorization"]
	if !s.opts.SelfRevocation || len(lines) != 1 {
		return false
	}
	for _, p := range []parameter{paramClientID, paramClientSecret, paramClientAssertion, paramClientAssertionType} {
		if x.params.get(p) != "" {
			return false
		}
	}
	scheme, credential, _ := strings.Cut(lines[0], " ")
	credential, token := strings.TrimSpace(credential), x.params.get(paramToken)
	if !strings.EqualFold(scheme, "Bearer") || slices.Contains([]string{token, credential}, "") {
		return false
	}
	return s.opts.Facts.ReadFacts(credential).Fingerprint == s.opts.Facts.ReadFacts(token).Fingerprint
}

// revokeItself decides about a genuine token that is its own credential. As that it
// must be what an API accepts, and it reaches nothing but itself.
func (p *planner) revokeItself(pl *plan) {
	if pl.proof.Kind == revocation.RefreshToken || pl.proof.CheckTime(p.now()) != nil {
		pl.nothing(InvalidClient, invalidClient())
		return
	}
	if p.expireProven(pl); pl.outcome == Revoked {
		pl.addTokenID()
	}
}
