package issuer

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func TestTheIssuerIsFoundByItsExactName(t *testing.T) {
	short, long := newSigner(t, "ES256", "k"), newSigner(t, "ES256", "k") // the same kid
	pShort, pLong := newProvider(t, short), newProvider(t, long)
	const root, below = "https://as.example.com", "https://as.example.com/tenants/a"
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		options := []Options{{Name: root, JWKSURI: pShort.url + "/jwks"}, {Name: below, JWKSURI: pLong.url + "/jwks"}}
		w := newWorld(t, options[order[0]], options[order[1]])
		wantEqual(t, "issuer", w.prove(short.sign(t, claimsOf(t, root, `{}`), "at+jwt")).Issuer, root)
		wantEqual(t, "issuer", w.prove(long.sign(t, claimsOf(t, below, `{}`), "at+jwt")).Issuer, below)
		// Each with the key of the other.
		w.wantError(long.sign(t, claimsOf(t, root, `{}`), "at+jwt"), revocation.ErrForged)
		w.wantError(short.sign(t, claimsOf(t, below, `{}`), "at+jwt"), revocation.ErrForged)
		for _, iss := range []string{root + "/", below + "/", root + "/tenants", "HTTPS://as.example.com", "https://as.example.com:443", ""} {
			w.wantError(short.sign(t, claimsOf(t, iss, `{}`), "at+jwt"), revocation.ErrUnproven)
		}
		// What is revoked of one is not of the other.
		w.revoke(root, revocation.Claim{Role: revocation.RoleTokenID, Value: "1"})
		w.wantState(short.sign(t, claimsOf(t, root, `{"jti":"1"}`), "at+jwt"), revocation.Revoked)
		w.wantState(long.sign(t, claimsOf(t, below, `{"jti":"1"}`), "at+jwt"), revocation.Active)
	}
}

func TestAnAliasIsANameOfTheSameIssuer(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	const alias = "https://old.example.com"
	w := newWorld(t, Options{Name: p.url, Aliases: []string{alias, p.url}})
	old := key.sign(t, claimsOf(t, alias, `{"jti":"1"}`), "at+jwt")
	wantEqual(t, "issuer", w.prove(old).Issuer, p.url)
	fresh := key.sign(t, claimsOf(t, p.url, `{"jti":"1"}`), "at+jwt")
	wantEqual(t, "issuer", w.prove(fresh).Issuer, p.url)
	w.revoke(p.url, revocation.Claim{Role: revocation.RoleTokenID, Value: "1"})
	w.wantState(old, revocation.Revoked)
	w.wantState(fresh, revocation.Revoked)
}

func TestNoTwoIssuersShareAName(t *testing.T) {
	p := newProvider(t, newSigner(t, "ES256", "k"))
	issuer := func(name string, aliases ...string) *Issuer {
		return mustIssuer(t, Options{Name: name, Aliases: aliases, JWKSURI: p.url + "/jwks"})
	}
	reader, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]*Issuer{
		{issuer("https://a"), issuer("https://a")},
		{issuer("https://a", "https://x"), issuer("https://x")},
		{issuer("https://x"), issuer("https://a", "https://x")},
		{issuer("https://a", "https://x"), issuer("https://b", "https://x")},
	} {
		if _, err := NewSet(reader, pair[:]...); err == nil || !strings.Contains(err.Error(), "is a name of issuer") {
			t.Errorf("%q and %q: %v", pair[0].names, pair[1].names, err)
		}
	}
	_, err = NewSet(reader, issuer("https://a", "https://x"), issuer("https://b", "https://x", "https://a"))
	if err == nil || strings.Count(err.Error(), "is a name of issuer") != 2 {
		t.Errorf("not both are named: %v", err)
	}
	if _, err := NewSet(reader, issuer("https://a"), issuer("https://a/")); err != nil {
		t.Error(err)
	}
}

func TestNothingInATokenCausesACallButTheNameOfAConfiguredIssuer(t *testing.T) {
	key, attacker := newSigner(t, "ES256", "k"), newSigner(t, "ES256", "evil")
	p, evil := newProvider(t, key), newProvider(t, attacker)
	w := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	for name, compact := range map[string]string{
		"another issuer":              attacker.sign(t, claimsOf(t, evil.url, `{}`), "at+jwt"),
		"an issuer like it":           attacker.sign(t, claimsOf(t, p.url+"/", `{}`), "at+jwt"),
		"malformed":                   key.sign(t, claimsOf(t, p.url, `{}`), "at+jwt") + "=",
		"malformed, and nobody's":     attacker.sign(t, claimsOf(t, evil.url, `{}`), "at+jwt") + "=",
		"an encrypted one of another": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIiwiaXNzIjoiaHR0cHM6Ly9ldmlsIn0..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA",
	} {
		facts := w.reader.ReadFacts(compact)
		if proof, err := w.set.Prove(t.Context(), revocation.Presented{Token: compact, Facts: facts}); !errors.Is(err, revocation.ErrUnproven) {
			t.Errorf("%s: %v, %v", name, proof, err)
		}
	}
	w.wantError(attacker.signWith(t, claimsOf(t, p.url+"/x", `{}`), map[jose.HeaderKey]any{"jku": evil.url + "/jwks", "x5u": evil.url}), revocation.ErrUnproven)
	if p.calls.Load() != 0 || evil.calls.Load() != 0 {
		t.Errorf("%d and %d calls", p.calls.Load(), evil.calls.Load())
	}
	// Where to find keys is nothing that a token has a say in.
	w = newWorld(t, Options{Name: p.url})
	v, proof, err := w.check(attacker.signWith(t, claimsOf(t, p.url, `{}`), map[jose.HeaderKey]any{"jku": evil.url + "/jwks"}))
	if err == nil || proof != nil {
		t.Errorf("%s, %v, %v", v.State, proof, err)
	}
	if evil.calls.Load() != 0 {
		t.Errorf("%d calls", evil.calls.Load())
	}
}

func TestForgedTokensAreKnownAsSuch(t *testing.T) {
	key := newSigner(t, "RS256", "k")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	claims := claimsOf(t, p.url, `{"sub":"admin"}`)
	genuine := key.sign(t, claims, "at+jwt")
	w.prove(genuine)
	calls := p.calls.Load()
	body := genuine[strings.Index(genuine, "."):strings.LastIndex(genuine, ".")]
	for name, compact := range map[string]string{
		"the signature of another key":  newSigner(t, "RS256", "k").sign(t, claims, "at+jwt"),
		"the signature of another text": key.sign(t, claimsOf(t, p.url, `{"sub":"user"}`), "at+jwt"),
		"not signed":                    "eyJhbGciOiJub25lIn0" + body + ".", // {"alg":"none"}
		"not signed, by another name":   "eyJhbGciOiJOb05lIn0" + body + ".",
	} {
		if strings.HasPrefix(name, "the signature of another text") {
			compact = genuine[:strings.LastIndex(genuine, ".")] + compact[strings.LastIndex(compact, "."):]
		}
		err := w.wantError(compact, revocation.ErrForged)
		if strings.Contains(err.Error(), body[1:20]) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
	if p.calls.Load() != calls {
		t.Error("the issuer was asked about forged tokens")
	}
	// An algorithm that takes the public key for a secret.
	hmac := &signer{"HS256", "k", jwksOf(key)}
	w.wantError(hmac.sign(t, claims, "at+jwt"), revocation.ErrUnproven)
}

func TestABrokenIssuerDoesNotStopAnother(t *testing.T) {
	key := newSigner(t, "EdDSA", "k")
	broken, working := newProvider(t, key), newProvider(t, key)
	w := newWorld(t,
		Options{Name: broken.url + "/a", Introspection: broken.asked()},
		Options{Name: "http://127.0.0.1:1/gone"},
		Options{Name: working.url, Introspection: working.asked()})
	const opaque, unknown = "opaque-of-the-working-one", "nobody's"
	working.knows(opaque, map[string]any{"sub": "u", "token_type": "Bearer"})
	for _, status := range []int{500, 404, 302, 200} {
		broken.set(func(p *provider) { p.broken = status })
		w := worldOver(t, w.list,
			Options{Name: broken.url + "/a", Introspection: broken.asked()},
			Options{Name: "http://127.0.0.1:1/gone"},
			Options{Name: working.url, Introspection: working.asked()})
		w.wantError(key.sign(t, claimsOf(t, broken.url+"/a", `{}`), "at+jwt"), revocation.ErrIssuerUnavailable)
		w.wantError(key.sign(t, claimsOf(t, "http://127.0.0.1:1/gone", `{}`), "at+jwt"), revocation.ErrIssuerUnavailable)
		w.prove(key.sign(t, claimsOf(t, working.url, `{}`), "at+jwt"))
		if proof := w.prove(opaque); proof.Issuer != working.url || !proof.Introspected || proof.Kind != revocation.AccessToken {
			t.Errorf("%+v", proof)
		}
		// It may be the broken one's.
		w.wantError(unknown, revocation.ErrIssuerUnavailable)
		states := w.set.Statuses()
		if len(states) != 3 || states[0].Ready() || states[1].Ready() || !states[2].Ready() || states[2].Keys != 1 || states[2].Issuer != working.url {
			t.Errorf("%+v", states)
		}
	}
}

func TestOnlyIssuersThatAreAcceptedVouch(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	a, b, keysOnly := newProvider(t, key), newProvider(t, key), newProvider(t, key)
	const alias = "https://alias.example.com"
	w := newWorld(t, Options{Name: keysOnly.url}, Options{Name: a.url, Introspection: a.asked()},
		Options{Name: b.url, Aliases: []string{alias}, Introspection: b.asked()})
	const opaque = "opaque-of-b"
	b.knows(opaque, map[string]any{"sub": "u"})
	jwt := key.sign(t, claimsOf(t, b.url, `{}`), "at+jwt")
	for _, c := range []struct {
		accepted []string
		ok       bool
	}{
		{nil, true}, {[]string{b.url}, true}, {[]string{a.url, alias}, true}, {[]string{a.url}, false},
		{[]string{keysOnly.url}, false}, {[]string{}, false}, {[]string{"https://unknown"}, false},
	} {
		for _, compact := range []string{opaque, jwt} {
			before := b.calls.Load()
			p := revocation.Presented{Token: compact, Facts: w.reader.ReadFacts(compact), Issuers: c.accepted,
				From: netip.MustParsePrefix("192.0.2.1/32")}
			proof, err := w.set.Prove(t.Context(), p)
			if c.ok && (err != nil || proof.Issuer != b.url) || !c.ok && !errors.Is(err, revocation.ErrUnproven) {
				t.Errorf("%q: %v, %v", c.accepted, proof, err)
			}
			if !c.ok && b.calls.Load() != before {
				t.Errorf("%q: it was asked", c.accepted)
			}
		}
	}
}

func TestAnIssuerIsAskedAboutWhatItsKeysCanNotTell(t *testing.T) {
	key, unpublished := newSigner(t, "ES256", "k"), newSigner(t, "ES256", "new")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	claims := claimsOf(t, p.url, `{"jti":"1","sub":"u"}`)
	compact := unpublished.sign(t, claims, "at+jwt")
	encrypted := "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAAAAAAAAAAAAAA.AA.AAAAAAAAAAAAAAAAAAAAAA"
	noIssuer := key.sign(t, with(claims, `{"iss":null}`), "at+jwt")
	for _, token := range []string{compact, encrypted, noIssuer} {
		p.knows(token, with(claims, `{"sid":"s-1"}`))
		proof := w.prove(token)
		if !proof.Introspected || proof.Facts == nil || proof.Claim(revocation.RoleSession) != "s-1" || proof.Issuer != p.url {
			t.Errorf("%+v", proof)
		}
		if !slices.Contains(proof.Facts.Issuers, p.url) {
			t.Errorf("its facts are of %q", proof.Facts.Issuers)
		}
	}
	w.revoke(p.url, revocation.Claim{Role: revocation.RoleSession, Value: "s-1"})
	for _, token := range []string{compact, encrypted, noIssuer} {
		w.wantState(token, revocation.Revoked)
	}
	err := w.wantError(newSigner(t, "ES256", "other").sign(t, claims, "at+jwt"), revocation.ErrUnproven)
	if !strings.Contains(err.Error(), "by its keys") {
		t.Errorf("not both reasons are told: %v", err)
	}
}
