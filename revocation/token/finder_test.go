package token

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func newFinder(t testing.TB, sources ...Source) *Finder {
	t.Helper()
	f, err := NewFinder(FinderOptions{Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func authorization(t testing.TB) *Finder { return newFinder(t, Source{SourceHeader, "Authorization"}) }

func request(query string, header ...string) *http.Request {
	r := &http.Request{Method: "GET", URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// split returns the tokens and the probes that were found.
func split(candidates []Candidate) (tokens, probes []string) {
	for _, c := range candidates {
		if c.Probe {
			probes = append(probes, c.Token)
		} else {
			tokens = append(tokens, c.Token)
		}
	}
	return tokens, probes
}

// checkFound compares the tokens in order, and wants the probes to be among
// those that were found.
func checkFound(t *testing.T, what string, found []Candidate, tokens, probes []string) {
	t.Helper()
	gotTokens, gotProbes := split(found)
	if !slices.Equal(gotTokens, tokens) {
		t.Errorf("%s: tokens %q, want %q", what, gotTokens, tokens)
	}
	for _, p := range probes {
		if !slices.Contains(gotProbes, p) {
			t.Errorf("%s: %q is not among the probes %q", what, p, gotProbes)
		}
	}
}

func TestSources(t *testing.T) {
	for _, args := range [][]string{{"header", "X-Api-Token"}, {"query", "access_token"}, {"form", "t"}, {"cookie", "c"}, {"basic"}, {"websocket_protocol"}} {
		s, err := ParseSource(args)
		if err != nil || s.String() != strings.Join(args, " ") {
			t.Errorf("%q: %v, %v", args, s, err)
		}
	}
	for _, c := range []struct{ words, want string }{
		{"", "a token source is missing: one of header NAME"},
		{"body", `"body" is no kind of token source: it is one of header NAME, query NAME`},
		{"header", "needs a name"}, {"cookie", "needs a name"}, {"basic x", "takes no name"}, {"header a b", `followed by "b"`},
		{"header X:Y", "no header name"}, {"header cookie", "cookie access_token"}, {"cookie a=b", "no cookie name"},
	} {
		_, err := ParseSource(strings.Fields(c.words))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want %q", c.words, err, c.want)
		}
	}
	if _, err := NewFinder(FinderOptions{Sources: []Source{{Kind: "body"}}}); err == nil {
		t.Error("a finder with an unknown kind of source")
	}
}

func TestJ1ToJ4_Authorization(t *testing.T) {
	f := authorization(t)
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		value          string
		tokens, probes []string
	}{
		{"Bearer A", words("A"), nil},
		{"bearer A", words("A"), nil},
		{"BEARER \t A", words("A"), nil},
		{"Bearer\tA", words("A"), nil},
		{"Bearer\x0b\x0cA", words("A"), nil},
		{"DPoP A", words("A"), nil},
		{"dpop  A", words("A"), nil},
		{"Bearer A, Bearer B", words("A", "B"), nil},
		{"Bearer A,Bearer B", words("A", "B"), nil},
		{"Bearer A,B", words("A", "B"), nil},
		{"Bearer A Bearer B", words("A", "B"), nil},
		{"Bearer A DPoP B", words("A", "B"), nil},
		{"Basic dTpw, Bearer A", words("A"), nil},
		{"Basic dTpw,bearer A", words("A"), nil},
		{`Digest username="u", realm="r", DPoP A`, words("A"), nil},
		{"Bearer Bearer A", words("A"), nil},
		{"Token A", words("A"), words("Token")},
		{"JWT A", words("A"), nil},
		{"Whatever A", words("A"), nil},
		{"A", words("A"), nil},
		{"Bearer abc,def", words("abc", "def"), words("abc,def")},
		{"Bearer a, b , Bearer c", words("a", "b", "c"), words("a, b , Bearer c")},
		{"Whatever abc,def", words("abc", "def"), words("abc,def")},
		{"abc,def", words("abc", "def"), words("abc,def")},
		{"Bearer A\u00a0B!", words("A\u00a0B!"), words("A", "B!")},
		{"Token token=A, x=y", words("token=A"), words("A", "y")},
		{`Token token="A", x=y`, words(`token="A"`), words("A")},
		{`Bearer token="A"`, words(`token="A"`), words("A")},
		{`Bearer access_token=A==`, words(`access_token=A==`), words("A==")},
		{`Bearer "A"`, words(`"A"`), words("A")},
		{`Bearer 'A'`, words(`'A'`), words("A")},
		{"BearerTOKEN", words("BearerTOKEN"), words("TOKEN")},
		{"Bearer:TOKEN", words("Bearer:TOKEN"), words("TOKEN")},
		{"Bearer: TOKEN", words("TOKEN"), nil},
		{"Bearer=TOKEN", words("Bearer=TOKEN"), words("TOKEN")},
		{"Bearer\xa0TOKEN", words("Bearer\xa0TOKEN"), words("TOKEN")},
		{"Bearer\u00a0TOKEN", words("Bearer\u00a0TOKEN"), words("TOKEN")},
		{"DPoP\xa0TOKEN", words("DPoP\xa0TOKEN"), words("TOKEN")},
		{"Bearer TOKEN\xa0", words("TOKEN\xa0"), words("TOKEN")},
		{"Bearer TOKEN;x", words("TOKEN;x"), words("TOKEN")},
		{"Bearer +eyJx.eyJy.z", words("+eyJx.eyJy.z"), words("eyJx.eyJy.z")},
		{"Bearer ey J", words("ey J"), words("ey", "J", "eyJ")},
		{"eyBearerJ", words("eyBearerJ"), words("eyJ")},
		{"eyBearer J", words("J"), words("eyJ")},
		{"Bearer abBearercdbEaReref", words("abBearercdbEaReref"), words("abcdef", "cd", "ef", "ab", "abcdbEaReref", "cdbEaReref")},
		{"1234567TOKEN", words("1234567TOKEN"), words("TOKEN")},
		{"Bearer ory/+~.-_==", words("ory/+~.-_=="), nil},
		{"Basic dTpw", nil, nil},
		{"Digest username=\"u\", nonce=\"n\"", nil, nil},
		{"Negotiate YII=", nil, nil},
		{"NTLM TlRM", nil, nil},
		{`Hawk id="a", mac="b"`, nil, nil},
		{"AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=f", nil, nil},
		{"Basic eyJhIjoiYg.eyJj.d", nil, words("eyJhIjoiYg.eyJj.d")},
		{"Bearer", nil, nil},
		{"Bearer ", nil, nil},
		{"Bearer ,,", nil, nil},
		{"", nil, nil},
	} {
		found, err := f.Find(nil, request("", "Authorization", c.value), nil)
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
		}
		checkFound(t, fmt.Sprintf("%q", c.value), found, c.tokens, c.probes)
	}
}

// What most clients send must not cost more than one look-up.
func TestUsualTokensHaveNoProbes(t *testing.T) {
	f := newFinder(t)
	for _, token := range []string{"A", tokenOfSize(t, 840), "ory_at_a-b.c_d", "ghp_0123456789", "ya29.a0Af_-x", "abc+/x==", "2YotnFZFEjr1zCsicMWpAA"} {
		for _, r := range []*http.Request{
			request("", "Authorization", "Bearer "+token),
			request("access_token=" + url.QueryEscape(token)),
		} {
			found, err := f.Find(nil, r, nil)
			if err != nil || len(found) != 1 || found[0].Token != token || found[0].Probe {
				t.Errorf("%q: %+v, %v", token, found, err)
			}
		}
	}
}

func TestJ3_Schemes(t *testing.T) {
	f := newFinder(t)
	for value, want := range map[string]string{
		"bearer A": SchemeBearer, "BEARER  A": SchemeBearer, "dpop A": SchemeDPoP, "DPOP\tA": SchemeDPoP, "Token A": "Token", "A": "",
		"Basic x, dPOP A": SchemeDPoP,
	} {
		found, err := f.Find(nil, request("", "Authorization", value), nil)
		i := slices.IndexFunc(found, func(c Candidate) bool { return !c.Probe })
		if err != nil || i < 0 || found[i].Scheme != want || found[i].Source != (Source{SourceHeader, "Authorization"}) {
			t.Errorf("%q: %+v, %v", value, found, err)
		}
	}
}

func TestJ4AndJ7_HeaderLinesAndNames(t *testing.T) {
	f := newFinder(t, Source{SourceHeader, "x-api-token"}, Source{SourceHeader, "Authorization"})
	r := request("", "X-Api-Token", "A", "X_Api_Token", "B", "X-Api.token", "C", "Authorization", "Bearer D", "Authorization", "Bearer E", "X-Api-Tokens", "F")
	r.Header["x_api-TOKEN"] = []string{"G"}
	found, err := f.Find(nil, r, nil)
	tokens, _ := split(found)
	slices.Sort(tokens)
	if err != nil || !slices.Equal(tokens, []string{"A", "B", "C", "D", "E", "G"}) {
		t.Errorf("%q, %v", tokens, err)
	}
}

func TestJ5_Query(t *testing.T) {
	f := newFinder(t)
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		query          string
		tokens, probes []string
	}{
		{"access_token=A", words("A"), nil},
		{"a=b&access_token=A&access_token=B", words("A", "B"), nil},
		{"access_token=&access_token&x", nil, nil},
		{"Access_Token=A", words("A"), nil},
		{"acces%73_t%6Fken=A", words("A"), nil},
		{"access.token=A&access%20token=B&+access_token=C&access[token=D&access_token%00x=E", words("A", "B", "C", "D", "E"), nil},
		{"access_token[]=A&access_token[0]=B&access_token%5B%5D=C&access_token[1][2]=D", words("A", "B", "C", "D"), nil},
		{"access_token[x]=A&access_tokens=B&xaccess_token=C&access_toke=D&access_token[=E", nil, nil},
		{"?access_token=A", words("A"), nil},
		{"a=b;access_token=A", nil, words("A")},
		{"access_token=abc,def", words("abc,def"), nil},
		{"access_token=abc%2Cdef&access_token=a%20b&access_token=a%00b", words("abc,def", "a b", "a\x00b"), nil},
		{"access_token=A;b", words("A;b"), words("A")},
		{"amp=&amp;access_token=A", nil, words("A")},
		{"access_token=a%2Bb%2F", words("a+b/"), nil},
		{"access_token=a+b", words("a b"), words("a+b")},
		{"access_token=a%2Eb", words("a.b"), nil},
		{"access_token=Bearer+A&access_token=dpop%20B", words("A", "B"), nil},
		{"access_token=A#frag", words("A#frag"), words("A")},
		{"access_token=%20A%0A", words(" A\n"), words("A")},
		{"access_token=%22A%22", words(`"A"`), words("A")},
		{strings.Repeat("x=y&", 10_001) + "access_token=A", words("A"), nil},
		{"access_token=%20", nil, nil},
	} {
		found, err := f.Find(nil, request(c.query), nil)
		if err != nil {
			t.Errorf("%.60q: %v", c.query, err)
		}
		checkFound(t, fmt.Sprintf("%.60q", c.query), found, c.tokens, c.probes)
	}
	for query, probes := range map[string][]string{
		"access_token=%zzA&access_token=B": {"%zzA"},
		"access_token=%41%":                {"%41%", "A%"},
		"access_token=A%4":                 {"A%4"},
	} {
		found, err := f.Find(nil, request(query), nil)
		checkFindError(t, query, err, 400)
		checkFound(t, query, found, map[bool][]string{true: {"B"}}[strings.HasSuffix(query, "B")], probes)
	}
	if found, err := f.Find(nil, request("x=%zz&y%zz=1"), nil); err != nil || found != nil {
		t.Errorf("a pair that has no token: %v, %v", found, err)
	}
}

func checkFindError(t *testing.T, what string, err error, status int) {
	t.Helper()
	var e *FindError
	if !errors.As(err, &e) || e.Status != status || e.Reason == "" {
		t.Errorf("%s: error %v, want status %d", what, err, status)
	}
}

func TestJ7_Cookies(t *testing.T) {
	f := newFinder(t, Source{SourceCookie, "token"})
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		line           string
		tokens, probes []string
	}{
		{"token=A", words("A"), nil},
		{"a=b; token=A;token=B ; c=d", words("A", "B"), nil},
		{"  token =  A ", words("A"), nil},
		{`token="A"`, words("A"), nil},
		{`token="\145yJ"`, words(`\145yJ`), words("eyJ")},
		{`token="\e\y"`, words(`\e\y`), words("ey")},
		{"token=A%2EB", words("A%2EB"), words("A.B")},
		{"token=Bearer%20A", words("Bearer%20A"), words("A")},
		{`token="Bearer A"`, words("A"), nil},
		{"a=b,token=A", nil, words("A")},
		{"a=b token=A", nil, words("A")},
		{" a=b\ttoken = A  c=d", nil, words("A")},
		{"token=A b=c", words("A b=c"), words("A")},
		{`token=j:"\u0065yJ"`, words(`j:"\u0065yJ`), words("eyJ")},
		{`token="j:"\u0065yJ""`, words(`j:"\u0065yJ`), words("eyJ")},
		{"token=j%3A%22%5Cu0065yJ%22", words("j%3A%22%5Cu0065yJ%22"), words("eyJ")},
		{"token=s:A.B.sig", words("s:A.B.sig"), words("A.B")},
		{"token=s%3AA.B.s%2Fg", words("s%3AA.B.s%2Fg"), words("A.B")},
		{"token=s%3Aj%3A%22%5Cu0041%22.sig", words("s%3Aj%3A%22%5Cu0041%22.sig"), words("A")},
		{"token=j:7;token=s:", words("j:7", "s:"), nil},
		{"token=A,b=c", words("A,b=c"), words("A")},
		{"Token=A; tokens=B; token", nil, nil},
		{"token=a=b==", words("a=b=="), nil},
		{strings.Repeat("a=b;", 10_000) + "token=A", words("A"), nil},
		{"x=\"; token=A; \"", words("A"), nil},
	} {
		found, err := f.Find(nil, request("", "Cookie", c.line), nil)
		if err != nil {
			t.Errorf("%.60q: %v", c.line, err)
		}
		checkFound(t, fmt.Sprintf("%.60q", c.line), found, c.tokens, c.probes)
	}
	found, err := f.Find(nil, request("", "Cookie", "token=A", "Cookie", "token=B"), nil)
	if err != nil {
		t.Error(err)
	}
	checkFound(t, "two lines", found, []string{"A", "B"}, nil)
}

func TestJ7_Basic(t *testing.T) {
	f := newFinder(t, Source{Kind: SourceBasic})
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		value          string
		tokens, probes []string
	}{
		{"Basic " + encode("user:A"), words("A"), words("user")},
		{"basic  \t" + encode("user:A:B"), words("A:B"), words("user")},
		{"Basic " + encode("A:"), words("A"), nil},
		{"Basic " + encode("A"), words("A"), nil},
		{"Basic " + encode(":A"), words("A"), nil},
		{"Basic " + encode("A:x-oauth-basic"), words("A"), words("x-oauth-basic")},
		{"Basic " + encode("eyJx.y.z:p"), words("p", "eyJx.y.z"), nil},
		{"Basic " + encode("user:?>~") + "==", words("?>~"), nil},
		{"Basic " + strings.NewReplacer("-", "+", "_", "/").Replace(encode("user:?>~")) + "=", words("?>~"), nil},
		{"Bearer x, Basic " + encode("user:A"), words("A"), nil},
		{"Bearer x", nil, nil}, {"Basic", nil, nil}, {"Basic ,x", nil, nil}, {"Basic !", nil, nil},
	} {
		found, err := f.Find(nil, request("", "Authorization", c.value), nil)
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
		}
		checkFound(t, c.value, found, c.tokens, c.probes)
	}
}

func TestJ7_WebSocketProtocols(t *testing.T) {
	f := newFinder(t, Source{Kind: SourceWebSocket})
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		value          string
		tokens, probes []string
	}{
		{"bearer, A, graphql-ws", words("A"), words("graphql-ws")},
		{"chat,Access_Token,A", words("A"), words("chat")},
		{"eyJx.y.z", words("eyJx.y.z"), nil},
		{"chat, A", nil, words("chat", "A")},
		{"base64url.bearer.authorization.k8s.io." + encode("A.B"), words("A.B"), nil},
		{"access_token.A, bearer.B, authorization.bearer.C, TOKEN.D", words("A", "B", "C", "D"), nil},
		{"token", nil, nil}, {" , ,", nil, nil},
	} {
		found, err := f.Find(nil, request("", "Sec-WebSocket-Protocol", c.value), nil)
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
		}
		checkFound(t, c.value, found, c.tokens, c.probes)
	}
}

func TestJ22_Limits(t *testing.T) {
	f := newFinder(t, Source{SourceHeader, "Authorization"}, Source{SourceQuery, "access_token"}, Source{SourceCookie, "token"})
	longest := strings.Repeat("A", MaxTokenBytes)
	found, err := f.Find(nil, request("", "Authorization", "Bearer "+longest), nil)
	if err != nil || len(found) != 1 {
		t.Errorf("the longest token: %d candidates, %v", len(found), err)
	}
	found, err = f.Find(nil, request("access_token=B", "Authorization", "Bearer "+longest+"A"), nil)
	checkFindError(t, "a longer token", err, 400)
	checkFound(t, "a longer token", found, []string{"B"}, nil)

	var query strings.Builder
	for i := range MaxCandidates {
		fmt.Fprintf(&query, "access_token=t%d&", i)
	}
	if found, err = f.Find(nil, request(query.String()), nil); err != nil || len(found) != MaxCandidates {
		t.Errorf("%d candidates, %v", len(found), err)
	}
	dst := make([]Candidate, 3)
	found, err = f.Find(nil, request(query.String()+"access_token=x"), dst)
	checkFindError(t, "too many", err, 400)
	if len(found) != MaxCandidates+len(dst) {
		t.Errorf("%d candidates", len(found))
	}
}

// Nothing that fits in a header may cost more than the header is long, but for a
// small factor. The tests run out of time if it does.
func TestHostileHeaders(t *testing.T) {
	f := newFinder(t, Source{SourceHeader, "Authorization"}, Source{SourceQuery, "access_token"}, Source{SourceCookie, "token"},
		Source{Kind: SourceBasic}, Source{Kind: SourceWebSocket})
	for _, unit := range []string{"bearer", "Bearer ", "bEaReR,", "+e8", "~eyJ.", "a ", "a,", ",", ";", "=", `"`, "\xa0", "a=b ", "Basic ", "%41", "e8.", "token=%,", "token=a;", "access_token=+;", "access_token=a&", "Basic DPoP ,", "Basic a=", "token= "} {
		for _, size := range []int{MaxTokenBytes, 1 << 20} {
			v := strings.Repeat(unit, size/2/len(unit)) + strings.Repeat(",", size/2)
			if _, err := f.Find(nil, request(v, "Authorization", v, "Cookie", v, webSocketHeader, v), nil); err != nil {
				checkFindError(t, unit, err, 400)
			}
		}
	}
}
