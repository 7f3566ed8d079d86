// D3 and F1 of the contract: what is sent again, when it was done and when it
// wasn't durable.

package endpoint

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func (f *fixture) sendToken(token string) {
	f.t.Helper()
	if r := f.send(message{body: "token=" + url.QueryEscape(token), basic: app}); r.StatusCode != 200 {
		f.t.Errorf("answered %d: %s", r.StatusCode, r.body)
	}
}

func TestRepeats(t *testing.T) {
	t.Run("D3 twice", func(t *testing.T) {
		for _, token := range []string{"opaque", jwt(`{"exp":4102444800}`), jwt(`{"sub":"a"}`)} {
			f := newFixture(t, nil)
			f.sendToken(token)
			f.clock.advance(time.Minute)
			f.sendToken(token)
			if n := len(f.store.all()); n != 1 {
				t.Errorf("%d records", n)
			}
			if got := f.observed(); !reflect.DeepEqual(got, []Outcome{Revoked, Repeated}) {
				t.Errorf("outcomes %v", got)
			}
			if !f.dead(token) {
				t.Error("not dead")
			}
		}
	})
	t.Run("D3 twice, by two clients", func(t *testing.T) {
		f := newFixture(t, nil)
		f.sendToken("T")
		f.expect(message{body: "token=T&client_id=spa"}, ok)
		records := f.store.all()
		if len(records) != 2 || records[0].Actor != "client:web-app" || records[1].Actor != "client:spa" {
			t.Errorf("records %v", records)
		}
	})
	t.Run("D3 again after a reinstatement", func(t *testing.T) {
		f := newFixture(t, nil)
		f.sendToken("T")
		if _, err := f.list.Reinstate(t.Context(), revocation.Note{}, f.store.all()[0].ID); err != nil {
			t.Fatal(err)
		}
		if f.dead("T") {
			t.Fatal("reinstated, and dead")
		}
		f.sendToken("T")
		if !f.dead("T") {
			t.Error("a repeat was taken for done")
		}
	})
	t.Run("D3 again when much time has passed", func(t *testing.T) {
		f := newFixture(t, nil)
		f.sendToken("T")
		f.clock.advance(48 * time.Hour)
		f.sendToken("T")
		records := f.store.all()
		if len(records) != 2 || !records[1].Expires.After(records[0].Expires) {
			t.Errorf("records %v", records)
		}
	})
}

// failing is a list over a store that fails until it is mended: it enforces.
type failing struct {
	stub
	mended bool
	asked  []revocation.Record
}

func (l *failing) Revoke(ctx context.Context, records ...revocation.Record) error {
	l.asked = append(l.asked, records...)
	if err := l.stub.Revoke(ctx, records...); err != nil || l.mended {
		return err
	}
	return fmt.Errorf("%w: broken", revocation.ErrNotDurable)
}

// ids returns how many different revocations the list was asked for.
func (l *failing) ids() int {
	ids := map[revocation.ID]bool{}
	for _, r := range l.asked {
		ids[r.ID] = true
	}
	return len(ids)
}

func TestRetries(t *testing.T) {
	type house struct {
		*fixture
		list *failing
	}
	build := func(t *testing.T, quota Quota) house {
		list := new(failing)
		f := newFixture(t, func(o *Options) { o.List, o.Limits.Confidential = list, quota })
		return house{f, list}
	}
	send := func(h house, credentials []string, token string, n, status int) {
		h.t.Helper()
		h.wantStatuses(message{body: "token=" + token, basic: credentials}, n, map[int]int{status: n})
	}
	t.Run("the same record at no cost", func(t *testing.T) {
		for _, token := range []string{"opaque", jwt(`{"exp":4102444800}`)} {
			h := build(t, Quota{Live: -1, PerMinute: 1, PerMinutePerAddress: 1})
			for range 100 {
				send(h, app, token, 1, 503)
				h.clock.advance(10 * time.Millisecond) // the quota doesn't recover
			}
			for _, r := range h.list.asked {
				if !reflect.DeepEqual(r, h.list.asked[0]) {
					t.Fatalf("record %+v is not %+v", r, h.list.asked[0])
				}
			}
			send(h, app, "another", 1, 429)
			h.list.mended = true
			send(h, app, token, 5, 200)
			if n := len(h.list.asked); n != 101 || h.list.ids() != 1 {
				t.Errorf("%d calls for %d revocations", n, h.list.ids())
			}
			if got := h.observed()[101:]; !reflect.DeepEqual(got, []Outcome{Revoked, Repeated, Repeated, Repeated, Repeated}) {
				t.Errorf("outcomes %v", got)
			}
			if h.quotas.inFlight != 0 {
				t.Errorf("%d records in flight", h.quotas.inFlight)
			}
		}
	})
	t.Run("of another client or token", func(t *testing.T) {
		h := build(t, Quota{})
		send(h, app, "T", 2, 503)
		send(h, []string{opsID, opsSecret}, "T", 2, 503)
		send(h, app, "U", 2, 503)
		if h.list.ids() != 3 {
			t.Errorf("%d revocations, want 3", h.list.ids())
		}
	})
	t.Run("much later", func(t *testing.T) {
		h := build(t, Quota{})
		send(h, app, "T", 1, 503)
		h.clock.advance(48 * time.Hour)
		send(h, app, "T", 2, 503)
		if a := h.list.asked; h.list.ids() != 2 || !a[1].Expires.After(a[0].Expires) || a[2].ID != a[1].ID {
			t.Errorf("asked for %v", a)
		}
	})
	t.Run("after a reinstatement", func(t *testing.T) {
		h := build(t, Quota{})
		send(h, app, "T", 2, 503)
		h.list.again.Add(1)
		send(h, app, "T", 2, 503)
		if a := h.list.asked; a[1].ID != a[0].ID || a[2].ID == a[1].ID || a[3].ID != a[2].ID {
			t.Errorf("asked for %v", a)
		}
	})
}

// TestRetriesLeaveOneRecord has clients retry while the store is away: the list
// holds and stores one record of the token.
func TestRetriesLeaveOneRecord(t *testing.T) {
	const retries = 1000
	for name, token := range map[string]string{"opaque": "T", "JWT": jwt(`{"exp":4102444800}`)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(store)
				list, err := revocation.Open(t.Context(), store, revocation.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer list.Close()
				o := options()
				o.List = list
				o.Limits.Confidential = Quota{Live: 2, PerMinute: 1}
				s, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				send := func(status int) {
					w := httptest.NewRecorder()
					s.ServeHTTP(w, message{body: "token=" + token, basic: app}.request())
					if w.Code != status {
						t.Errorf("answered %d: %s", w.Code, w.Body)
					}
				}
				store.fail(revocation.ErrStoreFull)
				for range retries / 2 { // one after the other
					send(503)
					time.Sleep(failureRetry)
				}
				var wg sync.WaitGroup
				for range retries / 2 { // at once
					wg.Go(func() { send(503) })
				}
				wg.Wait()
				if n := list.Stats().Pending; n != 1 {
					t.Errorf("%d records are pending", n)
				}
				if n := list.Live("client:web-app"); n != 1 {
					t.Errorf("the client has %d live records", n)
				}
				store.fail(nil)
				send(200)
				send(200)
				if n, pending := len(store.all()), list.Stats().Pending; n != 1 || pending != 0 {
					t.Errorf("%d records are stored, %d are pending", n, pending)
				}
			})
		})
	}
}
