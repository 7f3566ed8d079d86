package token

// This file reads the pairs of a query (RFC 6750 §2.3) or a form (§2.2) from
// their raw bytes, by the rules of every framework at once.

import (
	"net/http"
	"strings"
)

// foldName returns a name as PHP registers it (php.net, "Variables From External
// Sources"), in lower case for frameworks that ignore it.
func foldName(name string, caseless bool) string {
	b := []byte(name)
	for i := range b {
		b[i] = nameByte(b[i], caseless)
	}
	return string(b)
}

func nameByte(b byte, caseless bool) byte {
	switch {
	case b == ' ' || b == '.' || b == '[':
		return '_'
	case caseless && b >= 'A' && b <= 'Z':
		return b | 0x20
	}
	return b
}

// matchesName reports whether some upstream takes the encoded name for want,
// which is folded: spaces before it are stripped, it ends at NUL, and indexes
// behind it make a list.
func matchesName(encoded, want string, caseless bool) bool {
	if len(encoded) < len(want) {
		return false
	}
	b, i := decodedByte(encoded, 0)
	for i <= len(encoded) && (b == ' ' || b == '?') {
		b, i = decodedByte(encoded, i)
	}
	for k := range len(want) {
		if i > len(encoded) || nameByte(b, caseless) != want[k] {
			return false
		}
		b, i = decodedByte(encoded, i)
	}
	for i <= len(encoded) && b == '[' {
		b, i = decodedByte(encoded, i)
		for i <= len(encoded) && b >= '0' && b <= '9' {
			b, i = decodedByte(encoded, i)
		}
		if b != ']' {
			return false
		}
		b, i = decodedByte(encoded, i)
	}
	return i > len(encoded) || b == 0
}

// decodedByte returns the byte that is encoded at i, and the index behind it,
// which is past the end of s if there is nothing at i.
func decodedByte(s string, i int) (byte, int) {
	switch {
	case i >= len(s):
		return 0, len(s) + 1
	case s[i] == '+':
		return ' ', i + 1
	case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
		return unhex(s[i+1])<<4 | unhex(s[i+2]), i + 3
	}
	return s[i], i + 1
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'f'
}

func unhex(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}

// decodeValue decodes a percent-encoded value (RFC 3986 §2.1), with + for a
// space (WHATWG URL, application/x-www-form-urlencoded) or as itself. Where it
// isn't well encoded, ok is false and the rest is decoded.
func decodeValue(s string, plusIsSpace bool) (decoded string, ok bool) {
	if strings.IndexByte(s, '%') < 0 && (!plusIsSpace || strings.IndexByte(s, '+') < 0) {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	ok = true
	for i := 0; i < len(s); {
		c, next := decodedByte(s, i)
		if c == ' ' && s[i] == '+' && !plusIsSpace {
			c = '+'
		}
		if s[i] == '%' && next == i+1 {
			ok = false
		}
		b.WriteByte(c)
		i = next
	}
	return b.String(), ok
}

// pairs adds the values of the named pairs.
func (c *collector) pairs(raw string, names []namedSource, probe bool) {
	for more := true; more; {
		var pair string
		pair, raw, more = strings.Cut(raw, "&")
		c.pair(pair, names, probe)
		// Some frameworks separate pairs by semicolons: HTML 4.01 appendix B.2.2.
		for rest, again := pair, strings.IndexByte(pair, ';') >= 0; again; {
			pair, rest, again = strings.Cut(rest, ";")
			c.pair(pair, names, true)
		}
	}
}

func (c *collector) pair(pair string, names []namedSource, probe bool) {
	name, value, ok := strings.Cut(pair, "=")
	if !ok || value == "" {
		return
	}
	for i := range names {
		if matchesName(name, names[i].name, true) {
			c.source = names[i].source
			c.encoded(value, probe)
		}
	}
}

// encoded adds the value of a pair.
func (c *collector) encoded(value string, probe bool) {
	decoded, ok := decodeValue(value, true)
	if !ok {
		if !probe {
			c.fail(http.StatusBadRequest, "a token is not correctly percent-encoded")
		}
		c.probeWord(value)
		probe = true
	}
	c.parameter(decoded, probe)
	// Some upstreams don't turn + into a space, and base64 has it.
	if strings.IndexByte(value, '+') >= 0 {
		decoded, _ = decodeValue(value, false)
		c.parameter(decoded, true)
	}
}

// parameter adds a decoded value, which may begin with a scheme.
func (c *collector) parameter(value string, probe bool) {
	if isPlain(value) {
		c.add(value, "", probe)
		return
	}
	scheme := ""
	if start, end, _ := nextWord(value, 0); end < len(value) && isSpace(value[end]) {
		if s, ok := tokenScheme(value[start:end]); ok {
			c.probe(value) // an upstream may keep it
			scheme, value = s, trimSpace(value[end:])
		}
	}
	if trimSpace(value) == "" {
		return
	}
	c.add(value, scheme, probe)
	c.probe(trimSpace(value))
	c.readings(value)
}
