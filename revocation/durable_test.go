package revocation

import (
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// durables are the ids that OnDurable was told of, in order.
type durables struct {
	mu  sync.Mutex
	ids []ID
}

func (d *durables) tell(records []Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids = append(d.ids, records[0].ID)
}

func (d *durables) want(t *testing.T, when string, ids ...ID) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.ids, ids) {
		t.Errorf("%s: told of %v, want %v", when, d.ids, ids)
	}
}

// TestWhatBecomesDurableIsTold at once or later, and what isn't durable isn't.
func TestWhatBecomesDurableIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told durables
		store := new(memoryStore)
		l, err := Open(t.Context(), store, Options{OnDurable: told.tell})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		block := func(name string) Record {
			r := blockToken(name)
			r.Expires = time.Now().Add(24 * time.Hour)
			return r
		}
		atOnce, late, imported := block("at once"), block("late"), block("imported")
		if err := l.Revoke(t.Context(), atOnce); err != nil {
			t.Fatal(err)
		}
		told.want(t, "at once", atOnce.ID)
		im, err := l.Import(t.Context(), anySelector, Note{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := im.Add(imported); err != nil {
			t.Fatal(err)
		}
		if err := im.Finish(); err != nil || im.Durable() != 1 {
			t.Fatal(err, im.Durable())
		}
		told.want(t, "after an import", atOnce.ID)

		store.set(func(s *memoryStore) { s.fail = errBroken })
		for range 2 { // who asks again
			if err := l.Revoke(t.Context(), late); !errors.Is(err, ErrNotDurable) {
				t.Fatal(err)
			}
		}
		reinstated, err := l.Reinstate(t.Context(), Note{}, atOnce.ID)
		if !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		told.want(t, "with a store that fails", atOnce.ID)
		store.set(func(s *memoryStore) { s.fail = nil })
		time.Sleep(2 * lastRetry)
		synctest.Wait()
		told.want(t, "with a store that works again", atOnce.ID, late.ID, reinstated.ID)
	})
}

// TestWhatIsHandedOverWhilePendingIsTold when it is durable with the successor.
func TestWhatIsHandedOverWhilePendingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told durables
		broken := &memoryStore{fail: errBroken}
		l, err := Open(t.Context(), broken, Options{OnDurable: told.tell})
		if err != nil {
			t.Fatal(err)
		}
		next, err := Open(t.Context(), new(memoryStore), Options{OnDurable: told.tell})
		if err != nil {
			t.Fatal(err)
		}
		defer next.Close()
		r := blockToken("pending")
		r.Expires = time.Now().Add(24 * time.Hour)
		if err := l.Revoke(t.Context(), r); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		if err := l.HandOver(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		told.want(t, "after the hand-over", r.ID)
		l.Close()
	})
}

// TestASlowLogHoldsUpNoRevocation while the store fails.
func TestASlowLogHoldsUpNoRevocation(t *testing.T) {
	log := &stuckLog{stuck: make(chan struct{}), free: make(chan struct{})}
	l, err := Open(t.Context(), &memoryStore{fail: errBroken}, Options{Logger: log.logger(), CommitTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Revoke(t.Context(), blockToken("a")); !errors.Is(err, ErrNotDurable) {
		t.Fatal(err)
	}
	<-log.stuck
	done := make(chan error, 1)
	go func() {
		l.Stats()
		done <- l.Revoke(t.Context(), blockToken("b"))
	}()
	select {
	case err := <-done:
		if !errors.Is(err, ErrNotDurable) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a revocation waits for the log")
	}
	close(log.free)
	l.Close()
}

// stuckLog is a log that takes no line until it is free.
type stuckLog struct{ stuck, free chan struct{} }

func (s *stuckLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(s, nil)) }

func (s *stuckLog) Write(line []byte) (int, error) {
	select {
	case s.stuck <- struct{}{}:
	case <-s.free:
	}
	<-s.free
	return len(line), nil
}

// On a cluster the node that was asked is told, and no other one: not even one that gives
// the record back when the store has lost it.
func TestOnlyTheNodeThatWasAskedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		var told [2]durables
		var nodes []*clusterNode
		for i := range told {
			nodes = append(nodes, join(t, f, nil, func(o *Options) { o.OnDurable = told[i].tell }))
		}
		r := blockToken("a")
		revoke(t, nodes[0].List, r)
		everywhere(t, nodes, "a", Revoked)
		nodes[0].leave()
		f.fork(1)
		eventually(t, "it is given back", func() bool { return count(f.stored(), r.ID) == 1 })
		told[0].want(t, "the node that was asked", r.ID)
		told[1].want(t, "the other one")
	})
}
