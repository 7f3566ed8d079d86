package revocation

// This file says why a token is rejected, or why it isn't: in words that an operator
// can check, where Check only has keys.

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Explanation is what there is to know about one token.
type Explanation struct {
	// Verdict is what Check says.
	Verdict Verdict

	// ByAnswer says that the token is Revoked only by what its issuer answered about it
	// (RFC 7662). Who doesn't ask the issuer, as Check doesn't, lets it pass, unless the
	// answer of somebody who asked is still remembered.
	ByAnswer bool

	// Proof is what its issuer vouches for, and Unproven why nobody does. Both are nil
	// when there was no Prover.
	Proof    *Proof
	Unproven error

	// Matches are all ways in which records could name the token, and Impossible the
	// shapes that it can't have: those of standard claims, and those that records have.
	Matches    []Match
	Impossible []Mismatch

	// Records are those in force that name the token, whether or not they reject it.
	Records []Match
}

// Match is a selector that the token has, or a record that names it.
type Match struct {
	Selector Selector

	// Record has the selector. Nil when there is none.
	Record  *Record
	Pending bool

	// Rejects reports whether the record rejects the token, and Why says how that comes.
	Rejects bool
	Why     string
}

// Mismatch is a shape of which the token has no selector.
type Mismatch struct {
	Shape Shape
	Why   string
}

// commonShapes are explained whether or not there are records of them.
var commonShapes = []Shape{
	Shape(RoleToken), Shape(RoleTokenID), Shape(RoleSession), Shape(RoleSubject), "client_id+sub", Shape(RoleClient), Shape(RoleGrant),
	Shape(RoleKeyID), Shape(RoleKeyBinding), Shape(RoleCertBinding), Shape(RoleIssuer),
}

// Explain says how the list sees a token. It reads the whole store, and asks the prover,
// which may be nil, whether the token is genuine. It remembers nothing of the token.
func (c *Checker) Explain(ctx context.Context, p Presented, prover Prover) (Explanation, error) {
	facts := c.read.ReadFacts(p.Token)
	var e Explanation
	if prover != nil {
		p.Facts = facts
		if e.Proof, e.Unproven = prover.Prove(ctx, p); e.Proof != nil {
			facts.proof.Store(e.Proof)
		}
	}
	known := []*Facts{facts}
	if e.Proof != nil && e.Proof.Facts != nil {
		known = append(known, e.Proof.Facts)
	}
	named := map[Key][]*Facts{}
	for _, shape := range c.list.explainedShapes() {
		e.explain(shape, known, named)
	}
	seen := map[identity]bool{}
	err := c.list.scan(ctx, func(r *Record, pending bool) {
		if r.Kind == Reinstatement || seen[identityOf(r)] || !c.list.live(r) {
			return
		}
		m := Match{Selector: r.Selector, Pending: pending}
		for _, facts := range named[r.Selector.Key(r.Kind)] {
			if m.Rejects {
				break
			}
			m.Record = new(*r)
			m.Rejects, m.Why = facts.compare(r)
		}
		if m.Record != nil {
			seen[identityOf(r)] = true
			e.Records = append(e.Records, m)
		}
	})
	// Last, so that it isn't older than what explains it.
	e.Verdict = c.decide(facts)
	e.ByAnswer = e.Verdict.State == Revoked && c.list.lookup(facts) == nil
	return e, err
}

// explainedShapes returns the common shapes and those that records have.
func (l *List) explainedShapes() []Shape {
	shapes := slices.Clone(commonShapes)
	for _, n := range l.index.counts() {
		if !slices.Contains(shapes, n.Shape) {
			shapes = append(shapes, n.Shape)
		}
	}
	return shapes
}

// explain finds the selectors of one shape that the token has, and notes the keys of
// records that could have them.
func (e *Explanation) explain(shape Shape, known []*Facts, named map[Key][]*Facts) {
	roles := shape.roles()
	matched := false
	for _, facts := range known {
		for _, selector := range facts.selectors(roles) {
			matched = true
			e.add(Match{Selector: selector})
			for kind := Block; kind < Reinstatement; kind++ {
				key := selector.Key(kind)
				named[key] = append(named[key], facts)
			}
		}
	}
	if !matched {
		e.Impossible = append(e.Impossible, Mismatch{shape, whyNot(roles, known)})
	}
}

func (e *Explanation) add(m Match) {
	same := func(o Match) bool {
		return o.Selector.Issuer == m.Selector.Issuer && slices.Equal(o.Selector.Claims, m.Selector.Claims)
	}
	if !slices.ContainsFunc(e.Matches, same) {
		e.Matches = append(e.Matches, m)
	}
}

// selectors returns the selectors with such roles that the token has.
func (f *Facts) selectors(roles []Role) (all []Selector) {
	issuers := f.Issuers
	if len(roles) > 0 && !slices.ContainsFunc(roles, func(r Role) bool { return !r.selfStanding() }) {
		issuers = []string{""}
	}
	for _, iss := range issuers {
		all = f.selectorsOf(all, iss, roles, nil)
	}
	return all
}

func (f *Facts) selectorsOf(all []Selector, iss string, roles []Role, chosen []Claim) []Selector {
	if len(chosen) == len(roles) {
		if s, err := Select(iss, chosen...); err == nil {
			all = append(all, s)
		}
		return all
	}
	for _, value := range f.values(roles[len(chosen)]) {
		claim := Claim{roles[len(chosen)], value}
		all = f.selectorsOf(all, iss, roles, append(slices.Clip(chosen), claim))
	}
	return all
}

// values returns the token's values in a role.
func (f *Facts) values(role Role) (values []string) {
	if role == RoleToken {
		return []string{f.Fingerprint.String()}
	}
	for _, c := range f.Claims {
		if c.Role == role {
			values = append(values, c.Value)
		}
	}
	return values
}

// whyNot says why a token has no selector with such roles.
func whyNot(roles []Role, known []*Facts) string {
	has := func(what func(*Facts) bool) bool { return slices.ContainsFunc(known, what) }
	if !has(func(f *Facts) bool { return len(f.Claims)+len(f.Issuers) > 0 }) {
		return "the token has no claims that can be read here: only the token itself can be named"
	}
	for _, role := range roles {
		if !has(func(f *Facts) bool { return len(f.values(role)) > 0 }) {
			return fmt.Sprintf("the token has no %s", role)
		}
	}
	if !has(func(f *Facts) bool { return len(f.Issuers) > 0 }) {
		return "the token has no iss"
	}
	return "the token's values are too long for a record, or not valid UTF-8"
}

// compare reports whether a record that names the token rejects it, and why.
func (f *Facts) compare(r *Record) (rejects bool, why string) {
	rejects = f.hitBy(r.Kind, valueOf(r))
	if r.Kind == Block {
		return rejects, "it names the token"
	}
	at, what := f.IssuedAt, "issued"
	if r.Kind == AuthenticatedBefore && f.AuthTime != 0 {
		at, what = f.AuthTime, "authenticated"
	}
	if at == 0 {
		return rejects, "the token doesn't say when it was issued, so it counts as issued before"
	}
	comparison := "not after"
	if !rejects {
		comparison = "after"
	}
	return rejects, fmt.Sprintf("the token was %s at %s, %s the cutoff", what, unixTime(at).Format(time.RFC3339), comparison)
}
