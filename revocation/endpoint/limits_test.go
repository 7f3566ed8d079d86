// C41 of the contract: attempts to authenticate and comparisons are bounded.

package endpoint

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

func wrong(id string) []string { return []string{id, "wrong"} }

// statuses sends the message so many times and counts the answers by status.
func (f *fixture) statuses(m message, n int) map[int]int {
	got := map[int]int{}
	for range n {
		got[f.send(m).StatusCode]++
	}
	return got
}

func (f *fixture) wantStatuses(m message, n int, want map[int]int) {
	f.t.Helper()
	if got := f.statuses(m, n); !reflect.DeepEqual(got, want) {
		f.t.Errorf("answers %v, want %v", got, want)
	}
}

func TestFailureLimits(t *testing.T) {
	const T = "token=T"
	t.Run("C41 failures of one client from one address", func(t *testing.T) {
		f := newFixture(t, nil)
		bad := message{body: T, basic: wrong(plainID), from: "192.0.2.1:1"}
		f.wantStatuses(bad, 25, map[int]int{401: 20, 429: 5})
		if n := f.hash.compared.Load(); n != 40 {
			t.Errorf("%d comparisons: those past the limit were compared", n)
		}
		r := f.expect(bad, expect{429, "temporarily_unavailable", false, false})
		if got := r.Header.Get("Retry-After"); got != "3" {
			t.Errorf("Retry-After: %q", got)
		}
		// Past the limit, right and wrong are answered alike.
		f.expect(message{body: T, basic: app, from: "192.0.2.1:1"}, expect{429, "temporarily_unavailable", false, false})
		// Other clients at the address, and the client elsewhere, are served.
		f.wantStatuses(message{body: T, basic: []string{opsID, opsSecret}, from: "192.0.2.1:1"}, 1, map[int]int{200: 1})
		f.wantStatuses(message{body: T, basic: app, from: "192.0.2.2:1"}, 1, map[int]int{200: 1})
		f.clock.advance(3 * time.Second)
		f.wantStatuses(message{body: T, basic: app, from: "192.0.2.1:1"}, 1, map[int]int{200: 1})
	})
	t.Run("C41 one spelling more is no attempt more", func(t *testing.T) {
		f := newFixture(t, nil)
		f.wantStatuses(message{body: T, basic: wrong("%77eb-app")}, 20, map[int]int{401: 20})
		f.wantStatuses(message{body: T, basic: wrong(plainID)}, 1, map[int]int{429: 1})
		f.wantStatuses(message{body: T + "&client_id=web-app&client_secret=x"}, 1, map[int]int{429: 1})
	})
	t.Run("C41 two readings are one attempt", func(t *testing.T) {
		f := newFixture(t, nil)
		f.wantStatuses(message{body: T, basic: []string{plainID, "wrong+too"}}, 25, map[int]int{401: 20, 429: 5})
	})
	t.Run("C41 unknown clients are limited alike", func(t *testing.T) {
		f := newFixture(t, nil)
		f.wantStatuses(message{body: T, basic: wrong("nobody")}, 25, map[int]int{401: 20, 429: 5})
	})
	t.Run("C41 successes cost nothing and leave nothing", func(t *testing.T) {
		f := newFixture(t, nil)
		f.wantStatuses(message{body: T, basic: app}, 50, map[int]int{200: 50})
		if n := f.hash.compared.Load(); n != 1 {
			t.Errorf("compared %d times: successes aren't remembered", n)
		}
		if f.secrets.perClient.Len()+f.secrets.perAddress.Len() != 0 {
			t.Error("successes are counted")
		}
	})
	t.Run("C41 a client that succeeded from there before", func(t *testing.T) {
		f := newFixture(t, nil)
		f.wantStatuses(message{body: T, basic: app}, 1, map[int]int{200: 1})
		f.wantStatuses(message{body: T, basic: wrong(plainID)}, 30, map[int]int{401: 20, 429: 10})
		f.wantStatuses(message{body: T, basic: app}, 50, map[int]int{200: 50})
		// From where it never succeeded it is limited, known or not: else the
		// answer would tell whether a guess is right.
		f.wantStatuses(message{body: T, basic: wrong(plainID), from: "192.0.2.9:1"}, 20, map[int]int{401: 20})
		f.wantStatuses(message{body: T, basic: app, from: "192.0.2.9:1"}, 1, map[int]int{429: 1})
	})
	t.Run("C41 guessing past the limit where the client succeeded", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.FailuresPerMinutePerAddress = 2 })
		f.wantStatuses(message{body: T, basic: app}, 1, map[int]int{200: 1})
		f.statuses(message{body: T, basic: wrong(plainID)}, 2+2*pace.SharedRate-1)
		f.wantStatuses(message{body: T, basic: app}, 200, map[int]int{200: 200})
		f.statuses(message{body: T, basic: wrong(plainID)}, 1)
		f.wantStatuses(message{body: T, basic: app}, 1, map[int]int{429: 1})
	})
	t.Run("C41 what one limit refuses costs the other nothing", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.FailuresPerMinute, o.Limits.FailuresPerMinutePerAddress = 1, 2 })
		address := limitedAddress(netip.MustParseAddr("192.0.2.1"))
		for i, id := range []string{"a", "a", "a", "b", "c"} {
			_, wait := f.secrets.begin([]credentials{{id, "x"}}, address)
			if limited := i == 1 || i == 2 || i == 4; limited != (wait > 0) {
				t.Errorf("attempt %d: wait %s", i, wait)
			}
		}
	})
	t.Run("C41 spraying from one address", func(t *testing.T) {
		f := newFixture(t, nil)
		got := map[int]int{}
		for i := range 150 {
			got[f.send(message{body: T, basic: wrong(fmt.Sprint("client", i))}).StatusCode]++
		}
		if want := map[int]int{401: 100, 429: 50}; !reflect.DeepEqual(got, want) {
			t.Errorf("answers %v", got)
		}
	})
	t.Run("C41 IPv6 counts by /64, IPv4 also when mapped", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.FailuresPerMinute = 1 })
		status := func(from string) int {
			return f.send(message{body: T, basic: wrong(plainID), from: from}).StatusCode
		}
		for i, c := range []struct {
			from   string
			status int
		}{
			{"[2001:db8:0:1::1]:1", 401}, {"[2001:db8:0:1:ffff::2]:1", 429}, {"[2001:db8:0:2::1]:1", 401},
			{"192.0.2.1:1", 401}, {"[::ffff:192.0.2.1]:2", 429}, {"192.0.2.2:1", 401},
			{"@", 401}, {"elsewhere", 429},
		} {
			if got := status(c.from); got != c.status {
				t.Errorf("%d: from %s: %d, want %d", i, c.from, got, c.status)
			}
		}
	})
	t.Run("C41 no limit", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.FailuresPerMinute, o.Limits.FailuresPerMinutePerAddress = -1, -1 })
		f.wantStatuses(message{body: T, basic: wrong(plainID)}, 300, map[int]int{401: 300})
	})
	t.Run("C41 the time of day is set back", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Now = nil })
		if !strings.Contains(f.start.String(), " m=") {
			t.Error("the limits' clock is the time of day")
		}
	})
}

func TestComparisonsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		o := options()
		o.List = new(stub)
		o.Compare = &hash{during: func() { <-release }}
		o.Limits.ConcurrentCompares = 1
		var busy atomic.Int64
		o.Observe = func(o Outcome) {
			if o == Busy {
				busy.Add(1)
			}
		}
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		send := func(ctx context.Context, m message) int {
			w := httptest.NewRecorder()
			s.ServeHTTP(w, m.request().WithContext(ctx))
			return w.Code
		}
		first := make(chan int)
		go func() { first <- send(t.Context(), message{body: "token=a", basic: app}) }()
		synctest.Wait()
		if got := send(t.Context(), message{body: "token=b", basic: []string{opsID, opsSecret}}); got != 503 {
			t.Errorf("answered %d instead of waiting for ever", got)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := send(gone, message{body: "token=b", basic: app}); got != 503 {
			t.Errorf("answered %d to a client that has gone", got)
		}
		// Requests of the same client wait for its first and aren't compared.
		more := make(chan int)
		for i := range 50 {
			go func() { more <- send(t.Context(), message{body: fmt.Sprintf("token=c%d", i), basic: app}) }()
		}
		synctest.Wait()
		close(release)
		if got := <-first; got != 200 {
			t.Errorf("answered %d", got)
		}
		for range 50 {
			if got := <-more; got != 200 {
				t.Errorf("answered %d", got)
			}
		}
		if n := o.Compare.(*hash).compared.Load(); n != 1 {
			t.Errorf("compared %d times", n)
		}
		if n := busy.Load(); n != 2 {
			t.Errorf("%d were told that the server is busy", n)
		}
	})
}

func TestAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := limitedAddress(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if limitedAddress(netip.Addr{}).IsValid() {
		t.Error("an unknown address is valid")
	}
}
