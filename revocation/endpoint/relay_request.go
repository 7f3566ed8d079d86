// What a relay must know of a request that another server answers: whether that
// server reads the same token, and who the client claims to be.

package endpoint

import (
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

// queryHasToken reports whether a raw query has a parameter of that name.
func queryHasToken(raw string) bool {
	return len(queryValues(raw, parameterNames[paramToken])) > 0
}

// queryValues returns the values that a raw query has for a name, as far as they can be
// decoded. Semicolons separate parameters as well: for older servers they do.
func queryValues(raw, name string) (values []string) {
	for pair := range strings.FieldsFuncSeq(raw, func(c rune) bool { return c == '&' || c == ';' }) {
		n, value, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(n); err == nil && decoded == name {
			if decoded, err := url.QueryUnescape(value); err == nil {
				value = decoded
			}
			values = append(values, value)
		}
	}
	return values
}

// checkClient refuses a request that names different clients, or may: the one that the
// server authenticates need not be the one that is seen here.
func (s *Server) checkClient(x *exchange) *answer {
	if len(x.r.Header["Authorization"]) > 1 {
		return invalidRequest("there are several Authorization headers")
	}
	if ids := claimedClients(x.r, &x.params); ids != nil && len(ids) == 0 {
		return invalidRequest("client_id mismatch: the request names different clients")
	}
	return nil
}

// claimedClients returns the client_ids that a request can be read to come from. It
// proves nothing: that is for the server that answers. There are none when the request
// names no client, or different ones in different places.
//
// Nor are there any where it can't be read who the client says it is, while the server
// may be able to: what else names a client may not be what that one goes by.
func claimedClients(r *http.Request, p *parameters) []string {
	var ids []string
	readable := true
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
	if lines := r.Header["Authorization"]; len(lines) == 1 && looksBasic(lines[0]) {
		encoded, _ := basicCredentials(lines[0])
		readings, ok := parseBasic(encoded, false)
		readable = ok
		named := make([]string, len(readings))
		for i, c := range readings {
			named[i] = c.id
		}
		place(named...)
	}
	place(p.get(paramClientID))
	for _, id := range queryValues(r.URL.RawQuery, parameterNames[paramClientID]) {
		place(id)
	}
	if assertion := p.get(paramClientAssertion); assertion != "" {
		id := assertedClient(assertion)
		readable = readable && id != ""
		place(id)
	}
	if !readable {
		return nil
	}
	return ids
}

// looksBasic reports whether a server could read Basic credentials in an Authorization
// header, whatever stands between the scheme and these.
func looksBasic(authorization string) bool {
	scheme := strings.TrimSpace(authorization)
	if end := strings.IndexFunc(scheme, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' }); end >= 0 {
		scheme = scheme[:end]
	}
	return strings.EqualFold(scheme, "Basic")
}

// assertedClient returns the client that an assertion is of, unverified: both iss and
// sub are its client_id (RFC 7523 §3). Empty if it can't be told.
func assertedClient(assertion string) string {
	a, err := readAssertion(assertion)
	if err != nil || a.Issuer != a.Subject {
		return ""
	}
	return a.Issuer
}

// unsupportedToken reports whether the body of an answer says that the server doesn't
// revoke tokens of the type: RFC 7009 §2.2.1.
func unsupportedToken(body []byte) bool {
	var refusal struct {
		Code string `json:"error"`
	}
	return json.Unmarshal(body, &refusal) == nil && refusal.Code == "unsupported_token_type"
}
