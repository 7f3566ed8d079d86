// Package issuer finds out whether an authorization server vouches for a token: it
// verifies signatures with the issuer's keys (RFC 7515, RFC 7519, RFC 9068), which it
// finds as the issuer publishes them (OpenID Connect Discovery 1.0, RFC 8414), or asks
// the issuer about the token (RFC 7662).
//
// A Set of issuers is a revocation.Prover. Nothing is taken from a token that says
// where to look for keys: addresses come from the configuration and from what the
// issuer publishes, and a token's kid is compared and nothing else.
package issuer
