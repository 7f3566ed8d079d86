package pace

import (
	"testing"
	"time"
)

func TestMetersAreBounded(t *testing.T) {
	m := NewMeters(20, 100)
	for key := range uint64(200) {
		m.Take(key, 0)
	}
	if m.Len() != 100 {
		t.Fatalf("%d meters", m.Len())
	}
	if _, wait := m.Take(5, 0); wait != 0 {
		t.Error("one that has a meter is limited by others")
	}
	refused := 0
	for key := range uint64(1000) {
		if tk, wait := m.Take(10_000+key, 0); wait > 0 {
			refused++
		} else if !tk.shared {
			t.Fatal("has a meter of its own")
		}
	}
	if refused != 1000-(20*SharedRate-100) {
		t.Errorf("the shared meter refused %d", refused)
	}
	m.GiveBack(Ticket{shared: true}, 0)
	if tk, wait := m.Take(99_999, 0); wait != 0 || !tk.shared {
		t.Error("what was given back can't be taken")
	}
	if _, wait := m.Take(77_777, time.Hour); wait != 0 || m.Len() != 1 {
		t.Errorf("after an hour: wait %s with %d meters", wait, m.Len())
	}
	tk, _ := m.Take(1, time.Hour)
	m.GiveBack(tk, time.Hour)
	m.GiveBack(tk, time.Hour) // a meter that has gone meanwhile
	if m.Len() != 1 {
		t.Errorf("%d meters", m.Len())
	}
}

func TestMeter(t *testing.T) {
	if m := NewMeters(1<<62, 1); m.perMinute != -1 {
		t.Error("a rate that can't be told from none is limited")
	}
	for _, rate := range []int{1, 7, 20, 6000, 59_999} {
		var m Meter
		now := time.Hour
		for i := range rate {
			var wait time.Duration
			if m, wait = m.Take(rate, now); wait != 0 {
				t.Fatalf("%d of %d per minute: wait %s", i+1, rate, wait)
			}
		}
		_, wait := m.Take(rate, now)
		if wait <= 0 || wait > time.Minute/time.Duration(rate) {
			t.Errorf("%d per minute: wait %s", rate, wait)
		}
		if _, again := m.Take(rate, now+wait); again != 0 {
			t.Errorf("%d per minute: after waiting, wait %s more", rate, again)
		}
	}
}

func TestWaitTakesNothing(t *testing.T) {
	m := NewMeters(1, 10)
	for range 3 {
		if wait := m.Wait(1, 0); wait != 0 {
			t.Fatalf("wait %s before anything was taken", wait)
		}
	}
	m.Take(1, 0)
	if m.Wait(1, 0) == 0 {
		t.Error("there is more than the rate")
	}
	if none := NewMeters(-1, 10); none.Wait(1, 0) != 0 {
		t.Error("no limit limits")
	}
}

func TestGenerations(t *testing.T) {
	g := NewGenerations[int, int](10)
	for i := range 1000 {
		g.Put(i, i)
		if v, ok := g.Get(0); !ok || v != 0 {
			t.Fatalf("what is in use was forgotten after %d", i)
		}
		if n := len(g.current) + len(g.previous); n > 20 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := g.Get(1); ok {
		t.Error("nothing is ever forgotten")
	}
}
