// Package endpoint serves the OAuth 2.0 token revocation endpoint, RFC 7009, as
// an http.Handler.
//
// A client proves who it is and hands in a token; the token is put on the revocation
// list; the answer is success only when the list says that it is durable and enforced,
// or when nobody accepts the token anyway. What the token says is believed only when a
// revocation.Prover vouches for it: then it must be the client's own, it is revoked by
// its id as well as by its fingerprint, and a refresh token takes with it what was
// issued in its session. Without a proof, possession revokes that one token by its
// fingerprint, and nothing with it. A forged token does nothing at all.
//
// One endpoint speaks two dialects. A body of type
// application/x-www-form-urlencoded is RFC 7009 to the letter and is answered
// with 200 and {}. A body of type application/json is the dialect of the Moov
// SDKs: answered with 204, and with 422 where a member is at fault.
//
// A request passes the steps of Server.ServeHTTP in order, and the first that
// objects answers it. What can be refused cheaply comes first; the comparison of
// a secret, which may cost a core-second, comes behind the limits on attempts;
// the token is looked at only when the client is known, so that nobody learns
// anything about a token without being one (RFC 7009 §2.1).
//
// A Relay stands before another server's endpoint instead. That one authenticates the
// client and answers; what it accepts is put on the list before the client has the
// answer. Whose token it is, is proven first, since the answer proves nothing.
//
// Parameters are read from the body alone, never from the query (RFC 6749 §3.2),
// and headers from their raw lines: http.Request's own helpers merge, hide and
// guess.
package endpoint
