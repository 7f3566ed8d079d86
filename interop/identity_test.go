package interop

// This file shows that what libraries overlook in a token isn't part of its
// identity, and that nothing with several signatures passes.

//lint:file-ignore SA1019 upstreams call what is deprecated, so it is what must be tested

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwe"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newReader(t *testing.T) *token.Reader {
	t.Helper()
	reader, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return reader
}

// dir and ECDH-ES have no encrypted key, and most readers don't mind what is in
// its place.
func TestEncryptedKeyIsNoIdentity(t *testing.T) {
	reader := newReader(t)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	ec := ecKey(t)
	overlooked := map[string]int{}
	for _, c := range []struct {
		alg             jose.KeyAlgorithm
		jwxAlg          jwa.KeyEncryptionAlgorithm
		encrypt, secret any
	}{
		{jose.DIRECT, jwa.DIRECT(), secret, secret},
		{jose.ECDH_ES, jwa.ECDH_ES(), ec.Public(), ec},
		{jose.ECDH_ES_A256KW, jwa.ECDH_ES_A256KW(), ec.Public(), ec},
		{jose.A256KW, jwa.A256KW(), secret, secret},
	} {
		encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: c.alg, Key: c.encrypt}, nil)
		if err != nil {
			t.Fatal(err)
		}
		encrypt := func() string {
			s, err := josejwt.Encrypted(encrypter).Claims(claims("A", time.Now(), "")).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		tok := encrypt()
		want := reader.ReadFacts(tok)
		if want.Malformed != nil {
			t.Errorf("%s: a valid token is malformed: %v", c.alg, want.Malformed)
		}
		if reader.ReadFacts(encrypt()).Fingerprint == want.Fingerprint {
			t.Errorf("%s: two tokens are taken for one", c.alg)
		}
		parts := strings.Split(tok, ".")
		for _, key := range []string{parts[1], "", "AA", "AAAA", "AAB", "AAAA=", "\n", strings.Repeat("A", 54)} {
			spelling := strings.Join([]string{parts[0], key, parts[2], parts[3], parts[4]}, ".")
			accepted := false
			if parsed, err := jose.ParseEncrypted(spelling, []jose.KeyAlgorithm{c.alg}, []jose.ContentEncryption{jose.A256GCM}); err == nil {
				_, err = parsed.Decrypt(c.secret)
				accepted = err == nil
			}
			_, err := jwe.Decrypt([]byte(spelling), jwe.WithKey(c.jwxAlg, c.secret))
			accepted = accepted || err == nil
			if key == parts[1] && !accepted {
				t.Errorf("%s: nobody accepts the token itself", c.alg)
			}
			if !accepted {
				continue
			}
			facts := reader.ReadFacts(spelling)
			if facts.Fingerprint != want.Fingerprint {
				t.Errorf("%s with the key %q is accepted but not recognised", c.alg, key)
			}
			if key != parts[1] {
				overlooked[string(c.alg)]++
				if facts.Malformed == nil {
					t.Errorf("%s with the key %q isn't malformed", c.alg, key)
				}
			}
		}
	}
	t.Logf("overlooked keys: %v", overlooked)
	if overlooked["dir"] == 0 || overlooked["ECDH-ES"] == 0 {
		t.Error("nobody overlooks a key: the test is worth nothing")
	}
}

// A token with several signatures is recognised by the first that has a header,
// and never passes, since libraries differ in which they take.
func TestSeveralSignatures(t *testing.T) {
	reader := newReader(t)
	key := ecKey(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := josejwt.Signed(signer).Claims(claims("A", time.Now(), "")).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(tok, ".")
	want := reader.ReadFacts(tok)
	other := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","x":1}`))
	accepted := 0
	for _, c := range []struct {
		serialization string
		recognised    bool
	}{
		{`{"payload":"%p","protected":"%h","signature":"%s"}`, true},
		{`{"payload":"%p","signatures":[%real]}`, true},
		{`{"payload":"%p","signatures":[{},%real]}`, true},
		{`{"payload":"%p","signatures":[null,%real]}`, true},
		{`{"payload":"%p","signatures":[{"header":{"alg":"ES256"},"signature":"%s"},%real]}`, true},
		{`{"payload":"%p","signatures":[{"protected":"","header":{"alg":"ES256"},"signature":"%s"},%real]}`, true},
		{`{"payload":"%p","signatures":[{"protected":null,"header":{"alg":"ES256"},"signature":"%s"},%real]}`, true},
		{`{"payload":"%p","signatures":[{"protected":"e30","header":{"alg":"ES256"},"signature":"%s"},%real]}`, true},
		{`{"payload":"%p","signatures":[{"protected":"AAAA","header":{"alg":"ES256"},"signature":"%s"},%real]}`, true},
		{`{"payload":"%p","signatures":[%real,{"header":{"alg":"ES256"},"signature":"%s"}]}`, true},
		{`{"payload":"%p","protected":"%o","signature":"%s","signatures":[%real]}`, true},
		// There can be one fingerprint only.
		{`{"payload":"%p","signatures":[{"protected":"%o","signature":"%s"},%real]}`, false},
	} {
		spelling := strings.ReplaceAll(c.serialization, "%real", `{"protected":"%h","signature":"%s"}`)
		spelling = strings.NewReplacer("%h", parts[0], "%p", parts[1], "%s", parts[2], "%o", other).Replace(spelling)
		var takers []string
		if _, err := jws.Verify([]byte(spelling), jws.WithKey(jwa.ES256(), key.Public())); err == nil {
			takers = append(takers, "jwx")
		}
		if parsed, err := jose.ParseSigned(spelling, []jose.SignatureAlgorithm{jose.ES256}); err == nil {
			if _, _, _, err := parsed.VerifyMulti(key.Public()); err == nil {
				takers = append(takers, "go-jose")
			}
		}
		facts := reader.ReadFacts(spelling)
		if facts.Malformed != token.MalformedSerialization {
			t.Errorf("%s passes: %v", c.serialization, facts.Malformed)
		}
		if c.recognised && facts.Fingerprint != want.Fingerprint {
			t.Errorf("%s is not recognised, and accepted by %v", c.serialization, takers)
		}
		t.Logf("%s: accepted by %v", c.serialization, takers)
		accepted += len(takers)
	}
	if accepted == 0 {
		t.Error("nobody accepts any: the test is worth nothing")
	}
}
