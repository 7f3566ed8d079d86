package token

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// tokenOfSize makes a JWT of exactly size bytes with the claims of a usual
// access token.
func tokenOfSize(tb testing.TB, size int) string {
	const payload = `{"iss":"https://idp.example.com/realms/acme","sub":"8c9d1a6e-7a52-4b6f-9f0c-2f7c0d3c9b11","aud":["api","account"],` +
		`"exp":4102444800,"iat":1700000000,"auth_time":1699999000,"jti":"onrtac:0b6f0a3e-52d0-4a39-8f3c-3a2a6d0f8a11","typ":"Bearer",` +
		`"azp":"web-app","sid":"0e3b8c5d-7b55-4b2a-9d8e-90e52a3f5c21","scope":"openid email profile","email_verified":true,` +
		`"realm_access":{"roles":["offline_access","uma_authorization"]},"pad":"%s"}`
	header := encode(`{"alg":"RS256","typ":"JWT","kid":"FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}`)
	signature := strings.Repeat("s", 86)
	for pad := range size {
		for _, s := range []string{signature, signature[:85], signature[:84] + "A", signature[:83]} {
			if t := header + "." + encode(fmt.Sprintf(payload, strings.Repeat("p", pad))) + "." + s[:len(s)-1] + "A"; len(t) == size {
				return t
			}
		}
	}
	tb.Fatalf("no token has %d bytes", size)
	return ""
}

func BenchmarkReadFacts(b *testing.B) {
	for _, c := range []struct{ name, token string }{
		{"opaque40", strings.Repeat("o", 40)},
		{"jwt840", tokenOfSize(b, 840)},
		{"jwt1200", tokenOfSize(b, 1200)},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newReader(b)
			if f := r.ReadFacts(c.token); f.Malformed != nil {
				b.Fatal(f.Malformed)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.ReadFacts(c.token)
			}
		})
	}
}

func FuzzReadFacts(f *testing.F) {
	for _, s := range []string{
		"", "opaque", "a.b", jws(plainHeader, plainPayload), jws(plainHeader, `{"jti":"A","jti":"B"}`),
		encode(`{"alg":"dir","enc":"A256GCM"}`) + ".a2V5.aXY.Y2lwaGVy.dGFn", "ory_at_" + strings.Repeat("A", 43) + "." + strings.Repeat("s", 43),
		jws(plainHeader, "\ufeff{}"), jws(`{"crit":1}`, `{"exp":"1"}`), jws(plainHeader, plainPayload) + "==",
		`{"payload":"e30","protected":"e30","signature":""}`, `{"protected":"e30","recipients":[{"encrypted_key":""}],"ciphertext":"x"`,
	} {
		f.Add(s)
	}
	r, err := NewReader(ReaderOptions{MatchClaims: []string{"tenant_id", "a.b.c"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		facts := r.ReadFacts(token)
		if !reflect.DeepEqual(facts, r.ReadFacts(token)) {
			t.Fatal("two readings differ")
		}
		for _, c := range facts.Claims {
			if _, err := revocation.Select("i", c); err != nil && c.Role != revocation.RoleKeyBinding && c.Role != revocation.RoleCertBinding {
				t.Errorf("a claim that no selector can have: %v", err)
			}
		}
		if facts.Malformed == MalformedSerialization {
			return
		}
		parts := strings.Split(token, ".")
		header := string(appendLenient(nil, parts[0]))
		var h joseHeader
		new(jsonReader).readHeader([]byte(header), &h)
		if len(parts) == 1 || h.reading == unreadable {
			if facts.Malformed != nil {
				t.Errorf("an opaque token is malformed: %v", facts.Malformed)
			}
			return
		}
		canonical := make([]string, len(parts))
		decorated := make([]string, len(parts))
		for i, p := range parts {
			canonical[i] = encode(string(appendLenient(nil, p)))
			decorated[i] = " " + strings.NewReplacer("-", "+", "_", "/").Replace(p) + "\"\n=="
		}
		same := func(spelling []string, what string) {
			got := r.ReadFacts(strings.Join(spelling, "."))
			want := r.ReadFacts(token)
			got.Malformed, want.Malformed = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
		}
		same(canonical, "canonical spelling")
		same(decorated, "decorated spelling")
		if len(parts) == 3 {
			canonical[2] = "AAAA"
			same(canonical, "another signature")
		}
		if facts.Malformed == nil && strings.Join(parts, ".") != strings.Join(append(canonical[:2:2], parts[2:]...), ".") {
			t.Error("a spelling that isn't canonical passes")
		}
	})
}
