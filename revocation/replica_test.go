package revocation

import (
	"testing"
	"testing/synctest"
	"time"
)

// A replica that can't be written takes nothing from what its node knows and does.
func TestAReplicaThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		a, b := nodes[0], nodes[1]
		first, second := blockToken("a"), blockToken("a")
		revoke(t, a.List, first)
		everywhere(t, nodes, "a", Revoked)
		b.replica.set(func(s *memoryStore) { s.fail = errBroken })
		revoke(t, a.List, second)
		a.mustReinstate(t, first.ID)
		own := blockToken("b")
		revoke(t, b.List, own)
		everywhere(t, nodes, "b", Revoked)
		time.Sleep(time.Minute)
		everywhere(t, nodes, "a", Revoked)
		if b.Stale() || !b.follower.replica.forgets() {
			t.Errorf("stale: %v", b.Stale())
		}
		// What it hands over is complete.
		next := openList(t, new(memoryStore))
		if err := b.HandOver(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		for _, token := range []string{"a", "b"} {
			wantState(t, newChecker(t, next, plainReader{}), token, Revoked)
		}
		next.Close()
		// So is what it gives back, and what it takes back.
		f.fork(2)
		eventually(t, "the store has its record again", func() bool { return count(f.stored(), own.ID) > 0 })
		b.mustReinstate(t, second.ID)
		everywhere(t, nodes, "a", Active)
		// When the disk has room again, everything comes to it.
		b.replica.set(func(s *memoryStore) { s.fail = nil })
		revoke(t, a.List, blockToken("c"))
		everywhere(t, nodes, "c", Revoked)
		eventually(t, "the replica is complete", func() bool { return !b.follower.replica.forgets() })
		f.set(func() { f.down = errBroken })
		b.leave()
		again := join(t, f, b.replica)
		for token, want := range map[string]State{"a": Active, "b": Revoked, "c": Revoked} {
			wantState(t, again.Checker, token, want)
		}
	})
}

// The clock was ahead, so records were taken for expired, and the replica's file lacks
// them.
func TestAStepBackOfTheClockWithAReplicaThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		right := time.Now()
		live := blockToken("live")
		time.Sleep(24 * time.Hour)
		f.skew = -24 * time.Hour
		f.add(live)
		replica := new(keptStore)
		replica.fail = errBroken
		n := join(t, f, replica)
		time.Sleep(time.Minute + time.Second/2) // between two ticks
		wantState(t, n.Checker, "live", Active)
		if !n.Stale() {
			t.Fatal("a node with a wrong clock is fresh")
		}
		n.clock.now.Store(uint32(right.Unix())) // until the next tick
		f.set(func() { f.skew = 0 })
		n.freshness.lose(recalled, time.Now(), errClockBack)
		n.recall(t.Context())
		wantState(t, n.Checker, "live", Revoked)
		n.untilFresh(t)
	})
}
