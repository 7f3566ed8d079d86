package issuer

// This file says what an issuer is configured with, and the defaults.

import (
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// Defaults of Options.
const (
	DefaultLeeway          = time.Minute
	DefaultRefreshInterval = 10 * time.Minute
	DefaultTimeout         = 5 * time.Second
)

// Options of an Issuer.
type Options struct {
	// Name is the iss of the issuer's tokens, compared byte by byte (RFC 7519 §4.1.1),
	// and where its metadata is found. Required.
	Name string

	// Aliases are other iss that the issuer's tokens may have: Entra's v1 tokens, a
	// server with two host names. A record about one of the names hits tokens with
	// any of them.
	Aliases []string

	// Preset is what is known about the product that the issuer is. Default: nothing
	// but the standards.
	Preset Preset

	// Profile says which claims play a role, where it differs from the preset's: role
	// by role.
	Profile token.Profile

	// JWKSURI is where the issuer's keys are. Default: the issuer's metadata says so.
	JWKSURI string

	// Keys are the issuer's keys where they aren't fetched. None of the above is
	// asked then.
	Keys StaticKeys

	// Algorithms are those that signatures may have: names from RFC 7518 §3.1 and RFC
	// 8037 §3.1. Default: all asymmetric ones; HS256, HS384 and HS512 for a secret.
	Algorithms []string

	// Types are values of the header's typ that access tokens may have, besides those
	// of RFC 9068 §4 (at+jwt, application/at+jwt), JWT, and none. Compared without
	// regard to case.
	Types []string

	// Leeway is by how much clocks may differ where exp, nbf and iat are checked.
	// Default: DefaultLeeway; negative: none.
	Leeway time.Duration

	// MaxTokenLifetime is how long tokens of this issuer live at most. Default: as
	// those of any other.
	MaxTokenLifetime time.Duration

	// RefreshInterval is how old keys may get before they are fetched again: how soon
	// it is noticed that the issuer withdrew one. Default: DefaultRefreshInterval.
	RefreshInterval time.Duration

	// Introspection says how to ask the issuer about tokens. Default: it isn't asked.
	Introspection *Introspection

	// AllowHTTP lets calls go out over plain HTTP. By default they must be HTTPS,
	// except that an issuer on a loopback address may be called over plain HTTP there.
	AllowHTTP bool

	// RootCAs are the authorities that the issuer's certificate must come from.
	// Default: the system's.
	RootCAs *x509.CertPool

	// Timeout is how long one call may take. Default: DefaultTimeout.
	Timeout time.Duration

	// Logger receives what an operator should know. Default: none.
	Logger *slog.Logger

	// Observe is called after each call to the issuer. Default: none.
	Observe func(Call, Outcome)

	// Now is the wall clock. Default: time.Now.
	Now func() time.Time
}

// Introspection says how to ask an issuer about tokens: RFC 7662.
type Introspection struct {
	// URL is where to ask. Default: the issuer's metadata says so.
	URL string

	// ClientID and ClientSecret are this server's own credentials at the issuer.
	// Required.
	ClientID, ClientSecret string

	// Post sends the credentials in the body. By default they are sent as Basic
	// credentials in the encoding of RFC 6749 §2.3.1.
	Post bool

	// TTL is how long an answer counts, and at most until the token's exp. Default:
	// DefaultIntrospectionTTL; negative: not at all.
	TTL time.Duration

	// StaleIfError is how much longer an answer counts when the issuer can't be
	// asked. Default: none.
	StaleIfError time.Duration

	// MaxInFlight is how many questions there may be at one time. Default:
	// DefaultMaxInFlight.
	MaxInFlight int

	// UnknownPerMinute is about how many tokens that the issuer doesn't know one
	// sender may have it asked in a minute. Beyond it the sender's tokens that aren't
	// known already are ErrIssuerUnavailable. Default: DefaultUnknownPerMinute;
	// negative: no limit.
	UnknownPerMinute int
}

// Defaults of Introspection.
const (
	DefaultIntrospectionTTL = 30 * time.Second
	DefaultMaxInFlight      = 32
	DefaultUnknownPerMinute = 60
)

// Call is a kind of call to an issuer.
type Call string

// The calls to an issuer.
const (
	CallMetadata      Call = "metadata"
	CallKeys          Call = "keys"
	CallIntrospection Call = "introspection"
)

// Outcome is what became of a call to an issuer.
type Outcome string

// The outcomes of calls. Active and Inactive are answers about tokens.
const (
	OutcomeOK           Outcome = "ok"
	OutcomeActive       Outcome = "active"
	OutcomeInactive     Outcome = "inactive"
	OutcomeUnauthorized Outcome = "unauthorized" // this server's own credentials are wrong
	OutcomeInvalid      Outcome = "invalid"      // an answer, but not one that makes sense
	OutcomeFailed       Outcome = "failed"       // no answer
	OutcomeLimited      Outcome = "limited"      // not asked: too many questions
)

// Preset is what is known about a product: which claims play which role in its
// tokens, and how its access tokens are told from others.
type Preset struct {
	// Name is the product's.
	Name string

	// Profile says which claims play a role. Nil: token.DefaultProfile.
	Profile token.Profile

	// Aliases returns the names that such an issuer has besides its own. Nil: none.
	Aliases func(issuer string) []string

	// EmptyAnswerProves says that its revocation endpoint answers 200 without a body only
	// when it has verified the token and that it is the client's: then what the token
	// says is true, whoever can verify its signature. Any other success says nothing.
	EmptyAnswerProves bool

	// Kind tells what a token is for where the product says so in a way of its own:
	// from the typ of its header and its claims. UnknownKind: the standards decide.
	// Nil: it has no way of its own.
	Kind func(typ string, claims Claims) revocation.TokenKind
}

// Status is an issuer's state at a moment.
type Status struct {
	// Issuer is the issuer's name.
	Issuer string
	// Keys is how many keys there are.
	Keys int
	// KeysFrom is when they were fetched; zero when they never were or never are.
	KeysFrom time.Time
	// Err is why the last call for metadata or keys failed; nil when it succeeded.
	Err error
	// IntrospectionErr is why the last question failed; nil when it was answered.
	IntrospectionErr error
}

// Ready reports whether the last calls to the issuer succeeded.
func (s Status) Ready() bool { return s.Err == nil && s.IntrospectionErr == nil }
