// C34 of the contract: an assertion is accepted once.

package endpoint

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestReplays(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	const remains = time.Minute
	t.Run("C34 once per client", func(t *testing.T) {
		var r Replays
		for i, c := range []struct {
			client, jti string
			want        error
		}{
			{"a", "1", nil}, {"a", "1", errAssertionReplayed}, {"a", "2", nil}, {"b", "1", nil}, {"b", "1", errAssertionReplayed}, {"a", "1", errAssertionReplayed},
		} {
			if err := r.accept(c.client, c.jti, remains, start); err != c.want {
				t.Errorf("%d: %v, want %v", i, err, c.want)
			}
		}
	})
	t.Run("C34 as long as it could be accepted, and a clock set back", func(t *testing.T) {
		var r Replays
		r.accept("a", "1", remains, start)
		if err := r.accept("a", "1", remains, start.Add(remains+clockSteps-1)); err != errAssertionReplayed {
			t.Errorf("forgotten early: %v", err)
		}
		if err := r.accept("a", "1", remains, start.Add(remains+clockSteps)); err != nil {
			t.Errorf("not forgotten: %v", err)
		}
	})
	t.Run("C34 memory is given back", func(t *testing.T) {
		var r Replays
		for i := range 1000 {
			r.accept("client"+strconv.Itoa(i%10), strconv.Itoa(i), remains, start)
		}
		r.accept("last", "1", remains, start.Add(time.Hour))
		if len(r.clients) != 1 || len(r.clients["last"]) != 1 {
			t.Errorf("%d clients are remembered", len(r.clients))
		}
	})
	t.Run("C34 a client with too many keeps no other out", func(t *testing.T) {
		var r Replays
		for i := range maxLiveAssertions {
			if err := r.accept("a", strconv.Itoa(i), remains, start); err != nil {
				t.Fatal(i, err)
			}
		}
		if err := r.accept("a", "more", remains, start); err != errTooManyAssertions {
			t.Errorf("no bound: %v", err)
		}
		if err := r.accept("a", "1", remains, start); err != errAssertionReplayed {
			t.Errorf("evicted: %v", err)
		}
		if err := r.accept("b", "1", remains, start); err != nil {
			t.Errorf("another client: %v", err)
		}
		if err := r.accept("a", "more", remains, start.Add(remains+clockSteps)); err != nil {
			t.Errorf("when all have expired: %v", err)
		}
	})
	t.Run("C34 of many at the same time one is accepted", func(t *testing.T) {
		var r Replays
		var accepted atomic.Int64
		var done sync.WaitGroup
		for i := range 64 {
			done.Go(func() {
				for n := range 100 {
					if r.accept("client"+strconv.Itoa(i%2), strconv.Itoa(n), remains, start.Add(time.Duration(i)*time.Second)) == nil {
						accepted.Add(1)
					}
				}
			})
		}
		done.Wait()
		if n := accepted.Load(); n != 200 {
			t.Errorf("%d accepted, want 200", n)
		}
	})
}

func TestAssertionsReplayed(t *testing.T) {
	dead := expect{401, "invalid_client", false, true}
	t.Run("C34 the same assertion again", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		m := message{body: assertionBody(f.good())}
		f.expect(m, ok)
		if r := f.expect(m, dead); r.body != string(invalidClient().body()) {
			t.Errorf("answered in other words than a wrong secret: %s", r.body)
		}
	})
	t.Run("C34 another assertion with the same jti", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.expect(message{body: assertionBody(signers().es.sign(t, statement{"jti": "1"}.payload(f.clock.Now())))}, ok)
		f.expect(message{body: assertionBody(signers().rs.sign(t, statement{"jti": "1", "exp": f.clock.Now().Unix() + 90}.payload(f.clock.Now())))}, dead)
	})
	t.Run("C34 nobody else uses up a jti", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.expect(message{body: assertionBody(signers().other.sign(t, statement{"jti": "1"}.payload(f.clock.Now())))}, badClient)
		f.expect(message{body: assertionBody(signers().es.sign(t, statement{"jti": "1"}.payload(f.clock.Now())))}, ok)
	})
	t.Run("C34 after a reload", func(t *testing.T) {
		replays := new(Replays)
		share := func(o *Options) { o.Replays = replays }
		before, after := newSigningFixture(t, share), newSigningFixture(t, share)
		m := message{body: assertionBody(before.good())}
		before.expect(m, ok)
		after.expect(m, badClient)
	})
	t.Run("C34 until it has expired", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		m := message{body: assertionBody(signers().es.sign(t, statement{"exp": f.clock.Now().Unix() + 300}.payload(f.clock.Now())))}
		f.expect(m, ok)
		for range 80 {
			f.clock.advance(5 * time.Second)
			f.expect(m, dead)
		}
	})
	t.Run("C34 of two at the same time one is accepted", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		for range 20 {
			m := message{body: assertionBody(f.good())}
			statuses := make(chan int)
			for range 2 {
				go func() { statuses <- f.send(m).StatusCode }()
			}
			if first, second := <-statuses, <-statuses; first+second != 200+401 {
				t.Errorf("answered %d and %d", first, second)
			}
			f.clock.advance(time.Minute) // failures are limited
		}
	})
	t.Run("C41 too many that haven't expired", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		for i := range maxLiveAssertions {
			if err := f.opts.Replays.accept(signingID, strconv.Itoa(i), time.Minute, f.clock.Now()); err != nil {
				t.Fatal(err)
			}
		}
		f.expect(message{body: assertionBody(f.good())}, refused(429, "temporarily_unavailable"))
		if o := f.observed(); o[0] != RateLimited {
			t.Errorf("outcome %s", o[0])
		}
		if !errors.Is(errAssertionReplayed, f.opts.Replays.accept(signingID, "0", time.Minute, f.clock.Now())) {
			t.Error("what was used is forgotten")
		}
	})
}
