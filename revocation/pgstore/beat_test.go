package pgstore

import (
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func nodeOf(t *testing.T, head revocation.Head, id string) revocation.NodeStatus {
	t.Helper()
	for _, n := range head.Nodes {
		if n.Node == id {
			return n
		}
	}
	t.Fatalf("node %s isn't among %+v", id, head.Nodes)
	return revocation.NodeStatus{}
}

// TestBeatsOfAnotherHistory: what a node has applied counts only where it is a place of what
// the store has now. The numbers have come to other records, and the nodes are still there.
func TestBeatsOfAnotherHistory(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	appendTo(t, s, newBatch("a", 3)...)
	_, old := mustLoad(t, s)
	appendTo(t, s, newBatch("b", 3)...)
	_, p := mustLoad(t, s)
	beatAs(t, s, "behind", old)
	beatAs(t, s, "a \"applied\":\"1.2.3.4.0000000000000001\"", p)
	// It lacks b, and then has as many others.
	sv.do(t, "DELETE FROM token_revocation.records WHERE number > 3", "SELECT setval('token_revocation.numbers', 3)")
	other := open(t, sv.options())
	head := beatAs(t, other, "c", "")
	if at := nodeOf(t, head, "behind").Applied; at != old {
		t.Errorf("a node that is at what is still there is at %q, want %q", at, old)
	}
	if at := nodeOf(t, head, "a \"applied\":\"1.2.3.4.0000000000000001\"").Applied; at != "" {
		t.Errorf("a node that is beyond the end is at %q", at)
	}
	appendTo(t, other, newBatch("c", 5)...)
	head = beatAs(t, other, "c", "")
	if at := nodeOf(t, head, "a \"applied\":\"1.2.3.4.0000000000000001\"").Applied; at != "" {
		t.Errorf("a node that has other records under the same numbers is at %q", at)
	}
	if at := nodeOf(t, head, "behind").Applied; at != old {
		t.Errorf("a node that is at what is still there is at %q, want %q", at, old)
	}
	// Without its own rows there is no telling, but for those that had expired.
	sv.do(t, "DELETE FROM token_revocation.records WHERE number <= 3")
	if at := nodeOf(t, beatAs(t, other, "c", ""), "behind").Applied; at != "" {
		t.Errorf("a node whose last record is gone is at %q", at)
	}
	sv.do(t, "UPDATE token_revocation.meta SET pruned = 4, pruned_tag = 1")
	if at := nodeOf(t, beatAs(t, other, "c", ""), "behind").Applied; at != old {
		t.Errorf("a node whose last record had expired is at %q, want %q", at, old)
	}
}

// TestBeatThatComesLate: the server may still get to what was given up on.
func TestBeatThatComesLate(t *testing.T) {
	s := open(t, startServer(t).options())
	beat := func(b revocation.Beat) revocation.Head {
		t.Helper()
		head, err := s.Beat(background, b)
		if err != nil {
			t.Fatalf("Beat: %v", err)
		}
		return head
	}
	last := revocation.Beat{Node: "a", Number: 9, Lenient: true}
	beat(last)
	for what, head := range map[string]revocation.Head{
		"it":      beat(revocation.Beat{Node: "a", Number: 8}),
		"another": beat(revocation.Beat{Node: "b", Number: 1}),
	} {
		if n := nodeOf(t, head, "a"); n.Number != 9 || !n.Lenient {
			t.Errorf("%s sees %+v, want beat 9", what, n)
		}
	}
	beat(revocation.Beat{Node: "a", Number: 10})
	if n := nodeOf(t, beat(revocation.Beat{Node: "b", Number: 2}), "a"); n.Number != 10 || n.Lenient {
		t.Errorf("there is %+v, want beat 10", n)
	}
}

// TestForeignNodes: rows that are no beats are left out, and nobody stumbles over them.
func TestForeignNodes(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	appendTo(t, s, newBatch("a", 1)...)
	_, p := mustLoad(t, s)
	sv.do(t, `INSERT INTO token_revocation.nodes (id, number, at, said) VALUES
		('text', 1, now(), 'garbage'), ('time', 1, '-infinity', '{}'), ('times', 1, 'infinity', '{}'), ('number', 'NaN', now(), '{}'),
		('place', 1, now(), '{"applied":"`+string(p)+`0"}'), ('far', 1, now(), '{"applied":"a.b.c.999999999999999999999.0000000000000001"}')`)
	head := beatAs(t, s, "a", p)
	if len(head.Nodes) != 3 || nodeOf(t, head, "a").Applied != p || nodeOf(t, head, "place").Applied != "" || nodeOf(t, head, "far").Applied != "" {
		t.Errorf("the nodes are %+v", head.Nodes)
	}
}
