package revocation

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Records that come back: what a node has sent itself, and what others have.

// Twice the store loses the same record, the second time without a sign.
func TestARecordThatIsGivenBackInVainIsGivenBackAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		n := joinFresh(t, f, nil)
		r := blockToken("lost")
		f.set(func() { n.client.mute = true }) // nothing is settled
		revoke(t, n.List, r)
		synctest.Wait()
		f.fork(1)
		f.set(func() {
			n.client.mute = false
			f.forget = func(got Record) bool { return got.ID == r.ID }
		})
		time.Sleep(2 * time.Second)
		f.set(func() { f.forget = nil })
		eventually(t, "the store has it", func() bool { return count(f.stored(), r.ID) > 0 })
	})
}

// What a store repeats, since somebody had to write it again, is one record.
func TestWhatOthersRepeatIsOneRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		f.set(func() { nodes[0].client.unsure = true })
		r := blockToken("a")
		if err := nodes[0].Revoke(t.Context(), r); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		f.set(func() { nodes[0].client.unsure = false })
		eventually(t, "it is durable", func() bool { return nodes[0].Stats().Pending == 0 })
		revoke(t, nodes[0].List, blockToken("last"))
		everywhere(t, nodes, "last", Revoked)
		if n := count(f.stored(), r.ID); n < 10 {
			t.Fatalf("the store has it %d times, this test needs more", n)
		}
		for i, n := range nodes {
			if got := n.Live("tester"); got != 2 {
				t.Errorf("node %d counts %d records", i, got)
			}
			if got := count(n.replica.stored(), r.ID); got != 1 {
				t.Errorf("the replica of node %d has it %d times", i, got)
			}
		}
	})
}
