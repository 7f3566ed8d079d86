package endpoint

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestRelayFindsATokenInTheQueryInEverySpelling(t *testing.T) {
	for query, want := range map[string]bool{
		"":                        false,
		"a=b":                     false,
		"token":                   true,
		"token=":                  true,
		"token=T":                 true,
		"a=b&token=T":             true,
		"&&token=T":               true,
		"a=b;token=T":             true,
		"%74oken=T":               true,
		"tok%65n=T":               true,
		"tok%65%6e":               true,
		"a=token":                 false,
		"Token=T":                 false,
		"token_type_hint=T":       false,
		"access_token=T":          false,
		"token%=T":                false,
		"a=%zz&token=%zz":         true,
		"a=b&callback=f&token=%0": true,
	} {
		if got := queryHasToken(query); got != want {
			t.Errorf("%q: %t, want %t", query, got, want)
		}
	}
}

func FuzzRelayQuery(f *testing.F) {
	for _, seed := range []string{"", "token=T", "a=b&tok%65n=T", "a;token", "%", "a=b&&=", "token%00=T", "+token=T"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query)
		if _, has := values["token"]; has && !queryHasToken(query) {
			t.Errorf("net/url finds a token in %q", query)
		}
	})
}

func assertionOf(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(payload)) + ".c2ln"
}

func TestRelayReadsWhoTheClientClaimsToBe(t *testing.T) {
	for _, c := range []struct {
		name          string
		authorization []string
		body          string
		want          []string
	}{
		{"nobody", nil, "", nil},
		{"in the body", nil, "client_id=a", []string{"a"}},
		{"an empty client_id", nil, "client_id=", nil},
		{"basic", []string{basic("a", "s")}, "", []string{"a"}},
		{"basic of any case", []string{"bASIC" + strings.TrimPrefix(basic("a", "s"), "Basic")}, "", []string{"a"}},
		{"basic, read decoded and raw", []string{basic("a%20b", "s")}, "", []string{"a b", "a%20b"}},
		{"two readings, and the body says which", []string{basic("a%20b", "s")}, "client_id=a%2520b", []string{"a%20b"}},
		{"basic and body alike", []string{basic("a", "s")}, "client_id=a", []string{"a"}},
		{"basic and body differ", []string{basic("a", "s")}, "client_id=b", []string{}},
		{"what differs stays so", []string{basic("a", "s")}, "client_id=b&client_assertion=" + assertionOf(`{"iss":"b","sub":"b"}`), []string{}},
		{"two Authorization headers", []string{basic("a", "s"), basic("b", "s")}, "", nil},
		{"garbage as basic", []string{"Basic %%%"}, "client_id=a", nil},
		{"bearer", []string{"Bearer a:b"}, "client_id=a", []string{"a"}},
		{"an assertion", nil, "client_assertion=" + assertionOf(`{"iss":"a","sub":"a","aud":["x"],"exp":1}`), []string{"a"}},
		{"an assertion by somebody else", nil, "client_assertion=" + assertionOf(`{"iss":"a","sub":"b"}`), nil},
		{"an assertion of one name only", nil, "client_assertion=" + assertionOf(`{"sub":"b"}`), nil},
		{"an assertion with a number", nil, "client_assertion=" + assertionOf(`{"iss":1,"sub":1}`), nil},
		{"an assertion that names twice", nil, "client_assertion=" + assertionOf(`{"iss":"a","sub":"a","sub":"a"}`), nil},
		{"an assertion in two parts", nil, "client_assertion=a.b", nil},
		{"an assertion that is none", nil, "client_assertion=a.!.c", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parseForm([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			got := claimedClients(&http.Request{URL: new(url.URL), Header: http.Header{"Authorization": c.authorization}}, &p)
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func FuzzRelayAssertion(f *testing.F) {
	for _, seed := range []string{"", ".", "..", assertionOf(`{"iss":"a","sub":"a"}`), assertionOf(`{"iss":1}`), assertionOf("")} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, assertion string) { assertedClient(assertion) })
}

func TestRelayRecognizesUnsupportedTokenTypes(t *testing.T) {
	for body, want := range map[string]bool{
		`{"error":"unsupported_token_type"}`:                                   true,
		` {"error_description":"no","error":"unsupported_token_type","x":[1]}`: true,
		`{"error":"unsupported_\u0074oken_type"}`:                              true,
		`{"Error":"unsupported_token_type"}`:                                   false,
		`{"error":"invalid_request","error":"unsupported_token_type"}`:         false,
		`{"error":["unsupported_token_type"]}`:                                 false,
		`{"error":"invalid_request"}`:                                          false,
		`{"error":"unsupported_token_type"} x`:                                 false,
		`["unsupported_token_type"]`:                                           false,
		`unsupported_token_type`:                                               false,
		``:                                                                     false,
	} {
		if got := unsupportedToken([]byte(body)); got != want {
			t.Errorf("%s: %t, want %t", body, got, want)
		}
	}
}

func FuzzRelayUnsupportedToken(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"error":"unsupported_token_type"}`, `{"error":`, "\x1f\x8b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if unsupportedToken(body) && !strings.Contains(string(body), "error") && !strings.Contains(string(body), `\u`) {
			t.Errorf("found in %q", body)
		}
	})
}
