package issuer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// pem returns the public key as a file.
func (s *signer) pem(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func (s *signer) certificate(t testing.TB) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.public(), s.private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func mustKeys(t testing.TB, o KeysOptions) *Keys {
	t.Helper()
	k, err := NewKeys(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestStaticKeysVerify(t *testing.T) {
	rs, es, ed, hs := newSigner(t, "RS256", "r"), newSigner(t, "ES256", "e"), newSigner(t, "EdDSA", "o"), newSigner(t, "HS256", "h")
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(rs.public().(*rsa.PublicKey))})
	for name, test := range map[string]struct {
		static StaticKeys
		by     *signer
	}{
		"JWKS":               {StaticKeys{JWKS: [][]byte{jwksOf(rs, es)}}, es},
		"JWKS, no kid":       {StaticKeys{JWKS: [][]byte{jwksOf(rs, es)}}, es.as("ES256", "")},
		"the second JWKS":    {StaticKeys{JWKS: [][]byte{jwksOf(rs), jwksOf(ed)}}, ed},
		"PEM":                {StaticKeys{PEM: [][]byte{es.pem(t)}}, es},
		"PEM, no kid":        {StaticKeys{PEM: [][]byte{rs.pem(t)}}, rs.as("PS512", "")},
		"PEM with comments":  {StaticKeys{PEM: [][]byte{[]byte("# keys\n" + string(rs.pem(t)) + "and\n" + string(ed.pem(t)))}}, ed},
		"PEM of PKCS #1":     {StaticKeys{PEM: [][]byte{pkcs1}}, rs},
		"PEM, a certificate": {StaticKeys{PEM: [][]byte{es.certificate(t)}}, es},
		"a secret":           {StaticKeys{Secret: hs.private.([]byte)}, hs},
		"a secret, HS512":    {StaticKeys{Secret: hs.private.([]byte)}, hs.as("HS512", "")},
		"all":                {StaticKeys{JWKS: [][]byte{jwksOf(es)}, PEM: [][]byte{rs.pem(t)}, Secret: hs.private.([]byte)}, hs},
	} {
		keys := mustKeys(t, KeysOptions{Static: test.static})
		signed, err := keys.Verify(t.Context(), test.by.sign(t, map[string]any{"sub": "a"}, "at+jwt"))
		if err != nil || string(signed.Payload) != `{"sub":"a"}` || signed.Type != "at+jwt" || signed.Algorithm != test.by.alg ||
			signed.KeyID != test.by.kid || !signed.Holds() {
			t.Errorf("%s: %+v, %v", name, signed, err)
		}
		if err := keys.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
		if n, at, err := keys.Status(); n == 0 || !at.IsZero() || err != nil {
			t.Errorf("%s: %d keys from %v, %v", name, n, at, err)
		}
	}
}

func TestWhatStaticKeysDoNotVerify(t *testing.T) {
	es, hs := newSigner(t, "ES256", "e"), newSigner(t, "HS256", "")
	jwks := mustKeys(t, KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}}})
	secret := mustKeys(t, KeysOptions{Static: StaticKeys{Secret: hs.private.([]byte)[:32]}})
	for name, test := range map[string]struct {
		keys *Keys
		by   *signer
		want error
	}{
		"an unknown kid":       {jwks, newSigner(t, "ES256", "x"), revocation.ErrUnproven},
		"a stranger's key":     {jwks, newSigner(t, "ES256", "e"), revocation.ErrForged},
		"the same without kid": {jwks, newSigner(t, "ES256", ""), revocation.ErrForged},
		"another type of key":  {jwks, newSigner(t, "EdDSA", "e"), revocation.ErrUnproven},
		"another secret":       {secret, newSigner(t, "HS256", ""), revocation.ErrForged},
		"a hash that's longer": {secret, hs.as("HS384", ""), revocation.ErrUnproven},
		"a signature with a PEM": {mustKeys(t, KeysOptions{Static: StaticKeys{PEM: [][]byte{es.pem(t)}}}),
			&signer{"HS256", "e", es.pem(t)}, revocation.ErrUnproven},
	} {
		_, err := test.keys.Verify(t.Context(), test.by.sign(t, map[string]any{}, ""))
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStaticKeysThatWillNotDo(t *testing.T) {
	es, hs := newSigner(t, "ES256", "e"), newSigner(t, "HS256", "h")
	sec1, _ := x509.MarshalECPrivateKey(es.private.(*ecdsa.PrivateKey))
	private := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	small := (&signer{private: p224}).pem(t)
	for name, test := range map[string]struct {
		o    KeysOptions
		says string
	}{
		"none":                   {KeysOptions{}, "no keys"},
		"garbage for a JWKS":     {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es), []byte("x")}}}, "JWKS 2 of 2"},
		"a secret in a JWKS":     {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(hs)}}}, "symmetric"},
		"garbage for a PEM":      {KeysOptions{Static: StaticKeys{PEM: [][]byte{[]byte("x")}}}, "no PEM block"},
		"garbage in a PEM":       {KeysOptions{Static: StaticKeys{PEM: [][]byte{[]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}}}, "PEM 1 of 1"},
		"a private key":          {KeysOptions{Static: StaticKeys{PEM: [][]byte{private}}}, "private key"},
		"another block":          {KeysOptions{Static: StaticKeys{PEM: [][]byte{[]byte("-----BEGIN X-----\nAAAA\n-----END X-----\n")}}}, `"X"`},
		"an unknown curve":       {KeysOptions{Static: StaticKeys{PEM: [][]byte{small}}}, "no algorithm"},
		"an empty secret":        {KeysOptions{Static: StaticKeys{Secret: []byte{}}}, "at least 32"},
		"a short secret":         {KeysOptions{Static: StaticKeys{Secret: make([]byte, 31)}}, "at least 32"},
		"a public key as secret": {KeysOptions{Static: StaticKeys{Secret: es.pem(t)}}, "PEM"},
		"HS512, a short secret":  {KeysOptions{Static: StaticKeys{Secret: make([]byte, 63)}, Algorithms: []string{"HS512"}}, "at least 64"},
		"HS256 without a secret": {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}}, Algorithms: []string{"ES256", "HS256"}}, "HMAC secret"},
		"no key for algorithms":  {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}}, Algorithms: []string{"RS256"}}, "none of the keys"},
		"algorithm none":         {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}}, Algorithms: []string{"none"}}, `"none"`},
		"an unknown algorithm":   {KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}}, Algorithms: []string{"es256"}}, `"es256"`},
	} {
		_, err := NewKeys(test.o)
		wantError(t, err, test.says)
		if err != nil && strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("%s: the error quotes: %v", name, err)
		}
	}
	_, err := NewKeys(KeysOptions{
		Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}},
		Locate: func(context.Context) (string, error) { return "https://idp.example/keys", nil },
	})
	wantError(t, err, "not both")
}
