// 1.B of the contract: parameters.

package endpoint

import (
	"net/url"
	"strings"
	"testing"
)

func TestParameters(t *testing.T) {
	many := func(n int) string { return strings.Repeat("&x=y", n) }
	bad := refused(400, "invalid_request")
	run(t, []one{
		{"B1 no token", nil, message{body: "token_type_hint=access_token", basic: app}, bad},
		{"B1 empty body", nil, message{basic: app}, bad},
		{"B2 empty token", nil, message{body: "token=", basic: app}, bad},
		{"B2 token without equals sign", nil, message{body: "token", basic: app}, bad},
		{"B3 a space", nil, message{body: "token=%20", basic: app}, bad},
		{"B3 all white space", nil, message{body: "token=+%09%0D%0A", basic: app}, bad},
		{"B4 two tokens", nil, message{body: "token=T&token=other", basic: app}, bad},
		{"B4 two tokens, one escaped", nil, message{body: "token=T&t%6Fken=other", basic: app}, bad},
		{"B4 two tokens, one empty", nil, message{body: "token=T&token=", basic: app}, bad},
		{"B5 the same token twice", nil, message{body: "token=T&token=T", basic: app}, bad},
		{"B6 two hints", nil, message{body: "token=T&token_type_hint=a&token_type_hint=b", basic: app}, bad},
		{"B7 two client_ids", nil, message{body: "token=T&client_id=spa&client_id=spa"}, bad},
		{"B7 two client_secrets", nil, message{body: "token=T&client_id=web-app&client_secret=correct-horse&client_secret=x"}, bad},
		{"B7 two client_assertions", nil, message{body: "token=T&client_assertion=a&client_assertion=b"}, bad},
		{"B7 before a bad secret is told", nil, message{body: "token=T&client_id=a&client_id=b", basic: []string{plainID, "wrong"}}, bad},
		{"B8 an unknown parameter twice", nil, message{body: "token=T&scope=a&scope=b", basic: app}, ok},
		{"B9 unknown parameters", nil, message{body: "scope=x&token=T&=&Token=U&TOKEN=V", basic: app}, ok},
		{"B10 token in the query only", nil, message{target: "/revoke?token=T", body: "x=y", basic: app}, bad},
		{"B10 token in the query only, no body", nil, message{target: "/revoke?token=T", media: "none", basic: app}, bad},
		{"B11 token in query and body", nil, message{target: "/revoke?token=other", body: "token=T", basic: app}, ok},
		{"B12 client in the query", nil, message{target: "/revoke?client_id=web-app&client_secret=correct-horse", body: "token=T"}, refused(401, "invalid_client")},
		{"B12 public client in the query", nil, message{target: "/revoke?client_id=spa", body: "token=T"}, refused(401, "invalid_client")},
		{"B13 bad escape", nil, message{body: "token=T&x=%zz", basic: app}, bad},
		{"B13 bad escape in a name", nil, message{body: "token=T&%=x", basic: app}, bad},
		{"B13 escape cut off", nil, message{body: "token=T%2", basic: app}, bad},
		{"B14 semicolon", nil, message{body: "token=T;b=c", basic: app}, bad},
		{"B14 escaped semicolon", nil, message{body: "token=T&x=%3B", basic: app}, ok},
		{"B15 NUL", nil, message{body: "token=T%00", basic: app}, noEffect},
		{"B15 control character", nil, message{body: "token=T%0A", basic: app}, noEffect},
		{"B15 DEL", nil, message{body: "token=T%7F", basic: app}, noEffect},
		{"B15 a comma", nil, message{body: "token=T,T", basic: app}, noEffect},
		{"B16 plus became a space", nil, message{body: "token=eyJ+foo.bar.baz", basic: app}, noEffect},
		{"B17 pasted Bearer", nil, message{body: "token=Bearer+T", basic: app}, noEffect},
		{"B18 100 parameters", nil, message{body: "token=T" + many(99), basic: app}, ok},
		{"B18 101 parameters", nil, message{body: "token=T" + many(100), basic: app}, bad},
		{"B18 empty pairs are none", nil, message{body: "token=T" + strings.Repeat("&", 200), basic: app}, ok},
	})

	t.Run("B15 invalid UTF-8", func(t *testing.T) {
		// Not a control character: some upstream may be sent it, so it is recorded.
		f := newFixture(t, nil)
		if r := f.send(message{body: "token=T%ff", basic: app}); r.StatusCode != 200 || !f.dead("T\xff") || f.dead("T") {
			t.Errorf("answered %d", r.StatusCode)
		}
		if strings.Contains(f.log.String(), "\xff") {
			t.Error("raw bytes in the log")
		}
	})
	t.Run("B15 B16 B17 outcome and hint", func(t *testing.T) {
		for token, hint := range map[string]string{
			"Bearer " + jwt(`{}`): "value of an Authorization header",
			"dpop x":              "value of an Authorization header",
			"tok\n":               "white space",
			"a b":                 "plus sign",
			"a,b":                 "a comma",
		} {
			f := newFixture(t, nil)
			f.send(message{body: "token=" + url.QueryEscape(token), basic: app})
			if o := f.observed(); len(o) != 1 || o[0] != Unpresentable {
				t.Errorf("%q: outcomes %v", token, o)
			}
			if !strings.Contains(f.log.String(), hint) || strings.Contains(f.log.String(), token) {
				t.Errorf("%q: the log says %s", token, f.log)
			}
		}
	})
}
