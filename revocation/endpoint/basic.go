// Credentials in the Authorization header: RFC 6749 §2.3.1 and RFC 7617.

package endpoint

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// credentials are a client's id and secret as one can read them.
type credentials struct{ id, secret string }

// basicCredentials returns what follows the scheme Basic, of any case, in an
// Authorization header: RFC 9110 §11.4.
func basicCredentials(authorization string) (string, bool) {
	scheme, rest, _ := strings.Cut(authorization, " ")
	return rest, strings.EqualFold(scheme, "Basic")
}

// parseBasic returns the readings of Basic credentials, each only once, in the
// order in which they are to be tried:
//
//   - form-urlencoded, as RFC 6749 §2.3.1 asks for,
//   - raw, as RFC 7617 has it and curl and the Moov SDKs send it,
//   - raw in Latin-1, as Authlib does, if it can't be UTF-8.
//
// Strictly there is only the first. False means that they can't be read at all.
func parseBasic(encoded string, strict bool) ([]credentials, bool) {
	// Strict, and neither padding nor spaces are made up: one spelling each.
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, false
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	if !ok {
		return nil, false
	}
	var readings []credentials
	add := func(c credentials) {
		if c.id != "" && utf8.ValidString(c.id) && utf8.ValidString(c.secret) && !slices.Contains(readings, c) {
			readings = append(readings, c)
		}
	}
	decodedID, errID := url.QueryUnescape(id)
	decodedSecret, errSecret := url.QueryUnescape(secret)
	if errID == nil && errSecret == nil {
		add(credentials{decodedID, decodedSecret})
	}
	if !strict {
		if utf8.Valid(raw) {
			add(credentials{id, secret})
		} else {
			add(credentials{fromLatin1(id), fromLatin1(secret)})
		}
	}
	return readings, len(readings) > 0
}

func fromLatin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
