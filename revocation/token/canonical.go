package token

// This file spells a token the one right way, for who has to verify it.

import (
	"encoding/base64"
	"strings"
)

// Canonical returns the canonical spelling of a token that looks like a signed JWT in
// the compact serialization: the same token by its fingerprint, if its signature is as
// long as one is. Any other token it returns as it is.
//
// It is for verifying a token that is spelled otherwise. To let it pass is another
// matter.
func Canonical(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(token) > MaxTokenBytes {
		return token
	}
	header := appendLenient(nil, parts[0])
	var h joseHeader
	new(jsonReader).readHeader(header, &h)
	if h.reading == unreadable {
		return token
	}
	parts[0] = base64.RawURLEncoding.EncodeToString(header[h.object.start:h.object.end])
	for i := 1; i < len(parts); i++ {
		parts[i] = base64.RawURLEncoding.EncodeToString(appendLenient(nil, parts[i]))
	}
	return strings.Join(parts, ".")
}
