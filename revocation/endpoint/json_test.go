// 1.I of the contract: the JSON dialect.
//
// Not here: I8, a wrong owner, needs verified claims.

package endpoint

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestJSONDialect(t *testing.T) {
	bad, blank := refused(400, "invalid_request"), refused(422, "invalid_request")
	raw := func(o *Options) { // a client as Moov has it: the id is a key without colons
		o.Clients = []Client{{ID: "pub-key", Hashes: [][]byte{hashOf(webSecret)}}}
	}
	rawBasic := []string{"pub-key", webSecret}
	send := func(body string, more ...string) message {
		return message{media: jsonType, body: body, basic: app, header: more}
	}
	nested := func(n int) string {
		return `{"token":"T","x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(`,"x` + strings.Repeat("y", i) + `":1`)
		}
		return `{"token":"T"` + b.String() + `}`
	}
	strict := func(o *Options) { o.MoovStrict = true }

	run(t, []one{
		{"I1 Basic raw", raw, message{media: jsonType, body: `{"token":"T"}`, basic: rawBasic, header: []string{"Accept", jsonType}}, noContent},
		{"I2 credentials in the body", nil, message{media: jsonType, body: `{"token":"T","token_type_hint":"refresh_token","client_id":"my client:1","client_secret":"s3cr+t/%&é"}`}, noContent},
		{"I2 escaped", nil, message{media: jsonType, body: `{"\u0074oken":"\u0054","client_id":"web-app","client_secret":"correct\u002dhorse"}`}, noContent},
		{"I3 moov-go", raw, message{media: jsonType, body: `{"token":"T","token_type_hint":"access_token","client_id":"pub-key","client_secret":"s3cr+t/%&é"}`, basic: rawBasic}, noContent},
		{"I4 accessToken mode", nil, message{media: jsonType, body: `{"token":"T","client_id":"web-app","client_secret":"correct-horse"}`, header: authorization("Bearer AT")}, noContent},
		{"I5 no token", nil, send(`{}`), blank},
		{"I5 empty token", nil, send(`{"token":""}`), blank},
		{"I5 white space", nil, send(`{"token":" \t\u00a0"}`), blank},
		{"I5 null", nil, send(`{"token":null}`), blank},
		{"I6 unknown hint", nil, send(`{"token":"T","token_type_hint":"foo"}`), noContent},
		{"I6 unknown hint, MoovStrict", strict, send(`{"token":"T","token_type_hint":"foo"}`), blank},
		{"I6 known hint, MoovStrict", strict, send(`{"token":"T","token_type_hint":"refresh_token"}`), noContent},
		{"I6 empty hint, MoovStrict", strict, send(`{"token":"T","token_type_hint":""}`), noContent},
		{"I6 unknown hint in a form, MoovStrict", strict, message{body: "token=T&token_type_hint=foo", basic: app}, ok},
		{"I7 bad client", nil, message{media: jsonType, body: `{"token":"T"}`, basic: []string{plainID, "x"}}, challenged(401, "invalid_client")},
		{"I7 bad client, no token", nil, message{media: jsonType, body: `{}`}, refused(401, "invalid_client")},
		{"I9 broken", nil, send(`{"token":"T"`), bad},
		{"I9 empty", nil, send(``), bad},
		{"I9 BOM", nil, send("\ufeff" + `{"token":"T"}`), bad},
		{"I9 array", nil, send(`["T"]`), bad},
		{"I9 string", nil, send(`"T"`), bad},
		{"I9 null", nil, send(`null`), bad},
		{"I9 second value", nil, send(`{"token":"T"} {"token":"U"}`), bad},
		{"I9 garbage behind", nil, send(`{"token":"T"}x`), bad},
		{"I9 white space around", nil, send("\r\n {\"token\" : \"T\"}\n"), noContent},
		{"I9 a form", nil, send(`token=T`), bad},
		{"I9 comma too many", nil, send(`{"token":"T",}`), bad},
		{"I9 invalid UTF-8", nil, send("{\"token\":\"T\xff\"}"), bad},
		{"I9 lone surrogate", nil, send(`{"token":"T\ud800"}`), bad},
		{"I10 duplicate", nil, send(`{"token":"T","token":"other"}`), bad},
		{"I10 the same twice", nil, send(`{"token":"T","token":"T"}`), bad},
		{"I10 duplicate, escaped", nil, send(`{"token":"T","t\u006fken":"other"}`), bad},
		{"I10 duplicate of null", nil, send(`{"token":null,"token":"T"}`), bad},
		{"I10 unknown duplicate", nil, send(`{"token":"T","x":1,"x":2}`), bad},
		{"I10 nested duplicate", nil, send(`{"token":"T","x":{"y":1,"y":2}}`), bad},
		{"I11 another case", nil, send(`{"Token":"T"}`), blank},
		{"I11 both cases", nil, send(`{"token":"T","TOKEN":"other"}`), noContent},
		{"I12 number", nil, send(`{"token":1}`), bad},
		{"I12 object", nil, send(`{"token":{"x":"T"}}`), bad},
		{"I12 hint is a boolean", nil, send(`{"token":"T","token_type_hint":true}`), bad},
		{"I12 client_id is a number", nil, message{media: jsonType, body: `{"token":"T","client_id":1}`}, bad},
		{"I12 null is omitted", nil, send(`{"token":"T","token_type_hint":null,"client_id":null,"client_secret":null}`), noContent},
		{"I13 nested", nil, send(nested(maxJSONDepth - 1)), noContent},
		{"I13 nesting bomb", nil, send(nested(maxJSONDepth)), bad},
		{"I13 deep nesting bomb", nil, send(nested(20000)), bad},
		{"I13 too long", nil, send(`{"token":"` + strings.Repeat("x", DefaultMaxBodyBytes) + `"}`), refused(413, "invalid_request")},
		{"I13 token too long", nil, send(`{"token":"` + strings.Repeat("x", DefaultMaxTokenBytes+1) + `"}`), blank},
		{"I13 too many members", nil, send(members(100)), bad},
		{"I14 extra members", nil, send(members(99)), noContent},
		{"I14 extra members of all types", nil, send(`{"x":null,"token":"T","y":[{"z":[1,"2",true]}],"w":-1e5,"":""}`), noContent},
		{"I15 empty cookie, X-Moov-Version", nil, send(`{"token":"T"}`, "Cookie", "", "X-Moov-Version", "v2026.07.00"), noContent},
		{"I16 503", func(o *Options) { o.List = closedList(t) }, send(`{"token":"T"}`), refused(503, "temporarily_unavailable")},
		{"I17 charset=utf-8", nil, message{media: "application/json; charset=utf-8", body: `{"token":"T"}`, basic: app}, noContent},
		{"I17 application/vnd.api+json", nil, message{media: "application/vnd.api+json", body: `{"token":"T"}`, basic: app}, refused(415, "invalid_request")},
		{"I17 application/problem+json", nil, message{media: "application/problem+json", body: `{"token":"T"}`, basic: app}, refused(415, "invalid_request")},
		{"JSONSuccessStatus 200", func(o *Options) { o.JSONSuccessStatus = 200 }, send(`{"token":"T"}`), ok},
	})
	t.Run("I5 I6 field errors", func(t *testing.T) {
		for body, want := range map[string]map[string]string{
			`{"token":""}`:                                {"token": "cannot be blank"},
			`{"token_type_hint":"x"}`:                     {"token": "cannot be blank", "token_type_hint": "must be a valid value"},
			`{"token":"T","token_type_hint":"id_token"}`:  {"token_type_hint": "must be a valid value"},
			`{"token":"` + strings.Repeat("x", 99) + `"}`: {"token": "is too long"},
		} {
			f := newFixture(t, func(o *Options) { strict(o); o.MaxTokenBytes = 98 })
			r := f.expect(send(body), blank)
			got := map[string]string{}
			if err := json.Unmarshal([]byte(r.body), &got); err != nil {
				t.Fatal(err)
			}
			delete(got, "error")
			delete(got, "error_description")
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %v, want %v", body, got, want)
			}
		}
	})
}

func closedList(t *testing.T) List {
	f := newFixture(t, nil)
	f.list.Close()
	return f.list
}
