package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var errDown = errors.New("connection refused")

// server is an introspection endpoint whose state changes.
type server struct {
	mu    sync.Mutex
	reply func(ctx context.Context, token string) (int, string, error)
}

func (s *server) now(reply func(context.Context, string) (int, string, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

func (s *server) ask(ctx context.Context, token string) (int, string, error) {
	s.mu.Lock()
	reply := s.reply
	s.mu.Unlock()
	return reply(ctx, token)
}

func down(context.Context, string) (int, string, error) { return 0, "", errDown }

func hangs(ctx context.Context, _ string) (int, string, error) {
	<-ctx.Done()
	return 0, "", ctx.Err()
}

func refuses(status int) func(context.Context, string) (int, string, error) {
	return func(context.Context, string) (int, string, error) { return status, "", nil }
}

func TestInAnOutageOneAsksAndNobodyElseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var idp server
		idp.now(hangs)
		s := newScripted(idp.ask, nil)
		if err := s.from(t.Context(), here, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		ask := func(n int) (slow int) {
			var all sync.WaitGroup
			var mu sync.Mutex
			for n := range n {
				all.Go(func() {
					began := time.Now()
					if err := s.from(t.Context(), here, fmt.Sprint(n)); !errors.Is(err, revocation.ErrIssuerUnavailable) {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					if time.Since(began) > 0 {
						slow++
					}
				})
			}
			all.Wait()
			return slow
		}
		if slow := ask(20); slow != 0 {
			t.Errorf("%d wait although it is known to be in vain", slow)
		}
		s.wantCalls(t, 1)
		for round := range int64(3) {
			time.Sleep(failedFor)
			if slow := ask(20); slow > 20 || s.calls.Load() != round+2 {
				t.Errorf("round %d: %d calls, %d waited", round, s.calls.Load(), slow)
			}
		}
		time.Sleep(failedFor)
		idp.now(always(active))
		for n := range 20 {
			if err := s.from(t.Context(), here, fmt.Sprint(n)); err != nil {
				t.Errorf("after the outage: %v", err)
			}
		}
		s.wantCalls(t, 24)
		if s.status() != nil {
			t.Errorf("status %v", s.status())
		}
		if got := s.log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "again") != 1 {
			t.Errorf("log:\n%s", got)
		}
	})
}

// Whoever finds a token that an issuer can't digest must not have the others suffer.
func TestAFailureOfOneTokenIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []struct {
			status int
			body   string
		}{{500, ""}, {400, ""}, {403, ""}, {404, ""}, {200, "<html>"}, {200, `{"active":"no"}`}} {
			s := newScripted(func(_ context.Context, token string) (int, string, error) {
				if token == "odd" {
					return answer.status, answer.body, nil
				}
				return http.StatusOK, active, nil
			}, nil)
			for n := range 5 {
				if err := s.from(t.Context(), here, "odd"); !errors.Is(err, revocation.ErrIssuerUnavailable) {
					t.Errorf("%v: error %v", answer, err)
				}
				if err := s.from(t.Context(), here, fmt.Sprint(n)); err != nil {
					t.Errorf("%v: another token: %v", answer, err)
				}
			}
			s.wantCalls(t, 6) // the odd one once
			time.Sleep(failedFor)
			s.from(t.Context(), here, "odd")
			s.wantCalls(t, 7)
		}
	})
}

func TestFailuresThatAreEverywhere(t *testing.T) {
	for name, reply := range map[string]func(context.Context, string) (int, string, error){
		"down": down, "401": refuses(401), "429": refuses(429), "502": refuses(502), "503": refuses(503), "504": refuses(504),
	} {
		t.Run(name, func(t *testing.T) {
			s := newScripted(reply, func(o *Introspection) { o.UnknownPerMinute = 1 })
			for n := range 10 {
				if err := s.from(t.Context(), here, fmt.Sprint(n)); !errors.Is(err, revocation.ErrIssuerUnavailable) || errors.Is(err, errTooManyUnknown) {
					t.Errorf("error %v", err)
				}
			}
			s.wantCalls(t, 1)
		})
	}
}

func TestOneLostQuestionIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(func(ctx context.Context, token string) (int, string, error) {
			if token == "lost" {
				return hangs(ctx, token)
			}
			return http.StatusOK, active, nil
		}, nil)
		var lost sync.WaitGroup
		lost.Go(func() { s.from(t.Context(), here, "lost") })
		time.Sleep(time.Second)
		if err := s.from(t.Context(), here, "b"); err != nil {
			t.Error(err)
		}
		lost.Wait()
		if err := s.from(t.Context(), here, "c"); err != nil {
			t.Error(err)
		}
		if err := s.from(t.Context(), here, "lost"); !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Error(err)
		}
		s.wantCalls(t, 3)
	})
}

func TestWrongCredentialsAreToldLoudlyAndRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var idp server
		idp.now(refuses(http.StatusUnauthorized))
		s := newScripted(idp.ask, nil)
		for range 90 {
			s.from(t.Context(), here, askedOf)
			time.Sleep(failedFor)
		}
		// Three minutes.
		if n := strings.Count(s.log.String(), "level=ERROR"); n != 3 {
			t.Errorf("%d lines:\n%s", n, s.log)
		}
		s.wantCalls(t, 90)
		s.wantSecrets(t, s.status())
		idp.now(always(active))
		for range 5 {
			if err := s.from(t.Context(), here, askedOf); err != nil {
				t.Error(err)
			}
		}
		if n := strings.Count(s.log.String(), "again"); n != 1 || s.status() != nil {
			t.Errorf("status %v, log:\n%s", s.status(), s.log)
		}
	})
}

func TestAnswersAreUsedAgainWhenTheIssuerCannotBeAsked(t *testing.T) {
	const ttl, stale = 30 * time.Second, time.Minute
	for _, c := range []struct {
		name  string
		after time.Duration
		stale time.Duration
		proof revocation.Proof
		idp   func(context.Context, string) (int, string, error)
		holds time.Duration // zero: not used again
	}{
		{"just too old", ttl, stale, revocation.Proof{Introspected: true}, down, staleFor},
		{"while still good", 0, stale, revocation.Proof{Introspected: true}, down, staleFor},
		{"nearly too old for that", ttl + stale - time.Second, stale, revocation.Proof{Introspected: true}, down, time.Second},
		{"too old for that", ttl + stale, stale, revocation.Proof{Introspected: true}, down, 0},
		{"long ago", 24 * time.Hour, stale, revocation.Proof{Introspected: true}, down, 0},
		{"not asked for", ttl, 0, revocation.Proof{Introspected: true}, down, 0},
		{"verified by a key", ttl, stale, revocation.Proof{}, down, 0},
		{"proven by another issuer", ttl, stale, revocation.Proof{Introspected: true, Issuer: "https://other.example.com"}, down, 0},
		{"an answer without sense", ttl, stale, revocation.Proof{Introspected: true}, always("<html>"), staleFor},
		{"wrong credentials", ttl, stale, revocation.Proof{Introspected: true}, refuses(401), staleFor},
		{"an error", ttl, stale, revocation.Proof{Introspected: true}, refuses(500), staleFor},
		{"no longer active", ttl, stale, revocation.Proof{Introspected: true}, always(inactive), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScripted(c.idp, func(o *Introspection) { o.StaleIfError = c.stale })
				proof := c.proof
				if proof.At = time.Now(); proof.Issuer == "" {
					proof.Issuer = s.issuer
				}
				p := revocation.Presented{Token: askedOf, Facts: proven(t, &proof)}
				time.Sleep(c.after)
				a, err := s.ask(t.Context(), p)
				if c.holds == 0 {
					if a != nil || err == nil {
						t.Fatalf("used again: %+v", a)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if a.again != &proof || !a.at.Equal(proof.At) {
					t.Errorf("%+v", a)
				}
				now := time.Now()
				if !a.holds(now.Add(c.holds-1)) || a.holds(now.Add(c.holds)) {
					t.Errorf("doesn't hold for %s", c.holds)
				}
			})
		})
	}
}

// Used again and again an answer doesn't get any younger.
func TestStaleAnswersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(down, func(o *Introspection) { o.StaleIfError = time.Minute })
		proof := &revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now()}
		began := time.Now()
		for {
			a, err := s.ask(t.Context(), revocation.Presented{Token: askedOf, Facts: proven(t, proof)})
			if err != nil {
				break
			}
			again := *a.again
			again.Holds = a.holds
			proof = &again
			for a.holds(time.Now()) {
				time.Sleep(time.Second)
			}
		}
		if used := time.Since(began); used != DefaultIntrospectionTTL+time.Minute {
			t.Errorf("used for %s", used)
		}
	})
}

// What the issuer once called inactive isn't active again because it is down.
func TestInactiveTokensAreNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var idp server
		idp.now(always(inactive))
		s := newScripted(idp.ask, func(o *Introspection) { o.StaleIfError = time.Hour })
		proof := revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now()}
		p := revocation.Presented{Token: askedOf, Facts: proven(t, &proof)}
		time.Sleep(time.Minute)
		if _, err := s.ask(t.Context(), p); !errors.Is(err, revocation.ErrUnproven) {
			t.Fatal(err)
		}
		idp.now(down)
		time.Sleep(time.Minute)
		if _, err := s.ask(t.Context(), p); !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

func TestWhoCannotWaitGetsTheStaleAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScripted(hangs, func(o *Introspection) { o.StaleIfError = time.Hour })
		proof := revocation.Proof{Issuer: s.issuer, Introspected: true, At: time.Now()}
		p := revocation.Presented{Token: askedOf, Facts: proven(t, &proof)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a, err := s.ask(ctx, p); err != nil || a.again != &proof {
			t.Errorf("%v, %v", a, err)
		}
		time.Sleep(DefaultTimeout) // the call goes on without it
	})
}
