// Package token reads bearer tokens without trusting them: it finds every
// credential in a request (Finder) and tells what identifies each of them,
// whatever its spelling (Reader).
//
// Nothing here decides anything and nothing is verified. What is read may add a
// reason to reject a token, never one to accept it.
package token

// MaxTokenBytes is the longest token that is looked at. A longer one can't be
// told apart from a revoked one cheaply, so a request that carries it is
// refused unread.
const MaxTokenBytes = 16 << 10
