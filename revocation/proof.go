package revocation

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// This file says what it means that a token is genuine. Who finds that out is a
// Prover, outside of this package.

// TokenKind says what a token is for.
type TokenKind uint8

const (
	// UnknownKind: its issuer doesn't say.
	UnknownKind TokenKind = iota
	// AccessToken: for an API (RFC 6749 §1.4).
	AccessToken
	// RefreshToken: for the issuer's own token endpoint (RFC 6749 §1.5).
	RefreshToken
	// IDToken: for the client itself (OpenID Connect Core 1.0 §2).
	IDToken
	// OtherToken: something else that the issuer signed, such as a logout token.
	OtherToken
)

var tokenKindNames = [...]string{"unknown", "access_token", "refresh_token", "id_token", "other"}

// String returns the kind's name.
func (k TokenKind) String() string { return tokenKindNames[k] }

// Proof is what an issuer vouches for: that a token is its own, and what it says
// of it. A Proof doesn't change and is shared; that it still holds, and that the
// token has its time, is asked at every use.
type Proof struct {
	// Issuer is the name of the issuer, as the operator wrote it.
	Issuer string

	// Kind says what the token is for.
	Kind TokenKind

	// Claims are what records may select the token by, in the order of the issuer's
	// preference: the first one of a role is the one to record. Only claims that the
	// issuer vouches for are here, while Facts.Claims may be anybody's words.
	Claims []Claim

	// Owners are all the claims that name the client to which the token was issued.
	// They should be equal. Empty when nothing names it.
	Owners []string

	// Audience is the token's aud (RFC 7519 §4.1.3).
	Audience []string

	// IssuedAt and NotBefore are iat and nbf in Unix seconds, rounded down. Zero
	// when the token has none.
	IssuedAt, NotBefore int64

	// Expires is exp in Unix seconds, rounded up. Zero when the token has none.
	Expires int64

	// Leeway is by how much the issuer's clock may differ from this one.
	Leeway time.Duration

	// MaxTokenLifetime is how long the issuer's tokens live at most. Zero: as those
	// of any other.
	MaxTokenLifetime time.Duration

	// At is when the issuer vouched for the token, or when its key was found right.
	At time.Time

	// Introspected says that the issuer was asked (RFC 7662). Then Facts are those
	// that its answer adds to what can be read in the token itself, for looking up.
	Introspected bool
	Facts        *Facts

	// Holds reports whether the proof counts at a moment: a signing key may have been
	// withdrawn, an answer may have become too old. Nil: it always does.
	Holds func(now time.Time) bool
}

// Claim returns the value to record for a role, which is empty if there is none.
func (p *Proof) Claim(role Role) string {
	for _, c := range p.Claims {
		if c.Role == role {
			return c.Value
		}
	}
	return ""
}

// holds reports whether the proof counts at a moment.
func (p *Proof) holds(now time.Time) bool { return p.Holds == nil || p.Holds(now) }

// Errors of Proof.CheckTime.
var (
	ErrTokenExpired     = errors.New("the token has expired")
	ErrTokenNotYetValid = errors.New("the token is not valid yet")
)

// CheckTime reports whether the token has its time: RFC 7519 §4.1.4 and §4.1.5. A
// token that says it was issued in the future isn't valid yet either: no cutoff
// would hit it.
func (p *Proof) CheckTime(now time.Time) error {
	unix, leeway := now.Unix(), int64(p.Leeway/time.Second)
	if p.Expires != 0 && unix-leeway >= p.Expires {
		return ErrTokenExpired
	}
	if p.NotBefore > unix+leeway || p.IssuedAt > unix+leeway {
		return ErrTokenNotYetValid
	}
	return nil
}

// Errors of a Prover.
var (
	// ErrForged says that the token is nobody's: it names an issuer, a key or an
	// algorithm that can't have made its signature. No one accepts it who looks.
	ErrForged = errors.New("the token is forged")

	// ErrUnproven says that nobody vouches for the token: its issuer or its key isn't
	// known, or those who were asked don't know it. It may be genuine elsewhere.
	ErrUnproven = errors.New("no configured issuer vouches for the token")

	// ErrIssuerUnavailable says that it can't be told now: the issuer who would know
	// doesn't answer, or not so many questions.
	ErrIssuerUnavailable = errors.New("the token's issuer can't be asked now")
)

// Presented is a token that somebody presents, and whose it should be.
type Presented struct {
	// Token is as presented.
	Token string

	// Facts are the token's.
	Facts *Facts

	// Issuers are the names of those who may vouch for the token. Nil: everybody.
	Issuers []string

	// Hint is what who presents the token takes it for: RFC 7009 §2.1,
	// token_type_hint. It may be empty or wrong.
	Hint string

	// From is where it comes from. Issuers aren't asked about any number of tokens
	// of one sender that nobody knows.
	From netip.Prefix
}

// Prover tells genuine tokens from others.
type Prover interface {
	// Prove returns the proof that the token is genuine, whether or not it has
	// expired. The error wraps ErrForged, ErrUnproven or ErrIssuerUnavailable, and
	// says why without quoting the token. It may ask the issuer over the network and
	// returns when ctx ends.
	Prove(ctx context.Context, p Presented) (*Proof, error)
}
