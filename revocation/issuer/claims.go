package issuer

// This file reads claims sets: payloads of tokens (RFC 7519 §4) and answers about
// tokens (RFC 7662 §2.2).

import (
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
)

// Claims is a claims set, decoded: strings, float64s, bools, nil, []any and
// map[string]any. It is only read.
type Claims map[string]any

// Errors of claims sets. They don't quote what they are about.
var (
	errNoClaims  = errors.New("the claims are not a JSON object that everybody reads alike")
	errNotNumber = errors.New("is not a number")
)

// parseClaims decodes exactly one JSON object. Names that repeat, at any depth, text
// that isn't UTF-8 and numbers that no float64 is close to are errors.
func parseClaims(b []byte) (Claims, error) {
	var c Claims
	// What the decoder has to say would quote the claims.
	if json.Unmarshal(b, &c) != nil || c == nil {
		return nil, errNoClaims
	}
	return c, nil
}

// Text returns a claim that is a string. Dots in the path lead into nested objects,
// unless they are part of a name. Empty if there is none.
func (c Claims) Text(path string) string {
	if text, ok := c[path].(string); ok {
		return text
	}
	for at := 0; ; at++ {
		n := strings.IndexByte(path[at:], '.')
		if n < 0 {
			return ""
		}
		at += n
		if inner, ok := c[path[:at]].(map[string]any); ok {
			if text := Claims(inner).Text(path[at+1:]); text != "" {
				return text
			}
		}
	}
}

// has reports whether there is a claim, of whatever type.
func (c Claims) has(name string) bool {
	_, ok := c[name]
	return ok
}

// texts returns a claim that is a string or an array of nothing but strings (RFC 7519
// §4.1.3, aud). Nil if it is something else.
func (c Claims) texts(name string) []string {
	switch value := c[name].(type) {
	case string:
		return []string{value}
	case []any:
		all := make([]string, len(value))
		for i, v := range value {
			text, ok := v.(string)
			if !ok {
				return nil
			}
			all[i] = text
		}
		return all
	}
	return nil
}

// number returns a claim that is a number: RFC 7519 §2, NumericDate. It is an error
// if the claim is there and isn't one.
func (c Claims) number(name string) (value float64, present bool, err error) {
	v, present := c[name]
	if !present {
		return 0, false, nil
	}
	value, ok := v.(float64)
	if !ok {
		return 0, true, errNotNumber
	}
	return value, true, nil
}
