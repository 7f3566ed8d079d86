// What happens at the same time, and how things end.

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// appender appends batches from one goroutine, as a List does, until it is
// stopped.
type appender struct {
	acked atomic.Int64 // batches whose Append has returned
	stop  chan struct{}
	done  chan error
}

const appenderBatch = 7

func startAppender(s revocation.Store) *appender {
	a := &appender{stop: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		for i := 0; ; i++ {
			select {
			case <-a.stop:
				a.done <- nil
				return
			default:
			}
			if err := s.Append(background, newBatch(batchName(i), appenderBatch)); err != nil {
				a.done <- fmt.Errorf("appending batch %d: %w", i, err)
				return
			}
			a.acked.Store(int64(i + 1))
			// A store in memory would be filled with millions.
			time.Sleep(200 * time.Microsecond)
		}
	}()
	return a
}

func batchName(i int) string { return fmt.Sprintf("batch %d", i) }

// acknowledged returns the names of all records whose Append has returned.
func (a *appender) acknowledged() (names []string) {
	for i := range int(a.acked.Load()) {
		for j := range appenderBatch {
			names = append(names, fmt.Sprintf("%s/%d", batchName(i), j))
		}
	}
	return names
}

func (a *appender) end(t *testing.T) {
	t.Helper()
	close(a.stop)
	if err := <-a.done; err != nil {
		t.Fatal(err)
	}
}

// waitFor waits until the appender has acknowledged so many batches.
func (a *appender) waitFor(t *testing.T, n int64) {
	t.Helper()
	for a.acked.Load() < n {
		select {
		case err := <-a.done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

func testLoadDuringAppend(t *testing.T, open Opener) {
	s := openStore(t, open)
	a := startAppender(s)
	for range 10 {
		a.waitFor(t, a.acked.Load()+1)
		before := a.acknowledged()
		wantAll(t, load(t, s), before)
	}
	a.end(t)
	wantSame(t, load(t, s), a.acknowledged())
}

// testAllOrNone cancels Appends at any moment: what is left of each is the whole
// or nothing, and the whole if it returned nil.
func testAllOrNone(t *testing.T, open Opener) {
	random := newRandom(t, 3)
	s := openStore(t, open)
	const size = 50
	acked := map[string]bool{}
	for i := range 40 {
		ctx, cancel := context.WithCancel(background)
		timer := time.AfterFunc(time.Duration(random.IntN(2000))*time.Microsecond, cancel)
		err := s.Append(ctx, newBatch(batchName(i), size))
		timer.Stop()
		cancel()
		if err != nil {
			wantErrorIs(t, "Append", err, context.Canceled)
		}
		acked[batchName(i)] = err == nil
	}
	closeStore(t, s)
	counts := map[string]int{}
	for _, n := range load(t, openStore(t, open)) {
		batch, _, _ := strings.Cut(n, "/")
		counts[batch]++
	}
	for batch, ok := range acked {
		if n := counts[batch]; n != size && (n != 0 || ok) {
			t.Errorf("%s has %d records of %d; acknowledged: %v", batch, n, size, ok)
		}
	}
}

func testConcurrentLoads(t *testing.T, open Opener) {
	s := openStore(t, open)
	a := startAppender(s)
	a.waitFor(t, 3)
	var loads sync.WaitGroup
	for range 4 {
		loads.Go(func() {
			for range 5 {
				before := a.acknowledged()
				got, err := loadNames(s)
				if err != nil {
					t.Errorf("Load: %v", err)
				} else if n, lost := missing(got, before); lost {
					t.Errorf("record %s is lost", n)
				}
			}
		})
	}
	loads.Wait()
	a.end(t)
	wantSame(t, load(t, s), a.acknowledged())
}

func testAppendFromApply(t *testing.T, open Opener) {
	s := openStore(t, open)
	first, second := newBatch("first", 50), newBatch("second", 50)
	appendTo(t, s, first...)
	appended := false
	_, err := s.Load(background, func([]revocation.Record) error {
		if appended {
			return nil
		}
		appended = true
		return s.Append(background, second)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, load(t, s), slices.Concat(namesOf(first), namesOf(second)))
}

func testApplyError(t *testing.T, open Opener) {
	s := openStore(t, open)
	appendTo(t, s, newBatch("some", 10_000)...)
	want := errors.New("enough")
	calls := 0
	_, err := s.Load(background, func([]revocation.Record) error {
		calls++
		return want
	})
	wantErrorIs(t, "Load", err, want)
	if calls != 1 {
		t.Fatalf("apply was called %d times, want no call after its error", calls)
	}
	appendTo(t, s, newBatch("more", 1)...)
}

func testLoadCancelled(t *testing.T, open Opener) {
	s := openStore(t, open)
	appendTo(t, s, newBatch("some", 10)...)
	ctx, cancel := context.WithCancel(background)
	cancel()
	_, err := s.Load(ctx, func([]revocation.Record) error { return nil })
	wantErrorIs(t, "Load", err, context.Canceled)
	if got := load(t, s); len(got) != 10 {
		t.Fatalf("%d records are there, want 10", len(got))
	}
}

func testAppendCancelled(t *testing.T, open Opener) {
	s := openStore(t, open)
	kept, lost := newBatch("kept", 10), newBatch("cancelled", 10)
	appendTo(t, s, kept...)
	ctx, cancel := context.WithCancel(background)
	cancel()
	err := s.Append(ctx, lost)
	want := namesOf(kept)
	switch got := load(t, s); {
	case err == nil, len(got) > len(kept):
		want = append(want, namesOf(lost)...)
	default:
		wantErrorIs(t, "Append", err, context.Canceled)
	}
	wantSame(t, load(t, s), want)
	appendTo(t, s, lost...)
	wantSame(t, load(t, s), slices.Concat(namesOf(kept), namesOf(lost)))
}

func wantClosed(t *testing.T, s revocation.Store) {
	t.Helper()
	wantErrorIs(t, "Append after Close", s.Append(background, newBatch("late", 1)), revocation.ErrStoreClosed)
	_, err := s.Load(background, func([]revocation.Record) error { return nil })
	wantErrorIs(t, "Load after Close", err, revocation.ErrStoreClosed)
	if p, ok := s.(revocation.Pruner); ok {
		_, err := p.Prune(background, time.Now())
		wantErrorIs(t, "Prune after Close", err, revocation.ErrStoreClosed)
	}
}

func testClose(t *testing.T, open Opener) {
	s := openStore(t, open)
	batch := newBatch("some", 10)
	appendTo(t, s, batch...)
	for range 3 {
		closeStore(t, s)
		wantClosed(t, s)
	}
	s = openStore(t, open)
	wantSame(t, load(t, s), namesOf(batch))
}

func testCloseBusy(t *testing.T, open Opener) {
	for range 3 {
		s := openStore(t, open)
		a := startAppender(s)
		a.waitFor(t, 3)
		var closed atomic.Bool
		var loads sync.WaitGroup
		for range 2 {
			loads.Go(func() {
				for {
					late := closed.Load()
					_, err := loadNames(s)
					if late && err == nil || err != nil && !errors.Is(err, revocation.ErrStoreClosed) {
						t.Errorf("Load: got error %v, want one that wraps %q", err, revocation.ErrStoreClosed)
					}
					if late || err != nil {
						return
					}
				}
			})
		}
		closeStore(t, s)
		closed.Store(true)
		loads.Wait()
		close(a.stop)
		if err := <-a.done; err != nil {
			wantErrorIs(t, "Append", err, revocation.ErrStoreClosed)
		}
		wantClosed(t, s)
		acked := a.acknowledged()
		s = openStore(t, open)
		wantAll(t, load(t, s), acked)
		closeStore(t, s)
	}
}
