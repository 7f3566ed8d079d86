package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// jws makes an unsigned token: nothing here verifies.
func jws(header, payload string) string {
	return encode(header) + "." + encode(payload) + "." + encode("a signature of no meaning at all")
}

const (
	plainHeader  = `{"alg":"ES256","kid":"k1"}`
	plainPayload = `{"iss":"https://idp.example","sub":"alice","jti":"A","exp":4102444800,"iat":1700000000}`
)

func newReader(t testing.TB, match ...string) *Reader {
	t.Helper()
	r, err := NewReader(ReaderOptions{MatchClaims: match})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNewReaderRefusesRoles(t *testing.T) {
	for _, name := range []string{"", "iss", "jti", "token", "grant", "x5t#S256", "a b", "a+b", strings.Repeat("x", 129)} {
		if _, err := NewReader(ReaderOptions{MatchClaims: []string{name}}); !errors.Is(err, revocation.ErrInvalidSelector) {
			t.Errorf("NewReader(%q): error %v", name, err)
		}
	}
	if once, twice := newReader(t, "tenant_id"), newReader(t, "tenant_id", "tenant_id"); len(twice.paths) != len(once.paths) {
		t.Errorf("a claim named twice is kept %d times", 1+len(twice.paths)-len(once.paths))
	}
}

func TestJ8_FingerprintOfSpellings(t *testing.T) {
	r := newReader(t)
	h, p, s := encode(plainHeader), encode(`{"jti":"A","n":"?>~"}`), strings.Repeat("A", 86)
	want := r.ReadFacts(h + "." + p + "." + s)
	if want.Malformed != nil {
		t.Fatal(want.Malformed)
	}
	if !strings.ContainsAny(p, "-_") {
		t.Fatalf("%s doesn't tell the alphabets apart", p)
	}
	std := strings.NewReplacer("-", "+", "_", "/").Replace(p)
	for _, c := range []struct {
		spelling  string
		malformed error
	}{
		{h + "." + p + "." + strings.Repeat("B", 86), MalformedEncoding}, // trailing bits
		{h + "." + p + "." + strings.Repeat("w", 86), nil},               // an ECDSA twin: another signature
		{h + "." + p + ".", nil},
		{h + "." + p + "." + s + "==", MalformedEncoding},
		{h + "==." + p + "==." + s, MalformedEncoding},
		{h + "." + std + "." + s, MalformedEncoding},
		{h + "." + p[:5] + " \t\r\n" + p[5:] + "." + s, MalformedEncoding},
		{h + "." + p[:5] + "\n" + p[5:] + "." + s, MalformedEncoding},
		{h + "\n." + p + "." + s, MalformedEncoding},
		{"\n\n\n\n" + h + "." + p + "." + s, MalformedEncoding},
		{`"` + h + "." + p + "." + s + `"`, MalformedEncoding},
		{h[:3] + "\u00a0" + h[3:] + "." + p + "." + s, MalformedEncoding},
		{h + "." + p + "." + s + ";trailing.dots.too", MalformedEncoding},
		{h + "." + p + "." + s + ".." + ".", MalformedSegments},
		{h + "." + p + "." + s + "." + s + "." + s, MalformedSegments},
		{h + "." + p, MalformedSegments},
	} {
		got := r.ReadFacts(c.spelling)
		if got.Fingerprint != want.Fingerprint {
			t.Errorf("%q has another fingerprint", c.spelling)
		}
		if got.Malformed != c.malformed {
			t.Errorf("%q: malformed %v, want %v", c.spelling, got.Malformed, c.malformed)
		}
		if !reflect.DeepEqual(got.Claims, want.Claims) {
			t.Errorf("%q: claims %v, want %v", c.spelling, got.Claims, want.Claims)
		}
	}
}

// Libraries overlook what is in the place of the encrypted key where there is none.
func TestJ8_EncryptedKey(t *testing.T) {
	r := newReader(t)
	const rest = ".aXYx.Y2lwaGVy.dGFn"
	for alg, malformed := range map[string]error{"dir": MalformedSegments, "ECDH-ES": MalformedSegments, "A256KW": nil} {
		header := encode(`{"alg":"` + alg + `","enc":"A256GCM"}`)
		want := r.ReadFacts(header + "." + rest)
		for key, malformed := range map[string]error{"": nil, "AAAA": malformed, "AAAB": malformed, "!": MalformedEncoding, "AAAA=": MalformedEncoding} {
			if f := r.ReadFacts(header + "." + key + rest); f.Fingerprint != want.Fingerprint || f.Malformed != malformed {
				t.Errorf("%s with the key %q: another fingerprint, or malformed %v", alg, key, f.Malformed)
			}
		}
	}
}

// jwx verifies the header as parsed, and doesn't mind what is around it.
func TestJ8_AroundTheHeader(t *testing.T) {
	r := newReader(t)
	want := r.ReadFacts(jws(plainHeader, plainPayload)).Fingerprint
	for header, malformed := range map[string]error{
		" " + plainHeader: nil, plainHeader + "\r\n": nil, "\t\n " + plainHeader + " ": nil,
		plainHeader + "x": MalformedHeader, plainHeader + "}": MalformedHeader, plainHeader + plainHeader: MalformedHeader,
		"\ufeff" + plainHeader: MalformedHeader, "\ufeff " + plainHeader + " x": MalformedHeader,
	} {
		if f := r.ReadFacts(jws(header, plainPayload)); f.Fingerprint != want || f.Malformed != malformed {
			t.Errorf("%q: another fingerprint, or malformed %v", header, f.Malformed)
		}
	}
	for _, payload := range []string{" " + plainPayload, plainPayload + "\n"} {
		if r.ReadFacts(jws(plainHeader, payload)).Fingerprint == want {
			t.Errorf("%q is taken for another payload", payload)
		}
	}
}

func TestJ8_TrailingBits(t *testing.T) {
	r := newReader(t)
	for _, payload := range []string{`{"jti":"A"}`, `{"jti":"AB"}`, `{"jti":"ABC"}`} {
		good := jws(plainHeader, payload)
		want := r.ReadFacts(good)
		if want.Malformed != nil {
			t.Fatal(want.Malformed)
		}
		end := strings.LastIndexByte(good, '.')
		free := map[int]byte{0: 1, 2: 16, 3: 4}[len(encode(payload))%4]
		last := sextets[good[end-1]]
		for bits := byte(1); bits < free; bits++ {
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			got := r.ReadFacts(good[:end-1] + string(alphabet[last|bits]) + good[end:])
			if got.Fingerprint != want.Fingerprint || got.Malformed != MalformedEncoding {
				t.Errorf("%s with trailing bits %b: malformed %v", payload, bits, got.Malformed)
			}
		}
	}
}

func TestDifferentTokensDiffer(t *testing.T) {
	r := newReader(t)
	jwe := encode(`{"alg":"dir","enc":"A256GCM"}`)
	seen := map[revocation.Fingerprint]string{}
	for _, token := range []string{
		"", "A", "a", "A.", ".A", "opaque", "opaque ", "A.B", "A.b", "a/b", "a_b", "a-b", "a+b",
		jws(plainHeader, `{"jti":"A"}`), jws(plainHeader, `{"jti":"B"}`), jws(plainHeader, `{"jti":"A"} `),
		jws(`{"alg":"ES256"}`, `{"jti":"A"}`), encode(plainHeader), encode(plainHeader) + "..",
		jwe + ".a2V5.aXY.Y2lwaGVy.dGFn", jwe + ".a2V5.aXY.Y2lwaGVy.dGFo", jwe + ".a2V5.aXg.Y2lwaGVy.dGFn",
		jwe + ".a2V5.aXY.Y2lwaGVz.dGFn", jwe + ".a2V5.aXY.Y2lwaGVy",
		"ory_at_" + strings.Repeat("A", 43) + "." + strings.Repeat("s", 43),
		"ory_at_" + strings.Repeat("B", 43) + "x." + strings.Repeat("s", 43),
		"ory_at_" + strings.Repeat("A", 43) + "." + strings.Repeat("t", 43),
	} {
		f := r.ReadFacts(token).Fingerprint
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q are taken for one token", token, other)
		}
		seen[f] = token
	}
}

func TestHMACTokenSpellings(t *testing.T) {
	r := newReader(t)
	key, signature := strings.Repeat("A", 43), strings.Repeat("s", 42)+"A"
	want := r.ReadFacts("ory_at_" + key + "." + signature)
	for _, spelling := range []string{
		"ory_at_" + key[:42] + "B." + signature, "ory_at_" + key[:42] + "C." + signature, "ory_at_" + key[:42] + "D." + signature,
		key + "." + signature, key[:42] + "D." + signature, "ory_at_" + key[:9] + "\r\n" + key[9:] + "." + signature,
	} {
		if got := r.ReadFacts(spelling); got.Fingerprint != want.Fingerprint || got.Malformed != nil {
			t.Errorf("%q is not taken for the token, or malformed: %v", spelling, got.Malformed)
		}
	}
	// Fosite looks the signature up as spelled: another spelling is no token.
	if r.ReadFacts("ory_at_"+key+"."+signature[:42]+"B").Fingerprint == want.Fingerprint {
		t.Error("another signature is taken for the token")
	}
}

func TestOpaqueIsNeverMalformed(t *testing.T) {
	r := newReader(t)
	for _, token := range []string{"", "x", "a.b.c", "a.b.c.d.e", "...", "\xff\xfe", encode(plainHeader), encode(`[1]`) + ".a.b", encode(`{"alg":`) + ".a.b"} {
		f := r.ReadFacts(token)
		if f.Malformed != nil || f.Claims != nil || f.Issuers != nil {
			t.Errorf("%q: %+v", token, f)
		}
	}
}

func TestJ8_Gate(t *testing.T) {
	r := newReader(t)
	jwe := func(header string) string { return encode(header) + "..aXY.Y2lwaGVy.dGFn" }
	jweWithKey := func(alg string) string {
		return encode(`{"alg":"`+alg+`","enc":"A256GCM"}`) + ".a2V5.aXY.Y2lwaGVy.dGFn"
	}
	deep := strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000)
	for _, c := range []struct {
		token string
		want  error
	}{
		{jws(plainHeader, plainPayload), nil},
		{jws(` {"alg":"none"} `, " {}\n"), nil},
		{jws(plainHeader, deep), nil},
		{jws(`{"alg":"none","alg":"ES256"}`, plainPayload), MalformedHeader},
		{jws(`{"alg":"ES256","jwk":{"x":1,"x":2}}`, plainPayload), MalformedHeader},
		{jws(plainHeader+"x", plainPayload), MalformedHeader},
		{jws("\ufeff"+plainHeader, plainPayload), MalformedHeader},
		{jws(`{"alg":"`+"\xff"+`"}`, plainPayload), MalformedHeader},
		{jws(`{"alg":"ES256","crit":["foo"]}`, plainPayload), MalformedCritical},
		{jws(`{"alg":"ES256","crit":null}`, plainPayload), MalformedCritical},
		{jws(`{"alg":"ES256","zip":"DEF"}`, plainPayload), MalformedCompressed},
		{jws(plainHeader, `{"jti":"A","jti":"B"}`), MalformedPayload},
		{jws(plainHeader, `{"jti":"A","\u006ati":"B"}`), MalformedPayload},
		{jws(plainHeader, `{"a":[{"b":1,"b":2}]}`), MalformedPayload},
		{jws(plainHeader, `{"jti":"A"}x`), MalformedPayload},
		{jws(plainHeader, `{"jti":"A"}{}`), MalformedPayload},
		{jws(plainHeader, "\ufeff"+`{"jti":"A"}`), MalformedPayload},
		{jws(plainHeader, `{"jti":"\ud800"}`), MalformedPayload},
		{jws(plainHeader, `{"jti":"A`), MalformedPayload},
		{jws(plainHeader, `[]`), MalformedPayload},
		{jws(plainHeader, ``), MalformedPayload},
		{jwe(`{"alg":"dir","enc":"A256GCM"}`), nil},
		{jweWithKey("A256KW"), nil}, {jweWithKey("ECDH-ES+A256KW"), nil}, {jweWithKey("RSA-OAEP"), nil},
		{jweWithKey("dir"), MalformedSegments}, {jweWithKey("ECDH-ES"), MalformedSegments}, {jweWithKey(`dir`), MalformedSegments},
		{jwe(`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`), MalformedCompressed},
		{jwe(`{"alg":"dir","enc":"A256GCM"}`) + "=", MalformedEncoding},
		{jwe(`{"alg":"dir","enc":"A256GCM"}`) + ".dGFn", MalformedSegments},
		{jwe(`{"alg":"dir"}`), MalformedSegments},
	} {
		f := r.ReadFacts(c.token)
		if f.Malformed != c.want {
			t.Errorf("%s: malformed %v, want %v", c.token, f.Malformed, c.want)
		}
		if f.Malformed != nil && strings.Contains(f.Malformed.Error(), "ES256") {
			t.Errorf("the reason contains some of the token: %v", f.Malformed)
		}
	}
}

// pairs writes claims as role=value.
func pairs(claims []revocation.Claim) []string {
	var s []string
	for _, c := range claims {
		s = append(s, string(c.Role)+"="+c.Value)
	}
	return s
}

func TestJ11_Claims(t *testing.T) {
	r := newReader(t, "tenant_id", "org.team.id", "https://x.example/plan")
	for _, c := range []struct {
		name, payload string
		want          []string
	}{
		{"roles", `{"jti":"1","uti":"2","sid":"3","session_state":"4","sub":"5","oid":"6","uid":"7","client_id":"8","azp":"9","cid":"10","appid":"11","origin_jti":"12"}`,
			[]string{"jti=1", "jti=2", "sid=3", "sid=4", "sub=5", "sub=6", "sub=7",
				"client_id=8", "client_id=9", "client_id=10", "client_id=11", "grant=12"}},
		{"the same twice", `{"sid":"s","session_state":"s"}`, []string{"sid=s"}},
		{"bindings", `{"cnf":{"jkt":"J","x5t#S256":"X","kid":"no"}}`, []string{"jkt=J", "x5t#S256=X"}},
		{"bindings elsewhere", `{"jkt":"J","x":{"cnf":{"jkt":"J"}},"cnf":"c"}`, nil},
		{"case", `{"JTI":"B","Sub":"b"}`, nil},
		{"escaped name", `{"\u006at\u0069":"A"}`, []string{"jti=A"}},
		{"escaped value", `{"jti":"A\u0000\"\n"}`, []string{"jti=A\x00\"\n"}},
		{"kept as is", `{"jti":" A "}`, []string{"jti= A "}},
		{"other types", `{"jti":7,"sid":null,"sub":["a"],"client_id":{"a":"b"},"azp":true,"cid":""}`, nil},
		{"duplicates", `{"jti":"A","jti":"B","\u006ati":"C"}`, []string{"jti=A", "jti=C"}},
		{"duplicates of several names", `{"jti":"A","uti":"B","jti":"C","uti":"D","jti":"E","uti":"F"}`, []string{"jti=A", "jti=B", "jti=E", "jti=F"}},
		{"breaks off", `{"jti":"A","sub":"b`, []string{"jti=A"}},
		{"garbage", `{"jti":"A"} garbage`, []string{"jti=A"}},
		{"BOM", "\ufeff" + `{"jti":"A"}`, []string{"jti=A"}},
		{"lone surrogate", `{"jti":"A\ud800"}`, []string{"jti=A\ufffd"}},
		{"too long", `{"jti":"` + strings.Repeat("x", 1025) + `","sub":"a"}`, []string{"sub=a"}},
		{"just fits", `{"jti":"` + strings.Repeat("x", 1024) + `"}`, []string{"jti=" + strings.Repeat("x", 1024)}},
		{"named", `{"tenant_id":"t","org":{"team":{"id":"d"}},"https://x.example/plan":"p"}`,
			[]string{"tenant_id=t", "org.team.id=d", "https://x.example/plan=p"}},
		{"named with dots", `{"org.team.id":"1","org.team":{"id":"2"},"org":{"team.id":"3","team":{"x":{},"id":"4"}}}`,
			[]string{"org.team.id=1", "org.team.id=2", "org.team.id=3", "org.team.id=4"}},
		{"named but nested", `{"org":{"tenant_id":"t","id":"x","team":[{"id":"y"}]}}`, nil},
	} {
		f := r.ReadFacts(jws(`{"alg":"ES256"}`, c.payload))
		if got := pairs(f.Claims); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestIssuersAndKeyIDs(t *testing.T) {
	r := newReader(t)
	for _, c := range []struct {
		token   string
		issuers []string
		claims  []string
	}{
		{jws(plainHeader, `{"iss":"i"}`), []string{"i"}, []string{"kid=k1"}},
		{jws(plainHeader, `{"iss":["i"],"kid":"payload"}`), nil, []string{"kid=k1"}},
		{jws(`{"kid":"a","kid":"b","kid":7}`, `{"iss":"i","iss":"x","iss":"j"}`), []string{"i", "j"}, []string{"kid=a", "kid=b"}},
		{jws(`{"iss":"header"}`, `{"iss":"payload"}`), []string{"payload"}, nil},
		{encode(`{"enc":"A","kid":"k","iss":"i","sub":"s"}`) + "....", []string{"i"}, []string{"sub=s", "kid=k"}},
		{jws(`{"iss":"`+strings.Repeat("i", 1025)+`"}`, ``), nil, nil},
	} {
		f := r.ReadFacts(c.token)
		if !reflect.DeepEqual(f.Issuers, c.issuers) || !slices.Equal(pairs(f.Claims), c.claims) {
			t.Errorf("%s: %v %v, want %v %v", c.token, f.Issuers, f.Claims, c.issuers, c.claims)
		}
	}
}

func TestJ12ToJ14_Times(t *testing.T) {
	r := newReader(t)
	type times struct {
		iat, auth int64
		exp       revocation.Expiry
	}
	exp := func(unix int64, trusted bool) times {
		return times{exp: revocation.Expiry{Unix: unix, Trusted: trusted}}
	}
	for payload, want := range map[string]times{
		`{}`:                                    {},
		`{"iat":1700000000,"auth_time":16e8}`:   {iat: 1700000000, auth: 1600000000},
		`{"iat":1700000000.9}`:                  {iat: 1700000000},
		`{"iat":-1.5}`:                          {iat: -2},
		`{"iat":"1700000000"}`:                  {},
		`{"iat":1e300}`:                         {},
		`{"iat":null}`:                          {},
		`{"iat":20,"iat":10,"iat":30}`:          {iat: 10},
		`{"iat":20,"iat":"10"}`:                 {},
		`{"iat":"10","iat":20}`:                 {},
		`{"exp":4102444800}`:                    exp(4102444800, true),
		`{"exp":4102444800.000001}`:             exp(4102444801, true),
		`{"exp":41024448e2}`:                    exp(4102444800, true),
		`{"exp":0.1}`:                           exp(1, true),
		`{"exp":9223372036854775807}`:           exp(math.MaxInt64, true),
		`{"exp":9223372036854775808}`:           exp(math.MaxInt64, true),
		`{"exp":1e300}`:                         exp(math.MaxInt64, true),
		`{"exp":1e400}`:                         exp(math.MaxInt64, true),
		`{"exp":0}`:                             exp(0, false),
		`{"exp":-5}`:                            exp(0, false),
		`{"exp":-1e400}`:                        exp(0, false),
		`{"exp":"4102444800"}`:                  exp(4102444800, false),
		`{"exp":"4102444800.5"}`:                exp(4102444801, false),
		`{"exp":"1.2.3"}`:                       exp(0, false),
		`{"exp":"-1"}`:                          exp(0, false),
		`{"exp":"tomorrow"}`:                    exp(0, false),
		`{"exp":null}`:                          exp(0, false),
		`{"exp":{"a":1}}`:                       exp(0, false),
		`{"exp":1,"exp":4102444800,"exp":2}`:    exp(4102444800, false),
		`{"exp":4102444800,"exp":"9999999999"}`: exp(9999999999, false),
		`{"exp":4102444800} garbage`:            exp(4102444800, true),
		`{"exp":4102444800,"x`:                  exp(4102444800, false),
	} {
		f := r.ReadFacts(jws(plainHeader, payload))
		if got := (times{f.IssuedAt, f.AuthTime, f.Expiry}); got != want {
			t.Errorf("%s: %+v, want %+v", payload, got, want)
		}
	}
	if f := r.ReadFacts(encode(`{"enc":"A","exp":4102444800,"iat":7}`) + "...."); f.Expiry != (revocation.Expiry{}) || f.IssuedAt != 7 {
		t.Errorf("a JWE's header: %+v %d", f.Expiry, f.IssuedAt)
	}
}

// The bench is used again: nothing of one token may show up in the next.
func TestReaderForgets(t *testing.T) {
	r := newReader(t, "tenant_id")
	tokens := []string{
		jws(`{"kid":"k","crit":[],"zip":1}`, `{"iss":"i","jti":"A","jti":"B","tenant_id":"t","exp":9,"iat":3,"auth_time":2,"x`),
		jws(plainHeader, plainPayload), "opaque", "opaque.with.dots",
		encode(`{"enc":"A","iss":"j"}`) + ".a.b.c.d",
		jws(`{}`, `{}`),
	}
	for _, first := range tokens {
		for _, second := range tokens {
			want := new(bench).readFacts(r, second)
			b := new(bench)
			kept := b.readFacts(r, first)
			before := fmt.Sprintf("%+v", kept)
			if got := b.readFacts(r, second); !reflect.DeepEqual(got, want) {
				t.Errorf("%q after %q: %+v, want %+v", second, first, got, want)
			}
			if after := fmt.Sprintf("%+v", kept); after != before {
				t.Errorf("the facts of %q changed from %s to %s", first, before, after)
			}
		}
	}
}
