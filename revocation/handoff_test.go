package revocation

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestHandOverCarriesEverythingThatIsLive(t *testing.T) {
	oldStore, newStore := new(memoryStore), new(memoryStore)
	old := openList(t, oldStore)
	for i := range 250 {
		revoke(t, old, blockToken(fmt.Sprint(i)))
	}
	mistake := blockToken("reinstated")
	revoke(t, old, mistake)
	if _, err := old.Reinstate(t.Context(), Note{}, mistake.ID); err != nil {
		t.Fatal(err)
	}
	oldStore.set(func(s *memoryStore) { s.fail = errBroken })
	if err := old.Revoke(t.Context(), blockToken("pending")); !errors.Is(err, ErrNotDurable) {
		t.Fatal(err)
	}
	// The new store was in use before, when the mistake wasn't known as one.
	newStore.records = []Record{mistake}
	next := openList(t, newStore)

	if err := old.HandOver(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	old.Close()
	next.Close()
	c := newChecker(t, openList(t, newStore), plainReader{})
	for i := range 250 {
		wantState(t, c, fmt.Sprint(i), Revoked)
	}
	wantState(t, c, "pending", Revoked)
	wantState(t, c, "reinstated", Active)
}

func TestBothListsKnowEverythingDuringAHandOver(t *testing.T) {
	oldStore, newStore := new(memoryStore), new(memoryStore)
	old, next := openList(t, oldStore), openList(t, newStore)
	byOld, byNext := newChecker(t, old, plainReader{}), newChecker(t, next, plainReader{})
	const tokens = 2000
	var wg sync.WaitGroup
	for i := range tokens {
		wg.Go(func() {
			l := old
			if i%2 == 1 {
				l = next
			}
			token := fmt.Sprint(i)
			succeeded := old.successor.Load() != nil
			revoke(t, l, blockToken(token))
			if l == old || succeeded {
				wantState(t, byOld, token, Revoked)
			}
			if l == next || succeeded {
				wantState(t, byNext, token, Revoked)
			}
		})
		if i == tokens/4 {
			wg.Go(func() {
				if err := old.HandOver(t.Context(), next); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for i := range tokens {
		wantState(t, byOld, fmt.Sprint(i), Revoked)
		wantState(t, byNext, fmt.Sprint(i), Revoked)
	}
	// A request that came in under the old configuration and revokes late.
	old.Close()
	revoke(t, old, blockToken("late"))
	wantState(t, byOld, "late", Revoked)
	wantState(t, byNext, "late", Revoked)
	next.Close()
	wantState(t, newChecker(t, openList(t, newStore), plainReader{}), "late", Revoked)
}

func TestAListIsOnItsOwnAgainWhenItsSuccessorIsGone(t *testing.T) {
	oldStore := new(memoryStore)
	old, next := openList(t, oldStore), openList(t, new(memoryStore))
	if err := old.HandOver(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	next.Close() // the reload failed
	revoke(t, old, blockToken("a"))
	wantState(t, newChecker(t, old, plainReader{}), "a", Revoked)
	old.Close()
	wantState(t, newChecker(t, openList(t, oldStore), plainReader{}), "a", Revoked)
}

func TestAHandOverThatFailsSaysSo(t *testing.T) {
	old, next := openList(t, new(memoryStore)), openList(t, &memoryStore{fail: errBroken})
	revoke(t, old, blockToken("a"))
	if err := old.HandOver(t.Context(), next); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	next.Close()
	revoke(t, old, blockToken("b"))
}

func TestTwoListsCantSucceedEachOther(t *testing.T) {
	a, b := openList(t, new(memoryStore)), openList(t, new(memoryStore))
	if err := a.HandOver(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := b.HandOver(t.Context(), a); err == nil {
		t.Error("no error")
	}
	if err := a.HandOver(t.Context(), a); err == nil {
		t.Error("no error")
	}
}

func TestStoresThatTakeTurnsDontGrow(t *testing.T) {
	stores := [2]*memoryStore{{}, {}}
	l := openList(t, stores[0])
	for i := range 10 {
		revoke(t, l, blockToken(fmt.Sprint(i)))
	}
	undone := blockToken("undone")
	revoke(t, l, undone)
	if _, err := l.Reinstate(t.Context(), Note{}, undone.ID); err != nil {
		t.Fatal(err)
	}
	for turn := range 6 {
		next := openList(t, stores[(turn+1)%2])
		if err := l.HandOver(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		l.Close()
		l = next
	}
	if a, b := len(stores[0].stored()), len(stores[1].stored()); a != 12 || b != 11 {
		t.Errorf("%d and %d records are stored", a, b)
	}
	c := newChecker(t, l, plainReader{})
	wantState(t, c, "0", Revoked)
	wantState(t, c, "undone", Active)
}

// A reload can fail after the new configuration has served requests.
func TestWhatASuccessorRevokedIsKeptWhenItIsGone(t *testing.T) {
	oldStore := new(memoryStore)
	old, next := openList(t, oldStore), openList(t, new(memoryStore))
	if err := old.HandOver(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	revoke(t, next, blockToken("a"))
	next.Close()
	wantState(t, newChecker(t, old, plainReader{}), "a", Revoked)
	revoke(t, old, blockToken("b")) // a successor that is closed is none
	old.Close()
	c := newChecker(t, openList(t, oldStore), plainReader{})
	wantState(t, c, "a", Revoked)
	wantState(t, c, "b", Revoked)
}
