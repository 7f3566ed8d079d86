package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	active   = `{"active":true}`
	inactive = `{"active":false}`
)

// scripted is an asker whose answers come from a function, for tests about time.
type scripted struct {
	asker
	calls atomic.Int64
}

func newScripted(reply func(ctx context.Context, token string) (int, string, error), change func(*Introspection)) *scripted {
	o, l, seen := askerOptions("https://idp.example.com", "https://idp.example.com/introspect", func(o *Options) {
		if change != nil {
			change(o.Introspection)
		}
	})
	s := &scripted{}
	post := func(ctx context.Context, _ string, form url.Values, _ func(*http.Request)) (int, []byte, error) {
		s.calls.Add(1)
		status, body, err := reply(ctx, form.Get("token"))
		return status, []byte(body), err
	}
	locate := func(context.Context) (string, error) { return o.Introspection.URL, nil }
	s.asker = asker{introspectorOver(post, locate, o), l, seen}
	return s
}

// always replies the same to all.
func always(body string) func(context.Context, string) (int, string, error) {
	return func(context.Context, string) (int, string, error) { return http.StatusOK, body, nil }
}

func (s *scripted) from(ctx context.Context, address, token string) error {
	_, err := s.ask(ctx, revocation.Presented{Token: token, Facts: new(revocation.Facts), From: netip.MustParsePrefix(address + "/32")})
	return err
}

func (s *scripted) wantCalls(t *testing.T, want int64) {
	t.Helper()
	if got := s.calls.Load(); got != want {
		t.Errorf("%d calls, want %d", got, want)
	}
}

const here, there = "192.0.2.1", "192.0.2.2"

func TestOneCallForAllWhoAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newScripted(func(ctx context.Context, _ string) (int, string, error) {
			select {
			case <-release:
				return http.StatusOK, active, nil
			case <-ctx.Done():
				return 0, "", ctx.Err()
			}
		}, nil)
		first, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- s.from(first, here, askedOf) }()
		synctest.Wait()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := s.from(t.Context(), here, askedOf); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, revocation.ErrIssuerUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("who has gone is told %v", err)
		}
		close(release)
		all.Wait()
		s.wantCalls(t, 1)
		s.outcomes.want(t, map[Outcome]int{OutcomeActive: 1})
	})
}

func TestHintsAreQuestionsOfTheirOwn(t *testing.T) {
	s := newScripted(always(inactive), nil)
	for _, hint := range []string{"", "access_token", "refresh_token", "", "access_token", "something"} {
		s.ask(t.Context(), revocation.Presented{Token: askedOf, Hint: hint, Facts: new(revocation.Facts)})
	}
	s.wantCalls(t, 3)
}

func TestInactiveIsRememberedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(always(inactive), nil)
		for range 5 {
			if err := s.from(t.Context(), here, askedOf); !errors.Is(err, revocation.ErrUnproven) {
				t.Errorf("error %v", err)
			}
		}
		s.wantCalls(t, 1)
		s.from(t.Context(), here, askedOf+"=") // another spelling may be active
		s.wantCalls(t, 2)
		time.Sleep(inactiveFor)
		s.from(t.Context(), here, askedOf)
		s.wantCalls(t, 3)
	})
}

func TestUnknownTokensOfASenderAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reply := func(_ context.Context, token string) (int, string, error) {
			if token[0] == 'g' {
				return http.StatusOK, active, nil
			}
			return http.StatusOK, inactive, nil
		}
		s := newScripted(reply, func(o *Introspection) { o.UnknownPerMinute = 5 })
		for n := range 50 {
			if err := s.from(t.Context(), here, fmt.Sprint("genuine", n)); err != nil {
				t.Fatalf("genuine tokens are limited: %v", err)
			}
		}
		s.wantCalls(t, 50)
		for n := range 20 {
			err := s.from(t.Context(), here, fmt.Sprint("unknown", n))
			if want := map[bool]error{true: revocation.ErrUnproven, false: revocation.ErrIssuerUnavailable}[n < 5]; !errors.Is(err, want) {
				t.Errorf("unknown token %d: %v", n, err)
			}
		}
		s.wantCalls(t, 55)
		s.outcomes.want(t, map[Outcome]int{OutcomeActive: 50, OutcomeInactive: 5, OutcomeLimited: 15})
		if s.status() != nil {
			t.Errorf("who asks too much makes the issuer look unwell: %v", s.status())
		}
		if err := s.from(t.Context(), there, "unknown again"); !errors.Is(err, revocation.ErrUnproven) {
			t.Errorf("another sender is limited: %v", err)
		}
		// Those that somebody had proven already are asked about all the same.
		facts := proven(t, &revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now()})
		if _, err := s.ask(t.Context(), revocation.Presented{Token: "genuine", Facts: facts, From: netip.MustParsePrefix(here + "/32")}); err != nil {
			t.Error(err)
		}
		s.wantCalls(t, 57)
		time.Sleep(time.Minute / 5)
		for n := range 2 {
			s.from(t.Context(), here, fmt.Sprint("later", n))
		}
		s.wantCalls(t, 58)
	})
}

func TestManyUnknownTokensAtOnceAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(context.Context, string) (int, string, error) {
			time.Sleep(time.Millisecond)
			return http.StatusOK, inactive, nil
		}
		for limit, want := range map[int]int64{5: 5, -1: 200} {
			s := newScripted(slow, func(o *Introspection) { o.UnknownPerMinute = limit })
			var all sync.WaitGroup
			for n := range 200 {
				all.Go(func() { s.from(t.Context(), here, fmt.Sprint(n)) })
			}
			all.Wait()
			s.wantCalls(t, want)
		}
	})
}

// One sender waits with two unknown tokens for a turn, and may ask about one. The
// other sender waits for the same answers and may ask as well.
func TestALimitedSenderIsNobodyElsesLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := newScripted(func(context.Context, string) (int, string, error) {
			<-release
			return http.StatusOK, inactive, nil
		}, func(o *Introspection) { o.MaxInFlight, o.UnknownPerMinute = 1, 1 })
		var all sync.WaitGroup
		all.Go(func() { s.from(t.Context(), "192.0.2.3", "before") })
		synctest.Wait()
		var unavailable atomic.Int64
		for _, token := range []string{"a", "b"} {
			all.Go(func() {
				if errors.Is(s.from(t.Context(), here, token), revocation.ErrIssuerUnavailable) {
					unavailable.Add(1)
				}
			})
		}
		synctest.Wait()
		for _, token := range []string{"a", "b"} {
			all.Go(func() {
				if err := s.from(t.Context(), there, token); !errors.Is(err, revocation.ErrUnproven) {
					t.Errorf("the other sender is told %v", err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if n := unavailable.Load(); n != 1 {
			t.Errorf("the sender is limited %d times", n)
		}
		s.wantCalls(t, 3)
	})
}

func TestQuestionsInFlightAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight, most atomic.Int64
		s := newScripted(func(context.Context, string) (int, string, error) {
			most.Store(max(most.Load(), inFlight.Add(1))) // the sleep keeps them apart
			defer inFlight.Add(-1)
			time.Sleep(time.Millisecond)
			return http.StatusOK, active, nil
		}, func(o *Introspection) { o.MaxInFlight = 3 })
		var all sync.WaitGroup
		for n := range 60 {
			all.Go(func() {
				if err := s.from(t.Context(), here, fmt.Sprint(n)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if most.Load() != 3 {
			t.Errorf("%d at one time", most.Load())
		}
		s.wantCalls(t, 60)
	})
}

func TestQuestionsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(func(ctx context.Context, _ string) (int, string, error) {
			time.Sleep(DefaultTimeout - time.Second)
			return http.StatusOK, active, nil
		}, func(o *Introspection) { o.MaxInFlight = 1 })
		began := time.Now()
		var refused, late, answered atomic.Int64
		var all sync.WaitGroup
		for n := range 100 {
			all.Go(func() {
				err := s.from(t.Context(), here, fmt.Sprint(n))
				switch waited := time.Since(began); {
				case err == nil:
					answered.Add(1)
				case !errors.Is(err, revocation.ErrIssuerUnavailable):
					t.Error(err)
				case waited == 0:
					refused.Add(1)
				case waited == DefaultTimeout:
					late.Add(1)
				default:
					t.Errorf("waited %s", waited)
				}
			})
		}
		all.Wait()
		// One asks, the next has its turn in time, and the others wait in vain.
		if answered.Load() != 2 || refused.Load()+late.Load() != 98 || refused.Load() < 98-waitingPerSlot {
			t.Errorf("%d answered, %d refused, %d too late", answered.Load(), refused.Load(), late.Load())
		}
		s.outcomes.want(t, map[Outcome]int{OutcomeActive: 2, OutcomeLimited: 98})
	})
}

// proven returns facts with a proof.
func proven(t *testing.T, proof *revocation.Proof) *revocation.Facts {
	t.Helper()
	facts := new(revocation.Facts)
	checker, err := revocation.NewChecker(nil, readerOf{facts}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer checker.Close()
	if _, _, err := checker.CheckProven(t.Context(), revocation.Presented{Token: askedOf}, proverOf{proof}); err != nil {
		t.Fatal(err)
	}
	return facts
}

type readerOf struct{ facts *revocation.Facts }

func (r readerOf) ReadFacts(string) *revocation.Facts { return r.facts }

type proverOf struct{ proof *revocation.Proof }

func (p proverOf) Prove(context.Context, revocation.Presented) (*revocation.Proof, error) {
	return p.proof, nil
}
