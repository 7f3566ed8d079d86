package revocation

import (
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	type step struct {
		wall   time.Duration // since start
		passed time.Duration // since the step before
		want   time.Duration // what is believed, since start
	}
	for name, steps := range map[string][]step{
		"follows the wall clock":         {{time.Second, time.Second, time.Second}, {2 * time.Second, time.Second, 2 * time.Second}},
		"a step forward is not believed": {{time.Hour, time.Second, time.Second}, {time.Hour + time.Second, time.Second, 2 * time.Second}},
		"but an hour of it in a day":     {{2 * time.Hour, 0, 0}, {26 * time.Hour, 24 * time.Hour, 25 * time.Hour}},
		"so half an hour ahead for long": {{time.Hour, 30 * time.Minute, 31*time.Minute + 15*time.Second}},
		"a step back is":                 {{-time.Hour, time.Second, -time.Hour}},
		"and forward again slowly":       {{-time.Hour, time.Second, -time.Hour}, {time.Second, 10 * time.Second, -time.Hour + 10*time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock(start)
			for i, s := range steps {
				c.advance(start.Add(s.wall), s.passed)
				if got := int64(c.seconds()) - start.Unix(); got != int64(s.want.Seconds()) {
					t.Errorf("step %d: believes %d s, want %v", i, got, s.want)
				}
			}
		})
	}
}

func TestE11_NoStepOfTheWallClockMakesARevokedTokenActive(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	revoke(t, l, blockToken("a")) // for an hour
	for _, wall := range []time.Duration{24 * time.Hour, -24 * time.Hour, 365 * 24 * time.Hour} {
		l.clock.advance(time.Now().Add(wall), time.Second)
		for i := range shardCount {
			l.index.sweep(i, l.clock.seconds())
		}
		wantState(t, c, "a", Revoked)
	}
}
