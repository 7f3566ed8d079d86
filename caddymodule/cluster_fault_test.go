package caddymodule

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests give an engine faults that not every one can have.

func TestClusterEngineWhoseClockIsWrong(t *testing.T) {
	onEachEngine(t, testClusterEngineWhoseClockIsWrong)
}

func testClusterEngineWhoseClockIsWrong(t *testing.T, e clocked) {
	e.setClock(t, 0)
	nodes := startCluster(t, e, shortStaleness)
	h := newHistory(shortStaleness)
	known := h.revokeEverywhere(t, nodes...)
	for _, n := range nodes {
		defer h.watch(t, n)()
	}
	stopStorm := h.storm(t, 20*time.Millisecond, nodes...)
	defer stopStorm()
	for _, ahead := range []time.Duration{-time.Hour, time.Hour}[:shortly(1, 2)] {
		e.setClock(t, ahead)
		for _, n := range nodes {
			n.awaitStale(t)
			n.wantStale(t, known)
			becomes(t, "the status says that the clocks differ", func() bool {
				cause := n.status(t).List.Cause
				return strings.Contains(cause, "clock of this node differs") && strings.Contains(cause, "by "+(-ahead).String())
			})
			if !strings.Contains(n.log(t), "clock of this node differs") {
				t.Error("the log doesn't say that the clocks differ")
			}
		}
		if ahead < 0 { // one that starts now
			n := newNode(t, e, e.address(), shortStaleness)
			n.run(t)
			n.wantStale(t, known)
			nodes = append(nodes, n)
		}
		if ahead > 0 { // one that is gone has beaten in the future
			nodes[0].awaitNodes(t, len(nodes))
			nodes[len(nodes)-1].kill()
			nodes = nodes[:len(nodes)-1]
		}
		e.setClock(t, 0)
		for _, n := range nodes {
			n.awaitFresh(t)
			if ahead > 0 && !slices.ContainsFunc(n.status(t).Cluster.Nodes, func(other nodeStatus) bool { return time.Until(other.LastBeat) > time.Minute }) {
				t.Error("it wasn't fresh before the node was forgotten that beat in the future")
			}
			wantStatus(t, bearer(t, n.URL("/"), known), 401)
			wantStatus(t, bearer(t, n.URL("/"), "unknown"), 200)
		}
	}
	stopStorm()
	h.wantNothingLost(t, e, e.address(), nodes...)
}

func TestClusterEngineInWhichOthersWrite(t *testing.T) {
	onEachEngine(t, testClusterEngineInWhichOthersWrite)
}

func testClusterEngineInWhichOthersWrite(t *testing.T, e polluted) {
	nodes := startCluster(t, e, shortStaleness)
	h := newHistory(shortStaleness)
	h.revokeEverywhere(t, nodes...) // so that there is something to write between
	for _, n := range nodes {
		defer h.watch(t, n)()
	}
	stopStorm := h.storm(t, time.Millisecond, nodes...)
	defer stopStorm()
	written := 0
	for range shortly(20, 60) {
		written += e.pollute(t)
		time.Sleep(20 * time.Millisecond)
	}
	acknowledged, _ := h.counts()
	becomes(t, "revocations are acknowledged again", func() bool { now, _ := h.counts(); return now > acknowledged+100 })
	stopStorm()
	if written += e.pollute(t); written < 20 { // also behind the last one
		t.Errorf("others have written %d entries", written)
	}
	t.Logf("others have written %d entries", written)
	h.wantNothingLost(t, e, e.address(), nodes...)
}

func TestClusterEngineThatIsFull(t *testing.T) {
	onEachEngine(t, testClusterEngineThatIsFull)
}

func testClusterEngineThatIsFull(t *testing.T, e fillable) {
	nodes := startCluster(t, e, shortStaleness)
	h := newHistory(shortStaleness)
	h.revokeEverywhere(t, nodes...)
	for _, n := range nodes {
		defer h.watch(t, n)()
	}
	stopStorm := h.storm(t, 5*time.Millisecond, nodes...)
	defer stopStorm()
	becomes(t, "revocations are acknowledged", func() bool { acknowledged, _ := h.counts(); return acknowledged >= 50 })
	e.fill(t)
	becomes(t, "revocations are refused", func() bool { _, refused := h.counts(); return refused >= 9 })
	stopStorm()
	h.mu.Lock()
	refused := slices.Clone(h.refused)
	h.mu.Unlock()
	for _, r := range refused {
		for _, n := range nodes {
			if status := h.ask(n.URL("/"), r.token); (status == 401) != (n == r.node) {
				t.Errorf("%s, which is enforced where it was revoked and nowhere else, is answered with %d; there: %v", r.token, status, n == r.node)
			}
		}
	}
	for _, n := range nodes {
		s := n.status(t)
		if s.List.Pending == 0 {
			t.Error("nothing is pending")
		}
		t.Logf("%d records are pending; fresh: %v", s.List.Pending, s.List.Fresh)
	}
	e.makeRoom(t)
	h.wantNothingLost(t, e, e.address(), nodes...)
}

func TestClusterStandbyThatIsPromotedAndLacksWhatWasAcknowledged(t *testing.T) {
	onEachEngine(t, testClusterStandbyThatIsPromotedAndLacksWhatWasAcknowledged)
}

// Until it is given back, nodes that hadn't got what is lost accept it: the history allows
// ten seconds for that. A node that had it, and one that acknowledged it, doesn't accept it
// at any time.
func testClusterStandbyThatIsPromotedAndLacksWhatWasAcknowledged(t *testing.T, e forkable) {
	link := startLink(t, e.address())
	nodes := startNodes(t, e, shortStaleness, link.address(), link.address(), link.address())
	h := newHistory(10 * time.Second)
	h.revokeEverywhere(t, nodes...)
	e.addStandby(t)
	for _, n := range nodes[:2] {
		defer h.watch(t, n)()
	}
	stopWatching := h.watch(t, nodes[2])
	defer stopWatching()
	stopStorm := h.storm(t, time.Millisecond, nodes...)
	defer stopStorm()
	time.Sleep(200 * time.Millisecond)
	e.cutStandby(t)
	before, _ := h.counts()
	becomes(t, "the standby lacks many", func() bool { now, _ := h.counts(); return now > before+300 })
	// One comes back with what it has on its disk: all that it acknowledged, but not surely
	// what it had got from others a moment before.
	stopWatching()
	nodes[2].kill()
	e.promote(t)
	link.aim(e.address())
	began := time.Now()
	nodes[2].run(t)
	defer h.watch(t, nodes[2])()
	log := func() (all string) {
		for _, n := range nodes {
			all += n.log(t)
		}
		return all
	}
	becomes(t, "nodes see the fork", func() bool {
		return strings.Contains(log(), "has lost records or was replaced; reading all of it again")
	})
	becomes(t, "a node gives back", func() bool { return strings.Contains(log(), "it has them again") })
	t.Logf("seen and given back %s after the promotion", time.Since(began).Round(time.Millisecond))
	becomes(t, "revocations are acknowledged again", func() bool {
		now, _ := h.counts()
		return now > before+400
	})
	stopStorm()
	h.settle(t, nodes...)
	// As long as nodes give back, a new one may lack something.
	fourth := newNode(t, e, link.address(), shortStaleness)
	fourth.run(t)
	fourth.awaitFresh(t)
	h.wantAll(t, fourth, true)
	h.wantNothingLost(t, e, link.address(), append(nodes, fourth)...)
}
