// Issuers that the tests trust: real ones with real keys, and an oracle that says what
// it was told to.

package endpoint

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// oracle is a Prover that has an answer for some tokens, and knows no other.
type oracle struct {
	mu     sync.Mutex
	proofs map[string]*revocation.Proof
	errs   map[string]error
	asked  []revocation.Presented
	during func(context.Context) // called while it is asked
}

func (o *oracle) Prove(ctx context.Context, p revocation.Presented) (*revocation.Proof, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, p)
	if o.during != nil {
		o.during(ctx)
	}
	if proof := o.proofs[p.Token]; proof != nil {
		return proof, nil
	}
	if err := o.errs[p.Token]; err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: it isn't known", revocation.ErrUnproven)
}

// idp is an issuer of tokens: a name and a key.
type idp struct {
	name string
	key  *ecdsa.PrivateKey
}

func newIDP(t *testing.T, name string) *idp {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &idp{name, key}
}

const keyID = "key-1"

// options are those of an issuer that vouches for the tokens.
func (i *idp) options(t *testing.T) issuer.Options {
	t.Helper()
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}]}`, keyID, encode(point[1:33]), encode(point[33:]))
	return issuer.Options{Name: i.name, Keys: issuer.StaticKeys{JWKS: [][]byte{[]byte(jwks)}}}
}

// claims are those of a token.
type claims map[string]any

// with returns the claims with others in addition or instead; nil takes one away.
func (c claims) with(name string, value any) claims {
	changed := claims{}
	for n, v := range c {
		changed[n] = v
	}
	if changed[name] = value; value == nil {
		delete(changed, name)
	}
	return changed
}

// sign makes a token; its iss is the issuer's unless the claims have one.
func (i *idp) sign(typ string, c claims) string {
	if _, has := c["iss"]; !has {
		c = c.with("iss", i.name)
	}
	header, _ := json.Marshal(map[string]string{"alg": "ES256", "typ": typ, "kid": keyID})
	payload, _ := json.Marshal(c)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(header) + "." + encode(payload)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature)
}

// trust has a server and the check behind it trust issuers.
func trust(t *testing.T, change func(*Options), trusted ...issuer.Options) *fixture {
	t.Helper()
	var issuers []*issuer.Issuer
	var read token.ReaderOptions
	for _, o := range trusted {
		i, err := issuer.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(i.Close)
		issuers = append(issuers, i)
		read.Issuers = append(read.Issuers, i.ReaderIssuer())
	}
	reader, err := token.NewReader(read)
	if err != nil {
		t.Fatal(err)
	}
	set, err := issuer.NewSet(reader, issuers...)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(o *Options) {
		o.Facts, o.Prover = reader, set
		if change != nil {
			change(o)
		}
	})
	f.checker, err = revocation.NewChecker(f.list, reader, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.checker.Close)
	return f
}

// handIn is a request that has a token revoked.
func handIn(token, hint string, credentials []string) message {
	m := message{body: url.Values{"token": {token}, "token_type_hint": {hint}}.Encode(), basic: credentials}
	if len(credentials) == 1 { // a public client
		m.body, m.basic = m.body+"&client_id="+credentials[0], nil
	}
	return m
}

var (
	spa = []string{spaID}
	ops = []string{opsID, opsSecret}
)

// wantAnswer sends a message, and looks at what comes of it.
func (f *fixture) wantAnswer(m message, status int, code string, outcome Outcome) {
	f.t.Helper()
	r := f.send(m)
	if r.StatusCode != status || r.code() != code {
		f.t.Errorf("answered %d %q, want %d %q: %s", r.StatusCode, r.code(), status, code, r.body)
	}
	if got := f.observed(); len(got) == 0 || got[len(got)-1] != outcome {
		f.t.Errorf("outcomes %v, want %s", got, outcome)
	}
}

// wantShapes looks at what was recorded since the beginning.
func (f *fixture) wantShapes(want ...revocation.Shape) {
	f.t.Helper()
	var got []revocation.Shape
	ids := map[revocation.ID]bool{}
	for _, r := range f.store.all() {
		got = append(got, r.Selector.Shape())
		ids[r.ID] = true
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("recorded %v, want %v", got, want)
	}
	if len(want) > 0 && len(ids) != 1 {
		f.t.Errorf("the records of one revocation have %d ids", len(ids))
	}
}

func (f *fixture) wantDead(want bool, tokens map[string]string) {
	f.t.Helper()
	for name, token := range tokens {
		if f.dead(token) != want {
			f.t.Errorf("%s: revoked %t, want %t", name, !want, want)
		}
	}
}
