// What a Server is made of, and the defaults.

package endpoint

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Defaults of Options.
const (
	DefaultRealm         = "token revocation"
	DefaultMaxBodyBytes  = 64 << 10
	DefaultMaxTokenBytes = 16 << 10
	DefaultBodyTimeout   = 5 * time.Second
	DefaultRevokeTimeout = 10 * time.Second
)

// Bounds of a Client and of what it may present.
const (
	MaxClientIDBytes = 200 // length of a client_id
	MaxSecretBytes   = 256 // length of a secret that is compared
	MaxHashes        = 10  // hashes of one client
)

// Options of a Server.
type Options struct {
	// List is where revocations go. Required.
	List List

	// Facts reads the tokens. Required.
	Facts revocation.FactsReader

	// Prover tells whose a token is. Default: nobody knows, and every client may
	// revoke every token that it has, that one token and nothing with it.
	Prover revocation.Prover

	// Clients are who may revoke. At least one, for a Server.
	Clients []Client

	// Retention says how long records are kept.
	Retention revocation.Retention

	// Cascade says what else dies with a refresh token: RFC 7009 §2.1. Default:
	// CascadeSession.
	Cascade Cascade

	// RefuseRefreshTokens answers unsupported_token_type to refresh tokens (RFC 7009
	// §2.2.1): for an authorization server whose token endpoint isn't behind this
	// server, and which would go on accepting them. By default they are revoked.
	RefuseRefreshTokens bool

	// SilentMismatch answers success to a confidential client that presents another
	// client's token, as is done to public clients in any case. By default it is told
	// so: RFC 7009 §2.1. Nothing is revoked either way.
	SilentMismatch bool

	// SelfRevocation lets whoever presents a genuine token as the request's Bearer
	// token revoke that very token, without being a client. By default only clients
	// revoke.
	SelfRevocation bool

	// AssertionAudience are the values of aud that a client's assertion may have (RFC
	// 7523 §3): the names under which clients know the authorization server. Required
	// when a client has Keys.
	AssertionAudience []string

	// LegacyAssertions accepts assertions whose aud is the URL of this endpoint, or a
	// list with one of the audiences in it. By default aud is one string, as the
	// revision of RFC 7523 has it.
	LegacyAssertions bool

	// Replays remembers assertions, so that each is accepted once. Default: one of
	// this Server's own.
	Replays *Replays

	// Compare compares secrets with the clients' hashes. Required when a client
	// has one.
	Compare Comparer

	// FakeHash is a hash as slow to compare as the clients' own. It is compared
	// where the client is unknown, so that time doesn't tell. Required when a
	// client has a hash.
	FakeHash []byte

	// AllowOrigins are the origins whose pages may use the endpoint, each exactly
	// as a browser writes it: https://app.example.com. Pages of the endpoint's own
	// origin always may. There is no wildcard.
	AllowOrigins []string

	// Realm stands in WWW-Authenticate: RFC 9110 §11.5. Visible ASCII and spaces.
	// Default: DefaultRealm.
	Realm string

	// RequireTLS refuses requests that arrive over plain HTTP. By default they are
	// served, since TLS may end in front of this server, and logged once.
	RequireTLS bool

	// StrictBasic reads Basic credentials only as RFC 6749 §2.3.1 defines them,
	// form-urlencoded. By default they are tried raw as well, as RFC 7617 has them
	// and most clients send them, and in Latin-1.
	StrictBasic bool

	// StrictCredentials refuses a request with the client's secret both in the
	// Authorization header and in the body: RFC 6749 §2.3 forbids that to clients.
	// By default it is accepted when both are the same.
	StrictCredentials bool

	// DisableJSON turns the JSON dialect off: such requests are answered with 415.
	DisableJSON bool

	// JSONSuccessStatus answers success in the JSON dialect: 204 or 200. Default:
	// 204, which the Moov SDKs insist on.
	JSONSuccessStatus int

	// MoovStrict refuses a token_type_hint other than access_token and
	// refresh_token in the JSON dialect, as Moov does. By default it is ignored:
	// RFC 7009 §2.2.
	MoovStrict bool

	// MaxBodyBytes is how long a body may be. Default: DefaultMaxBodyBytes.
	MaxBodyBytes int

	// MaxTokenBytes is how long a token may be, at most MaxBodyBytes. Default:
	// DefaultMaxTokenBytes.
	MaxTokenBytes int

	// BodyTimeout is how long a client may take to send its body. Default:
	// DefaultBodyTimeout; negative: for ever. It needs a ResponseWriter whose
	// http.ResponseController can set a read deadline, as those of net/http can.
	BodyTimeout time.Duration

	// WaitFor is for how long a revocation that is durable waits until no other node
	// accepts the token: after that it is answered as what failed, and stays. Default: it
	// doesn't wait.
	WaitFor time.Duration

	// RevokeTimeout is how long the Prover may take, and then the list again. Default:
	// DefaultRevokeTimeout.
	RevokeTimeout time.Duration

	// Limits bound what clients, and those who try to be one, may do.
	Limits Limits

	// ClientIP returns the address that a request comes from. Default: the
	// connection's remote address. When it isn't known, the invalid Addr: all such
	// requests count as coming from one address.
	ClientIP func(*http.Request) netip.Addr

	// Logger receives what an operator should know besides, without tokens and secrets:
	// hashes that can't be compared, credentials over plain HTTP, bugs. Default: none.
	Logger *slog.Logger

	// Audit receives a line about each request, a revocation.AuditEntry, without tokens
	// and secrets. Default: none.
	Audit *slog.Logger

	// Observe is called once for each request, before it is answered. Default:
	// none.
	Observe func(Outcome)

	// Now is the wall clock. Default: time.Now.
	Now func() time.Time
}

// Client is one who may revoke tokens: RFC 6749 §2.
type Client struct {
	// ID is the client_id: valid UTF-8 without control characters, at most
	// MaxClientIDBytes.
	ID string

	// Hashes are those of the client's secrets; each of them is accepted, so that
	// secrets can be rotated. At most MaxHashes. A client with neither a hash nor Keys
	// is public (RFC 6749 §2.1): knowing its ID is enough.
	Hashes [][]byte

	// Keys verify the client's assertions (private_key_jwt, RFC 7523 §2.2). A client
	// with Keys has no Hashes: it authenticates by one method (RFC 7591 §2).
	Keys Keys

	// Issuers are the names of those whose tokens the client may revoke. Nil: all of
	// them.
	Issuers []string

	// AnyToken marks an operator's tool. It may revoke tokens of every client, and may
	// record where Limits.LiveTotal is almost reached and others no longer may.
	AnyToken bool

	// Quota overrides the fields of the quota for this client's type that aren't
	// zero.
	Quota Quota
}

// Cascade says what else is revoked when a refresh token is: access tokens that were
// issued until then. What is issued later, after the next login, isn't affected.
type Cascade string

// The cascades.
const (
	// CascadeSession revokes the tokens of the grant or of the session that the
	// refresh token names. One that names neither has no cascade.
	CascadeSession Cascade = "session"
	// CascadeSubjectClient revokes all tokens of the same user that the same client
	// got.
	CascadeSubjectClient Cascade = "subject_client"
	// CascadeOff revokes the refresh token only.
	CascadeOff Cascade = "off"
)

// AnswerProver is what a Prover may be as well, for a Relay: *issuer.Set is one.
type AnswerProver interface {
	// ProofByAnswer returns the proof that a token has once its issuer has answered 200
	// without a body to its revocation. Nil where that would prove nothing.
	ProofByAnswer(p revocation.Presented) *revocation.Proof
}

// Keys verify what a client signed: *issuer.Keys is one, by way of its Verify.
type Keys interface {
	// VerifyAssertion returns the header's typ and the payload of a JWS in the compact
	// serialization. The error wraps revocation.ErrIssuerUnavailable when the keys can't
	// be had now; after any other one the client hasn't proven anything.
	VerifyAssertion(ctx context.Context, compact string) (typ string, payload []byte, err error)
}

// List takes revocations: *revocation.List.
type List interface {
	// Revoke makes the records of one revocation effective. Nil means that they
	// are enforced and durable; an error that wraps revocation.ErrNotDurable, that
	// they are enforced only. They may be passed again then, and whenever they are
	// still waiting to become durable, that is what the call waits for.
	Revoke(ctx context.Context, records ...revocation.Record) error
	// AwaitNodes waits until no node accepts a token that the records hit, which are
	// durable. An error that wraps revocation.ErrNotEverywhere says that some may.
	AwaitNodes(ctx context.Context, records ...revocation.Record) error
	// Live returns how many live records the actor has.
	Live(actor string) int
	// LiveTotal returns how many live records there are in all.
	LiveTotal() int
	// Reinstatements returns a number that changes whenever something is
	// reinstated.
	Reinstatements() uint64
	// Now returns the time by which the list lets records expire; it doesn't run
	// ahead when the wall clock does.
	Now() time.Time
}

// Comparer compares a secret with a hash. Caddy's password hashes are Comparers.
type Comparer interface {
	// Compare reports whether the plaintext has the hash. An error means that the
	// hash can't be compared at all.
	Compare(hash, plaintext []byte) (bool, error)
}

// Limits bound failed attempts, slow comparisons and the list's size. In each
// number zero means the default, and a negative one no limit, unless the field
// says otherwise.
type Limits struct {
	// FailuresPerMinute is how often authentication may fail with one client_id
	// from one address: RFC 6749 §2.3.1. Other addresses aren't affected, nor is
	// a secret that succeeded from the same address lately. An address is an IPv4
	// address or an IPv6 /64. Default: DefaultFailuresPerMinute.
	FailuresPerMinute int

	// FailuresPerMinutePerAddress is the same over all client_ids. Default:
	// DefaultFailuresPerMinutePerAddress.
	FailuresPerMinutePerAddress int

	// ConcurrentCompares is how many requests may have a secret compared at one
	// time. It can't be unlimited, since each comparison may keep a core busy: a
	// negative number is an error. Default: min(GOMAXPROCS, 16).
	ConcurrentCompares int

	// CompareWait is how long a request waits for its turn. Default:
	// DefaultCompareWait. A negative time is an error.
	CompareWait time.Duration

	// LiveTotal is how many live records the list may hold in all before this
	// endpoint takes no more. The last tenth is kept for clients with AnyToken.
	// Default: DefaultLiveTotal.
	LiveTotal int

	// Confidential is the quota of each client that has a secret. Default:
	// DefaultConfidentialQuota.
	Confidential Quota

	// Public is the quota of each client that has none, and of all together who use
	// SelfRevocation. Default: DefaultPublicQuota.
	Public Quota
}

// Quota bounds what one client may record. Repeats, retries of what isn't durable
// yet, and tokens of which nothing is recorded cost nothing; but who revokes a refresh
// token again later, and with it what was issued since, makes a new revocation. In each
// number zero means the default, and a negative one no limit.
type Quota struct {
	// Live is how many live records the client may have, across restarts. The
	// revocation of one token makes up to three.
	Live int
	// PerMinute is how many revocations it may make in a minute.
	PerMinute int
	// PerMinutePerAddress is how many of these may come from one address.
	PerMinutePerAddress int
}

// Defaults of Limits.
const (
	DefaultFailuresPerMinute           = 20
	DefaultFailuresPerMinutePerAddress = 100
	DefaultCompareWait                 = 2 * time.Second
	DefaultLiveTotal                   = 10_000_000
)

// Default quotas. A public client's ID is known to everybody, so one address
// must not be able to use up its quota and with it everybody's logout.
var (
	DefaultConfidentialQuota = Quota{Live: 1_000_000, PerMinute: 6_000, PerMinutePerAddress: -1}
	DefaultPublicQuota       = Quota{Live: 100_000, PerMinute: 600, PerMinutePerAddress: 60}
)

// or returns the quota with the fields that are zero taken from another.
func (q Quota) or(other Quota) Quota {
	return Quota{
		Live:                valueOr(q.Live, other.Live),
		PerMinute:           valueOr(q.PerMinute, other.PerMinute),
		PerMinutePerAddress: valueOr(q.PerMinutePerAddress, other.PerMinutePerAddress),
	}
}

func valueOr[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}
