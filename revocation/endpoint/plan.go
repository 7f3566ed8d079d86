// What revoking one token comes to: whether it is genuine, whose it is, and what
// dies with it.

package endpoint

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// holder is who hands in a token.
type holder struct {
	id       string   // its client_id, empty where it isn't a client
	actor    string   // in records
	public   bool     // not told about the tokens of others
	anyToken bool     // may revoke tokens of every client
	self     bool     // has nothing but the token, and revokes that
	issuers  []string // whose tokens it may revoke; none: everybody's
	client   *client  // whose quota counts; nil: only that of all together
}

// plan is what revoking a token comes to. Nothing is revoked yet.
type plan struct {
	// outcome is Revoked where there is something to record, else why there isn't.
	outcome Outcome
	// refused is the answer to give then; nil is success.
	refused *answer

	facts *revocation.Facts
	proof *revocation.Proof // nil: nobody vouches for the token
	err   error             // why not

	blocks  []revocation.Selector // of the token itself; none: nothing is recorded
	expires time.Time             // of these
	cascade revocation.Selector   // of what dies with it; the zero Selector: nothing
	until   time.Time             // that dies which was issued until then; zero: until it is recorded

	actor, source string
	retention     revocation.Retention // of the cascade
}

// planner makes plans. Its methods may be called concurrently.
type planner struct {
	facts         revocation.FactsReader
	prover        revocation.Prover // may be nil
	list          List              // for its clock
	retention     revocation.Retention
	cascade       Cascade
	refuseRefresh bool
	silent        bool // a stranger's token is a success for everybody
	timeout       time.Duration
	now           func() time.Time
	source        string // of the records
}

// newPlanner is for records of a source. The options have their defaults.
func newPlanner(o Options, source string) *planner {
	return &planner{
		facts:         o.Facts,
		prover:        o.Prover,
		list:          o.List,
		retention:     o.Retention,
		cascade:       o.Cascade,
		refuseRefresh: o.RefuseRefreshTokens,
		silent:        o.SilentMismatch,
		timeout:       o.RevokeTimeout,
		now:           o.Now,
		source:        source,
	}
}

// plan finds out what it comes to that a holder has a token revoked. Presented.Facts
// are filled in.
//
// The token is proven before anything is decided, so that a stranger's token costs
// the same work as one's own. That isn't given up when the client has gone: it wanted
// the token dead.
func (p *planner) plan(ctx context.Context, h holder, t revocation.Presented) plan {
	facts := p.facts.ReadFacts(t.Token)
	proof, err := p.prove(ctx, t, facts)
	return p.decide(h, t.Hint, facts, proof, err)
}

// decide is plan for a token that was tried to be proven.
func (p *planner) decide(h holder, hint string, facts *revocation.Facts, proof *revocation.Proof, err error) plan {
	pl := p.fingerprint(h, facts)
	pl.proof, pl.err = proof, err
	known := err == nil || errors.Is(err, revocation.ErrForged) || errors.Is(err, revocation.ErrUnproven)
	switch {
	case proof != nil:
		p.proven(&pl, h, hint)
	case h.self && (known || pl.outcome == Expired):
		pl.nothing(InvalidClient, invalidClient())
	case errors.Is(err, revocation.ErrForged):
		pl.nothing(Forged, nil)
	case pl.outcome == Expired:
	case !known && !(h.anyToken && len(h.issuers) == 0):
		pl.nothing(IssuerUnavailable, unavailable(IssuerUnavailable, failureRetry, "whose the token is can't be found out now: try again"))
	case p.refuseRefresh && hintsRefresh(hint):
		pl.nothing(UnsupportedTokenType, unsupportedTokenType("refresh tokens are not revoked here"))
	case p.prover != nil && !h.anyToken && facts.Malformed != nil && claimsStranger(facts, h):
		p.foreign(&pl, h)
	}
	return pl
}

// prove asks whose the token is. One that is only spelled in another way than the
// usual one is proven in that.
func (p *planner) prove(ctx context.Context, t revocation.Presented, facts *revocation.Facts) (*revocation.Proof, error) {
	if p.prover == nil {
		return nil, nil
	}
	t.Facts = facts
	if facts.Malformed != nil {
		spelling := token.Canonical(t.Token)
		if f := p.facts.ReadFacts(spelling); f.Malformed == nil && f.Fingerprint == facts.Fingerprint {
			t.Token, t.Facts = spelling, f
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.timeout)
	defer cancel()
	return p.prover.Prove(ctx, t)
}

// fingerprint is the plan for a token of which nothing is known: possession revokes
// that one token, and nothing with it.
func (p *planner) fingerprint(h holder, facts *revocation.Facts) plan {
	pl := plan{facts: facts, actor: h.actor, source: p.source, retention: p.retention}
	pl.outcome = Revoked
	pl.blocks = []revocation.Selector{revocation.SelectToken(facts.Fingerprint)}
	p.expire(&pl, facts.Expiry, p.retention)
	return pl
}

// expire decides when the token's records may be forgotten, and that there are none
// of a token that nobody accepts any more.
func (p *planner) expire(pl *plan, expiry revocation.Expiry, retention revocation.Retention) {
	now := p.now()
	pl.expires = retention.Token(expiry, now)
	// A clock that is suddenly ahead must not make a living token look expired.
	if !pl.expires.After(earlier(now, p.list.Now())) {
		pl.nothing(Expired, nil)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// nothing is what a plan comes to that records nothing.
func (pl *plan) nothing(o Outcome, refused *answer) {
	pl.outcome, pl.refused, pl.blocks, pl.cascade = o, refused, nil, revocation.Selector{}
}

// proven decides about a genuine token.
func (p *planner) proven(pl *plan, h holder, hint string) {
	proof := pl.proof
	switch {
	case proof.Kind == revocation.IDToken || proof.Kind == revocation.OtherToken:
		pl.nothing(UnsupportedTokenType, unsupportedTokenType("only access and refresh tokens are revoked here"))
		return
	case h.self:
		p.revokeItself(pl)
		return
	}
	p.expireProven(pl)
	refresh := isRefreshToken(proof, hint)
	switch {
	case pl.outcome == Expired:
	case len(h.issuers) > 0 && !slices.Contains(h.issuers, proof.Issuer):
		p.foreignOr(pl, h, hint)
	case !h.anyToken && len(proof.Owners) > 0 && !ownedBy(proof.Owners, h.id):
		p.foreignOr(pl, h, hint)
	case p.refuseRefresh && (refresh || proof.Kind == revocation.UnknownKind && hintsRefresh(hint)):
		pl.nothing(UnsupportedTokenType, unsupportedTokenType("refresh tokens are not revoked here"))
	case !h.anyToken && len(proof.Owners) == 0:
		// Nobody says whose it is: possession revokes it, and nothing with it.
	default:
		pl.addTokenID()
		if refresh {
			pl.cascade = p.cascadeOf(proof)
		}
	}
}

// expireProven is expire for a token of which more is known. Its exp counts as it
// stands in the token; what its issuer answers is only a hint, since another answer
// may follow. How long the issuer's tokens live is what its access tokens do: one that
// may be a refresh token is remembered for as long as any.
func (p *planner) expireProven(pl *plan) {
	expiry, proof := pl.facts.Expiry, pl.proof
	if !expiry.Trusted {
		expiry.Unix = max(expiry.Unix, proof.Expires)
	}
	retention := p.retention
	if lifetime := proof.MaxTokenLifetime; lifetime != 0 {
		pl.retention.MaxTokenLifetime = lifetime
		if proof.Kind != revocation.AccessToken {
			lifetime = max(lifetime, valueOr(retention.MaxTokenLifetime, revocation.DefaultMaxTokenLifetime))
		}
		retention.MaxTokenLifetime = lifetime
	}
	p.expire(pl, expiry, retention)
}

// addTokenID revokes the token by its id as well. One that can't be recorded is left
// out: the fingerprint is exact.
func (pl *plan) addTokenID() {
	id := revocation.Claim{Role: revocation.RoleTokenID, Value: pl.proof.Claim(revocation.RoleTokenID)}
	if s, err := revocation.Select(pl.proof.Issuer, id); err == nil {
		pl.blocks = append(pl.blocks, s)
	}
}

// cascadeOf returns what dies with a refresh token, as it was issued until then: the
// first that the token names of what the cascade allows.
func (p *planner) cascadeOf(proof *revocation.Proof) revocation.Selector {
	session := [][]revocation.Role{
		{revocation.RoleGrant},
		{revocation.RoleClient, revocation.RoleSession},
		{revocation.RoleSession},
	}
	switch p.cascade {
	case CascadeOff:
		return revocation.Selector{}
	case CascadeSubjectClient:
		session = slices.Insert(session, 0, []revocation.Role{revocation.RoleClient, revocation.RoleSubject})
	}
	for _, roles := range session {
		claims := make([]revocation.Claim, len(roles))
		for i, role := range roles {
			claims[i] = revocation.Claim{Role: role, Value: proof.Claim(role)}
		}
		if s, err := revocation.Select(proof.Issuer, claims...); err == nil {
			return s
		}
	}
	return revocation.Selector{}
}

// foreignOr is foreign, unless an unknown token would be refused for what it is said
// to be: the answers must not differ.
func (p *planner) foreignOr(pl *plan, h holder, hint string) {
	if p.foreign(pl, h); pl.refused == nil && p.refuseRefresh && hintsRefresh(hint) {
		pl.nothing(UnsupportedTokenType, unsupportedTokenType("refresh tokens are not revoked here"))
	}
}

// foreign is what becomes of another client's token: RFC 7009 §2.1 has the client
// informed. A public one is anybody, and must not find out about tokens.
func (p *planner) foreign(pl *plan, h holder) {
	var refused *answer
	if !h.public && !p.silent {
		refused = refusal(Foreign, http.StatusBadRequest, codeInvalidGrant, "the token was issued to another client")
	}
	pl.nothing(Foreign, refused)
}

func unsupportedTokenType(description string) *answer {
	return refusal(UnsupportedTokenType, http.StatusBadRequest, codeUnsupportedTokenType, description)
}

// ownedBy reports whether all who are said to own a token are one client.
func ownedBy(owners []string, id string) bool {
	return !slices.ContainsFunc(owners, func(owner string) bool { return owner != id })
}

// claimsStranger reports whether a token that can't be proven, for it is malformed,
// says that it is another client's. Its fingerprint may be that of a well-formed one,
// and then the claims are the same: they don't show who may revoke it, but who may
// not.
func claimsStranger(facts *revocation.Facts, h holder) bool {
	return slices.ContainsFunc(facts.Claims, func(c revocation.Claim) bool {
		return c.Role == revocation.RoleClient && c.Value != h.id
	})
}

// isRefreshToken reports whether a genuine token is a refresh token. Where its issuer
// was asked and doesn't say, the hint counts. A JWT that anybody can verify was most
// likely made for an API, and a hint must not make it log out its user.
func isRefreshToken(proof *revocation.Proof, hint string) bool {
	return proof.Kind == revocation.RefreshToken ||
		proof.Kind == revocation.UnknownKind && proof.Introspected && hintsRefresh(hint)
}

// hintsRefresh reports whether a token is said to be a refresh token: RFC 7009 §2.1,
// or by its URN of RFC 8693 §3.
func hintsRefresh(hint string) bool {
	return hint == "refresh_token" || hint == "urn:ietf:params:oauth:token-type:refresh_token"
}

// hasCascade reports whether more dies than the token.
func (pl *plan) hasCascade() bool { return pl.cascade.Issuer != "" }

// cutoff is the moment until which what the cascade hits must have been issued, given
// that the token is revoked now. Zero where there is no cascade.
//
// An issuer's clock may run ahead: what was issued with the token dies in any case.
func (pl *plan) cutoff(now time.Time) time.Time {
	if !pl.hasCascade() {
		return time.Time{}
	}
	now = valueOr(pl.until, now)
	return time.Unix(min(max(now.Unix(), pl.proof.IssuedAt), revocation.Never.Unix()), 0).UTC()
}

// count is how many records the plan makes.
func (pl *plan) count() int {
	if pl.hasCascade() {
		return len(pl.blocks) + 1
	}
	return len(pl.blocks)
}

// records makes the records of the plan, those of one revocation that happens now.
func (pl *plan) records(now time.Time) []revocation.Record {
	base := revocation.Record{
		ID:         revocation.NewID(),
		Source:     pl.source,
		Actor:      pl.actor,
		RecordedAt: now.Truncate(time.Millisecond).UTC(),
	}
	records := make([]revocation.Record, 0, pl.count())
	for _, s := range pl.blocks {
		r := base
		r.Kind, r.Selector, r.Expires = revocation.Block, s, pl.expires
		records = append(records, r)
	}
	if pl.hasCascade() {
		r := base
		r.Kind, r.Selector, r.Cutoff = revocation.IssuedBefore, pl.cascade, pl.cutoff(now)
		r.Expires = pl.retention.Cutoff(r.Cutoff)
		records = append(records, r)
	}
	return records
}
