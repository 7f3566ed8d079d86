// What a feed must do besides what every store does: order, no gap, and to notice when it
// isn't the one that was followed.

package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// RunFeed runs the suite of revocation.Feed, which is besides that of Run. fresh makes
// Openers as Run's does, but the suite has the same store open several times, as several
// nodes have. What they open is a revocation.Feed.
func RunFeed(t *testing.T, fresh func(t *testing.T) Opener) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"Follow begins after its position", testFollow},
		{"Follow sees what is appended while it waits", testFollowWaits},
		{"Follow has no gap with concurrent writers", testFollowConcurrent},
		{"nothing is between Load and Follow", testLoadThenFollow},
		{"Follow resumes at every position", testFollowResumes},
		{"followers see one sequence", testFollowers},
		{"Follow goes on when expired records are removed", testFollowPruned},
		{"Follow ends with its context", testFollowCancelled},
		{"Follow returns the error of apply", testFollowApplyError},
		{"Follow and Beat end with Close", testFollowClosed},
		{"positions are the same on all nodes", testPositions},
		{"Beat's head covers what was acknowledged", testBeatHead},
		{"nodes see each other's beats", testBeatNodes},
		{"nodes that beat at once see each other", testBeatsAtOnce},
		{"a beat sees an Append, or is seen after it", testBeatMeetsAppend},
		{"a node is forgotten when that is said, and not before", testBeatForgets},
		{"lists agree whatever comes twice and out of order", testLists},
		{"a million records", testMillion},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
	t.Run("a position of another store is refused", func(t *testing.T) { testReplaced(t, fresh(t), fresh(t)) })
}

// patience is how long the suite waits for what must happen.
var patience = 20 * time.Second

func openFeed(t *testing.T, open Opener) revocation.Feed {
	t.Helper()
	f, ok := openStore(t, open).(revocation.Feed)
	if !ok {
		t.Fatal("the store isn't a revocation.Feed")
	}
	return f
}

// follower has what one Follow has handed out.
type follower struct {
	mu    sync.Mutex
	names []string
	last  revocation.Position
	grew  chan struct{} // has an element when something was handed out
	done  chan error
	stop  context.CancelFunc
}

func follow(t *testing.T, feed revocation.Feed, from revocation.Position) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(background)
	t.Cleanup(cancel)
	f := &follower{last: from, grew: make(chan struct{}, 1), done: make(chan error, 1), stop: cancel}
	go func() { f.done <- feed.Follow(ctx, from, f.apply) }()
	return f
}

// followNow is Follow for what must end by itself.
func followNow(feed revocation.Feed, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	ctx, cancel := context.WithTimeout(background, patience)
	defer cancel()
	return feed.Follow(ctx, from, apply)
}

func (f *follower) apply(batch []revocation.Record, p revocation.Position) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(batch) == 0 || p == "" {
		return errors.New("apply was called without records or without a position")
	}
	f.names = append(f.names, namesOf(batch)...)
	f.last = p
	clear(batch) // it is apply's until this returns
	select {
	case f.grew <- struct{}{}:
	default:
	}
	return nil
}

func (f *follower) state() ([]string, revocation.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.names), f.last
}

// waitUntil waits until the follower's state is as wanted and returns it.
func (f *follower) waitUntil(t *testing.T, what string, ok func([]string, revocation.Position) bool) ([]string, revocation.Position) {
	t.Helper()
	timeout := time.After(patience)
	for {
		names, last := f.state()
		if ok(names, last) {
			return names, last
		}
		select {
		case <-f.grew:
		case err := <-f.done:
			if names, last = f.state(); ok(names, last) && err == nil {
				return names, last
			}
			t.Fatalf("Follow ended with error %v after %d records, before %s", err, len(names), what)
		case <-timeout:
			t.Fatalf("Follow has handed out %d records and doesn't come to %s", len(names), what)
		}
	}
}

// waitForAll waits until all of want were handed out.
func (f *follower) waitForAll(t *testing.T, want []string) []string {
	t.Helper()
	names, _ := f.waitUntil(t, fmt.Sprintf("the end of %d records", len(want)), func(names []string, _ revocation.Position) bool {
		_, lost := missing(names, want)
		return !lost
	})
	return names
}

func (f *follower) waitForEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(patience):
		t.Fatal("Follow doesn't end")
		return nil
	}
}

// distinct returns names without repetitions: a feed may repeat.
func distinct(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, n := range names {
		if !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

func testFollow(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	empty := positionOf(t, feed)
	first, second := newBatch("first", 300), newBatch("second", 2000)
	appendTo(t, feed, first...)
	from := positionOf(t, feed)
	appendTo(t, feed, second[:3]...)
	appendTo(t, feed, second[3:]...)
	if got := follow(t, feed, from).waitForAll(t, namesOf(second)); !slices.Equal(distinct(got), namesOf(second)) {
		t.Errorf("%d records came in another order, or others (want %d)", len(got), len(second))
	}
	all := slices.Concat(namesOf(first), namesOf(second))
	if got := follow(t, feed, empty).waitForAll(t, all); !slices.Equal(distinct(got), all) {
		t.Errorf("%d records came in another order, or others (want %d)", len(got), len(all))
	}
}

func testFollowWaits(t *testing.T, open Opener) {
	reader, writer := openFeed(t, open), openFeed(t, open)
	f := follow(t, reader, positionOf(t, reader))
	var want []string
	for i := range 20 {
		batch := newBatch(batchName(i), 1+i)
		appendTo(t, writer, batch...)
		want = append(want, namesOf(batch)...)
		f.waitForAll(t, want)
		time.Sleep(time.Duration(i) * time.Millisecond)
	}
}

// writeAtOnce lets several nodes append at the same time. It returns what all have
// appended.
func writeAtOnce(t *testing.T, open Opener, writers, batches int) []string {
	t.Helper()
	var mu sync.Mutex
	var all []string
	var writing sync.WaitGroup
	for w := range writers {
		feed := openFeed(t, open)
		writing.Go(func() {
			for i := range batches {
				batch := newBatch(fmt.Sprintf("writer %d/%d", w, i), 1+i%5)
				if err := feed.Append(background, batch); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				all = append(all, namesOf(batch)...)
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	return all
}

func testFollowConcurrent(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	f := follow(t, feed, positionOf(t, feed))
	const writers = 4
	all := writeAtOnce(t, open, writers, 150)
	got := distinct(f.waitForAll(t, all))
	if n, extra := missing(all, got); extra {
		t.Fatalf("Follow handed out %s, which was never appended", n)
	}
	// What one writer appended comes in its order.
	for w := range writers {
		prefix := fmt.Sprintf("writer %d/", w)
		others := func(n string) bool { return !strings.HasPrefix(n, prefix) }
		if !slices.Equal(slices.DeleteFunc(slices.Clone(got), others), slices.DeleteFunc(slices.Clone(all), others)) {
			t.Errorf("the records of writer %d came in another order", w)
		}
	}
}

func testLoadThenFollow(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	a := startAppender(openFeed(t, open))
	for range 10 {
		a.waitFor(t, a.acked.Load()+1)
		var loaded []string
		p, err := feed.Load(background, func(batch []revocation.Record) error {
			loaded = append(loaded, namesOf(batch)...)
			return nil
		})
		if err != nil {
			t.Fatalf("Load: %v", err)
		}
		f := follow(t, feed, p)
		a.waitFor(t, a.acked.Load()+3)
		want := a.acknowledged()
		f.waitUntil(t, "what was acknowledged", func(names []string, _ revocation.Position) bool {
			_, lost := missing(slices.Concat(loaded, names), want)
			return !lost
		})
		f.stop()
	}
	a.end(t)
}

func testFollowResumes(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	p := positionOf(t, feed)
	var want, got []string
	for i := range 30 {
		batch := newBatch(batchName(i), 1+i)
		appendTo(t, feed, batch...)
		want = append(want, namesOf(batch)...)
	}
	enough := errors.New("enough")
	for len(distinct(got)) < len(want) {
		before := len(got)
		err := followNow(feed, p, func(batch []revocation.Record, next revocation.Position) error {
			got = append(got, namesOf(batch)...)
			p = next
			return enough
		})
		wantErrorIs(t, "Follow", err, enough)
		if len(got) == before {
			t.Fatal("Follow handed out nothing")
		}
		// A position outlives the store that made it.
		closeStore(t, feed)
		feed = openFeed(t, open)
		batch := newBatch("later", 1)
		if len(got) < 100 {
			batch[0] = newRecord(fmt.Sprintf("later %d", len(got)), time.Hour)
			appendTo(t, feed, batch...)
			want = append(want, namesOf(batch)...)
		}
	}
	if !slices.Equal(distinct(got), want) {
		t.Error("the records came in another order")
	}
}

func testFollowers(t *testing.T, open Opener) {
	var all []*follower
	for range 4 {
		feed := openFeed(t, open)
		all = append(all, follow(t, feed, positionOf(t, feed)))
	}
	want := writeAtOnce(t, open, 3, 50)
	first := distinct(all[0].waitForAll(t, want))
	for _, f := range all[1:] {
		if !slices.Equal(distinct(f.waitForAll(t, want)), first) {
			t.Error("two followers saw the records in different orders")
		}
	}
}

// testFollowPruned removes records that all followers have: for them nothing is missing.
func testFollowPruned(t *testing.T, open Opener) {
	feed, other := openFeed(t, open), openFeed(t, open)
	needPruner(t, other)
	f := follow(t, feed, positionOf(t, feed))
	var want []string
	for i := range 5 {
		expired, live := newBatch(fmt.Sprintf("expired %d", i), 100), newBatch(batchName(i), 10)
		for j := range expired {
			expired[j].Expires = time.Now().UTC().Add(-time.Duration(1+j) * time.Hour).Truncate(time.Second)
		}
		appendTo(t, other, expired...)
		f.waitForAll(t, namesOf(expired))
		_, p := f.state()
		prune(t, other, time.Now(), len(expired))
		if _, err := feed.Beat(background, revocation.Beat{Node: "a", Applied: p}); err != nil {
			t.Fatalf("Beat after Prune: %v", err)
		}
		appendTo(t, other, live...)
		want = append(want, namesOf(live)...)
		f.waitForAll(t, want)
	}
	wantAll(t, load(t, feed), want)
}

func testFollowCancelled(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	p := positionOf(t, feed)
	f := follow(t, feed, p)
	batch := newBatch("some", 3)
	appendTo(t, feed, batch...)
	f.waitForAll(t, namesOf(batch))
	start := time.Now()
	f.stop()
	wantErrorIs(t, "Follow", f.waitForEnd(t), context.Canceled)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Follow ended %s after its context", took)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	wantErrorIs(t, "Follow", feed.Follow(ctx, p, f.apply), context.Canceled)
	_, err := feed.Beat(ctx, revocation.Beat{Node: "a"})
	wantErrorIs(t, "Beat", err, context.Canceled)
}

func testFollowApplyError(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	p := positionOf(t, feed)
	for i := range 3 {
		appendTo(t, feed, newBatch(batchName(i), 3)...)
	}
	want := errors.New("enough")
	calls := 0
	err := followNow(feed, p, func([]revocation.Record, revocation.Position) error {
		calls++
		return want
	})
	wantErrorIs(t, "Follow", err, want)
	if calls != 1 {
		t.Errorf("apply was called %d times, want no call after its error", calls)
	}
}

func testFollowClosed(t *testing.T, open Opener) {
	feed := openFeed(t, open)
	p := positionOf(t, feed)
	f := follow(t, feed, p)
	batch := newBatch("some", 3)
	appendTo(t, feed, batch...)
	f.waitForAll(t, namesOf(batch))
	closeStore(t, feed)
	wantErrorIs(t, "Follow", f.waitForEnd(t), revocation.ErrStoreClosed)
	wantErrorIs(t, "Follow after Close", followNow(feed, p, f.apply), revocation.ErrStoreClosed)
	_, err := feed.Beat(background, revocation.Beat{Node: "a"})
	wantErrorIs(t, "Beat after Close", err, revocation.ErrStoreClosed)
}
