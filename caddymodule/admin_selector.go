package caddymodule

// This file makes records of what an operator says that tokens have in common, and
// tells what that means where it may not be what was meant.

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// selector is a member of a request that names a claim.
type selectorMember struct {
	name  string
	role  revocation.Role
	value func(*revokeRequest) string
}

// selectorMembers are all of them, but iss, in the order in which they are explained.
var selectorMembers = []selectorMember{
	{"fingerprint", revocation.RoleToken, func(q *revokeRequest) string { return q.Fingerprint }},
	{"jti", revocation.RoleTokenID, func(q *revokeRequest) string { return q.TokenID }},
	{"sid", revocation.RoleSession, func(q *revokeRequest) string { return q.Session }},
	{"sub", revocation.RoleSubject, func(q *revokeRequest) string { return q.Subject }},
	{"client_id", revocation.RoleClient, func(q *revokeRequest) string { return q.ClientID }},
	{"grant", revocation.RoleGrant, func(q *revokeRequest) string { return q.Grant }},
	{"kid", revocation.RoleKeyID, func(q *revokeRequest) string { return q.KeyID }},
	{"jkt", revocation.RoleKeyBinding, func(q *revokeRequest) string { return q.KeyBinding }},
	{"x5t#S256", revocation.RoleCertBinding, func(q *revokeRequest) string { return q.CertBinding }},
}

// selectorNames returns the names of what can be selected by.
func selectorNames() (names []string) {
	for _, s := range selectorMembers {
		names = append(names, s.name)
	}
	return append(names, "iss", "claims")
}

// selectedBy returns the names of what a request selects by.
func selectedBy(q *revokeRequest) (names []string) {
	for _, s := range selectorMembers {
		if s.value(q) != "" {
			names = append(names, s.name)
		}
	}
	if q.Issuer != "" {
		names = append(names, "iss")
	}
	if len(q.Claims) > 0 {
		names = append(names, "claims")
	}
	return names
}

// intendSelector makes the record of a selector.
func (c *adminCall) intendSelector(q *revokeRequest, keep time.Duration) (*intended, error) {
	if len(selectedBy(q)) == 0 {
		return nil, badRequest("what is to be revoked? Name a token, or one or more of %s", strings.Join(selectorNames(), ", "))
	}
	claims, err := c.claimsOf(q)
	if err != nil {
		return nil, err
	}
	made := new(intended)
	for _, claim := range append([]revocation.Claim{{Role: revocation.RoleIssuer, Value: q.Issuer}}, claims...) {
		if strings.TrimSpace(claim.Value) != claim.Value {
			made.warn("%s begins or ends with white space: only tokens that have it as well are meant", claim.Role)
		}
	}
	issuer, retention, err := c.issuerOf(q, claims, made)
	if err != nil {
		return nil, err
	}
	selected, err := revocation.Select(issuer, claims...)
	if err != nil {
		return nil, badRequest("%w", err)
	}
	operator := c.operator()
	now := operator.Now()
	r := revocation.Record{
		ID: revocation.NewID(), Kind: revocation.Block, Selector: selected,
		Source: sourceAdmin, Actor: q.Actor, Reason: q.Reason, RecordedAt: now.Truncate(time.Millisecond).UTC(),
	}
	if err := setCutoff(&r, q, now); err != nil {
		return nil, err
	}
	natural := retention.Cutoff(now)
	if r.Kind != revocation.Block {
		natural = retention.Cutoff(r.Cutoff)
		if r.Cutoff.After(now) {
			made.warn("the cutoff is in the future: tokens that are issued until %s are rejected as well", r.Cutoff.Format(time.RFC3339))
		}
	}
	r.Expires = natural
	if keep != 0 {
		r.Expires = operator.Until(keep)
		if r.Expires.Before(natural) {
			made.warn("tokens that exist now could be accepted until %s, after the revocation has expired", natural.Format(time.RFC3339))
		}
	}
	if !r.Expires.After(now) {
		made.warn("tokens that old have expired, so that nobody accepts them any more: nothing was recorded. With expires_in they are revoked all the same")
		return made, nil
	}
	if r.Kind == revocation.Block && hitsNewTokens(selected) {
		made.warn(`tokens that are issued from now on are rejected as well, until %s: to let new logins pass, revoke with "issued_before": "now"`, r.Expires.Format(time.RFC3339))
	}
	made.records = []revocation.Record{r}
	return made, nil
}

func (i *intended) warn(format string, args ...any) {
	i.warnings = append(i.warnings, fmt.Sprintf(format, args...))
}

// claimsOf returns the claims of a request.
func (c *adminCall) claimsOf(q *revokeRequest) (claims []revocation.Claim, err error) {
	for _, s := range selectorMembers {
		if value := s.value(q); value != "" {
			claims = append(claims, revocation.Claim{Role: s.role, Value: value})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Claims)) {
		switch {
		case slices.Contains(selectorNames(), name):
			return nil, badRequest("%s is a member of its own, not one of claims", name)
		case !slices.Contains(c.app.MatchClaims, name):
			return nil, badRequest("claims has one that tokens aren't looked up by (%s): add it to match_claims of %s first", c.matchClaims(), appID)
		}
		claims = append(claims, revocation.Claim{Role: revocation.Role(name), Value: q.Claims[name]})
	}
	for _, claim := range claims {
		if token.IsJWT(claim.Value) {
			return nil, badRequest("the value of %s is a token itself: name it as token, so that it isn't kept in clear", claim.Role)
		}
	}
	return claims, nil
}

func (c *adminCall) matchClaims() string {
	if len(c.app.MatchClaims) == 0 {
		return "there are none besides the standard ones"
	}
	return "these are " + strings.Join(c.app.MatchClaims, ", ")
}

// issuerOf returns the issuer whose tokens are meant, and how long they live.
func (c *adminCall) issuerOf(q *revokeRequest, claims []revocation.Claim, made *intended) (string, revocation.Retention, error) {
	retention := c.retentionOf(revocation.Selector{})
	iss := q.Issuer
	if iss == "" {
		// Select knows whether the claims need one.
		if _, err := revocation.Select("", claims...); err == nil || !needsIssuer(claims) {
			return "", retention, nil
		}
		names := c.app.issuerNames()
		if len(names) != 1 {
			return "", retention, badRequest("iss is required, since %s", whyIssuer(names))
		}
		iss = names[0]
	}
	if token.IsJWT(iss) {
		return "", retention, badRequest("the value of iss is a token itself: name it as token, so that it isn't kept in clear")
	}
	if known, _ := c.run.issuers.Known(iss); known == "" && len(c.app.issuers) > 0 {
		made.warn("iss is not one of the issuers that are configured (%s): is it written exactly as in the tokens?", strings.Join(c.app.issuerNames(), ", "))
	}
	return iss, c.retentionOf(revocation.Selector{Issuer: iss}), nil
}

// retentionOf says how long tokens live that a selector hits: those of its issuer, or where
// it names none, those of any.
func (c *adminCall) retentionOf(s revocation.Selector) revocation.Retention {
	retention := c.app.retention()
	if s.Issuer != "" {
		_, lifetime := c.run.issuers.Known(s.Issuer)
		retention.MaxTokenLifetime = cmp.Or(lifetime, retention.MaxTokenLifetime)
		return retention
	}
	longest := cmp.Or(retention.MaxTokenLifetime, revocation.DefaultMaxTokenLifetime)
	for i := range c.app.Issuers {
		longest = max(longest, time.Duration(c.app.Issuers[i].MaxTokenLifetime))
	}
	retention.MaxTokenLifetime = longest
	return retention
}

// needsIssuer reports whether some claim means different things to different issuers.
func needsIssuer(claims []revocation.Claim) bool {
	return slices.ContainsFunc(claims, func(claim revocation.Claim) bool {
		switch claim.Role {
		case revocation.RoleToken, revocation.RoleKeyBinding, revocation.RoleCertBinding:
			return false
		}
		return true
	})
}

func whyIssuer(names []string) string {
	if len(names) == 0 {
		return "no issuer is configured: write it exactly as in the tokens"
	}
	return "there are several: " + strings.Join(names, ", ")
}

// setCutoff makes the record a cutoff if the request has one.
func setCutoff(r *revocation.Record, q *revokeRequest, now time.Time) error {
	var text, name string
	switch {
	case q.IssuedBefore != "" && q.AuthenticatedBefore != "":
		return badRequest("issued_before and authenticated_before are given: only one of them can count, make two revocations")
	case q.IssuedBefore != "":
		r.Kind, name, text = revocation.IssuedBefore, "issued_before", q.IssuedBefore
	case q.AuthenticatedBefore != "":
		r.Kind, name, text = revocation.AuthenticatedBefore, "authenticated_before", q.AuthenticatedBefore
	default:
		return nil
	}
	t := now
	if text != "now" {
		var err error
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			return badRequest("%s must be a time as in 2026-01-31T12:00:00Z, or now", name)
		}
	}
	r.Cutoff = time.Unix(t.Unix(), 0).UTC()
	if r.Cutoff.Unix() <= 0 || r.Cutoff.After(revocation.Never) {
		return badRequest("%s must be between the years 1970 and %d", name, revocation.Never.Year())
	}
	return nil
}

// hitsNewTokens reports whether a block by the selector could hit tokens of another
// login than the one that it is about.
func hitsNewTokens(s revocation.Selector) bool {
	return !slices.ContainsFunc(s.Claims, func(claim revocation.Claim) bool {
		switch claim.Role {
		case revocation.RoleToken, revocation.RoleTokenID, revocation.RoleSession, revocation.RoleGrant:
			return true
		}
		return false
	})
}

// bearerToken is what RFC 6750 §2.1 allows. Others may be accepted, but more likely there
// is something on either side of the token that doesn't belong to it.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// unwrapToken finds the token in what was pasted, and says what was taken off.
func unwrapToken(pasted string) (text string, removed []string, err error) {
	text, removed = endpoint.Unwrap(pasted)
	if text == "" {
		return "", nil, badRequest("there is no token in token")
	}
	switch {
	case strings.ContainsAny(text, " \t\r\n"):
		removed = append(removed, "there is white space within the token: is all of it the token?")
	case !bearerToken.MatchString(text):
		removed = append(removed, "there are characters in the token that bearer tokens can't have: is all of it the token?")
	}
	return text, removed, nil
}

// containsToken reports whether a text has the token in it. One of a few letters may be
// there by chance.
func containsToken(text, token string) bool {
	const chance = 8
	return len(token) > chance && strings.Contains(text, token)
}
