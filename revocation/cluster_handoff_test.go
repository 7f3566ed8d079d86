package revocation

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAClusterTakesOverFromAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		other := join(t, f, nil)
		old := openList(t, new(memoryStore))
		mistake := blockToken("mistake")
		for _, r := range []Record{mistake, blockToken("a")} {
			revoke(t, old, r)
		}
		if _, err := old.Reinstate(t.Context(), Note{}, mistake.ID); err != nil {
			t.Fatal(err)
		}
		revoke(t, other.List, mistake) // was in use there
		next := join(t, f, nil)
		if err := old.HandOver(t.Context(), next.List); err != nil {
			t.Fatal(err)
		}
		everywhere(t, []*clusterNode{other, next}, "a", Revoked)
		everywhere(t, []*clusterNode{other, next}, "mistake", Active)
		revoke(t, old, blockToken("late"))
		everywhere(t, []*clusterNode{other, next}, "late", Revoked)
		old.Close()
	})
}

// A configuration that names a store which doesn't answer must fail, and in time: the one
// that runs goes on.
func TestNothingIsHandedToAStoreThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.down = errBroken
		old := openList(t, new(memoryStore))
		c := newChecker(t, old, plainReader{})
		revoke(t, old, blockToken("a"))
		next := join(t, f, nil)
		began := time.Now()
		err := old.HandOver(t.Context(), next.List)
		if !errors.Is(err, errBroken) || time.Since(began) > time.Minute {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		next.leave()
		wantState(t, c, "a", Revoked)
		revoke(t, old, blockToken("b"))
		old.Close()
	})
}

// Away from a cluster that is down: the node has all it knew.
func TestAFileTakesOverFromAClusterThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		revoke(t, nodes[1].List, blockToken("foreign"))
		everywhere(t, nodes, "foreign", Revoked)
		f.set(func() { f.down = errBroken })
		if err := nodes[0].Revoke(t.Context(), blockToken("pending")); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		store := new(memoryStore)
		next := openList(t, store)
		if err := nodes[0].HandOver(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		nodes[0].leave()
		next.Close()
		again := openList(t, store)
		for _, token := range []string{"foreign", "pending"} {
			wantState(t, newChecker(t, again, plainReader{}), token, Revoked)
		}
		if n := len(store.stored()); n != 2 {
			t.Errorf("%d records were carried over", n)
		}
		again.Close()
	})
}

// A reload that changes something of a shared store has two lists on it for a while.
func TestTwoListsOfOneProcessOnOneFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		for i := range 300 {
			f.add(blockToken(fmt.Sprint(i)))
		}
		old := join(t, f, nil)
		old.untilFresh(t)
		next := join(t, f, nil)
		if err := old.HandOver(t.Context(), next.List); err != nil {
			t.Fatal(err)
		}
		if n := len(f.stored()); n != 300 {
			t.Errorf("the store has %d records, there are 300", n)
		}
		both := []*clusterNode{old, next}
		mistake := blockToken("mistake")
		revoke(t, old.List, mistake)
		everywhere(t, both, "mistake", Revoked)
		old.mustReinstate(t, mistake.ID)
		everywhere(t, both, "mistake", Active)
		revoke(t, next.List, blockToken("new"))
		old.leave()
		revoke(t, old.List, blockToken("late"))
		everywhere(t, both, "new", Revoked)
		everywhere(t, both, "late", Revoked)
	})
}
