// Quotas of records, alone and under many clients at once.

package endpoint

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestQuotas(t *testing.T) {
	public := func(token int, from string) message {
		return message{body: fmt.Sprintf("client_id=spa&token=t%d", token), from: from}
	}
	as := func(credentials []string, token int) message {
		return message{body: fmt.Sprintf("token=t%d", token), basic: credentials}
	}
	t.Run("defaults", func(t *testing.T) {
		l := Limits{Public: Quota{Live: 7}}.withDefaults()
		if l.Public != (Quota{7, 600, 60}) || l.Confidential != (Quota{1_000_000, 6_000, -1}) || l.LiveTotal != 10_000_000 {
			t.Errorf("%+v", l)
		}
	})
	t.Run("public client, one address", func(t *testing.T) {
		f := newFixture(t, nil)
		for i := range 60 {
			f.wantStatuses(public(i, "192.0.2.1:1"), 1, map[int]int{200: 1})
		}
		r := f.send(public(60, "192.0.2.1:1"))
		if r.StatusCode != 429 || r.Header.Get("Retry-After") != "1" {
			t.Errorf("answered %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
		}
		f.wantStatuses(public(7, "192.0.2.1:1"), 5, map[int]int{200: 5}) // repeats are free
		f.wantStatuses(public(61, "192.0.2.2:1"), 1, map[int]int{200: 1})
		f.clock.advance(time.Second)
		f.wantStatuses(public(62, "192.0.2.1:1"), 2, map[int]int{200: 2})
		if f.dead("t60") {
			t.Error("past the quota, and recorded")
		}
	})
	t.Run("public client, many addresses", func(t *testing.T) {
		f := newFixture(t, nil)
		got := map[int]int{}
		for i := range 700 {
			got[f.send(public(i, fmt.Sprintf("192.0.2.%d:1", i%100))).StatusCode]++
		}
		if want := map[int]int{200: 600, 429: 100}; !reflect.DeepEqual(got, want) {
			t.Errorf("answers %v", got)
		}
	})
	t.Run("confidential client", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Clients[1].Quota.PerMinute = 3 })
		for i, want := range []int{200, 200, 200, 429, 429} {
			f.wantStatuses(as(app, i), 1, map[int]int{want: 1})
		}
		f.wantStatuses(as([]string{opsID, opsSecret}, 9), 1, map[int]int{200: 1})
	})
	t.Run("live records", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.Confidential.Live = 3 })
		for i, want := range []int{200, 200, 200, 429} {
			f.wantStatuses(as(app, i), 1, map[int]int{want: 1})
		}
		f.wantStatuses(as(app, 1), 1, map[int]int{200: 1})
		if got := f.observed(); got[3] != QuotaExceeded || got[4] != Repeated {
			t.Errorf("outcomes %v", got)
		}
		for i := range 3 { // nothing is evicted
			if !f.dead(fmt.Sprint("t", i)) {
				t.Errorf("t%d lives", i)
			}
		}
	})
	t.Run("records on their way count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			o := options()
			o.List = &stub{revoke: func(context.Context) error { <-release; return nil }}
			o.Limits.Confidential.Live, o.Limits.LiveTotal = 1, 2
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			send := func(m message) int {
				w := httptest.NewRecorder()
				s.ServeHTTP(w, m.request())
				return w.Code
			}
			answers := make(chan int)
			for i := range 2 {
				go func() { answers <- send(as([][]string{app, {opsID, opsSecret}}[i], i)) }()
			}
			synctest.Wait()
			if got := send(as(app, 3)); got != 429 {
				t.Errorf("one more of the client: %d", got)
			}
			if got := send(public(3, "")); got != 429 {
				t.Errorf("one more in all: %d", got)
			}
			close(release)
			if a, b := <-answers, <-answers; a != 200 || b != 200 {
				t.Errorf("answered %d and %d", a, b)
			}
		})
	})
	t.Run("what the client's rate refuses isn't the address's", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.Public = Quota{PerMinute: 2, PerMinutePerAddress: 1} })
		f.wantStatuses(public(1, "192.0.2.1:1"), 1, map[int]int{200: 1})
		f.wantStatuses(public(2, "192.0.2.2:1"), 1, map[int]int{200: 1})
		f.wantStatuses(public(3, "192.0.2.3:1"), 5, map[int]int{429: 5})
		f.clock.advance(30 * time.Second)
		f.wantStatuses(public(3, "192.0.2.3:1"), 1, map[int]int{200: 1})
	})
	t.Run("headroom for operators", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.LiveTotal = 10 })
		for i := range 9 {
			f.wantStatuses(as(app, i), 1, map[int]int{200: 1})
		}
		f.wantStatuses(as(app, 9), 1, map[int]int{429: 1})
		f.wantStatuses(as([]string{opsID, opsSecret}, 9), 1, map[int]int{200: 1})
		f.wantStatuses(as([]string{opsID, opsSecret}, 10), 1, map[int]int{429: 1})
	})
	t.Run("no limits", func(t *testing.T) {
		f := newFixture(t, func(o *Options) {
			o.Limits.LiveTotal, o.Limits.Public = -1, Quota{-1, -1, -1}
			o.List = &stub{total: 1 << 40, live: map[string]int{"client:spa": 1 << 40}}
		})
		for i := range 1000 {
			f.wantStatuses(public(i, ""), 1, map[int]int{200: 1})
		}
	})
	t.Run("what isn't recorded costs nothing", func(t *testing.T) {
		f := newFixture(t, func(o *Options) { o.Limits.Confidential.PerMinute = 1 })
		f.wantStatuses(message{body: "token=" + jwt(`{"exp":1}`), basic: app}, 5, map[int]int{200: 5})
		f.wantStatuses(message{body: "token=a%20b", basic: app}, 5, map[int]int{200: 5}) // one record
		f.wantStatuses(as(app, 1), 1, map[int]int{429: 1})
	})
}

// TestConcurrency has many clients at once and looks whether every bound holds.
func TestConcurrency(t *testing.T) {
	const live, slots, failures = 40, 2, 20
	var list stub
	h := &hash{during: func() { time.Sleep(100 * time.Microsecond) }}
	o := options()
	o.List, o.Compare, o.Now = &list, h, newClock().Now
	o.Limits = Limits{ConcurrentCompares: slots, CompareWait: time.Minute, Confidential: Quota{Live: live}, Public: Quota{Live: live, PerMinutePerAddress: -1}}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var answers [600]atomic.Int64
	send := func(m message) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, m.request())
		answers[w.Code].Add(1)
	}
	for worker := range 16 {
		wg.Go(func() {
			for i := range 50 {
				token := fmt.Sprintf("token=%d-%d", worker, i)
				switch worker % 4 {
				case 0:
					send(message{body: token, basic: app})
				case 1:
					send(message{body: token + "&client_id=spa"})
				case 2:
					send(message{body: token, basic: []string{opsID, opsSecret}})
				case 3:
					send(message{body: token, basic: wrong(plainID), from: "198.51.100.1:1"})
				}
			}
		})
	}
	wg.Wait()
	for _, actor := range []string{"client:web-app", "client:spa", "client:ops"} {
		if n := list.Live(actor); n != live {
			t.Errorf("%s has %d live records, want %d", actor, n, live)
		}
	}
	if n := h.mostBusy.Load(); n > slots {
		t.Errorf("%d comparisons at once", n)
	}
	if got := answers[http.StatusUnauthorized].Load(); got != failures {
		t.Errorf("%d failures got past the limit of %d", got, failures)
	}
	if ok, all := answers[200].Load(), int64(len(list.records)); ok != all {
		t.Errorf("%d successes for %d records", ok, all)
	}
	if s.quotas.inFlight != 0 || len(s.secrets.slots) != 0 {
		t.Errorf("%d records in flight, %d slots held", s.quotas.inFlight, len(s.secrets.slots))
	}
}
