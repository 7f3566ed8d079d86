// 1.B of the contract: parameters.

package endpoint

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
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
		{"B18 100 parameters", nil, message{body: "token=T" + many(99), basic: app}, ok},
		{"B18 101 parameters", nil, message{body: "token=T" + many(100), basic: app}, bad},
		{"B18 empty pairs are none", nil, message{body: "token=T" + strings.Repeat("&", 200), basic: app}, ok},
	})
}

// TestBytes has tokens of any bytes revoked: the next request that carries one,
// percent-encoded in its query, is rejected.
func TestBytes(t *testing.T) {
	finder, err := token.NewFinder(token.FinderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const header, white, plus = "value of an Authorization header", "white space around", "plus sign"
	for _, c := range []struct{ name, token, hint string }{
		{"B15 NUL", "T\x00", ""},
		{"B15 control character", "T\x01", ""},
		{"B15 DEL", "T\x7f", ""},
		{"B15 line feed", "T\n", white},
		{"B15 a comma", "T,T", ""},
		{"B15 invalid UTF-8", "T\xff", ""},
		{"B16 plus became a space", "eyJ foo.bar.baz", plus},
		{"B16 spaces", "T T", plus},
		{"B17 pasted Bearer", "Bearer T", header},
		{"B17 pasted Bearer with a JWT", "bearer " + jwt(`{}`), header},
		{"B17 pasted DPoP", " dpop T", header},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := new(lockedBuffer)
			f := newFixture(t, func(o *Options) { o.Audit = slog.New(slog.NewTextHandler(log, nil)) })
			escaped := url.QueryEscape(c.token)
			r := f.send(message{body: "token=" + escaped, basic: app})
			if o := f.observed(); r.StatusCode != 200 || len(o) != 1 || o[0] != Revoked || len(f.store.all()) != 1 {
				t.Errorf("answered %d, outcomes %v, %d records", r.StatusCode, o, len(f.store.all()))
			}
			found, err := finder.Find(nil, httptest.NewRequest("GET", "/?access_token="+escaped, nil), nil)
			if err != nil || len(found) == 0 {
				t.Fatalf("found %v, %v", found, err)
			}
			presented := slices.ContainsFunc(found, func(c token.Candidate) bool { return f.dead(c.Token) })
			if !f.dead(c.token) || !presented {
				t.Error("presented, and not rejected")
			}
			if f.dead("T") || f.dead(jwt(`{}`)) {
				t.Error("another token is rejected")
			}
			if said := log.String(); !strings.Contains(said, c.hint) || strings.Contains(said, c.token) || strings.Contains(said, "hint=") != (c.hint != "") {
				t.Errorf("the log says %q", said)
			}
		})
	}
}
