package token

// This file says which claim plays which role, and collects their values.

import (
	"math"
	"slices"
	"strconv"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// standardRoles are the roles that need not be named to be read.
var standardRoles = []revocation.Role{
	revocation.RoleToken, revocation.RoleTokenID, revocation.RoleSession, revocation.RoleSubject,
	revocation.RoleClient, revocation.RoleGrant, revocation.RoleKeyID, revocation.RoleKeyBinding,
	revocation.RoleCertBinding, revocation.RoleIssuer,
}

// path is a claim, which may be inside nested objects: its names joined by dots,
// or what is left of them on the way down.
type path struct {
	rest     string
	role     revocation.Role
	profiles profiles
	cuts     uint64 // tells apart the ways down
}

// below returns the path inside the member name. A dot may as well be part of
// the name, so every cut of the path counts.
func (p path) below(name []byte) (path, bool) {
	n := len(name)
	if len(p.rest) <= n || p.rest[n] != '.' || p.rest[:n] != string(name) {
		return path{}, false
	}
	return path{p.rest[n+1:], p.role, p.profiles, p.cuts<<8 + uint64(n) + 1}, true
}

// findings are what was found in one token. Values are collected in one buffer
// and cloned together, so that the facts cost few allocations and don't keep
// the request alive.
type findings struct {
	values   []byte
	claims   []finding
	issuers  []span
	issuedAt earliest
	authTime earliest
	expiry   expiry
	cut      bool // the object broke off: more may have followed
}

type span struct{ start, end int }

type finding struct {
	claim path
	value span
}

// add adds a value of a claim. Where names repeat, libraries take the first or
// the last, so these two are kept: thousands in all combinations would be a bomb.
func (f *findings) add(claim path, value span) {
	seen := 0
	for i := range f.claims {
		if f.claims[i].claim != claim {
			continue
		}
		if seen++; seen == 2 {
			f.claims[i].value = value
			return
		}
	}
	f.claims = append(f.claims, finding{claim, value})
}

// addIssuer adds an issuer by the same rule.
func (f *findings) addIssuer(value span) {
	f.issuers = append(f.issuers[:min(len(f.issuers), 1)], value)
}

func (f *findings) reset() {
	*f = findings{values: f.values[:0], claims: f.claims[:0], issuers: f.issuers[:0]}
}

func (f *findings) keep(value []byte) span {
	start := len(f.values)
	f.values = append(f.values, value...)
	return span{start, len(f.values)}
}

// addHeader adds what the header has to say about the key.
func (f *findings) addHeader(h *joseHeader) {
	for _, id := range h.keyIDs {
		if selectable(h.text[id.start:id.end], revocation.MaxValueBytes) {
			f.add(path{rest: "kid", role: revocation.RoleKeyID, profiles: allProfiles}, f.keep(h.text[id.start:id.end]))
		}
	}
}

// selectable reports whether a selector can have the value.
func selectable(value []byte, limit int) bool { return len(value) > 0 && len(value) <= limit }

// fill puts what was found into the facts. Whose token it is decides which claims
// play a role.
func (f *findings) fill(facts *revocation.Facts, r *Reader) {
	facts.IssuedAt, facts.AuthTime = f.issuedAt.unix, f.authTime.unix
	facts.Expiry = revocation.Expiry{Unix: f.expiry.unix, Trusted: f.expiry.trusted && !f.cut}
	values := string(f.values)
	var issuers []string
	if len(f.issuers) > 0 {
		issuers = make([]string, len(f.issuers))
		for i, s := range f.issuers {
			issuers[i] = values[s.start:s.end]
		}
		issuers = unique(issuers)
	}
	var read profiles
	facts.Issuers, read = r.issuersOf(issuers)
	if len(f.claims) == 0 {
		return
	}
	facts.Claims = make([]revocation.Claim, 0, len(f.claims))
	for _, c := range f.claims {
		if c.claim.profiles&read != 0 {
			facts.Claims = append(facts.Claims, revocation.Claim{Role: c.claim.role, Value: values[c.value.start:c.value.end]})
		}
	}
	facts.Claims = unique(facts.Claims)
}

// unique removes repetitions in place.
func unique[T comparable](s []T) []T {
	kept := s[:0]
	for _, v := range s {
		if !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// earliest is an iat or auth_time. When there are several, libraries differ on
// which one counts: the smallest is hit by the most cutoffs, and one that can't
// be read is hit by all of them.
type earliest struct {
	unix int64
	seen bool
}

func (e *earliest) add(unix int64, ok bool) {
	switch {
	case !ok:
		unix = 0
	case e.seen && e.unix == 0:
		unix = 0
	case e.seen:
		unix = min(unix, e.unix)
	}
	e.unix, e.seen = unix, true
}

// expiry is an exp. When there are several, the largest is the safe one.
type expiry struct {
	unix    int64
	trusted bool
	seen    bool
}

func (e *expiry) add(unix int64, trusted bool) {
	if unix <= 0 {
		unix, trusted = 0, false
	}
	e.unix, e.trusted, e.seen = max(unix, e.unix), trusted && !e.seen, true
}

// seconds reads a JSON number (RFC 8259 §6), rounded down and up. Out of the
// range of int64 it is an end of that range and not exact.
func seconds(number []byte) (down, up int64, inRange bool) {
	if n, ok := integer(number); ok {
		return n, n, true
	}
	v, err := strconv.ParseFloat(string(number), 64)
	switch {
	case err != nil && !math.IsInf(v, 0):
		return 0, 0, false
	case v >= math.MaxInt64:
		return math.MaxInt64, math.MaxInt64, false
	case v <= math.MinInt64:
		return math.MinInt64, math.MinInt64, false
	}
	return int64(math.Floor(v)), int64(math.Ceil(v)), true
}

// integer is the usual case of seconds.
func integer(number []byte) (int64, bool) {
	digits, negative := number, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	if len(digits) == 0 || len(digits) > 18 {
		n, err := strconv.ParseInt(string(number), 10, 64)
		return n, err == nil
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// numeric reports whether a string is spelled like a plain number: some
// libraries convert such an exp, some ignore it.
func numeric(s []byte) bool {
	digit := false
	for _, c := range s {
		switch {
		case c >= '0' && c <= '9':
			digit = true
		case c != '.':
			return false
		}
	}
	return digit
}
