package token

// This file reads cookies from the raw lines of the Cookie header: net/http
// drops all of them when there are many, and those that it can't read.

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// cookies adds the values of the named cookies in one line: RFC 6265 §4.2.1.
func (c *collector) cookies(line string, names []namedSource) {
	for more := true; more; {
		var pair string
		pair, line, more = strings.Cut(line, ";")
		c.cookie(pair, names, false)
		// RFC 2965 §3.3.4, and lines that were joined on the way.
		for rest, again := pair, strings.IndexByte(pair, ',') >= 0; again; {
			pair, rest, again = strings.Cut(rest, ",")
			c.cookie(pair, names, true)
		}
		// To Python's SimpleCookie white space separates pairs as well.
		if pair = trimSpace(pair); strings.IndexByte(pair, ' ') >= 0 || strings.IndexByte(pair, '\t') >= 0 {
			for pair != "" {
				var first string
				first, pair = cutAtSpace(pair)
				c.cookie(first, names, true)
			}
		}
	}
}

// cutAtSpace cuts s at the first white space that isn't beside an equals sign.
func cutAtSpace(s string) (before, after string) {
	for i := 0; i < len(s); i++ {
		if !isSpace(s[i]) {
			continue
		}
		end := i
		for end < len(s) && isSpace(s[end]) {
			end++
		}
		if end == len(s) || s[end] != '=' && (i == 0 || s[i-1] != '=') {
			return s[:i], s[end:]
		}
		i = end - 1
	}
	return s, ""
}

func (c *collector) cookie(pair string, names []namedSource, probe bool) {
	name, value, ok := strings.Cut(pair, "=")
	if !ok {
		return
	}
	name = trimSpace(name)
	for i := range names {
		if matchesName(name, names[i].name, false) {
			c.source = names[i].source
			c.cookieValue(trimSpace(value), probe)
		}
	}
}

// cookieValue adds a value, without its quotes and decoded in the ways that
// frameworks have, though no standard.
func (c *collector) cookieValue(value string, probe bool) {
	unquoted := strings.Trim(value, `"`)
	c.parameter(unquoted, probe)
	if len(unquoted) < len(value) && strings.IndexByte(value, '\\') >= 0 {
		c.parameter(unescapeCookie(unquoted), true)
	}
	inner := value
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		inner = value[1 : len(value)-1]
	}
	c.expressCookie(inner)
	if strings.IndexByte(inner, '%') >= 0 {
		decoded, _ := decodeValue(inner, false)
		c.parameter(strings.Trim(decoded, `"`), true)
		c.expressCookie(decoded)
	}
}

// expressCookie adds what Express's cookie-parser makes of a value: s: is in
// front of a signed one, with a dot and the signature behind it, and j: in front
// of one in JSON.
func (c *collector) expressCookie(value string) {
	if signed, ok := strings.CutPrefix(value, "s:"); ok {
		if end := strings.LastIndexByte(signed, '.'); end >= 0 {
			value = signed[:end]
			c.parameter(value, true)
		}
	}
	if text, ok := strings.CutPrefix(value, "j:"); ok {
		// The result is of use even where there is an error about UTF-8.
		unquoted, _ := jsontext.AppendUnquote(nil, trimSpace(text))
		c.parameter(string(unquoted), true)
	}
}

// unescapeCookie decodes a quoted-string (RFC 9110 §5.6.4), with octal escapes
// as Python's http.cookies writes them.
func unescapeCookie(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		if i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3' && isOctal(s[i+2]) && isOctal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(b byte) bool { return b >= '0' && b <= '7' }
