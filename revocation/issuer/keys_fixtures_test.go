package issuer

// This file makes real keys and signs with them, for all tests of the package.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// signer is an issuer's key, or a client's.
type signer struct {
	alg, kid string
	private  any // []byte when alg is one of HMAC's
}

// newSigner makes a new key for an algorithm. An empty kid is in no header.
func newSigner(t testing.TB, alg, kid string) *signer {
	t.Helper()
	s := &signer{alg: alg, kid: kid}
	var err error
	switch alg {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		s.private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		s.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		s.private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		s.private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, s.private, err = ed25519.GenerateKey(rand.Reader)
	case "HS256", "HS384", "HS512":
		secret := make([]byte, 64)
		rand.Read(secret)
		s.private = secret
	default:
		t.Fatalf("no key can be made for %s", alg)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as returns a signer with the same key and another algorithm or kid.
func (s *signer) as(alg, kid string) *signer { return &signer{alg, kid, s.private} }

// sign makes a JWS in the compact serialization. An empty typ isn't in the header.
func (s *signer) sign(t testing.TB, claims map[string]any, typ string) string {
	t.Helper()
	header := map[jose.HeaderKey]any{}
	if typ != "" {
		header[jose.HeaderType] = typ
	}
	return s.signWith(t, claims, header)
}

// signWith is sign with any header.
func (s *signer) signWith(t testing.TB, claims map[string]any, header map[jose.HeaderKey]any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	all := map[jose.HeaderKey]any{}
	if s.kid != "" {
		all["kid"] = s.kid
	}
	maps.Copy(all, header)
	key := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.alg), Key: s.private}
	js, err := jose.NewSigner(key, &jose.SignerOptions{ExtraHeaders: all})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := js.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// public returns the public key, or the secret.
func (s *signer) public() any {
	if private, ok := s.private.(crypto.Signer); ok {
		return private.Public()
	}
	return s.private
}

// jwk returns the key as an issuer publishes it.
func (s *signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.public(), KeyID: s.kid, Algorithm: s.alg, Use: "sig"}
}

// jwksOf returns the key set with the signers' keys, as an issuer publishes it.
func jwksOf(signers ...*signer) []byte {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, s := range signers {
		set.Keys = append(set.Keys, s.jwk())
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err) // the keys are our own
	}
	return b
}
