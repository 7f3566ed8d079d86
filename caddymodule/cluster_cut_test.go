package caddymodule

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// These tests take the way between nodes and engine away, and the time.

const shortStaleness = time.Second

func TestClusterNodeThatIsCutOffSilently(t *testing.T) {
	onEachEngine(t, testClusterNodeThatIsCutOffSilently)
}

func testClusterNodeThatIsCutOffSilently(t *testing.T, e engine) {
	link := startLink(t, e.address())
	nodes := startNodes(t, e, shortStaleness, e.address(), e.address(), link.address())
	h := newHistory(shortStaleness)
	for _, c := range []struct {
		cut  way
		lost bool // what was held back never comes
		slow bool // before, so that an answer says what was a while ago
	}{
		{bothWays, false, false}, {toNode, true, true}, {toEngine, false, true}, {bothWays, true, true},
	}[:shortly(2, 4)] {
		h.wantCutOff(t, nodes, func() {
			t.Logf("cut %s; what is held back is lost: %v; slow before: %v", c.cut, c.lost, c.slow)
			if c.slow {
				link.slow(shortStaleness / 20)
				time.Sleep(shortStaleness/2 + rand.N(shortStaleness))
			}
			link.cut(c.cut)
		}, func() {
			if c.lost {
				link.reset()
			}
			link.heal()
		})
	}
	h.wantNothingLost(t, e, e.address(), nodes...)
}

// shortly returns how many rounds there are with -short, and without.
func shortly(short, long int) int {
	if testing.Short() {
		return short
	}
	return long
}

// wantCutOff checks what the last of three nodes does while it is cut off for longer than
// it may be, and the others aren't.
func (h *history) wantCutOff(t *testing.T, nodes []*node, cut, mend func()) {
	t.Helper()
	apart := nodes[2]
	known := h.revokeEverywhere(t, nodes...)
	stopWatching := h.watch(t, apart)
	stopStorm := h.storm(t, 10*time.Millisecond, nodes[:2]...)
	defer stopWatching()
	defer stopStorm()
	time.Sleep(100 * time.Millisecond)
	cut()
	began := time.Now()
	// What is revoked there is enforced, and nobody is told that the others do so.
	var there sync.WaitGroup
	there.Go(func() {
		if token, status := h.revoke(t, apart); status != 503 || h.ask(apart.URL("/"), token) != 401 {
			t.Errorf("a revocation there is answered with %d, and its token then with %d", status, h.ask(apart.URL("/"), token))
		}
	})
	apart.awaitStale(t)
	t.Logf("stale after %s", time.Since(began).Round(time.Millisecond))
	time.Sleep(time.Until(began.Add(shortStaleness))) // an answer may just have come
	apart.wantStale(t, known)
	there.Wait()
	time.Sleep(shortStaleness / 2)
	mend()
	began = time.Now()
	apart.awaitFresh(t)
	t.Logf("fresh again after %s", time.Since(began).Round(time.Millisecond))
	stopStorm()
	time.Sleep(100 * time.Millisecond) // in which it is watched
	count := stopWatching()
	h.settle(t, apart)
	if count.revoked[503] == 0 || count.unknown[503] == 0 || count.unknown[200] == 0 {
		t.Errorf("the node that was cut off answered %s", count)
	}
	t.Logf("it answered %s", count)
}

func TestClusterNodeWhoseConnectionsAreForgotten(t *testing.T) {
	onEachEngine(t, testClusterNodeWhoseConnectionsAreForgotten)
}

// Nothing comes on a node's connections any more, of which nobody tells it. New ones work,
// so it has to find out by itself, and mustn't count as fresh by what they say alone.
func testClusterNodeWhoseConnectionsAreForgotten(t *testing.T, e engine) {
	link := startLink(t, e.address())
	nodes := startNodes(t, e, shortStaleness, e.address(), link.address())
	h := newHistory(shortStaleness)
	h.revokeEverywhere(t, nodes...)
	stopWatching := h.watch(t, nodes[1])
	defer stopWatching()
	stopStorm := h.storm(t, 10*time.Millisecond, nodes[0])
	defer stopStorm()
	link.strand(1)
	began := time.Now()
	nodes[1].awaitStale(t)
	nodes[1].awaitFresh(t)
	t.Logf("fresh again after %s", time.Since(began).Round(time.Millisecond))
	stopStorm()
	t.Logf("it answered %s", stopWatching())
	h.wantNothingLost(t, e, link.address(), nodes...)
}

func TestClusterKeepsItsPromiseOverLinksThatFail(t *testing.T) {
	onEachEngine(t, testClusterKeepsItsPromiseOverLinksThatFail)
}

// Each node has a way to the engine of its own, and all sorts of things happen to them.
func testClusterKeepsItsPromiseOverLinksThatFail(t *testing.T, e engine) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var links []*link
	var addresses []string
	for range 3 {
		link := startLink(t, e.address())
		links, addresses = append(links, link), append(addresses, link.address())
	}
	nodes := startNodes(t, e, shortStaleness, addresses...)
	h := newHistory(shortStaleness)
	var watches []func() answers
	for _, n := range nodes {
		stop := h.watch(t, n)
		defer stop()
		watches = append(watches, stop)
	}
	stopStorm := h.storm(t, 10*time.Millisecond, nodes...)
	defer stopStorm()
	for range shortly(10, 40) {
		failing := links[random.IntN(len(links))]
		switch random.IntN(9) {
		case 0, 1:
			failing.cut(bothWays)
		case 2:
			failing.cut(toEngine)
		case 3:
			failing.cut(toNode)
		case 4:
			failing.slow(time.Duration(random.Int64N(int64(shortStaleness))))
		case 5:
			failing.refuse()
		case 6:
			failing.strand(0.5)
		default:
			failing.reset()
			failing.heal()
		}
		time.Sleep(time.Duration(random.Int64N(int64(400 * time.Millisecond))))
		if random.IntN(2) == 0 {
			failing.heal()
		}
	}
	for _, link := range links {
		link.heal()
	}
	for _, n := range nodes {
		n.awaitFresh(t)
	}
	stopStorm()
	for _, stop := range watches {
		t.Logf("a node answered %s", stop())
	}
	h.wantNothingLost(t, e, e.address(), nodes...)
}

func TestClusterEngineThatIsStoppedForLongerThanTheBound(t *testing.T) {
	onEachEngine(t, testClusterEngineThatIsStoppedForLongerThanTheBound)
}

func testClusterEngineThatIsStoppedForLongerThanTheBound(t *testing.T, e engine) {
	nodes := startCluster(t, e, shortStaleness)
	h := newHistory(shortStaleness)
	known := h.revokeEverywhere(t, nodes...)
	for range shortly(1, 2) {
		var watches []func() answers
		for _, n := range nodes {
			stop := h.watch(t, n)
			defer stop()
			watches = append(watches, stop)
		}
		stopStorm := h.storm(t, 10*time.Millisecond, nodes...)
		defer stopStorm()
		time.Sleep(100 * time.Millisecond)
		e.pause(t)
		for _, n := range nodes {
			n.awaitStale(t)
			n.wantStale(t, known)
		}
		time.Sleep(shortStaleness)
		e.resume(t)
		for _, n := range nodes {
			n.awaitFresh(t)
		}
		stopStorm()
		h.settle(t, nodes...)
		for _, stop := range watches {
			if count := stop(); count.unknown[503] == 0 {
				t.Errorf("a node answered %s", count)
			}
		}
	}
	h.wantNothingLost(t, e, e.address(), nodes...)
}
