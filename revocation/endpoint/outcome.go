// What can become of a request, for metrics and the audit log.

package endpoint

// Outcome says what became of a request. There are few of them and they are
// constant, so they can label a metric.
type Outcome string

const (
	// Revoked: the token is on the list, durable and enforced.
	Revoked Outcome = "revoked"
	// Repeated: the same client had this token revoked before, and it is on the
	// list still. Success.
	Repeated Outcome = "repeated"
	// Expired: the token expired so long ago that nobody accepts it. Success.
	Expired Outcome = "expired"
	// Forged: no one accepts the token who looks at its signature. Nothing is
	// recorded. Success.
	Forged Outcome = "forged"
	// Foreign: the token was issued to another client, or by an issuer whose tokens
	// the client may not revoke. Nothing is recorded. Success for public clients, so
	// that they learn nothing, and where Options.SilentMismatch is set.
	Foreign Outcome = "foreign"
	// Preflight: an OPTIONS request was answered.
	Preflight Outcome = "preflight"

	// InvalidRequest: the request can't be understood, or names no token.
	InvalidRequest Outcome = "invalid_request"
	// UnsupportedTokenType: the token is none that is revoked here, such as an ID
	// token: RFC 7009 §2.2.1.
	UnsupportedTokenType Outcome = "unsupported_token_type"
	// InvalidClient: the client is unknown or couldn't prove who it is.
	InvalidClient Outcome = "invalid_client"
	// OriginRefused: a browser sent the request for a page of an origin that is
	// not allowed.
	OriginRefused Outcome = "origin_refused"
	// MethodNotAllowed: neither POST nor OPTIONS.
	MethodNotAllowed Outcome = "method_not_allowed"
	// UnsupportedMediaType: a type or coding of the body that isn't read here.
	UnsupportedMediaType Outcome = "unsupported_media_type"
	// TooLarge: the body exceeds Options.MaxBodyBytes.
	TooLarge Outcome = "too_large"
	// IncompleteBody: the body broke off or took longer than Options.BodyTimeout.
	IncompleteBody Outcome = "incomplete_body"
	// TLSRequired: plain HTTP where Options.RequireTLS is set.
	TLSRequired Outcome = "tls_required"

	// RateLimited: too many failed attempts to authenticate.
	RateLimited Outcome = "rate_limited"
	// Busy: too many comparisons of secrets at once.
	Busy Outcome = "busy"
	// QuotaExceeded: the client may not record more, or not so fast.
	QuotaExceeded Outcome = "quota_exceeded"
	// NotDurable: the token is enforced here but the store failed. A retry waits
	// for the same record.
	NotDurable Outcome = "not_durable"
	// NotEverywhere: the token is on the list, durable and enforced here, and other nodes
	// may accept it still. A retry waits for them.
	NotEverywhere Outcome = "not_everywhere"
	// Unavailable: the list took nothing.
	Unavailable Outcome = "unavailable"
	// IssuerUnavailable: it can't be found out now whose the token is, or whether the
	// client is who it says, since the keys or the issuer can't be reached.
	IssuerUnavailable Outcome = "issuer_unavailable"
	// InternalError: a bug.
	InternalError Outcome = "internal_error"

	// Relayed: the authorization server answered success, and there was nothing to
	// record here.
	Relayed Outcome = "relayed"
	// RelayRefused: the authorization server refused the request. Nothing is recorded.
	RelayRefused Outcome = "relay_refused"
	// RelayFailed: the authorization server failed, or didn't answer.
	RelayFailed Outcome = "relay_failed"
)

// Outcomes returns every Outcome that there is.
func Outcomes() []Outcome {
	return []Outcome{
		Revoked, Repeated, Expired, Forged, Foreign, Preflight,
		InvalidRequest, UnsupportedTokenType, InvalidClient, OriginRefused, MethodNotAllowed, UnsupportedMediaType,
		TooLarge, IncompleteBody, TLSRequired,
		RateLimited, Busy, QuotaExceeded, NotDurable, NotEverywhere, Unavailable, IssuerUnavailable, InternalError,
		Relayed, RelayRefused, RelayFailed,
	}
}
