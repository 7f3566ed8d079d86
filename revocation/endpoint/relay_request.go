// What a relay must know of a request that another server answers: whether that
// server reads the same token, and who the client claims to be.

package endpoint

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

// checkQuery refuses a token in the query. RFC 7009 §2.1 has it in the body alone,
// but some servers take it from the query too, and revoke one that isn't seen here.
func (s *Server) checkQuery(x *exchange) *answer {
	if queryHasToken(x.r.URL.RawQuery) {
		return invalidRequest("the token must stand in the body and not in the query: RFC 7009 section 2.1")
	}
	return nil
}

// queryHasToken reports whether a raw query has a parameter of that name. Semicolons
// separate parameters as well: for older servers they do.
func queryHasToken(raw string) bool {
	for pair := range strings.FieldsFuncSeq(raw, func(c rune) bool { return c == '&' || c == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil && decoded == parameterNames[paramToken] {
			return true
		}
	}
	return false
}

// claimedClients returns the client_ids that a request can be read to come from. It
// proves nothing: that is for the server that answers. There are none when the request
// names no client, or different ones in different places.
func claimedClients(r *http.Request, p *parameters) []string {
	var ids []string
	// A place where the client may be named, and each id that can be read there.
	place := func(named ...string) {
		named = slices.DeleteFunc(named, func(id string) bool { return id == "" })
		switch {
		case len(named) == 0:
		case ids == nil:
			ids = named
		default:
			ids = slices.DeleteFunc(ids, func(id string) bool { return !slices.Contains(named, id) })
		}
	}
	if lines := r.Header["Authorization"]; len(lines) == 1 {
		if encoded, ok := basicCredentials(lines[0]); ok {
			readings, _ := parseBasic(encoded, false)
			named := make([]string, len(readings))
			for i, c := range readings {
				named[i] = c.id
			}
			place(named...)
		}
	}
	place(p.get(paramClientID))
	place(assertedClient(p.get(paramClientAssertion)))
	return ids
}

// assertedClient returns the client that an assertion is of, unverified: both iss and
// sub are its client_id (RFC 7523 §3). Empty if it can't be told.
func assertedClient(assertion string) string {
	_, rest, _ := strings.Cut(assertion, ".")
	payload, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if json.Unmarshal(raw, &claims) != nil || claims.Issuer != claims.Subject {
		return ""
	}
	return claims.Subject
}

// unsupportedToken reports whether the body of an answer says that the server doesn't
// revoke tokens of the type: RFC 7009 §2.2.1.
func unsupportedToken(body []byte) bool {
	var refusal struct {
		Code string `json:"error"`
	}
	return json.Unmarshal(body, &refusal) == nil && refusal.Code == "unsupported_token_type"
}
