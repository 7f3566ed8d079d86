package token

// This file tells apart the bytes that tokens are made of, fast enough to look
// at every byte of every request's token.

import "strings"

// tokenBytes are the bytes of a b64token but for its padding: RFC 6750 §2.1.
var tokenBytes = func() (table [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/") {
		table[b] = true
	}
	return table
}()

// isSpace reports white space in the widest sense: an upstream may split at any
// of it. Some of it never gets through net/http.
func isSpace(b byte) bool { return b <= ' ' || b == 0x7f }

func trimSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// isLatin1Space reports the white space that Latin-1 has beyond ASCII's, NEL and NBSP.
func isLatin1Space(b byte) bool { return b == 0x85 || b == 0xa0 }

func trimLatin1Space(s string) string {
	for s != "" && (isSpace(s[0]) || isLatin1Space(s[0])) {
		s = s[1:]
	}
	for s != "" && (isSpace(s[len(s)-1]) || isLatin1Space(s[len(s)-1])) {
		s = s[:len(s)-1]
	}
	return s
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isBase64 reports whether s is base64 (RFC 4648 §4) with no scheme in it.
func isBase64(s string) bool {
	for _, b := range []byte(strings.TrimRight(s, "=")) {
		if sextets[b] == notSextet || b == '-' || b == '_' {
			return false
		}
	}
	return indexBearer(s, 0) < 0
}

// trimToToken removes what no b64token has from both ends.
func trimToToken(s string) string {
	for s != "" && !tokenBytes[s[0]] {
		s = s[1:]
	}
	for s != "" && !tokenBytes[s[len(s)-1]] && s[len(s)-1] != '=' {
		s = s[:len(s)-1]
	}
	return s
}

// isPlain reports whether all readers see the same in s: only letters, digits
// and - . _, of which JWTs are made, and no scheme among them. It looks at eight
// bytes at once.
func isPlain(s string) bool {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		x := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		if x&high != 0 {
			return false
		}
		// No sum below reaches 0x100, so bytes don't disturb each other. Adding
		// 0x80-c sets the high bit of those that are at least c.
		y := x | 0x20*ones
		letter := (y + (0x80-'a')*ones) &^ (y + (0x80-'z'-1)*ones)
		digit := (x + (0x80-'0')*ones) &^ (x + (0x80-'9'-1)*ones)
		dashOrDot := (x + (0x80-'-')*ones) &^ (x + (0x80-'.'-1)*ones)
		underscore := ^((x ^ '_'*ones) + 0x7f*ones)
		if (letter|digit|dashOrDot|underscore)&high != high {
			return false
		}
		// "bearer" in any case. The end of a word can part only one of two pairs
		// of its letters. A byte is zero where a pair begins, but for the last.
		be := (y ^ 'b'*ones) | (y^'e'*ones)>>8 | 1<<56
		ar := (y ^ 'a'*ones) | (y^'r'*ones)>>8 | 1<<56
		if (be+0x7f*ones)&(ar+0x7f*ones)&high != high && indexBearer(s[max(0, i-5):min(len(s), i+13)], 0) >= 0 {
			return false
		}
	}
	for ; i < len(s); i++ {
		if b := s[i]; !tokenBytes[b] || b == '~' || b == '+' || b == '/' {
			return false
		}
	}
	return indexBearer(s[max(0, len(s)-12):], 0) < 0
}

const bearer = "bearer"

// indexBearer returns where "bearer" begins in any case, at from or later, or
// -1. Wherever it is, one of its letters is at the end of a step of six.
func indexBearer(s string, from int) int {
	for i := from + len(bearer) - 1; i < len(s); i += len(bearer) {
		switch s[i] | 0x20 {
		case 'b', 'e', 'a', 'r':
			for start := i - len(bearer) + 1; start <= i && start+len(bearer) <= len(s); start++ {
				if s[start]|0x20 == 'b' && strings.EqualFold(s[start:start+len(bearer)], bearer) {
					return start
				}
			}
		}
	}
	return -1
}

// countBearer returns how often "bearer" is in s, in any case.
func countBearer(s string) int {
	n := 0
	for i := indexBearer(s, 0); i >= 0; i = indexBearer(s, i+1) {
		n++
	}
	return n
}

// tokenScheme returns the canonical name of a scheme that announces a token.
func tokenScheme(word string) (string, bool) {
	switch {
	case len(word) == len(SchemeBearer) && strings.EqualFold(word, SchemeBearer):
		return SchemeBearer, true
	case len(word) == len(SchemeDPoP) && strings.EqualFold(word, SchemeDPoP):
		return SchemeDPoP, true
	}
	return "", false
}

// foreignScheme reports whether the credentials of a scheme are no bearer token
// to anybody who knows the scheme.
func foreignScheme(word string) bool {
	switch len(word) {
	case 4:
		return strings.EqualFold(word, "ntlm") || strings.EqualFold(word, "hawk")
	case 5:
		return strings.EqualFold(word, "basic")
	case 6:
		return strings.EqualFold(word, "digest")
	case 9:
		return strings.EqualFold(word, "negotiate")
	}
	return len(word) > 5 && strings.EqualFold(word[:5], "aws4-")
}

// looksSigned reports whether s begins and is divided like a JWT: base64 of an
// opening brace, and a dot.
func looksSigned(s string) bool {
	return len(s) > 2 && s[0] == 'e' && sextets[s[1]] != notSextet && sextets[s[1]] >= 0b110000 && strings.IndexByte(s, '.') > 0
}
