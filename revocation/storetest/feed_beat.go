// Positions and beats: how nodes know how far they are.

package storetest

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// positionOf loads a store.
func positionOf(t *testing.T, s revocation.Store) revocation.Position {
	t.Helper()
	p, err := s.Load(background, func([]revocation.Record) error { return nil })
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	if p == "" {
		t.Fatal("Load returned no position")
	}
	return p
}

func wantCovers(t *testing.T, feed revocation.Feed, applied, head revocation.Position, want bool) {
	t.Helper()
	if got := feed.Covers(applied, head); got != want {
		t.Errorf("Covers(%q, %q) is %v, want %v", applied, head, got, want)
	}
}

func testPositions(t *testing.T, open Opener) {
	a, b := openFeed(t, open), openFeed(t, open)
	var positions []revocation.Position
	for i := range 5 {
		p, q := positionOf(t, a), positionOf(t, b)
		wantCovers(t, a, p, q, true)
		wantCovers(t, b, q, p, true)
		positions = append(positions, p)
		appendTo(t, a, newBatch(batchName(i), 1+i)...)
		if i%2 == 0 {
			appendTo(t, b, newBatch("of b", 10)...)
		}
	}
	for i, p := range positions {
		for j, q := range positions {
			wantCovers(t, a, p, q, i >= j)
		}
		wantCovers(t, a, "", p, false)
		wantCovers(t, a, "garbage", p, false)
	}
	f := follow(t, b, positions[0])
	last := newBatch("last", 1)
	appendTo(t, a, last...)
	f.waitForAll(t, namesOf(last))
	_, p := f.state()
	q := positionOf(t, a)
	wantCovers(t, a, p, q, true)
	wantCovers(t, a, q, p, true)
}

// testBeatHead checks the promise by which a node is fresh: whoever has come to the head
// has everything that was acknowledged before the beat.
func testBeatHead(t *testing.T, open Opener) {
	reader, writer := openFeed(t, open), openFeed(t, open)
	start := positionOf(t, reader)
	f := follow(t, reader, start)
	background := startAppender(openFeed(t, open))
	var want []string
	before := start
	for i := range 50 {
		batch := newBatch(fmt.Sprintf("acknowledged %d", i), 1+i%3)
		appendTo(t, writer, batch...)
		want = append(want, namesOf(batch)...)
		acked := background.acknowledged()
		_, applied := f.state()
		head := beat(t, reader, revocation.Beat{Node: "reader", Applied: applied})
		wantCovers(t, reader, head.Position, before, true)
		wantCovers(t, reader, before, head.Position, false)
		before = head.Position
		names, _ := f.waitUntil(t, "the head", func(_ []string, p revocation.Position) bool { return reader.Covers(p, head.Position) })
		wantAll(t, names, want)
		wantAll(t, names, acked)
	}
	background.end(t)
	if head := beat(t, reader, revocation.Beat{Node: "reader"}); !reader.Covers(positionOf(t, writer), head.Position) {
		t.Error("what Load returns doesn't cover the head of a store in which nothing is appended")
	}
}

func beat(t *testing.T, feed revocation.Feed, b revocation.Beat) revocation.Head {
	t.Helper()
	head, err := feed.Beat(background, b)
	if err != nil {
		t.Fatalf("Beat: %v", err)
	}
	if head.Position == "" {
		t.Fatal("Beat returned no position")
	}
	return head
}

func testBeatNodes(t *testing.T, open Opener) {
	a, b := openFeed(t, open), openFeed(t, open)
	first := beat(t, a, revocation.Beat{Node: "a", Number: 1, Name: "host \"a\" ü", Version: "v1.2.3"})
	if len(first.Nodes) != 1 || first.Nodes[0].Applied != "" || first.Nodes[0].Fresh {
		t.Fatalf("the first beat sees %+v", first.Nodes)
	}
	appendTo(t, a, newBatch("some", 3)...)
	p := positionOf(t, a)
	said := revocation.Beat{Node: "a", Number: 1<<63 + 1, Name: "host \"a\" ü", Version: "v1.2.3", Applied: p, Fresh: true, Lenient: true, Waits: true, Ended: true}
	beat(t, a, said)
	head := beat(t, b, revocation.Beat{Node: "b", Number: 1})
	if d := time.Since(head.Time).Abs(); d > time.Hour {
		t.Errorf("the store's clock is off by %s", d)
	}
	seen, ok := nodeOf(head, "a")
	if len(head.Nodes) != 2 || !ok || !reflect.DeepEqual(seen.Beat, said) {
		t.Fatalf("b sees %+v, want %+v and itself", head.Nodes, said)
	}
	if at := seen.At; at.After(head.Time) || head.Time.Sub(at) > patience {
		t.Errorf("a's beat came at %s, which is %s", at, head.Time)
	}
	wantCovers(t, b, seen.Applied, head.Position, true)
}

func nodeOf(head revocation.Head, id string) (revocation.NodeStatus, bool) {
	i := slices.IndexFunc(head.Nodes, func(n revocation.NodeStatus) bool { return n.Node == id })
	if i < 0 {
		return revocation.NodeStatus{}, false
	}
	return head.Nodes[i], true
}

// testBeatsAtOnce has nodes beat at the same time. What was acknowledged before a beat is in
// its answer.
func testBeatsAtOnce(t *testing.T, open Opener) {
	var last [4]atomic.Uint64
	var beating sync.WaitGroup
	for i := range last {
		feed := openFeed(t, open)
		beating.Go(func() {
			for number := uint64(1); number <= 60; number++ {
				var before [len(last)]uint64
				for k := range last {
					before[k] = last[k].Load()
				}
				head, err := feed.Beat(background, revocation.Beat{Node: fmt.Sprint(i), Number: number})
				if err != nil {
					t.Errorf("Beat: %v", err)
					return
				}
				last[i].Store(number)
				before[i] = number
				for k, want := range before {
					if n, ok := nodeOf(head, fmt.Sprint(k)); want > 0 && (!ok || n.Number < want) {
						t.Errorf("a beat sees node %d at its beat %d, and %d was acknowledged", k, n.Number, want)
						return
					}
				}
			}
		})
	}
	beating.Wait()
}

// testBeatMeetsAppend has a node's first beat and an Append happen at the same time. They may
// miss each other one way, never both: else the node could accept what was revoked while
// whoever revoked it knows of no such node.
func testBeatMeetsAppend(t *testing.T, open Opener) {
	revoker, joiner := openFeed(t, open), openFeed(t, open)
	random := newRandom(t, 4)
	missed := 0
	for i := range 80 {
		id := fmt.Sprintf("joiner %d", i)
		// Which one begins, and by how much.
		joins, appends := time.Duration(random.IntN(3000))*time.Microsecond, time.Duration(0)
		if i%2 == 0 {
			joins, appends = appends, joins
		}
		joined := make(chan revocation.Head, 1)
		go func() {
			defer close(joined)
			time.Sleep(joins)
			head, err := joiner.Beat(background, revocation.Beat{Node: id, Number: 1})
			if err != nil {
				t.Errorf("Beat: %v", err)
				return
			}
			joined <- head
		}()
		time.Sleep(appends)
		appendTo(t, revoker, newBatch(batchName(i), 1)...)
		after := beat(t, revoker, revocation.Beat{Node: "revoker", Number: uint64(1 + i), Forget: map[string]uint64{fmt.Sprintf("joiner %d", i-1): 1}})
		head, ok := <-joined
		if !ok {
			return
		}
		if _, seen := nodeOf(after, id); !seen {
			missed++
			if !revoker.Covers(head.Position, after.Position) {
				t.Fatalf("the beat of %q didn't see a record, and wasn't seen by whoever had appended it", id)
			}
		}
	}
	t.Logf("%d of 80 beats came after the other one's", missed)
}

// testBeatForgets: a node stays until somebody says that it is to be forgotten, and not if it
// has beaten since then.
func testBeatForgets(t *testing.T, open Opener) {
	a, b := openFeed(t, open), openFeed(t, open)
	beat(t, a, revocation.Beat{Node: "dead", Number: 7})
	beat(t, a, revocation.Beat{Node: "alive", Number: 1})
	beat(t, a, revocation.Beat{Node: "alive", Number: 2})
	closeStore(t, a)
	a = openFeed(t, open)
	head := beat(t, a, revocation.Beat{Node: "a", Number: 1})
	if len(head.Nodes) != 3 {
		t.Fatalf("after an opening anew there are %+v, want three nodes", head.Nodes)
	}
	for range 2 { // the second time there is nothing to forget
		head = beat(t, b, revocation.Beat{Node: "b", Number: 1, Forget: map[string]uint64{"dead": 7, "alive": 1, "unknown": 1}})
		_, dead := nodeOf(head, "dead")
		alive, ok := nodeOf(head, "alive")
		if dead || !ok || alive.Number != 2 {
			t.Fatalf("after forgetting there are %+v", head.Nodes)
		}
	}
	if n, ok := nodeOf(beat(t, a, revocation.Beat{Node: "dead", Number: 8}), "dead"); !ok || n.Number != 8 {
		t.Error("a node that was forgotten doesn't come back with its next beat")
	}
}

// testReplaced takes positions of one store to another.
func testReplaced(t *testing.T, open, openOther Opener) {
	feed, other := openFeed(t, open), openFeed(t, openOther)
	var positions []revocation.Position
	for i := range 3 {
		positions = append(positions, positionOf(t, feed))
		appendTo(t, feed, newBatch(batchName(i), 2)...)
		appendTo(t, other, newBatch(batchName(i), 2)...)
	}
	positions = append(positions, positionOf(t, feed), "", "garbage")
	for _, p := range positions {
		err := followNow(other, p, func([]revocation.Record, revocation.Position) error {
			t.Errorf("Follow from %q handed out records", p)
			return nil
		})
		wantErrorIs(t, "Follow", err, revocation.ErrFeedBroken)
		if p == "" {
			continue
		}
		_, err = other.Beat(background, revocation.Beat{Node: "a", Applied: p})
		wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
		wantCovers(t, other, p, positionOf(t, other), false)
	}
}
