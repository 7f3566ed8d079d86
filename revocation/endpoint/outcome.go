// What can become of a request, for metrics and logs.

package endpoint

import "log/slog"

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
	// Preflight: an OPTIONS request was answered.
	Preflight Outcome = "preflight"

	// InvalidRequest: the request can't be understood, or names no token.
	InvalidRequest Outcome = "invalid_request"
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
	// Unavailable: the list took nothing.
	Unavailable Outcome = "unavailable"
	// InternalError: a bug.
	InternalError Outcome = "internal_error"
)

// Outcomes returns every Outcome that there is.
func Outcomes() []Outcome {
	return []Outcome{
		Revoked, Repeated, Expired, Preflight,
		InvalidRequest, InvalidClient, OriginRefused, MethodNotAllowed, UnsupportedMediaType,
		TooLarge, IncompleteBody, TLSRequired,
		RateLimited, Busy, QuotaExceeded, NotDurable, Unavailable, InternalError,
	}
}

// level is how much an operator wants to hear of it.
func (o Outcome) level() slog.Level {
	switch o {
	case NotDurable, Unavailable, InternalError:
		return slog.LevelError
	case InvalidClient, OriginRefused, RateLimited, Busy, QuotaExceeded:
		return slog.LevelWarn
	case TLSRequired:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}
