package interop

// This file shows the promise that every spelling of a revoked token is
// rejected: it makes all spellings that are one edit away from a token, asks
// real libraries which of them they accept, and wants those to be recognised.

//lint:file-ignore SA1019 upstreams call what is deprecated, so it is what must be tested

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwe"
	"github.com/lestrrat-go/jwx/v3/jws"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// edits are the bytes that are put into a token: both alphabets, padding, white
// space, and the dot.
const edits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/= \t\r\n.\"\x00"

// few are those of which something can be hoped for in the middle of what is
// signed.
const few = "AQgw-_+/= \t\r\n."

// verifier is a library that accepts a token or doesn't.
type verifier struct {
	name   string
	accept func(token string) bool
}

// issuer makes tokens, and knows who accepts them.
type issuer struct {
	name      string
	sign      func(t *testing.T, claims map[string]any) string
	verifiers []verifier
}

func signer(method jwt.SigningMethod, private, public any, jwxAlg jwa.SignatureAlgorithm) issuer {
	alg := method.Alg()
	joseAlgs := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}
	key := func(*jwt.Token) (any, error) { return public, nil }
	lenient := jwt.NewParser(jwt.WithValidMethods([]string{alg}), jwt.WithPaddingAllowed())
	usual := jwt.NewParser(jwt.WithValidMethods([]string{alg}))
	return issuer{
		name: alg,
		sign: func(t *testing.T, claims map[string]any) string {
			t.Helper()
			tok := jwt.NewWithClaims(method, jwt.MapClaims(claims))
			tok.Header["kid"] = "key-1" // a header with bits to spare in its last character
			s, err := tok.SignedString(private)
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		verifiers: []verifier{
			{"golang-jwt", func(s string) bool { tok, err := usual.Parse(s, key); return err == nil && tok.Valid }},
			{"golang-jwt with padding", func(s string) bool { tok, err := lenient.Parse(s, key); return err == nil && tok.Valid }},
			{"go-jose", func(s string) bool {
				tok, err := josejwt.ParseSigned(s, joseAlgs)
				if err != nil {
					return false
				}
				var claims josejwt.Claims
				return tok.Claims(public, &claims) == nil
			}},
			{"go-jose jws", func(s string) bool {
				sig, err := jose.ParseSigned(s, joseAlgs)
				if err != nil {
					return false
				}
				_, err = sig.Verify(public)
				return err == nil
			}},
			{"jwx jwt", func(s string) bool {
				_, err := jwxjwt.Parse([]byte(s), jwxjwt.WithKey(jwxAlg, public))
				return err == nil
			}},
			{"jwx jws", func(s string) bool {
				_, err := jws.Verify([]byte(s), jws.WithKey(jwxAlg, public))
				return err == nil
			}},
		},
	}
}

func encrypter(t *testing.T) issuer {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return issuer{
		name: "A256GCM",
		sign: func(t *testing.T, claims map[string]any) string {
			t.Helper()
			e, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key}, nil)
			if err != nil {
				t.Fatal(err)
			}
			s, err := josejwt.Encrypted(e).Claims(claims).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		verifiers: []verifier{
			{"go-jose", func(s string) bool {
				tok, err := josejwt.ParseEncrypted(s, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
				if err != nil {
					return false
				}
				var claims josejwt.Claims
				return tok.Claims(key, &claims) == nil
			}},
			{"go-jose jwe", func(s string) bool {
				e, err := jose.ParseEncrypted(s, []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
				if err != nil {
					return false
				}
				_, err = e.Decrypt(key)
				return err == nil
			}},
			{"jwx jwe", func(s string) bool {
				_, err := jwe.Decrypt([]byte(s), jwe.WithKey(jwa.DIRECT(), key))
				return err == nil
			}},
		},
	}
}

func issuers(t *testing.T) []issuer {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	return []issuer{
		signer(jwt.SigningMethodES256, ec, ec.Public(), jwa.ES256()),
		signer(jwt.SigningMethodRS256, rs, rs.Public(), jwa.RS256()),
		signer(jwt.SigningMethodEdDSA, ed, crypto.PublicKey(edPublic), jwa.EdDSA()),
		signer(jwt.SigningMethodHS256, secret, secret, jwa.HS256()),
		encrypter(t),
	}
}

// claims makes claims whose encoding has 0 to 2 bits to spare, as pad says.
func claims(id string, issued time.Time, pad string) map[string]any {
	return map[string]any{"iss": "https://idp.example", "sub": "alice", "jti": id, "iat": issued.Unix(), "exp": issued.Add(time.Hour).Unix(), "pad": pad}
}

// spellings yields every string that is one edit away from a token. In the
// middle of a part it takes every seventh position and few edits only, but
// everything in the last four characters of each part and in the last part.
func spellings(tok string, yield func(string) bool) {
	all := func(i int) bool {
		return i >= strings.LastIndexByte(tok, '.') || strings.IndexByte(tok[i:min(i+5, len(tok))], '.') >= 0
	}
	for i := range len(tok) + 1 {
		alphabet := edits
		if i < len(tok) && !all(i) {
			alphabet = few
			if i%7 != 0 {
				continue
			}
		}
		for _, b := range []byte(alphabet) {
			if !yield(tok[:i] + string([]byte{b}) + tok[i:]) {
				return
			}
			if i < len(tok) && b != tok[i] && !yield(tok[:i]+string([]byte{b})+tok[i+1:]) {
				return
			}
		}
		if i < len(tok) && !yield(tok[:i]+tok[i+1:]) {
			return
		}
	}
	for _, s := range []string{tok + "==", tok + "\r\n", " " + tok, tok + ".", "." + tok, `"` + tok + `"`, tok + tok, tok + "." + tok, strings.ReplaceAll(tok, ".", "==."), strings.NewReplacer("-", "+", "_", "/").Replace(tok)} {
		if !yield(s) {
			return
		}
	}
}

// jsonSpellings yields the token with the JSON of its header or payload spelled
// differently: whoever verifies what he has parsed, not what he has received,
// accepts them.
func jsonSpellings(tok string, yield func(string) bool) {
	parts := strings.Split(tok, ".")
	for i := range min(2, len(parts)) {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || len(raw) == 0 || raw[0] != '{' {
			continue
		}
		object := string(raw)
		var names map[string]json.RawMessage
		if json.Unmarshal(raw, &names) != nil {
			continue
		}
		spelled := []string{" " + object, "\r\n\t" + object, object + " ", object + "\n", object + "x", object + object, object + "}", object + "\x00",
			"\ufeff" + object, "{ " + object[1:], strings.ReplaceAll(object, ":", ": "), strings.ReplaceAll(object, ",", " ,"), object[:len(object)-1] + ",}",
			object[:len(object)-1] + `,"x":null}`, object[:len(object)-1] + `,"crit":[]}`, "[" + object + "]", "/**/" + object, object + "//x"}
		for name, value := range names {
			member := `"` + name + `":` + string(value)
			spelled = append(spelled, "{"+member+","+object[1:], object[:len(object)-1]+","+member+"}",
				strings.Replace(object, `"`+name+`"`, `"\u00`+hex.EncodeToString([]byte(name[:1]))+name[1:]+`"`, 1),
				strings.Replace(object, `"`+name+`"`, `"`+strings.ToUpper(name)+`"`, 1))
			// The member at the end.
			if rest := strings.Replace(object, member+",", "", 1); rest != object {
				spelled = append(spelled, rest[:len(rest)-1]+","+member+"}")
			}
		}
		for _, s := range spelled {
			other := slices.Clone(parts)
			other[i] = base64.RawURLEncoding.EncodeToString([]byte(s))
			if !yield(strings.Join(other, ".")) {
				return
			}
		}
	}
}

// serializations yields the token in the JSON serializations of RFC 7515 §7.2
// and RFC 7516 §7.2.
func serializations(tok string, yield func(string) bool) {
	parts := strings.Split(tok, ".")
	if len(parts) == 3 {
		for _, s := range []string{
			`{"payload":"%p","protected":"%h","signature":"%s"}`,
			` { "signature" : "%s" , "payload" : "%p", "protected" : "%h" } `,
			`{"\u0070ayload":"%p","signatures":[{"protected":"%h","signature":"%s"}]}`,
			`{"payload":"%p","signatures":[{"protected":"%h","signature":"%s","header":{"x":1}}]}`,
		} {
			if !yield(strings.NewReplacer("%h", parts[0], "%p", parts[1], "%s", parts[2]).Replace(s)) {
				return
			}
		}
		return
	}
	for _, s := range []string{
		`{"protected":"%0","iv":"%2","ciphertext":"%3","tag":"%4"}`,
		`{"protected":"%0","encrypted_key":"%1","iv":"%2","ciphertext":"%3","tag":"%4"}`,
		`{"protected":"%0","recipients":[{}],"iv":"%2","ciphertext":"%3","tag":"%4"}`,
		`{"protected":"%0","recipients":[{"encrypted_key":"%1"}],"iv":"%2","ciphertext":"%3","tag":"%4"}`,
	} {
		if !yield(strings.NewReplacer("%0", parts[0], "%1", parts[1], "%2", parts[2], "%3", parts[3], "%4", parts[4]).Replace(s)) {
			return
		}
	}
}

// twin returns the token with the other ECDSA signature that is valid for it.
func twin(t *testing.T, tok string) string {
	t.Helper()
	at := strings.LastIndexByte(tok, '.') + 1
	signature, err := base64.RawURLEncoding.DecodeString(tok[at:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return tok[:at] + base64.RawURLEncoding.EncodeToString(signature)
}

func TestEverySpellingIsRecognised(t *testing.T) {
	reader, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	finder, err := token.NewFinder(token.FinderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, is := range issuers(t) {
		t.Run(is.name, func(t *testing.T) {
			t.Parallel()
			pads := []string{"", "p", "pp"}
			if is.name == "RS256" || testing.Short() {
				pads = pads[1:2]
			}
			for _, pad := range pads {
				revoked := is.sign(t, claims("A", now, pad))
				want := reader.ReadFacts(revoked)
				if want.Malformed != nil {
					t.Fatalf("a token of the issuer is malformed: %v", want.Malformed)
				}
				for _, other := range []string{is.sign(t, claims("B", now, pad)), is.sign(t, claims("A", now.Add(time.Second), pad))} {
					facts := reader.ReadFacts(other)
					if facts.Fingerprint == want.Fingerprint || facts.Malformed != nil {
						t.Errorf("another token is taken for the revoked one, or malformed: %v", facts.Malformed)
					}
				}
				accepted := map[string]int{}
				tried := 0
				check := func(spelling string) bool {
					tried++
					known := reader.ReadFacts(spelling).Fingerprint == want.Fingerprint
					checked := false
					for _, v := range is.verifiers {
						if !v.accept(spelling) {
							continue
						}
						accepted[v.name]++
						if !known {
							t.Errorf("%s accepts a spelling that isn't recognised:\n%q of\n%q", v.name, spelling, revoked)
						}
						if !checked {
							checked = true
							checkFound(t, finder, reader, spelling, want.Fingerprint.String())
						}
					}
					return true
				}
				check(revoked)
				for name, n := range accepted {
					if n != 1 {
						t.Errorf("%s doesn't accept the token itself", name)
					}
				}
				if len(accepted) != len(is.verifiers) {
					t.Fatalf("the token itself is accepted by %v only", accepted)
				}
				if is.name == "ES256" {
					check(twin(t, revoked))
					if accepted["golang-jwt"] != 2 {
						t.Error("golang-jwt doesn't accept the twin: the test is worth nothing")
					}
				}
				spellings(revoked, check)
				jsonSpellings(revoked, check)
				before := maps.Clone(accepted)
				serializations(revoked, check)
				t.Logf("in JSON accepted by %v, before by %v", accepted, before)
				t.Logf("of %d spellings, accepted by %v", tried, accepted)
			}
		})
	}
}

// checkFound wants the spelling to be found where it can stand in a request.
func checkFound(t *testing.T, finder *token.Finder, reader *token.Reader, spelling, fingerprint string) {
	t.Helper()
	requests := []*http.Request{{URL: &url.URL{RawQuery: "access_token=" + url.QueryEscape(spelling)}}}
	if !strings.ContainsAny(spelling, "\r\n\x00") {
		requests = append(requests, &http.Request{Header: http.Header{"Authorization": {"Bearer " + spelling}}})
	}
	for _, r := range requests {
		found, err := finder.Find(nil, r, nil)
		ok := false
		for _, c := range found {
			ok = ok || reader.ReadFacts(c.Token).Fingerprint.String() == fingerprint
		}
		if err != nil || !ok {
			t.Errorf("%q is not found in a request: %d candidates, %v", spelling, len(found), err)
		}
	}
}
