// Revoking a token for an operator, who needs no leave of the token's client, and who
// has it from a log or a message rather than from a server.

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// OperatorOptions are what an Operator is made of.
type OperatorOptions struct {
	// List is where the records will go: its clock counts. Required.
	List List

	// Facts reads the tokens. Required.
	Facts revocation.FactsReader

	// Prover tells whose a token is. Default: nobody knows.
	Prover revocation.Prover

	// Retention says how long records are kept.
	Retention revocation.Retention

	// Source is the Source of the records.
	Source string
}

// Operator makes records of tokens, without asking whose they are: nobody's token is
// safe from the operator. It may be used concurrently.
type Operator struct {
	planner *planner
	list    List
}

// NewOperator returns an Operator.
func NewOperator(o OperatorOptions) *Operator {
	return &Operator{list: o.List, planner: &planner{
		facts: o.Facts, prover: o.Prover, list: o.List, retention: o.Retention,
		timeout: DefaultRevokeTimeout, now: time.Now, source: o.Source,
	}}
}

// OperatorRequest is a token to revoke.
type OperatorRequest struct {
	// Token is the token, see Unwrap.
	Token string

	// Actor and Reason are who and why.
	Actor, Reason string

	// Cascade says what else is revoked. Default: as by the endpoint, with a refresh
	// token its session. One that is named counts for every token that is proven.
	Cascade Cascade

	// KeepFor is how long the records are kept. Default: as long as what they hit could
	// be accepted.
	KeepFor time.Duration
}

// OperatorPlan is what an OperatorRequest comes to. Nothing is revoked yet.
type OperatorPlan struct {
	// Facts are the token's, and Proof what its issuer vouches for: nil when nobody
	// does. Unproven says why not, nil when there was nobody to ask.
	Facts    *revocation.Facts
	Proof    *revocation.Proof
	Unproven error

	// Records are those to hand to the list. None: nobody accepts the token any more.
	Records []revocation.Record

	// Warnings are what the operator should know, in sentences.
	Warnings []string
}

// Plan makes the records of a token: one by its fingerprint in any case; by its id, and
// of what dies with it, when it is proven. It asks the token's issuer, and goes on
// without when that takes too long.
func (o *Operator) Plan(ctx context.Context, q OperatorRequest) OperatorPlan {
	p := o.planner
	facts := p.facts.ReadFacts(q.Token)
	proof, err := p.prove(ctx, revocation.Presented{Token: q.Token}, facts)
	pl := p.fingerprint(holder{actor: q.Actor, anyToken: true}, facts)
	pl.proof, pl.err = proof, err
	if proof != nil {
		p.expireProven(&pl)
	}
	made := OperatorPlan{Facts: facts, Proof: proof, Unproven: err}
	made.warn(facts.Malformed != nil, "the token is malformed and rejected in any case, unless a route says `malformed pass`: %v", facts.Malformed)
	made.warnUnproven(facts)
	now := o.Now()
	if pl.outcome == Expired && q.KeepFor == 0 {
		return made
	}
	expires := pl.expires
	if q.KeepFor != 0 {
		// What has expired is revoked all the same when it is said for how long.
		pl.outcome, pl.blocks = Revoked, []revocation.Selector{revocation.SelectToken(facts.Fingerprint)}
		pl.expires = o.Until(q.KeepFor)
		made.warn(pl.expires.Before(expires), "the token could be accepted until %s, after its revocation has expired", expires.Format(time.RFC3339))
	}
	if proof != nil {
		pl.addTokenID()
	}
	o.cascade(&pl, q.Cascade, &made)
	made.Records = pl.records(now)
	for i := range made.Records {
		r := &made.Records[i]
		r.Reason = q.Reason
		if r.Kind == revocation.Block || q.KeepFor == 0 {
			continue
		}
		made.warn(pl.expires.Before(r.Expires), "what is revoked with the token could be accepted until %s, after its revocation has expired", r.Expires.Format(time.RFC3339))
		r.Expires = pl.expires
	}
	return made
}

// cascade adds what else is revoked.
func (o *Operator) cascade(pl *plan, wanted Cascade, made *OperatorPlan) {
	named := wanted != "" && wanted != CascadeOff
	if pl.proof == nil {
		made.warn(named, "nothing is revoked with the token: what it says of itself counts only when its issuer vouches for it")
		return
	}
	if !named && !isRefreshToken(pl.proof, "") || wanted == CascadeOff {
		return
	}
	p := *o.planner
	p.cascade = wanted
	pl.cascade = p.cascadeOf(pl.proof)
	made.warn(!pl.hasCascade(), "nothing is revoked with the token: it names no session or grant")
}

func (o *OperatorPlan) warn(is bool, format string, args ...any) {
	if is {
		o.Warnings = append(o.Warnings, fmt.Sprintf(format, args...))
	}
}

// warnUnproven says why the token is revoked by its fingerprint only, where more could
// have been expected.
func (o *OperatorPlan) warnUnproven(facts *revocation.Facts) {
	const only = "only this token is revoked, by its fingerprint"
	err := o.Unproven
	switch {
	case o.Proof != nil:
		kind := o.Proof.Kind
		o.warn(kind == revocation.IDToken || kind == revocation.OtherToken,
			"its issuer says that it is not a token for an API: the access tokens that were issued with it are not revoked")
	case err == nil || facts.Malformed != nil:
	case errors.Is(err, revocation.ErrForged):
		o.warn(true, "%s; nobody who verifies it accepts it: %v", only, err)
	case errors.Is(err, revocation.ErrUnproven):
		o.warn(true, "%s: %v", only, err)
	default:
		o.warn(true, "%s, and again by its id if you repeat this when its issuer can be asked: %v", only, err)
	}
}

// Now returns the moment at which an operator's records are made: the wall clock's,
// unless that is suddenly ahead of the list's. Then a cutoff would reject what is
// issued from now on.
func (o *Operator) Now() time.Time {
	const lag = time.Minute // the list's clock moves once in a second
	now, believed := time.Now(), o.list.Now()
	if now.After(believed.Add(lag)) {
		return believed
	}
	return now
}

// Until returns when what is kept for so long from now on expires: at most
// revocation.Never.
func (o *Operator) Until(keep time.Duration) time.Time {
	const rounded = time.Second
	end := o.Now().Add(rounded).Truncate(rounded)
	if keep > revocation.Never.Sub(end) {
		return revocation.Never
	}
	// A second more than asked for is on the safe side.
	return end.Add(keep.Truncate(rounded)).UTC()
}

// Unwrap finds the token in what somebody pasted: a line of a header, a string with its
// quotes, white space around it. It says what was taken off, one sentence for each.
func Unwrap(pasted string) (token string, removed []string) {
	token = pasted
	take := func(rest, what string) bool {
		if rest == token {
			return false
		}
		token = rest
		if !slices.Contains(removed, what) {
			removed = append(removed, what)
		}
		return true
	}
	for again := true; again; {
		again = take(strings.TrimSpace(token), "white space around the token was taken off") ||
			take(withoutHeader(token), "the name of a header was taken off the token") ||
			take(withoutScheme(token), "the scheme of an Authorization header was taken off the token") ||
			take(withoutQuotes(token), "quotation marks were taken off the token")
	}
	return token, removed
}

// withoutHeader takes "Authorization:" off.
func withoutHeader(s string) string {
	const name = "Authorization:"
	if len(s) >= len(name) && strings.EqualFold(s[:len(name)], name) {
		return strings.TrimSpace(s[len(name):])
	}
	return s
}

// withoutScheme takes the schemes off by which bearer tokens are sent: RFC 6750 §2.1,
// RFC 9449 §7.1.
func withoutScheme(s string) string {
	scheme, rest := s, ""
	if space := strings.IndexAny(s, " \t"); space >= 0 {
		scheme, rest = s[:space], s[space:]
	}
	if strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP") {
		return strings.TrimSpace(rest)
	}
	return s
}

// withoutQuotes takes the quotation marks of JSON and of shells off, and a comma that
// followed them.
func withoutQuotes(s string) string {
	inner := strings.TrimRight(s, ",; ")
	if n := len(inner); n > 2 && strings.ContainsRune("\"'`", rune(inner[0])) && inner[0] == inner[n-1] {
		return inner[1 : n-1]
	}
	return s
}
