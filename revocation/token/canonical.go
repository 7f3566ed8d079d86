package token

// This file spells a token the one right way, for who has to verify it.

import (
	"encoding/base64"
	"strings"
)

// Canonical returns the canonical spelling of a token that looks like a signed JWT in
// the compact serialization, with three parts: the same token by its fingerprint. A
// signature that is missing remains so, and what is too much is left out. Any other
// token is returned as it is.
//
// It is for verifying a token that is spelled otherwise. To let it pass is another
// matter.
func Canonical(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) < 2 || len(token) > MaxTokenBytes {
		return token
	}
	header := appendLenient(nil, parts[0])
	var h joseHeader
	new(jsonReader).readHeader(header, &h)
	if h.reading == unreadable || h.encrypted && len(parts) == maxSegments {
		return token
	}
	signature := ""
	if len(parts) > 2 {
		signature = parts[2]
	}
	return base64.RawURLEncoding.EncodeToString(header[h.object.start:h.object.end]) + "." +
		recode(parts[1]) + "." + recode(signature)
}

// IsJWT reports whether some reader takes the token for a JWT, however it is spelled.
func IsJWT(token string) bool {
	if strings.IndexByte(token, '.') < 0 {
		return false
	}
	b := benches.Get().(*bench)
	defer benches.Put(b)
	first, _, _ := strings.Cut(token, ".")
	b.json.readHeader(appendLenient(nil, first), &b.header)
	return b.header.reading != unreadable
}

// recode returns the canonical spelling of a segment.
func recode(segment string) string {
	return base64.RawURLEncoding.EncodeToString(appendLenient(nil, segment))
}
