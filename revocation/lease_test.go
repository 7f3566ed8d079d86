package revocation

import (
	"testing"
	"time"
	"unsafe"
)

// at makes a time of any two clocks, which nothing in package time does: so much passed
// by the clock that doesn't jump, so much by the one on the wall.
func at(passed, wall time.Duration) time.Time {
	t := epoch.Add(wall)
	// Time is {wall uint64, ext int64, loc}; with a monotonic reading ext is that.
	*(*int64)(unsafe.Add(unsafe.Pointer(&t), 8)) = *(*int64)(unsafe.Add(unsafe.Pointer(&epoch), 8)) + int64(passed)
	return t
}

var epoch = time.Now()

func TestTimesOfTwoClocks(t *testing.T) {
	a, b := at(time.Hour, time.Minute), at(2*time.Hour, -time.Minute)
	if b.Sub(a) != time.Hour || b.Round(0).Sub(a.Round(0)) != -2*time.Minute {
		t.Fatalf("%s, %s", b.Sub(a), b.Round(0).Sub(a.Round(0)))
	}
}

func TestElapsedTimeIsThatOfTheClockThatSaysMore(t *testing.T) {
	const s = time.Second
	type reading struct{ passed, wall time.Duration }
	for name, c := range map[string]struct {
		ticks []reading // since the start
		now   reading
		want  time.Duration
	}{
		"nothing happens":             {nil, reading{90 * s, 90 * s}, 90 * s},
		"with ticks":                  {[]reading{{s, s}, {2 * s, 2 * s}}, reading{3 * s, 3 * s}, 3 * s},
		"the machine sleeps":          {[]reading{{s, s}}, reading{2 * s, 3602 * s}, 3602 * s},
		"it slept before":             {[]reading{{s, s}, {2 * s, 3602 * s}}, reading{3 * s, 3603 * s}, 3603 * s},
		"the wall clock is set ahead": {nil, reading{s, 600 * s}, 600 * s},
		"it is set back":              {nil, reading{90 * s, -3600 * s}, 90 * s},
		"it was set back":             {[]reading{{s, s}, {2 * s, -3600 * s}}, reading{3 * s, -3599 * s}, 3 * s},
		"ahead and back again":        {[]reading{{s, 600 * s}, {2 * s, 2 * s}}, reading{3 * s, 3 * s}, 602 * s},
		"asleep, then set back":       {[]reading{{s, 3601 * s}}, reading{2 * s, 2 * s}, 3602 * s},
		"a time before the last tick": {[]reading{{5 * s, 5 * s}}, reading{4 * s, 4 * s}, 5 * s},
		"a wall clock that stands":    {[]reading{{s, 0}, {2 * s, 0}}, reading{3 * s, 0}, 3 * s},
	} {
		l := newLease(time.Minute, at(0, 0))
		for _, r := range c.ticks {
			l.tick(at(r.passed, r.wall))
		}
		if got := time.Duration(l.elapsed(at(c.now.passed, c.now.wall))); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestALeaseLastsFromTheQuestionOnceTheAnswerIsApplied(t *testing.T) {
	const bound = 10 * time.Second
	covers := func(applied, head Position) bool { return applied >= head }
	l := newLease(bound, at(0, 0))
	over := func(now time.Duration, want bool) {
		t.Helper()
		if got := l.ended(l.until.Load(), at(now, now)); got != want {
			t.Errorf("after %s the lease is over: %v", now, got)
		}
	}
	offer := func(asked time.Duration, head Position, want int64) {
		t.Helper()
		era, at := l.now(at(asked, asked))
		if got := l.offer(era, at, head, covers); got != want {
			t.Errorf("an answer to what was asked at %s: %d, want %d", asked, got, want)
		}
	}
	over(0, true)
	offer(time.Second, "5", never) // nothing is applied
	over(2*time.Second, true)
	if l.advance("4", covers) != never {
		t.Error("granted before the head is applied")
	}
	if got := l.advance("5", covers); got != int64(time.Second) {
		t.Errorf("granted from %d", got)
	}
	over(11*time.Second-1, false)
	over(11*time.Second, true)
	offer(5*time.Second, "5", int64(5*time.Second))
	offer(6*time.Second, "7", never) // the feed is stuck
	offer(7*time.Second, "9", never)
	over(15*time.Second, true)
	if got := l.advance("8", covers); got != int64(6*time.Second) {
		t.Errorf("granted from %d", got)
	}
	over(16*time.Second-1, false)

	// Another sequence: what was asked of the old one is worth nothing there.
	era, asked := l.now(at(8*time.Second, 8*time.Second))
	l.confirm(era, l.until.Load())
	l.revoke()
	over(16*time.Second-1, false) // what was known is known
	if l.offer(era, asked, "1", covers) != never || l.advance("1", covers) != never {
		t.Error("granted by an answer of another sequence")
	}
	for i := range 1000 { // a feed that is stuck for long
		offer(9*time.Second+time.Duration(i), "2", never)
	}
	if n := len(l.waiting); n > 64 {
		t.Errorf("%d answers are kept", n)
	}
	if got := l.advance("2", covers); got != int64(9*time.Second+999) {
		t.Errorf("granted from %d", got)
	}
	over(19*time.Second, false)
}

func TestAListWithoutAFeedIsNeverStale(t *testing.T) {
	l := openList(t, new(memoryStore))
	l.lease.tick(time.Now().Add(1000 * time.Hour))
	if l.Stale() || !l.Freshness().Fresh {
		t.Error("it is stale")
	}
}

// A wall clock that is set ahead and back again between two ticks lends no time: what was
// read of it once has passed.
func TestALeaseOutlastsNoJumpOfTheWallClock(t *testing.T) {
	const bound, s = 10 * time.Second, time.Second
	covers := func(applied, head Position) bool { return applied >= head }
	l := newLease(bound, at(0, 0))
	l.advance("1", covers)
	era, asked := l.now(at(s/4, s/4+time.Hour))
	l.tick(at(s, s))
	if l.offer(era, asked, "1", covers) == never {
		t.Fatal("nothing is granted")
	}
	if l.ended(l.until.Load(), at(9*s, 9*s)) {
		t.Error("over before the bound")
	}
	if !l.ended(l.until.Load(), at(11*s, 11*s)) {
		t.Error("not over after the bound")
	}
}

// A fork can come between an answer and what was applied by then: numbers alone say that
// one covers the other. What wasn't found in the sequence afterwards is taken back.
func TestWhatAForkGrantedIsTakenBack(t *testing.T) {
	const bound, s = 10 * time.Second, time.Second
	covers := func(applied, head Position) bool { return applied >= head }
	l := newLease(bound, at(0, 0))
	over := func(now time.Duration, want bool) {
		t.Helper()
		if got := l.ended(l.until.Load(), at(now, now)); got != want {
			t.Errorf("after %s the lease is over: %v", now, got)
		}
	}
	ask := func(now time.Duration) (era int, asked, until int64) {
		era, asked = l.now(at(now, now))
		return era, asked, l.until.Load()
	}
	l.advance("5", covers)
	era, asked, until := ask(s)
	l.offer(era, asked, "5", covers)
	l.confirm(era, until)
	era, asked, until = ask(2 * s) // "5" is found in the sequence
	l.offer(era, asked, "5", covers)
	l.confirm(era, until)
	over(12*s-1, false)
	l.revoke() // in the third answer it isn't
	over(11*s-1, false)
	over(11*s, true)

	era, asked, until = ask(3 * s)
	l.revoke()
	l.confirm(era, until+int64(bound)) // of the sequence before
	l.revoke()
	over(11*s, true)
	_ = asked
}
