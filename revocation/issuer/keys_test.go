package issuer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const keysPath = "/keys"

// keysOf returns the keys that a publisher publishes at keysPath, which are
// fetched over HTTP, by a clock that is told to move.
func (p *publisher) keysOf(t testing.TB, change func(*KeysOptions)) (*Keys, *hand) {
	t.Helper()
	calls, err := newFetcher(Options{JWKSURI: p.URL + keysPath}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(calls.close)
	clock := new(hand)
	o := KeysOptions{
		Locate: func(context.Context) (string, error) { return p.URL + keysPath, nil },
		Get:    calls.get,
		Now:    clock.now,
	}
	if change != nil {
		change(&o)
	}
	return mustKeys(t, o), clock
}

func newKeysPublisher(t testing.TB, signers ...*signer) *publisher {
	p := newPublisher(t)
	p.publish(keysPath, string(jwksOf(signers...)))
	return p
}

var someClaims = map[string]any{"iss": "https://idp.example", "jti": "sEcReT-jti"}

func TestSignaturesOfAllAlgorithmsAreVerified(t *testing.T) {
	var all []*signer
	for _, alg := range asymmetric {
		all = append(all, newSigner(t, alg, "key of "+alg))
	}
	p := newKeysPublisher(t, all...)
	keys, _ := p.keysOf(t, nil)
	for _, s := range all {
		for _, by := range []*signer{s, s.as(s.alg, "")} {
			signed, err := keys.Verify(t.Context(), by.sign(t, someClaims, "JWT"))
			if err != nil || signed.Algorithm != s.alg || signed.KeyID != by.kid || signed.Type != "JWT" {
				t.Errorf("%s: %+v, %v", s.alg, signed, err)
			}
		}
		typ, payload, err := keys.VerifyAssertion(t.Context(), s.sign(t, map[string]any{"a": 1}, "client-authentication+jwt"))
		if err != nil || typ != "client-authentication+jwt" || string(payload) != `{"a":1}` {
			t.Errorf("%s: %s %s, %v", s.alg, typ, payload, err)
		}
	}
	if n := p.called(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// withHeader replaces the header of a compact JWS.
func withHeader(compact, header string) string {
	_, rest, _ := strings.Cut(compact, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}

func TestWhatNobodySignedIsRefused(t *testing.T) {
	rs, es := newSigner(t, "RS256", "r"), newSigner(t, "ES256", "e")
	hs := newSigner(t, "HS256", "h")
	p := newKeysPublisher(t, rs, es, hs)
	good := rs.sign(t, someClaims, "at+jwt")
	unsigned := good[:strings.LastIndexByte(good, '.')+1]
	modulus, _ := rs.jwk().MarshalJSON()
	attached := func(key any) string {
		return es.signWith(t, someClaims, map[jose.HeaderKey]any{"jwk": key})
	}
	forged, unproven := revocation.ErrForged, revocation.ErrUnproven
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"alg none":                      {withHeader(unsigned, `{"alg":"none","kid":"r"}`), forged},
		"alg NONE with a signature":     {withHeader(good, `{"alg":"NONE"}`), forged},
		"alg empty":                     {withHeader(good, `{"alg":""}`), forged},
		"no alg":                        {withHeader(good, `{"kid":"r"}`), forged},
		"no signature":                  {unsigned, forged},
		"another payload":               {strings.Replace(good, ".", ".e30", 1), forged},
		"another header":                {withHeader(good, `{"alg":"RS256","kid":"r","typ":"JWT"}`), forged},
		"a stranger's key":              {newSigner(t, "ES256", "e").sign(t, someClaims, ""), forged},
		"a stranger's key, no kid":      {newSigner(t, "ES256", "").sign(t, someClaims, ""), forged},
		"a stranger's key, its own kid": {newSigner(t, "ES256", "x").sign(t, someClaims, ""), unproven},
		"a key of another type":         {newSigner(t, "EdDSA", "e").sign(t, someClaims, ""), unproven},
		"the key's other algorithm":     {rs.as("PS256", "r").sign(t, someClaims, ""), unproven},
		"HMAC with the public PEM":      {(&signer{"HS256", "r", rs.pem(t)}).sign(t, someClaims, ""), unproven},
		"HMAC with the public JWK":      {(&signer{"HS256", "r", modulus}).sign(t, someClaims, ""), unproven},
		"HMAC with a published secret":  {hs.sign(t, someClaims, ""), unproven},
		"a known key, and its own":      {attached(newSigner(t, "ES256", "x").jwk()), unproven},
		"crit":                          {rs.signWith(t, someClaims, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}), unproven},
		"b64":                           {rs.signWith(t, someClaims, map[jose.HeaderKey]any{"b64": true}), unproven},
		"kid is a number":               {withHeader(good, `{"alg":"RS256","kid":1}`), unproven},
		"typ is an array":               {withHeader(good, `{"alg":"RS256","kid":"r","typ":["JWT"]}`), unproven},
		"alg twice":                     {withHeader(good, `{"alg":"none","alg":"RS256"}`), unproven},
		"a JWE's algorithm":             {withHeader(good, `{"alg":"RSA-OAEP","enc":"A128GCM"}`), unproven},
		"two segments":                  {strings.TrimSuffix(unsigned, "."), unproven},
		"four segments":                 {good + ".x", unproven},
		"no base64":                     {good + "!", unproven},
		"opaque":                        {"sEcReT-jti", unproven},
		"nothing":                       {"", unproven},
		"a JSON serialization":          {`{"payload":"sEcReT-jti","signatures":[]}`, unproven},
		"a megabyte":                    {strings.Repeat("x", 1<<20), unproven},
	} {
		keys, _ := p.keysOf(t, nil)
		signed, err := keys.Verify(t.Context(), test.token)
		if !errors.Is(err, test.want) || signed != nil {
			t.Errorf("%s: %+v, %v", name, signed, err)
		}
		if err != nil && (strings.Contains(err.Error(), "sEcReT") || len(err.Error()) > 200) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
}

func TestTheAllowListIsKept(t *testing.T) {
	rs, es := newSigner(t, "RS256", "r"), newSigner(t, "ES256", "e")
	p := newKeysPublisher(t, rs, es)
	keys, _ := p.keysOf(t, func(o *KeysOptions) { o.Algorithms = []string{"ES256"} })
	if _, err := keys.Verify(t.Context(), es.sign(t, someClaims, "")); err != nil {
		t.Error(err)
	}
	if _, err := keys.Verify(t.Context(), rs.sign(t, someClaims, "")); !errors.Is(err, revocation.ErrUnproven) {
		t.Errorf("an algorithm that isn't allowed: %v", err)
	}
}

func TestOfKeysWithOneKidEachIsTried(t *testing.T) {
	a, b := newSigner(t, "ES256", "same"), newSigner(t, "ES256", "same")
	p := newKeysPublisher(t, a, b, newSigner(t, "RS256", "same"))
	keys, _ := p.keysOf(t, nil)
	for _, s := range []*signer{a, b} {
		if _, err := keys.Verify(t.Context(), s.sign(t, someClaims, "")); err != nil {
			t.Error(err)
		}
	}
	if _, err := keys.Verify(t.Context(), newSigner(t, "ES256", "same").sign(t, someClaims, "")); !errors.Is(err, revocation.ErrForged) {
		t.Errorf("of none of them: %v", err)
	}
}

func TestNotAllOfManyKeysAreTried(t *testing.T) {
	var all []*signer
	for range maxCandidates + 1 {
		all = append(all, newSigner(t, "ES256", ""))
	}
	keys := mustKeys(t, KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(all...)}}})
	for n, s := range all {
		_, err := keys.Verify(t.Context(), s.sign(t, someClaims, ""))
		if want := n == maxCandidates; errors.Is(err, revocation.ErrUnproven) != want || (err != nil) != want {
			t.Errorf("key %d: %v", n, err)
		}
	}
}

func TestRemoteKeysAreFetchedFromTheirURL(t *testing.T) {
	s := newSigner(t, "ES256", "e")
	p := newKeysPublisher(t, s)
	keys, err := NewRemoteKeys(RemoteKeysOptions{URL: p.URL + keysPath})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := keys.VerifyAssertion(t.Context(), s.sign(t, someClaims, "")); err != nil {
		t.Error(err)
	}
	for address, says := range map[string]string{"": "no URL", "http://idp.example/k": "plain HTTP", "k": "https URL"} {
		_, err := NewRemoteKeys(RemoteKeysOptions{URL: address})
		wantError(t, err, says)
	}
}

func TestKeySetsThatCannotBeFetched(t *testing.T) {
	other := newKeysPublisher(t, newSigner(t, "ES256", "e"))
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		outcome Outcome
		says    string
	}{
		"another server": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+keysPath, http.StatusFound)
		}, OutcomeInvalid, "another server"},
		"HTML":    {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, OutcomeInvalid, "not a key set"},
		"no keys": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"keys":[]}`) }, OutcomeInvalid, "no keys"},
		"huge":    {func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 2<<20)) }, OutcomeInvalid, "longer than"},
		"down":    {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(502) }, OutcomeFailed, "502"},
	} {
		p := newPublisher(t)
		p.Config.Handler = test.answer
		seen := map[Outcome]int{}
		keys, _ := p.keysOf(t, func(o *KeysOptions) { o.Observe = func(_ Call, outcome Outcome) { seen[outcome]++ } })
		_, err := keys.Verify(t.Context(), newSigner(t, "ES256", "e").sign(t, someClaims, ""))
		if !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
		wantError(t, err, test.says)
		if !maps.Equal(seen, map[Outcome]int{test.outcome: 1}) {
			t.Errorf("%s: observed %v", name, seen)
		}
	}
	if n := other.called(); n != 0 {
		t.Errorf("the other server was called %d times", n)
	}
}

func FuzzVerify(f *testing.F) {
	es, hs := newSigner(f, "ES256", "e"), newSigner(f, "HS256", "h")
	keys := mustKeys(f, KeysOptions{Static: StaticKeys{JWKS: [][]byte{jwksOf(es)}, Secret: hs.private.([]byte)}})
	good := []string{es.sign(f, someClaims, "at+jwt"), hs.sign(f, someClaims, "")}
	for _, s := range slices.Concat(good, []string{"", ".", "..", "e30.e30.", withHeader(good[0], `{"alg":"none"}`), withHeader(good[0], `{"alg":"HS256","kid":null}`)}) {
		f.Add(s)
	}
	payload := strings.Split(good[0], ".")[1]
	f.Fuzz(func(t *testing.T, compact string) {
		signed, err := keys.Verify(t.Context(), compact)
		if (err == nil) != (signed != nil) || err != nil && !errors.Is(err, revocation.ErrForged) && !errors.Is(err, revocation.ErrUnproven) {
			t.Fatalf("%v, %v", signed, err)
		}
		if signed != nil && base64.RawURLEncoding.EncodeToString(signed.Payload) != payload {
			t.Errorf("a signature for %q", signed.Payload)
		}
	})
}
