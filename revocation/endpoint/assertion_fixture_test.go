// Clients that sign: their keys, and what they say.

package endpoint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
)

const (
	signingID = "signing app"
	audience  = "https://auth.example.com"
	here      = audience + "/oauth2/revoke"
)

// signer makes assertions.
type signer struct {
	alg jose.SignatureAlgorithm
	key crypto.Signer
	kid string
	typ string
}

// signers are a client's keys: one of each kind, and one that isn't the client's.
var signers = sync.OnceValue(func() (s struct{ es, rs, ed, other signer }) {
	es, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	s.es, s.rs, s.ed = signer{alg: jose.ES256, key: es, kid: "es"}, signer{alg: jose.RS256, key: rs, kid: "rs"}, signer{alg: jose.EdDSA, key: ed, kid: "ed"}
	s.other = signer{alg: jose.ES256, key: other, kid: "es"}
	return s
})

// clientKeys are the public parts, as a client registers them: RFC 7591 §2, jwks.
var clientKeys = sync.OnceValue(func() *issuer.Keys {
	var set jose.JSONWebKeySet
	s := signers()
	for _, k := range []signer{s.es, s.rs, s.ed} {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key.Public(), KeyID: k.kid, Algorithm: string(k.alg), Use: "sig"})
	}
	jwks, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	keys, err := issuer.NewKeys(issuer.KeysOptions{Static: issuer.StaticKeys{JWKS: [][]byte{jwks}}})
	if err != nil {
		panic(err)
	}
	return keys
})

func (s signer) sign(t testing.TB, payload string) string {
	t.Helper()
	o := new(jose.SignerOptions)
	if s.typ != "" {
		o = o.WithType(jose.ContentType(s.typ))
	}
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := made.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// statement is what is different from a good assertion; nil leaves a claim out.
type statement map[string]any

var assertionCount int

// payload is that of a new assertion.
func (c statement) payload(now time.Time) string {
	assertionCount++
	all := map[string]any{
		"iss": signingID, "sub": signingID, "aud": audience, "jti": fmt.Sprint("jti-", assertionCount),
		"iat": now.Unix(), "exp": now.Unix() + 60,
	}
	maps.Copy(all, c)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// assertionBody is a form with an assertion, and names and values on top.
func assertionBody(compact string, more ...string) string {
	v := url.Values{"token": {"T"}, "client_assertion_type": {jwtBearer}, "client_assertion": {compact}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

// newSigningFixture has a client more than others.
func newSigningFixture(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := newFixture(t, func(o *Options) {
		o.Clients = append(o.Clients, Client{ID: signingID, Keys: clientKeys()})
		o.AssertionAudience = []string{audience, "urn:second"}
		if change != nil {
			change(o)
		}
	})
	f.clock.advance(time.Second - time.Duration(f.clock.now.Load()%int64(time.Second))) // to a whole second
	return f
}

// good is a new assertion that is accepted once.
func (f *fixture) good() string {
	return signers().es.sign(f.t, statement(nil).payload(f.clock.Now()))
}
