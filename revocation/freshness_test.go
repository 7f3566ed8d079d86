package revocation

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// unreadableStore is a store that can't be read for a while.
type unreadableStore struct {
	*memoryStore
	unreadable atomic.Bool
}

func (s *unreadableStore) Load(ctx context.Context, apply func([]Record) error) (Position, error) {
	if s.unreadable.Load() {
		return "", errBroken
	}
	return s.memoryStore.Load(ctx, apply)
}

// TestAListThatMayLackRecordsIsNotFresh until it has read its store again, however
// often that takes.
func TestAListThatMayLackRecordsIsNotFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Freshness
		store := &unreadableStore{memoryStore: new(memoryStore)}
		l, err := Open(t.Context(), store, Options{OnFreshness: func(f Freshness) { told = append(told, f) }})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c := newChecker(t, l, plainReader{})
		if f := l.Freshness(); !f.Fresh || !f.Since.IsZero() {
			t.Errorf("a new list: %+v", f)
		}

		missed := blockToken("missed")
		missed.Expires = time.Now().Add(24 * time.Hour)
		store.set(func(s *memoryStore) { s.records = append(s.records, missed) })
		store.unreadable.Store(true)
		l.freshness.lose(recalled, time.Now(), errClockBack)
		time.Sleep(time.Minute)
		synctest.Wait()
		if f := l.Freshness(); f.Fresh || !errors.Is(f.Cause, errBroken) || time.Since(f.Since) != time.Minute {
			t.Errorf("with a store that can't be read: %+v", f)
		}
		wantState(t, c, "missed", Active)

		store.unreadable.Store(false)
		time.Sleep(2 * recallEvery * time.Second)
		synctest.Wait()
		if f := l.Freshness(); !f.Fresh || f.Cause != nil {
			t.Errorf("after the store was read: %+v", f)
		}
		wantState(t, c, "missed", Revoked)
		if len(told) != 2 || told[0].Fresh || !told[1].Fresh {
			t.Errorf("told of %+v", told)
		}
		c.Close()
	})
}
