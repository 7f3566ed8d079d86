// Positions and beats: how nodes know how far they are.

package storetest

import (
	"fmt"
	"slices"
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
		head := beat(t, reader, revocation.Beat{Node: "reader", Applied: applied, Keep: time.Minute})
		wantCovers(t, reader, head.Position, before, true)
		wantCovers(t, reader, before, head.Position, false)
		before = head.Position
		names, _ := f.waitUntil(t, "the head", func(_ []string, p revocation.Position) bool { return reader.Covers(p, head.Position) })
		wantAll(t, names, want)
		wantAll(t, names, acked)
	}
	background.end(t)
	if head := beat(t, reader, revocation.Beat{Node: "reader", Keep: time.Minute}); !reader.Covers(positionOf(t, writer), head.Position) {
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
	first := beat(t, a, revocation.Beat{Node: "a", Name: "host \"a\" ü", Version: "v1.2.3", Keep: time.Hour})
	if len(first.Nodes) != 1 || first.Nodes[0].Applied != "" || first.Nodes[0].Fresh {
		t.Fatalf("the first beat sees %+v", first.Nodes)
	}
	appendTo(t, a, newBatch("some", 3)...)
	p := positionOf(t, a)
	said := revocation.Beat{Node: "a", Name: "host \"a\" ü", Version: "v1.2.3", Applied: p, Fresh: true, Keep: time.Hour}
	beat(t, a, said)
	head := beat(t, b, revocation.Beat{Node: "b", Keep: 100 * time.Millisecond})
	if d := time.Since(head.Time).Abs(); d > time.Hour {
		t.Errorf("the store's clock is off by %s", d)
	}
	i := slices.IndexFunc(head.Nodes, func(n revocation.NodeStatus) bool { return n.Node == "a" })
	if len(head.Nodes) != 2 || i < 0 || head.Nodes[i].Beat != said {
		t.Fatalf("b sees %+v, want %+v and itself", head.Nodes, said)
	}
	if at := head.Nodes[i].At; at.After(head.Time) || head.Time.Sub(at) > patience {
		t.Errorf("a's beat came at %s, which is %s", at, head.Time)
	}
	wantCovers(t, b, head.Nodes[i].Applied, head.Position, true)
	// What isn't to be remembered any longer goes, and nothing else.
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		nodes := beat(t, a, said).Nodes
		if len(nodes) == 1 && nodes[0].Node == "a" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a still sees %+v", nodes)
		}
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
		_, err = other.Beat(background, revocation.Beat{Node: "a", Applied: p, Keep: time.Minute})
		wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
		wantCovers(t, other, p, positionOf(t, other), false)
	}
}
