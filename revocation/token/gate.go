package token

// This file says what a JWT must look like to pass at all. Libraries disagree
// about everything else, and a token that two parties read differently is a way
// around a revocation list.

// MalformedError says why a token that looks like a JWT must not pass. It never
// contains any of the token.
type MalformedError string

// What can be wrong with a token that looks like a JWT, in the order in which
// it is looked for.
const (
	// MalformedEncoding: RFC 7515 §2 wants base64url without padding, line
	// breaks, white space or other additional characters.
	MalformedEncoding MalformedError = "a part of the token is not canonical base64url without padding"
	// MalformedSerialization: RFC 7519 §1.
	MalformedSerialization MalformedError = "the token is not in the compact serialization"
	// MalformedSegments: RFC 7515 §7.1, RFC 7516 §7.1. An encrypted key where the
	// algorithm has none (RFC 7516 §5.2 step 10) is one part too many as well.
	MalformedSegments MalformedError = "the token has neither the three parts of a signed nor the five of an encrypted JWT"
	// MalformedHeader: RFC 7515 §4, where names must be unique.
	MalformedHeader MalformedError = "the header is not exactly one JSON object with unique names"
	// MalformedCritical: RFC 7515 §4.1.11. Many libraries ignore crit, so the
	// token means one thing here and another there.
	MalformedCritical MalformedError = "the header has crit"
	// MalformedCompressed: RFC 7516 §4.1.3.
	MalformedCompressed MalformedError = "the header has zip"
	// MalformedPayload: RFC 7519 §4, where claim names must be unique.
	MalformedPayload MalformedError = "the payload is not exactly one JSON object with unique names"
)

// Error returns the reason.
func (e MalformedError) Error() string { return string(e) }

// gate returns the first reason not to let the token pass, or nil.
func gate(canonical bool, count int, encrypted, hasKey bool, header *joseHeader, payload reading) error {
	switch {
	case !canonical:
		return MalformedEncoding
	case count != 3 && !encrypted, hasKey && header.keyless:
		return MalformedSegments
	case header.reading != exact:
		return MalformedHeader
	case header.critical:
		return MalformedCritical
	case header.compressed:
		return MalformedCompressed
	case !encrypted && payload != exact:
		return MalformedPayload
	}
	return nil
}
