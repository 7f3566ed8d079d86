package issuer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// member returns a key's JWK with some members replaced; nil deletes.
func (s *signer) member(t testing.TB, change map[string]any) string {
	t.Helper()
	b, err := s.jwk().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(b, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	b, err = json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func number(bits uint, low int64) string {
	n := new(big.Int).Lsh(big.NewInt(1), bits-1)
	return base64.RawURLEncoding.EncodeToString(n.Add(n, big.NewInt(low)).Bytes())
}

func set(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func TestKeysThatCannotBeUsedAreLeftOut(t *testing.T) {
	rs, es, ed := newSigner(t, "RS256", "r"), newSigner(t, "ES256", "e"), newSigner(t, "EdDSA", "o")
	good := es.as("ES256", "good").member(t, nil)
	for name, raw := range map[string]string{
		"not an object":        `7`,
		"null":                 `null`,
		"nothing":              `{}`,
		"an unknown type":      `{"kty":"AKP","kid":"k"}`,
		"symmetric":            newSigner(t, "HS256", "s").member(t, nil),
		"for encryption":       rs.member(t, map[string]any{"use": "enc"}),
		"alg for encryption":   rs.member(t, map[string]any{"alg": "RSA-OAEP-256"}),
		"alg of HMAC":          rs.member(t, map[string]any{"alg": "HS256"}),
		"alg none":             rs.member(t, map[string]any{"alg": "none"}),
		"alg of another curve": es.member(t, map[string]any{"alg": "ES384"}),
		"key_ops":              es.member(t, map[string]any{"key_ops": []string{"sign"}}),
		"no key_ops":           es.member(t, map[string]any{"key_ops": []string{}}),
		"kid is a number":      es.member(t, map[string]any{"kid": 1}),
		"RSA, short":           rs.member(t, map[string]any{"n": number(2047, 1)}),
		"RSA, long":            rs.member(t, map[string]any{"n": number(8193, 1)}),
		"RSA, huge":            rs.member(t, map[string]any{"n": number(1<<20, 1)}),
		"RSA, even":            rs.member(t, map[string]any{"n": number(2048, 2)}),
		"RSA, e is 1":          rs.member(t, map[string]any{"e": "AQ"}),
		"RSA, e is even":       rs.member(t, map[string]any{"e": "Ag"}),
		"RSA, e is long":       rs.member(t, map[string]any{"e": number(32, 1)}),
		"RSA, e is huge":       rs.member(t, map[string]any{"e": number(65, 3)}),
		"RSA, no n":            rs.member(t, map[string]any{"n": nil}),
		"RSA, no base64":       rs.member(t, map[string]any{"n": "+/+/"}),
		"EC, unknown curve":    es.member(t, map[string]any{"crv": "secp256k1"}),
		"EC, not on the curve": es.member(t, map[string]any{"y": number(256, 0)}),
		"EC, short":            es.member(t, map[string]any{"x": "AQ"}),
		"EC, no y":             es.member(t, map[string]any{"y": nil}),
		"Ed, short":            ed.member(t, map[string]any{"x": "AQ"}),
		"Ed, long":             ed.member(t, map[string]any{"x": number(264, 0)}),
		"X25519":               ed.member(t, map[string]any{"crv": "X25519"}),
		"Ed448":                ed.member(t, map[string]any{"crv": "Ed448"}),
	} {
		keys, remarks, err := parseJWKS(set(raw, good))
		if err != nil || len(keys) != 1 || keys[0].id != "good" {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
		if len(remarks) != 1 || remarks[0].at != 0 || remarks[0].err == nil {
			t.Errorf("%s: remarks %v", name, remarks)
		}
		if _, _, err := parseJWKS(set(raw)); err == nil {
			t.Errorf("%s: a set with nothing else is accepted", name)
		}
	}
}

func TestKeysVerifyWhatTheirTypeAllows(t *testing.T) {
	rs := newSigner(t, "RS256", "")
	for name, test := range map[string]struct {
		raw  string
		want []string
	}{
		"RSA":            {rs.member(t, map[string]any{"alg": nil, "use": nil}), rsaAlgorithms},
		"RSA with alg":   {rs.member(t, map[string]any{"alg": "PS384"}), []string{"PS384"}},
		"P-256":          {newSigner(t, "ES256", "").member(t, map[string]any{"alg": nil}), []string{"ES256"}},
		"P-384":          {newSigner(t, "ES384", "").member(t, nil), []string{"ES384"}},
		"P-521":          {newSigner(t, "ES512", "").member(t, map[string]any{"alg": nil}), []string{"ES512"}},
		"Ed25519":        {newSigner(t, "EdDSA", "").member(t, map[string]any{"key_ops": []string{"verify"}}), edAlgorithms},
		"odd x5c, x5t":   {rs.member(t, map[string]any{"x5c": []string{"garbage"}, "x5t": "!", "x5u": "http://evil.example"}), []string{"RS256"}},
		"unknown member": {rs.member(t, map[string]any{"ext": true, "oct": []int{1}}), []string{"RS256"}},
	} {
		keys, remarks, err := parseJWKS(set(test.raw))
		if err != nil || len(remarks) > 0 || !slices.Equal(keys[0].algorithms, test.want) {
			t.Errorf("%s: %v, %v, %v", name, keys, remarks, err)
		}
	}
}

func TestOfAPrivateKeyOnlyThePublicPartIsUsed(t *testing.T) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		s := newSigner(t, alg, "leaked")
		raw, err := jose.JSONWebKey{Key: s.private, KeyID: s.kid}.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		keys, remarks, err := parseJWKS(set(string(raw)))
		if err != nil || len(remarks) != 1 || !remarks[0].private || remarks[0].kid != "leaked" {
			t.Fatalf("%s: %v, %v", alg, remarks, err)
		}
		switch keys[0].verifier.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			t.Errorf("%s: kept a %T", alg, keys[0].verifier)
		}
	}
}

func TestWhatIsNoKeySetIsRefused(t *testing.T) {
	good := newSigner(t, "ES256", "e").member(t, nil)
	for name, document := range map[string]string{
		"nothing":        ``,
		"HTML":           `<html>`,
		"null":           `null`,
		"an array":       `[` + good + `]`,
		"one key":        good,
		"no keys":        `{"keys":[]}`,
		"keys of null":   `{"keys":null}`,
		"keys as object": `{"keys":{"a":` + good + `}}`,
		"keys twice":     `{"keys":[],"keys":[` + good + `]}`,
		"a member twice": `{"keys":[{"kid":"a",` + good[1:] + `]}`,
		"Keys":           `{"Keys":[` + good + `]}`,
		"cut":            `{"keys":[` + good,
		"two documents":  `{"keys":[` + good + `]}{}`,
		"too many":       string(set(slices.Repeat([]string{good}, maxKeys+1)...)),
	} {
		if keys, _, err := parseJWKS([]byte(document)); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
	if keys, _, err := parseJWKS(set(slices.Repeat([]string{good}, maxKeys)...)); err != nil || len(keys) != maxKeys {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func FuzzJWKS(f *testing.F) {
	all := [][]byte{
		[]byte(`{}`), []byte(`{"keys":[{}]}`), []byte(`{"keys":[{"kty":"oct","k":"AA"}]}`), []byte("{\"keys\":[\"\xff\"]}"),
		[]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`), []byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`),
	}
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "HS256"} {
		s := newSigner(f, alg, "k")
		all = append(all, jwksOf(s, s), set(s.member(f, map[string]any{"d": "AQ", "alg": nil, "key_ops": []string{"verify"}})))
	}
	for _, seed := range all {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, remarks, err := parseJWKS(document)
		if (err == nil) != (len(keys) > 0) || len(keys) > maxKeys || len(remarks) > maxKeys {
			t.Fatalf("%d keys, %d remarks, %v", len(keys), len(remarks), err)
		}
		var reference struct{ Keys []json.RawMessage }
		if err == nil && json.Unmarshal(document, &reference) != nil {
			t.Fatal("accepted what encoding/json doesn't")
		}
		for _, k := range keys {
			if len(k.algorithms) == 0 || k.identity == "" {
				t.Errorf("a key without a use: %v", k)
			}
			for _, alg := range k.algorithms {
				if !slices.Contains(asymmetric, alg) {
					t.Errorf("a published key verifies %s", alg)
				}
			}
			// What is read can be published again, and is the same key then.
			b, err := jose.JSONWebKey{Key: k.verifier, KeyID: k.id}.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte(`"d"`)) {
				t.Error("a private key was kept")
			}
			again, _, err := parseJWKS([]byte(fmt.Sprintf(`{"keys":[%s]}`, b)))
			if err != nil || again[0].identity[:32] != k.identity[:32] {
				t.Errorf("%s: %v", b, err)
			}
		}
	})
}
