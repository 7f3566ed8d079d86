package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func wantVerified(t *testing.T, keys *Keys, token string) *Signed {
	t.Helper()
	signed, err := keys.Verify(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func wantRefused(t *testing.T, keys *Keys, token string, want error) {
	t.Helper()
	if _, err := keys.Verify(t.Context(), token); !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}

func (p *publisher) wantCalled(t *testing.T, want int) {
	t.Helper()
	if got := p.called(); got != want {
		t.Errorf("%d calls, want %d", got, want)
	}
}

func TestConcurrentFirstUsesMakeOneCall(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	p.gate = make(chan struct{})
	keys, _ := p.keysOf(t, nil)
	token := s.sign(t, someClaims, "")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := keys.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	close(p.gate)
	all.Wait()
	p.wantCalled(t, 1)
}

func TestUnknownKidsCauseFewCalls(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	keys, clock := p.keysOf(t, func(o *KeysOptions) { o.RefreshInterval = time.Hour })
	good := s.sign(t, someClaims, "")
	stranger := newSigner(t, "ES256", "")
	// 4000 tokens within a minute, from several senders at once.
	for range 40 {
		var all sync.WaitGroup
		for sender := range 4 {
			all.Go(func() {
				for n := range 25 {
					kid := fmt.Sprint("random ", sender, n)
					if _, err := keys.Verify(t.Context(), stranger.as("ES256", kid).sign(t, someClaims, "")); !errors.Is(err, revocation.ErrUnproven) {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		wantVerified(t, keys, good)
		clock.pass(1500 * time.Millisecond)
	}
	if n := p.called(); n < 2 || n > 6 {
		t.Errorf("%d calls in a minute", n)
	}
	// Nor does what has no kid cause more, or what is forged.
	before := p.called()
	clock.pass(minRefresh)
	for range 100 {
		wantRefused(t, keys, stranger.as("ES256", "a").sign(t, someClaims, ""), revocation.ErrForged)
		wantRefused(t, keys, stranger.sign(t, someClaims, ""), revocation.ErrForged)
	}
	p.wantCalled(t, before+1)
}

// What a new key signed isn't forged because the key has the name of the old one.
func TestAKeyThatIsReplacedUnderItsName(t *testing.T) {
	old, fresh := newSigner(t, "ES256", "the key"), newSigner(t, "ES256", "the key")
	p := newKeysPublisher(t, old)
	keys, clock := p.keysOf(t, nil)
	wantVerified(t, keys, old.sign(t, someClaims, ""))
	p.publish(keysPath, string(jwksOf(fresh)))
	clock.pass(minRefresh)
	wantVerified(t, keys, fresh.sign(t, someClaims, ""))
	wantRefused(t, keys, old.sign(t, someClaims, ""), revocation.ErrForged)
}

func TestUnknownKidsWhileTheIssuerIsDown(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	keys, clock := p.keysOf(t, nil)
	wantVerified(t, keys, s.sign(t, someClaims, ""))
	p.set(true)
	clock.pass(minRefresh)
	for range 100 {
		wantRefused(t, keys, newSigner(t, "ES256", "b").sign(t, someClaims, ""), revocation.ErrIssuerUnavailable)
		wantVerified(t, keys, s.sign(t, someClaims, ""))
	}
	p.wantCalled(t, 2)
}

func TestAnIssuerThatIsDownAtStart(t *testing.T) {
	s := newSigner(t, "RS256", "a")
	p := newKeysPublisher(t, s)
	p.set(true)
	lines := new(log)
	keys, clock := p.keysOf(t, func(o *KeysOptions) { o.Logger = slog.New(slog.NewTextHandler(lines, nil)) })
	token := s.sign(t, someClaims, "")
	for range 5 {
		wantRefused(t, keys, token, revocation.ErrIssuerUnavailable)
	}
	p.wantCalled(t, 1)
	clock.pass(minRefresh)
	wantRefused(t, keys, token, revocation.ErrIssuerUnavailable)
	p.wantCalled(t, 2)
	if n, at, err := keys.Status(); n != 0 || !at.IsZero() || !errors.Is(err, revocation.ErrIssuerUnavailable) {
		t.Errorf("%d keys from %v, %v", n, at, err)
	}
	p.set(false)
	clock.pass(minRefresh)
	wantVerified(t, keys, token)
	if n, at, err := keys.Status(); n != 1 || !at.Equal(clock.now()) || err != nil {
		t.Errorf("%d keys from %v, %v", n, at, err)
	}
	if text := lines.String(); strings.Count(text, "level=WARN") != 1 || strings.Count(text, "level=INFO") != 1 {
		t.Errorf("the log: %s", text)
	}
}

// An issuer that starts together with this server, or that is behind it, is found soon.
func TestAnIssuerThatStartsLateIsAskedAgainSoon(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	p.set(true)
	keys, clock := p.keysOf(t, nil)
	token := s.sign(t, someClaims, "")
	for n, wait := range []time.Duration{1, 2, 4, 8, 10, 10} {
		wantRefused(t, keys, token, revocation.ErrIssuerUnavailable)
		p.wantCalled(t, n+1)
		clock.pass(wait*time.Second - time.Millisecond)
		wantRefused(t, keys, token, revocation.ErrIssuerUnavailable)
		p.wantCalled(t, n+1)
		clock.pass(time.Millisecond)
	}
	p.set(false)
	wantVerified(t, keys, token)
}

func TestKeysThatAreKnownOutliveTheIssuersFailure(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	keys, clock := p.keysOf(t, nil)
	token := s.sign(t, someClaims, "")
	signed := wantVerified(t, keys, token)
	for _, failure := range []func(){
		func() { p.set(true) },
		func() { p.set(false); p.publish(keysPath, `{"keys":[]}`) },
		func() { p.publish(keysPath, `garbage`) },
		func() { p.publish(keysPath, string(jwksOf(newSigner(t, "HS256", "a")))) },
	} {
		failure()
		clock.pass(24 * time.Hour)
		wantVerified(t, keys, token)
		_ = keys.Refresh(t.Context()) // where nobody waits it may be under way still
		if _, at, err := keys.Status(); !errors.Is(err, revocation.ErrIssuerUnavailable) || at.Equal(clock.now()) {
			t.Errorf("keys of %v, %v", at, err)
		}
		if !signed.Holds() {
			t.Fatal("the key was withdrawn")
		}
	}
	p.wantCalled(t, 5)
}

func TestANewKeyIsFetchedWhenATokenNamesIt(t *testing.T) {
	old, next := newSigner(t, "ES256", "old"), newSigner(t, "ES256", "next")
	p := newKeysPublisher(t, old)
	keys, clock := p.keysOf(t, nil)
	before := wantVerified(t, keys, old.sign(t, someClaims, ""))
	p.publish(keysPath, string(jwksOf(old, next)))
	wantRefused(t, keys, next.sign(t, someClaims, ""), revocation.ErrUnproven) // too early
	clock.pass(minRefresh)
	wantVerified(t, keys, next.sign(t, someClaims, ""))
	if !before.Holds() {
		t.Error("a key that stays was withdrawn")
	}
	if again := wantVerified(t, keys, old.sign(t, someClaims, "")); again.key != before.key {
		t.Error("the key that stays is another one")
	}
	p.wantCalled(t, 2)
}

func TestAKeyThatIsWithdrawnHoldsNoMore(t *testing.T) {
	a, b := newSigner(t, "ES256", "a"), newSigner(t, "ES256", "b")
	p := newKeysPublisher(t, a, b)
	keys, clock := p.keysOf(t, nil)
	byA, byB := wantVerified(t, keys, a.sign(t, someClaims, "")), wantVerified(t, keys, b.sign(t, someClaims, ""))
	refresh := func(published []byte) {
		t.Helper()
		p.publish(keysPath, string(published))
		clock.pass(minRefresh)
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	refresh(jwksOf(b))
	if byA.Holds() || !byB.Holds() {
		t.Errorf("a holds %t, b %t", byA.Holds(), byB.Holds())
	}
	wantRefused(t, keys, a.sign(t, someClaims, ""), revocation.ErrUnproven)
	refresh(jwksOf(a, b))
	if byA.Holds() {
		t.Error("what was withdrawn holds again")
	}
	if !wantVerified(t, keys, a.sign(t, someClaims, "")).Holds() {
		t.Error("a key that is published again doesn't verify")
	}
	// The same kid with another key.
	refresh(jwksOf(newSigner(t, "ES256", "b"), a))
	if byB.Holds() {
		t.Error("another key with the same kid keeps it")
	}
}

func TestOldKeysAreRenewedInTheBackground(t *testing.T) {
	a, b := newSigner(t, "ES256", "a"), newSigner(t, "ES256", "b")
	p := newKeysPublisher(t, a)
	keys, clock := p.keysOf(t, nil)
	byA := wantVerified(t, keys, a.sign(t, someClaims, ""))
	p.publish(keysPath, string(jwksOf(b)))
	p.mu.Lock()
	p.gate = make(chan struct{})
	p.mu.Unlock()
	clock.pass(DefaultRefreshInterval + 1)
	// Nobody waits for a call that doesn't end, and there is only one.
	for range 100 {
		wantVerified(t, keys, a.sign(t, someClaims, ""))
	}
	close(p.gate)
	for byA.Holds() {
		runtime.Gosched()
	}
	p.wantCalled(t, 2)
	wantRefused(t, keys, a.sign(t, someClaims, ""), revocation.ErrUnproven)
}

func TestVeryOldKeysAreRenewedFirst(t *testing.T) {
	a, b := newSigner(t, "ES256", "a"), newSigner(t, "ES256", "b")
	p := newKeysPublisher(t, a)
	keys, clock := p.keysOf(t, nil)
	wantVerified(t, keys, a.sign(t, someClaims, ""))
	p.publish(keysPath, string(jwksOf(b)))
	clock.pass(2*DefaultRefreshInterval + 1)
	wantRefused(t, keys, a.sign(t, someClaims, ""), revocation.ErrUnproven)
	p.wantCalled(t, 2)
}

func TestWhoWaitsForKeysMayGiveUp(t *testing.T) {
	s := newSigner(t, "ES256", "a")
	p := newKeysPublisher(t, s)
	p.gate = make(chan struct{})
	keys, _ := p.keysOf(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := keys.Verify(ctx, s.sign(t, someClaims, ""))
	if !errors.Is(err, revocation.ErrIssuerUnavailable) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(p.gate)
	wantVerified(t, keys, s.sign(t, someClaims, ""))
	p.wantCalled(t, 1)
}

func TestAnAddressThatIsNotFoundIsNoKeys(t *testing.T) {
	keys := mustKeys(t, KeysOptions{
		Locate: func(context.Context) (string, error) { return "", errors.New("nowhere") },
		Get:    func(context.Context, string) ([]byte, error) { panic("called") },
	})
	err := keys.Refresh(t.Context())
	if !errors.Is(err, revocation.ErrIssuerUnavailable) {
		t.Error(err)
	}
	wantError(t, err, "nowhere")
}

func TestRemarkableKeysAreLogged(t *testing.T) {
	lines := new(log)
	good, leaked := newSigner(t, "ES256", "good"), newSigner(t, "ES256", "leaked")
	raw := leaked.member(t, map[string]any{"d": "tHe-pRiVaTe-nUmBeR"})
	p := newKeysPublisher(t)
	p.publish(keysPath, string(set(raw, newSigner(t, "HS256", "shared").member(t, nil), good.member(t, nil))))
	keys, clock := p.keysOf(t, func(o *KeysOptions) {
		o.Logger = slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for range 3 {
		clock.pass(time.Hour)
		if err := keys.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text := lines.String()
	if strings.Count(text, "level=WARN") != 1 || strings.Count(text, "kid=leaked") != 1 || strings.Count(text, "kid=shared") != 1 {
		t.Errorf("the log: %s", text)
	}
	if strings.Contains(text, "pRiVaTe") {
		t.Error("the log has the private number")
	}
}
