package revocation

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Role says what a value identifies. Roles carry the name of the standard claim
// that plays them; an issuer may play a role with a claim of another name
// (Entra's uti plays jti). A claim that an operator names is a role of its own.
type Role string

// The roles of standard claims.
const (
	RoleToken       Role = "token"     // the token itself, by its Fingerprint
	RoleTokenID     Role = "jti"       // RFC 7519 §4.1.7
	RoleSession     Role = "sid"       // OpenID Connect Front-Channel Logout 1.0 §3
	RoleSubject     Role = "sub"       // RFC 7519 §4.1.2
	RoleClient      Role = "client_id" // RFC 9068 §2.2
	RoleGrant       Role = "grant"     // what all tokens of one authorization share
	RoleKeyID       Role = "kid"       // RFC 7515 §4.1.4: the key that signed
	RoleKeyBinding  Role = "jkt"       // RFC 9449 §6.1: the client's DPoP key
	RoleCertBinding Role = "x5t#S256"  // RFC 8705 §3.1: the client's certificate
	RoleIssuer      Role = "iss"       // RFC 7519 §4.1.1; never a Claim: Selector.Issuer
)

// selfStanding reports whether a value in this role means the same whoever
// issued the token, because it is a hash. Every other role needs an issuer:
// two issuers may use the same jti, sub or client_id for different things.
func (r Role) selfStanding() bool {
	return r == RoleToken || r == RoleKeyBinding || r == RoleCertBinding
}

// Limits of a selector. They keep a record small enough for every store.
const (
	MaxClaims      = 4    // claims in one selector
	MaxRoleBytes   = 128  // length of a role's name
	MaxValueBytes  = 1024 // length of a claim's value
	MaxIssuerBytes = 1024 // length of an issuer
)

// Claim is a value in a role.
type Claim struct {
	Role  Role
	Value string
}

// Selector says which tokens a record hits: those that carry every one of its
// claims and come from its issuer. The zero Selector hits nothing and is only
// valid in a reinstatement.
//
// A selector is made by Select, which puts the claims in order; its fields are
// not changed afterwards.
type Selector struct {
	// Issuer is the iss of the tokens that can match. It is empty exactly when
	// every claim is a hash that needs no issuer: token, jkt, x5t#S256.
	Issuer string
	// Claims are sorted by role; no role occurs twice. No claims means every
	// token of the issuer.
	Claims []Claim
}

// ErrInvalidSelector is wrapped by every error about a selector.
var ErrInvalidSelector = errors.New("invalid selector")

// Select makes a selector of the issuer's tokens that carry all the claims.
// The error wraps ErrInvalidSelector and says what is wrong.
func Select(issuer string, claims ...Claim) (Selector, error) {
	sorted := slices.Clone(claims)
	slices.SortFunc(sorted, func(a, b Claim) int { return strings.Compare(string(a.Role), string(b.Role)) })
	s := Selector{Issuer: issuer, Claims: sorted}
	return s, s.Validate()
}

// SelectToken makes the selector of one token.
func SelectToken(f Fingerprint) Selector {
	return Selector{Claims: []Claim{{RoleToken, f.String()}}}
}

// Validate reports what is wrong with the selector, or nil. The error wraps
// ErrInvalidSelector.
func (s Selector) Validate() error {
	switch {
	case len(s.Issuer) > MaxIssuerBytes:
		return fmt.Errorf("%w: the issuer has %d bytes, at most %d are possible", ErrInvalidSelector, len(s.Issuer), MaxIssuerBytes)
	case !utf8.ValidString(s.Issuer):
		return fmt.Errorf("%w: the issuer is not valid UTF-8", ErrInvalidSelector)
	case len(s.Claims) > MaxClaims:
		return fmt.Errorf("%w: it has %d claims, at most %d are possible", ErrInvalidSelector, len(s.Claims), MaxClaims)
	case len(s.Claims) == 0 && s.Issuer == "":
		return fmt.Errorf("%w: it names neither an issuer nor a claim", ErrInvalidSelector)
	}
	selfStanding := len(s.Claims) > 0
	for i, c := range s.Claims {
		if err := c.validate(); err != nil {
			return err
		}
		if i > 0 && s.Claims[i-1].Role >= c.Role {
			return fmt.Errorf("%w: role %q is given twice or out of order", ErrInvalidSelector, c.Role)
		}
		selfStanding = selfStanding && c.Role.selfStanding()
	}
	if selfStanding && s.Issuer != "" {
		return fmt.Errorf("%w: %s identifies tokens of every issuer: leave the issuer out", ErrInvalidSelector, s.Shape())
	}
	if !selfStanding && s.Issuer == "" {
		return fmt.Errorf("%w: %s needs the issuer whose tokens are meant", ErrInvalidSelector, s.Shape())
	}
	return nil
}

func (c Claim) validate() error {
	if err := c.Role.Validate(); err != nil {
		return err
	}
	switch {
	case c.Value == "":
		return fmt.Errorf("%w: the value of %q is empty", ErrInvalidSelector, c.Role)
	case len(c.Value) > MaxValueBytes:
		return fmt.Errorf("%w: the value of %q has %d bytes, at most %d are possible", ErrInvalidSelector, c.Role, len(c.Value), MaxValueBytes)
	case !utf8.ValidString(c.Value):
		return fmt.Errorf("%w: the value of %q is not valid UTF-8", ErrInvalidSelector, c.Role)
	}
	if c.Role == RoleToken {
		if _, err := ParseFingerprint(c.Value); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidSelector, err)
		}
	}
	return nil
}

// Validate reports whether the role can name a claim in a selector. The error
// wraps ErrInvalidSelector.
func (r Role) Validate() error {
	switch {
	case r == "":
		return fmt.Errorf("%w: a role has no name", ErrInvalidSelector)
	case r == RoleIssuer:
		return fmt.Errorf("%w: iss is the selector's issuer, not one of its claims", ErrInvalidSelector)
	case len(r) > MaxRoleBytes:
		return fmt.Errorf("%w: the name of a role has %d bytes, at most %d are possible", ErrInvalidSelector, len(r), MaxRoleBytes)
	}
	for _, b := range []byte(r) {
		if b <= ' ' || b == '+' || b == '"' || b == '\\' || b >= 0x7f {
			return fmt.Errorf("%w: role %q has a character other than visible ASCII without + \" \\", ErrInvalidSelector, r)
		}
	}
	return nil
}

// Shape names the roles of a selector, sorted and joined with +, as in
// client_id+sub. The shape of a whole issuer is iss. All selectors of one
// shape are looked up in one table.
type Shape string

// MaxShapes is how many shapes the records of one list may have.
const MaxShapes = 32

// Shape returns the selector's shape.
func (s Selector) Shape() Shape {
	switch len(s.Claims) {
	case 0:
		return Shape(RoleIssuer)
	case 1:
		return Shape(s.Claims[0].Role)
	}
	roles := make([]string, len(s.Claims))
	for i, c := range s.Claims {
		roles[i] = string(c.Role)
	}
	return Shape(strings.Join(roles, "+"))
}

// roles returns the roles of the shape, none for a whole issuer.
func (s Shape) roles() []Role {
	if s == Shape(RoleIssuer) {
		return nil
	}
	parts := strings.Split(string(s), "+")
	roles := make([]Role, len(parts))
	for i, p := range parts {
		roles[i] = Role(p)
	}
	return roles
}

// Key identifies a kind and a selector in the index: 128 bits of a SHA-256.
// Two different selectors with one key would reject a token too many, never
// let one pass.
type Key [16]byte

// Key returns the key under which records of this kind and selector are merged.
func (s Selector) Key(kind Kind) Key { return makeKey(kind, s.Issuer, s.Claims) }

// makeKey hashes an unambiguous encoding: every part is preceded by its length.
// The claims are in order of their roles.
func makeKey(kind Kind, issuer string, claims []Claim) Key {
	var space [512]byte
	b := append(space[:0], byte(kind))
	b = appendString(b, issuer)
	for _, c := range claims {
		b = appendString(b, string(c.Role))
		b = appendString(b, c.Value)
	}
	sum := sha256.Sum256(b)
	return Key(sum[:16])
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
