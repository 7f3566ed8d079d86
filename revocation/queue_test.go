package revocation

import (
	"errors"
	"testing"
	"time"
)

// What waits for the store and is given again with a later expiry, or another cutoff, is
// more than a repetition.
func TestARepetitionThatSaysMoreIsKept(t *testing.T) {
	for name, more := range map[string]func(*Record){
		"a later expiry": func(r *Record) { r.Expires = r.Expires.Add(time.Hour) },
		"a later cutoff": func(r *Record) { r.Cutoff = r.Cutoff.Add(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			store := &memoryStore{fail: errBroken}
			l := openList(t, store)
			first := cutoffAt(IssuedBefore, SelectToken(plainReader{}.ReadFacts("a").Fingerprint), time.Now())
			if err := l.Revoke(t.Context(), first); !errors.Is(err, ErrNotDurable) {
				t.Fatal(err)
			}
			second := first
			more(&second)
			if err := l.Revoke(t.Context(), second); !errors.Is(err, ErrNotDurable) {
				t.Fatal(err)
			}
			store.set(func(s *memoryStore) { s.fail = nil })
			eventually(t, "nothing is pending", func() bool { return l.Stats().Pending == 0 })
			known := inventory{}
			for _, r := range store.stored() {
				known.add(&r)
			}
			if !known.covers(&second) {
				t.Errorf("the store has %v", known)
			}
			e := l.index.entry(&second)
			if v, _ := e.group.table.get(e.key); v.merge(e.value) != v {
				t.Error("it isn't in force")
			}
		})
	}
}
