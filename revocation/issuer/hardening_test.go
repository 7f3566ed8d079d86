package issuer

// This file has what an attacker, an outage or another issuer's tokens could do to those
// who are honest.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// An answer under a name that isn't the issuer's would be looked up, and recorded,
// under different names.
func TestAnAnswerAboutATokenOfAnotherIssuerProvesNothing(t *testing.T) {
	p := newProvider(t, newSigner(t, "ES256", "a"))
	one := Options{Name: p.url + "/one", Introspection: p.asked()}
	two := Options{Name: p.url + "/two", Keys: StaticKeys{JWKS: [][]byte{p.jwks}}}
	w := newWorld(t, one, two)
	for _, iss := range []string{p.url + "/one/", p.url + "/two", "https://elsewhere.example.com"} {
		opaque := "opaque-" + iss
		p.knows(opaque, map[string]any{"iss": iss, "sub": "alice", "client_id": "app"})
		v, proof, err := w.check(opaque)
		if err == nil {
			t.Errorf("%s: %s, proven by %s, looked up under %v", iss, v.State, proof.Issuer, proof.Facts.Issuers)
		} else if !errors.Is(err, revocation.ErrUnproven) {
			t.Error(err)
		}
	}
	// What is recorded under the issuer's name hits what it vouches for.
	w.revoke(one.Name, revocation.Claim{Role: revocation.RoleSubject, Value: "alice"})
	if v, proof, err := w.check("opaque-" + p.url + "/one/"); err == nil && v.State == revocation.Active {
		t.Errorf("a token that %s vouches for passes though its user is revoked there", proof.Issuer)
	}
}

// A provider that takes the connection and says nothing must not hold up every new
// token, again and again, for as long as it is broken.
func TestKnownKeysAreNotWaitedForInAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner(t, "ES256", "a")
		hanging := false
		keys, err := NewKeys(KeysOptions{
			Locate: func(context.Context) (string, error) { return "https://idp.example.com/keys", nil },
			Get: func(ctx context.Context, _ string) ([]byte, error) {
				if hanging {
					time.Sleep(DefaultTimeout)
					return nil, errors.New("timeout")
				}
				return jwksOf(s), nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		token := s.sign(t, someClaims, "")
		wantVerified(t, keys, token)
		hanging = true
		time.Sleep(3 * DefaultRefreshInterval)
		wantVerified(t, keys, token) // the first may wait
		var waited time.Duration
		for range 20 {
			time.Sleep(minRefresh)
			began := time.Now()
			wantVerified(t, keys, token)
			waited += time.Since(began)
		}
		if waited > 0 {
			t.Errorf("20 tokens waited %s altogether", waited)
		}
		time.Sleep(time.Minute)
	})
}

// Who vouched for an opaque token is asked again first: the others would count it
// against its sender.
func TestHonestTokensOfOneIssuerDoNotUseUpTheQuestionsForAnother(t *testing.T) {
	p := newProvider(t)
	q := newProvider(t)
	ask := func(p *provider) *Introspection { i := p.asked(); i.TTL = -1; return i }
	keys := StaticKeys{JWKS: [][]byte{jwksOf(newSigner(t, "ES256", "a"))}}
	one := Options{Name: p.url, Keys: keys, Introspection: ask(p)}
	one.Introspection.UnknownPerMinute = 5
	two := Options{Name: q.url, Keys: keys, Introspection: ask(q)}
	later := time.Duration(0)
	now := func() time.Time { return time.Now().Add(later) }
	one.Now, two.Now = now, now
	w := newWorld(t, one, two)
	from := netip.MustParsePrefix("192.0.2.1/32")
	check := func(token string) error {
		_, _, err := w.checker.CheckProven(t.Context(), revocation.Presented{Token: token, From: from}, w.set)
		return err
	}
	q.knows("of-two", map[string]any{"sub": "bob"})
	before := p.calls.Load()
	for n := range 20 {
		later += inactiveFor * time.Duration(1+n%2) / 2
		if err := check("of-two"); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.calls.Load() - before; n > 1 {
		t.Errorf("the other issuer was asked %d times about one token that it doesn't know", n)
	}
	p.knows("of-one", map[string]any{"sub": "alice"})
	if err := check("of-one"); err != nil {
		t.Errorf("an honest token of the first issuer: %v", err)
	}
}

// An answer that is used once more counts no longer when the issuer has said
// meanwhile that the token isn't active.
func TestAStaleAnswerEndsWhenTheIssuerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, string) (int, string, error) {
			time.Sleep(time.Second)
			return 200, inactive, nil
		}
		s := newScripted(slow, func(o *Introspection) { o.StaleIfError = time.Hour })
		proof := revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now()}
		p := revocation.Presented{Token: askedOf, Facts: proven(t, &proof)}
		time.Sleep(time.Minute)
		ctx, hangUp := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Millisecond); hangUp() }()
		a, err := s.ask(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if a.holds(time.Now()) {
			t.Error("the token counts as active although the issuer said that it isn't")
		}
	})
}

// Auth0's own sample of an ID token: https://auth0.com/docs/secure/tokens/id-tokens/id-token-structure
func TestAuth0sSampleOfAnIDTokenIsOne(t *testing.T) {
	c := mustParse(t, `{"iss":"http://my-domain.auth0.com","sub":"auth0|123456","aud":"my_client_id","exp":1311281970,
		"iat":1311280970,"name":"Jane Doe","given_name":"Jane","family_name":"Doe","picture":"http://example.com/janedoe/me.jpg"}`)
	preset, _ := LookUpPreset("auth0")
	i := &Issuer{preset: preset}
	if k := i.kindOfToken("JWT", c); k != revocation.IDToken {
		t.Errorf("it is taken for %s", k)
	}
}

// One sender of many unknown tokens at once must not have questions about known
// tokens refused.
func TestUnknownTokensDoNotFillTheQueueForKnownOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, string) (int, string, error) {
			time.Sleep(time.Second)
			return 200, inactive, nil
		}
		s := newScripted(slow, nil)
		for n := range DefaultMaxInFlight*waitingPerSlot + DefaultMaxInFlight {
			go s.ask(t.Context(), revocation.Presented{Token: fmt.Sprint("garbage-", n), Facts: new(revocation.Facts)})
		}
		synctest.Wait()
		proof := revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now().Add(-time.Minute)}
		_, err := s.ask(t.Context(), revocation.Presented{Token: askedOf, Facts: proven(t, &proof)})
		if errors.Is(err, errTooMany) {
			t.Errorf("an honest user's known token: %v", err)
		}
		time.Sleep(time.Minute)
	})
}
