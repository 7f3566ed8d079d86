package revocation

import (
	"context"
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

// deadFeed is a node's way to a feed of which one connection is dead without a sign: the one
// that follows.
type deadFeed struct {
	*feedClient
	dead atomic.Bool // the next Follow hears nothing, and what is followed now neither
}

func (d *deadFeed) Follow(ctx context.Context, from Position, apply func([]Record, Position) error) error {
	if d.dead.Swap(false) {
		<-ctx.Done()
		return ctx.Err()
	}
	return d.feedClient.Follow(ctx, from, apply)
}

// Beats tell that there is more than what has come. When nothing comes for long, the
// connection is given up.
func TestADeadFeedIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		d := &deadFeed{feedClient: f.client()}
		l, err := Open(t.Context(), d, Options{MaxStaleness: DefaultMaxStaleness})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n := &clusterNode{List: l, Checker: newChecker(t, l, plainReader{})}
		n.untilFresh(t)
		time.Sleep(time.Minute)
		d.dead.Store(true)
		l.follower.breakOff(errBroken)
		time.Sleep(time.Minute)
		if d.dead.Load() {
			t.Fatal("it doesn't follow")
		}
		f.set(func() { f.add(blockToken("a")) })
		began := time.Now()
		everywhere(t, []*clusterNode{n}, "a", Revoked)
		if took, most := time.Since(began), stuckAfter+2*beatEvery(DefaultMaxStaleness)+time.Second; took > most {
			t.Errorf("it came after %s", took)
		}
	})
}
