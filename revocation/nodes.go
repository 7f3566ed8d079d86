package revocation

import (
	"cmp"
	"slices"
	"time"
)

// This file keeps account of the nodes that share a store, as one of them sees them: who may
// still accept a token that was revoked, and who is gone for good.
//
// A node is known by its beats, and their numbers tell whether it has beaten since. Times are
// this node's own, from when it first saw a beat, and by the clock that nobody sets: what the
// store's clock says about a beat means nothing here, and in a machine that slept too little
// has passed rather than too much.

// drift is by which part of a time two clocks that nobody sets may differ.
const drift = 40

// forgetAfter is after how many times the bound a node that says nothing is forgotten:
// people want to see for a while that it is missing.
const forgetAfter = 10

// roll is the nodes that this node knows of.
type roll struct {
	fence  time.Duration // after which a node that doesn't beat has no lease any more
	forget time.Duration // after which it is taken for dead
	began  time.Time
	seen   map[string]sighting
	broken time.Duration // since when the store is another one; 0: it always was the same
}

// sighting is the last beat of a node.
type sighting struct {
	NodeStatus
	since time.Duration // when it was first seen
}

func newRoll(bound time.Duration, now time.Time) *roll {
	fence := bound + bound/drift
	return &roll{fence: fence, forget: forgetAfter * fence, began: now, seen: map[string]sighting{}}
}

// time is what has passed since the roll began, or 1 at the least.
func (r *roll) time(now time.Time) time.Duration { return max(now.Sub(r.began), 1) }

// see takes in what a store answers. Who isn't in it isn't gone: a store that has lost
// records has lost beats as well.
func (r *roll) see(nodes []NodeStatus, now time.Time) {
	listed := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		listed[n.Node] = true
		since := r.time(now)
		if last, ok := r.seen[n.Node]; ok && last.Number == n.Number {
			since = last.since
		}
		r.seen[n.Node] = sighting{n, since}
	}
	for id, s := range r.seen {
		if listed[id] {
			continue
		}
		s.Applied = "" // of a sequence that may be gone
		r.seen[id] = s
		if s.Ended || r.silent(s, now) >= r.keep(s) {
			delete(r.seen, id)
		}
	}
}

// keep is for how long a node counts that says nothing. One that accepts tokens while it
// isn't fresh may do so for as long as it likes.
func (r *roll) keep(s sighting) time.Duration {
	if s.Lenient {
		return r.forget
	}
	return r.fence
}

// lose is told that the store isn't the one that it was: it may not know of all nodes.
func (r *roll) lose(now time.Time) { r.broken = r.time(now) }

// silent is for how long a node has said nothing.
func (r *roll) silent(s sighting, now time.Time) time.Duration { return r.time(now) - s.since }

// accepting returns the nodes that may accept a token whose record is at a place of the
// sequence. since is when the store was known to have it there: what a node was told later
// by the store goes beyond that.
func (r *roll) accepting(self string, at Position, since, now time.Time, covers func(applied, head Position) bool) (nodes []NodeStatus, unknown bool) {
	over := now.Sub(since) >= r.fence // every lease from before
	for id, s := range r.seen {
		switch {
		case id == self, s.Ended:
		case s.Applied != "" && covers(s.Applied, at):
		case !s.Lenient && (over || r.silent(s, now) >= r.fence):
		default:
			nodes = append(nodes, s.NodeStatus)
		}
	}
	slices.SortFunc(nodes, func(a, b NodeStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node)) })
	// A node that only the store's loss hides from this one has no lease either then.
	return nodes, !over && r.broken != 0 && r.time(now)-r.broken < r.fence
}

// gone returns nodes that the store is to forget.
func (r *roll) gone(self string, now time.Time) (forget map[string]uint64) {
	for id, s := range r.seen {
		if silent := r.silent(s, now); id != self && (silent >= r.forget || s.Ended && silent >= r.fence) {
			if forget == nil {
				forget = map[string]uint64{}
			}
			forget[id] = s.Number
		}
	}
	return forget
}

// awaited reports whether somebody waits for what this node has applied.
func (r *roll) awaited(self string, now time.Time) bool {
	for id, s := range r.seen {
		if id != self && s.Waits && !s.Ended && r.silent(s, now) < r.fence {
			return true
		}
	}
	return false
}
