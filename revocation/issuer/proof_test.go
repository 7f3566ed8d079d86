package issuer

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func TestTimesOfATokenAreNumbers(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url})
	for _, c := range []struct {
		claims        string
		exp, nbf, iat int64
		wrong         string // which claim the error is about
	}{
		{`{"exp":null,"iat":null}`, 0, 0, 0, ""},
		{`{"exp":2000000000,"nbf":1900000000,"iat":1800000000}`, 2000000000, 1900000000, 1800000000, ""},
		{`{"exp":2000000000.1,"nbf":1900000000.9,"iat":1800000000.9}`, 2000000001, 1900000000, 1800000000, ""},
		{`{"exp":1e300,"nbf":1e300,"iat":1e300}`, maxSeconds, maxSeconds, maxSeconds, ""},
		{`{"exp":9223372036854775807}`, maxSeconds, 0, -1, ""},
		{`{"exp":0.1,"nbf":0,"iat":0}`, 1, 0, 0, ""},
		{`{"nbf":-1,"iat":-0.5}`, -1, -1, -1, ""},
		{`{"nbf":-1e300,"iat":-1e300}`, -1, -maxSeconds, -maxSeconds, ""},
		{`{"exp":0}`, 0, 0, 0, "exp"},
		{`{"exp":-1}`, 0, 0, 0, "exp"},
		{`{"exp":-1e300}`, 0, 0, 0, "exp"},
		{`{"exp":"2000000000"}`, 0, 0, 0, "exp"},
		{`{"exp":true}`, 0, 0, 0, "exp"},
		{`{"exp":[2000000000]}`, 0, 0, 0, "exp"},
		{`{"nbf":"1900000000"}`, 0, 0, 0, "nbf"},
		{`{"nbf":{}}`, 0, 0, 0, "nbf"},
		{`{"iat":"yesterday"}`, 0, 0, 0, "iat"},
	} {
		claims := with(claimsOf(t, p.url, `{"sub":"u"}`), c.claims)
		compact := key.sign(t, claims, "at+jwt")
		if c.wrong != "" {
			if err := w.wantError(compact, revocation.ErrUnproven); !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: nothing about %s: %v", c.claims, c.wrong, err)
			}
			continue
		}
		proof := w.prove(compact)
		// -1 stands for what claimsOf has added.
		for name, v := range map[string][2]int64{"exp": {proof.Expires, c.exp}, "nbf": {proof.NotBefore, c.nbf}, "iat": {proof.IssuedAt, c.iat}} {
			if _, changed := mustParse(t, c.claims)[name]; changed && v[0] != v[1] {
				t.Errorf("%s: %s is %d, want %d", c.claims, name, v[0], v[1])
			}
		}
	}
	// A null is a claim of the wrong type.
	w.wantError(key.sign(t, map[string]any{"iss": p.url, "exp": nil}, "at+jwt"), revocation.ErrUnproven)
}

func TestClocksMayDifferByTheLeeway(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	const day = 24 * time.Hour
	for _, c := range []struct {
		leeway time.Duration
		off    time.Duration // of the issuer's clock
		want   error
	}{
		{0, 0, nil}, {0, 50 * time.Second, nil}, {0, -350 * time.Second, nil}, // with the default of a minute
		{0, 2 * time.Minute, revocation.ErrTokenNotYetValid}, {0, -362 * time.Second, revocation.ErrTokenExpired},
		{-time.Hour, 0, nil}, {-time.Hour, 5 * time.Second, revocation.ErrTokenNotYetValid}, {-time.Hour, -301 * time.Second, revocation.ErrTokenExpired},
		{0, day, revocation.ErrTokenNotYetValid}, {0, -day, revocation.ErrTokenExpired},
		{2 * day, day, nil}, {2 * day, -day, nil},
	} {
		w := newWorld(t, Options{Name: p.url, Leeway: c.leeway})
		issued := time.Now().Add(c.off).Unix()
		compact := key.sign(t, map[string]any{"iss": p.url, "iat": issued, "nbf": issued, "exp": issued + 300}, "at+jwt")
		// It is genuine all the same: who revokes it must know.
		if err := w.prove(compact).CheckTime(time.Now()); !errors.Is(err, c.want) {
			t.Errorf("leeway %v, the issuer's clock off by %v: %v, want %v", c.leeway, c.off, err, c.want)
		}
	}
}

func TestClaimsOfOddTypesPlayNoRole(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url})
	for _, claims := range []string{
		`{"jti":7,"sid":["s"],"sub":{"id":"u"},"client_id":true,"azp":null,"aud":7,"cnf":"k","tenant_id":1}`,
		`{"jti":"","sid":"","sub":"","client_id":"","aud":["a",7],"cnf":{"jkt":7}}`,
		`{"sub":"` + strings.Repeat("u", revocation.MaxValueBytes+1) + `","aud":{"a":"b"}}`,
		`{}`,
	} {
		proof := w.prove(key.sign(t, claimsOf(t, p.url, claims), "at+jwt"))
		if len(rolesOf(proof)) != 0 || len(proof.Owners) != 0 || len(proof.Audience) != 0 {
			t.Errorf("%.80s: %+v", claims, proof)
		}
	}
	for _, iss := range []any{7, []string{p.url}, nil, map[string]any{"a": p.url}, true} {
		w.wantError(key.sign(t, map[string]any{"iss": iss, "sub": "u"}, "at+jwt"), revocation.ErrUnproven)
	}
	// Signed, and yet no claims that everybody reads alike.
	for _, payload := range []string{``, `[]`, `"x"`, `{}`, `{"iss":"` + p.url + `","a":{"b":1,"b":2}}`, `{"iss":"` + p.url + `","exp":1e999}`} {
		signed := &Signed{Payload: []byte(payload)}
		if proof, err := w.set.issuers[0].proofOfToken(signed, new(revocation.Facts)); !errors.Is(err, revocation.ErrUnproven) {
			t.Errorf("%q: %v, %v", payload, proof, err)
		}
	}
}

func TestOwnersAreAllClaimsThatNameTheClient(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	withAudience := token.Profile{revocation.RoleClient: {"aud", "client_id"}}
	for _, c := range []struct {
		profile  token.Profile
		claims   string
		owners   []string
		recorded string
	}{
		{nil, `{"client_id":"a"}`, []string{"a"}, "a"},
		{nil, `{"azp":"a","client_id":"a","cid":"a"}`, []string{"a"}, "a"},
		{nil, `{"azp":"b","client_id":"a","appid":"c"}`, []string{"a", "b", "c"}, "a"},
		{nil, `{"appid":"c","client_id":7}`, []string{"c"}, "c"},
		{nil, `{"aud":"a"}`, nil, ""},
		{withAudience, `{"aud":"a"}`, []string{"a"}, "a"},
		{withAudience, `{"aud":["a","b"]}`, []string{"a", "b"}, ""},
		{withAudience, `{"aud":["a",7]}`, nil, ""},
		{withAudience, `{"aud":"api","client_id":"a"}`, []string{"a"}, "api"},
		{token.Profile{revocation.RoleClient: {"app.id"}}, `{"app":{"id":"a"},"client_id":"b"}`, []string{"a"}, "a"},
		{token.Profile{revocation.RoleClient: nil}, `{"client_id":"b"}`, nil, ""},
	} {
		w := newWorld(t, Options{Name: p.url, Profile: c.profile})
		proof := w.prove(key.sign(t, claimsOf(t, p.url, c.claims), "at+jwt"))
		wantEqual(t, c.claims, proof.Owners, c.owners)
		wantEqual(t, c.claims, proof.Claim(revocation.RoleClient), c.recorded)
	}
	// An answer has client_id, whatever the product's tokens have.
	w := newWorld(t, Options{Name: p.url, Preset: mustPreset(t, "entra"), Introspection: p.asked()})
	p.knows("opaque", map[string]any{"client_id": "a", "azp": "b"})
	wantEqual(t, "owners", w.prove("opaque").Owners, []string{"b", "a"})
}

func TestATokenOfAMegabyte(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	w := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	claims := claimsOf(t, p.url, `{"jti":"1"}`)
	claims["pad"] = strings.Repeat("x", 1<<20)
	compact := key.sign(t, claims, "at+jwt")
	wantEqual(t, "jti", w.prove(compact).Claim(revocation.RoleTokenID), "1")
	w.revoke(p.url, revocation.Claim{Role: revocation.RoleTokenID, Value: "1"})
	w.wantState(compact, revocation.Revoked)
	claims["jti"] = "2"
	w.wantError(newSigner(t, "ES256", "k").sign(t, claims, "at+jwt"), revocation.ErrForged)
	w.wantError(strings.Repeat("x", 1<<20), revocation.ErrUnproven)
	claims["pad"] = nil
	for n := range 30_000 {
		claims[fmt.Sprint("claim", n)] = map[string]any{"a": n}
	}
	w.prove(key.sign(t, claims, "at+jwt"))
}

// A reload makes a new reader, set and checker over the same list.
func TestAReloadReadsTokensAnew(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	compact := key.sign(t, claimsOf(t, p.url, `{"jti":"j","uti":"u","sid":"s","event_id":"e","azp":"a","appid":"b"}`), "JWT")
	w := newWorld(t, Options{Name: p.url, Preset: mustPreset(t, "cognito")})
	wantEqual(t, "roles", rolesOf(w.prove(compact)), roles{"jti": "j", "sid": "e"})
	w.revoke(p.url, revocation.Claim{Role: revocation.RoleSession, Value: "s"})
	w.wantState(compact, revocation.Active) // its sid is no session of this issuer's

	w = worldOver(t, w.list, Options{Name: p.url, Preset: mustPreset(t, "keycloak")})
	w.wantState(compact, revocation.Revoked)

	w = worldOver(t, w.list, Options{Name: p.url, Preset: mustPreset(t, "cognito"),
		Profile: token.Profile{revocation.RoleTokenID: {"uti"}, revocation.RoleClient: {"appid", "azp"}}})
	proof := w.prove(compact)
	wantEqual(t, "roles", rolesOf(proof), roles{"jti": "u", "sid": "e", "client_id": "b"})
	wantEqual(t, "owners", proof.Owners, []string{"b", "a"})

	// The issuer is gone, or another one has its name.
	newWorld(t).wantError(compact, revocation.ErrUnproven)
	other := newProvider(t, newSigner(t, "ES256", "k"))
	newWorld(t, Options{Name: p.url, JWKSURI: other.url + "/jwks"}).wantError(compact, revocation.ErrForged)
}

func TestAProofCountsUntilItsKeyIsWithdrawn(t *testing.T) {
	first, second := newSigner(t, "ES256", "1"), newSigner(t, "ES256", "2")
	p := newProvider(t, first)
	start := time.Now()
	var passed atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	fetched := make(chan Outcome, 100)
	i := mustIssuer(t, Options{Name: p.url, Now: now, RefreshInterval: time.Minute, Observe: func(c Call, o Outcome) {
		if c == CallKeys {
			fetched <- o
		}
	}})
	reader, err := token.NewReader(token.ReaderOptions{Issuers: []token.Issuer{i.ReaderIssuer()}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := NewSet(reader, i)
	if err != nil {
		t.Fatal(err)
	}
	prove := func(compact string) (*revocation.Proof, error) {
		return set.Prove(t.Context(), revocation.Presented{Token: compact, Facts: reader.ReadFacts(compact)})
	}
	wantFetches := func(n int) {
		t.Helper()
		for range n {
			<-fetched
		}
		for range 1000 { // what follows the call
			if !i.keys.renewing.Load() {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if len(fetched) != 0 {
			t.Errorf("%d calls too many", len(fetched))
		}
	}
	compact := first.sign(t, claimsOf(t, p.url, `{}`), "at+jwt")
	proof, err := prove(compact)
	if err != nil || !proof.At.Equal(now()) || !proof.Holds(now()) {
		t.Fatalf("%+v, %v", proof, err)
	}
	wantFetches(1)

	// Keys are looked at again although nobody presents a new token. While the issuer
	// doesn't answer, nothing changes.
	p.set(func(p *provider) { p.broken = 503 })
	for range 3 {
		passed.Add(int64(time.Minute + time.Second))
		for range 100 {
			if !proof.Holds(now()) {
				t.Fatal("it doesn't hold while the issuer doesn't answer")
			}
		}
		wantFetches(1)
	}
	p.set(func(p *provider) { p.broken, p.jwks = 0, jwksOf(first, second) })
	passed.Add(int64(time.Minute))
	if !proof.Holds(now()) {
		t.Error("it doesn't hold")
	}
	wantFetches(1)
	passed.Add(int64(59 * time.Second))
	if !proof.Holds(now()) {
		t.Error("another key came, and it doesn't hold")
	}
	wantFetches(0)

	p.set(func(p *provider) { p.jwks = jwksOf(second) })
	passed.Add(int64(2 * time.Second))
	if !proof.Holds(now()) {
		t.Error("it was waited for newer keys")
	}
	wantFetches(1)
	if proof.Holds(now()) {
		t.Error("it holds without its key")
	}
	if _, err := prove(compact); !errors.Is(err, revocation.ErrUnproven) {
		t.Error(err)
	}

	// Nobody came for long: then nothing is believed before newer keys are there.
	idle, err := prove(second.sign(t, claimsOf(t, p.url, `{}`), "at+jwt"))
	if err != nil || !idle.Holds(now()) {
		t.Fatal(err)
	}
	wantFetches(0)
	passed.Add(int64(2*time.Minute + time.Second))
	if idle.Holds(now()) {
		t.Error("it holds, and nobody looked at the keys for long")
	}
	wantFetches(0)
}

// A key that was published a moment ago is unknown as long as keys aren't fetched
// again. Who presents a token that it signed isn't told that the token is bad.
func TestATokenWhoseKeyMayBeNewerThanTheKnownOnesIsNotJudged(t *testing.T) {
	known, fresh := newSigner(t, "ES256", "known"), newSigner(t, "ES256", "fresh")
	p := newProvider(t, known)
	w := newWorld(t, Options{Name: p.url})
	claims := func(issuedAt time.Time) map[string]any {
		return map[string]any{"iss": p.url, "iat": issuedAt.Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	}
	w.prove(known.sign(t, claims(time.Now()), ""))
	for name, c := range map[string]struct {
		issuedAt time.Time
		want     error
	}{
		"just now":      {time.Now(), revocation.ErrIssuerUnavailable},
		"an hour ago":   {time.Now().Add(-time.Hour), revocation.ErrUnproven},
		"in the future": {time.Now().Add(time.Hour), revocation.ErrUnproven},
		"in 1970":       {time.Unix(0, 0), revocation.ErrUnproven},
	} {
		if _, _, err := w.check(fresh.sign(t, claims(c.issuedAt), "")); !errors.Is(err, c.want) {
			t.Errorf("issued %s: %v", name, err)
		}
	}
}

// An issuer that doesn't tell about its JWTs leaves them to their signatures.
func TestAnIssuerThatDoesNotTellAboutJWTs(t *testing.T) {
	known, stranger := newSigner(t, "ES256", "known"), newSigner(t, "ES256", "stranger")
	p := newProvider(t, known)
	p.set(func(p *provider) { p.structured = `{"error":"unsupported_token_type"}` })
	w := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	claims := map[string]any{"iss": p.url, "exp": time.Now().Add(time.Hour).Unix()}
	for range 2 {
		w.wantError(stranger.sign(t, claims, ""), revocation.ErrUnproven)
	}
	w.prove(known.sign(t, claims, ""))
	if s := w.set.Statuses()[0]; !s.Ready() {
		t.Errorf("somebody's garbage makes the issuer look broken: %v", s.IntrospectionErr)
	}
	p.set(func(p *provider) { p.broken = 500 })
	late := newWorld(t, Options{Name: p.url, Introspection: p.asked()})
	late.wantError(known.sign(t, claims, ""), revocation.ErrIssuerUnavailable)
}
