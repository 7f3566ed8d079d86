package revocation

import (
	"encoding/base64"
	"errors"
)

// Fingerprint is the SHA-256 of a token's canonical identity: all spellings of
// one token have one fingerprint. It is the only thing derived from a token
// that is stored, logged or shown.
type Fingerprint [32]byte

// String returns the fingerprint in base64url without padding: 43 characters.
func (f Fingerprint) String() string { return base64.RawURLEncoding.EncodeToString(f[:]) }

var errFingerprint = errors.New("a fingerprint is 32 bytes in base64url without padding: 43 characters")

// ParseFingerprint reads what String returns.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	if len(s) != base64.RawURLEncoding.EncodedLen(len(f)) {
		return f, errFingerprint
	}
	// Strict, since one fingerprint must have one spelling: keys are made of it.
	if _, err := base64.RawURLEncoding.Strict().Decode(f[:], []byte(s)); err != nil {
		return Fingerprint{}, errFingerprint
	}
	return f, nil
}
