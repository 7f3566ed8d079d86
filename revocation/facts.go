package revocation

import "sync/atomic"

// Facts are what holds for one presented token as long as the configuration
// stands. They are made once by a FactsReader, are shared by all requests that
// carry the token, and don't change: decisions are made from them anew every
// time.
type Facts struct {
	// Fingerprint is the token's identity in every spelling.
	Fingerprint Fingerprint

	// Malformed says why the token must not pass even if it isn't revoked: it
	// looks like a JWT but isn't spelled in the one way that all libraries read
	// alike. Nil for well-formed and for opaque tokens. The other facts hold
	// all the same.
	Malformed error

	// Issuers are the token's iss and its aliases. Empty when the token has none.
	Issuers []string

	// Claims are the values that selectors are matched with, all but the token
	// itself. A role may have several values; each of them counts.
	Claims []Claim

	// IssuedAt and AuthTime are the token's iat and auth_time in Unix seconds,
	// rounded down. Zero when the token has none that can be read.
	IssuedAt, AuthTime int64

	// Expiry is the token's exp.
	Expiry Expiry

	keys  atomic.Pointer[factKeys] // see match.go
	proof atomic.Pointer[Proof]    // the last one that there was
}

// Proof returns the last proof that the token is genuine, nil if there was none. It
// may no longer hold.
func (f *Facts) Proof() *Proof { return f.proof.Load() }

// Expiry is the exp of a token: RFC 7519 §4.1.4.
type Expiry struct {
	// Unix is the moment in Unix seconds, rounded up. Zero where there is none.
	Unix int64
	// Trusted is false where exp is absent or where libraries differ on what it
	// says (a string, zero, a negative number): Unix is then at best a hint, and
	// the token must be expected to live for the longest lifetime there is.
	Trusted bool
}

// FactsReader makes the facts of a token. It doesn't keep the token.
type FactsReader interface {
	ReadFacts(token string) *Facts
}
