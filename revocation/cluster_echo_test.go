package revocation

import (
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
