package revocation

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A store that was away for long is followed as soon as a beat succeeds.
func TestABeatThatSucceedsWakesTheFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		n := joinFresh(t, f, nil)
		for range 20 {
			f.set(func() { f.down = errBroken })
			time.Sleep(time.Minute + time.Duration(len(f.stored()))*100*time.Millisecond)
			r := blockToken(NewID().String())
			f.set(func() {
				f.down = nil
				f.add(r)
			})
			began := time.Now()
			eventually(t, "it is known", func() bool { _, live := n.index.entry(&r).group.table.get(n.index.entry(&r).key); return live })
			if took, most := time.Since(began), beatEvery(testBound)+50*time.Millisecond; took > most {
				t.Errorf("it is followed after %s, a beat comes within %s", took, most)
			}
		}
	})
}

// A store that answers and can't be read is left in peace.
func TestABeatDoesNotWakeTheFollowerInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.add(blockToken("a"))
		n := join(t, f, nil, func(o *Options) { o.MaxStaleness = time.Second })
		var attempts atomic.Int32
		f.set(func() {
			n.client.loadErr = func(int) error {
				attempts.Add(1)
				return errBroken
			}
			n.follower.breakOff(ErrFeedBroken)
		})
		time.Sleep(5 * time.Minute)
		if got := attempts.Load(); got < 60 || got > 130 {
			t.Errorf("%d attempts in five minutes", got)
		}
	})
}
