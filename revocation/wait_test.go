package revocation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// shortBound is for tests that wait until it is over.
const shortBound = 400 * time.Millisecond

func named(name string) func(*Options) {
	return func(o *Options) { o.NodeName, o.MaxStaleness = name, shortBound }
}

// joinNamed opens lists named after their place, which are fresh then.
func joinNamed(t *testing.T, f *memoryFeed, count int) []*clusterNode {
	t.Helper()
	nodes := make([]*clusterNode, count)
	for i := range nodes {
		nodes[i] = join(t, f, nil, named(fmt.Sprint("node", i)))
	}
	for _, n := range nodes {
		n.untilFresh(t)
	}
	return nodes
}

func (n *clusterNode) awaitNodes(t testing.TB, patience time.Duration, records ...Record) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return n.AwaitNodes(ctx, records...)
}

const long = time.Minute

func wantNotEverywhere(t *testing.T, err error, names ...string) {
	t.Helper()
	if !errors.Is(err, ErrNotEverywhere) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want one that wraps ErrNotEverywhere", err)
	}
	for _, name := range names {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error %q doesn't name %s", err, name)
		}
	}
}

func TestAfterAwaitNodesNoNodeAcceptsTheToken(t *testing.T) {
	f := newFeed()
	nodes := joinNamed(t, f, 4)
	nodes[2].client.set(func() { nodes[2].client.delay = 3 * time.Millisecond })
	var writers sync.WaitGroup
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	for w, n := range nodes {
		writers.Go(func() {
			for i := range rounds {
				token := fmt.Sprintf("%d/%d", w, i)
				r := blockToken(token)
				if err := n.Revoke(t.Context(), r); err != nil {
					t.Error(err)
					return
				}
				if err := n.awaitNodes(t, long, r); err != nil {
					t.Error(err)
					return
				}
				for k, o := range nodes {
					if o.Check(token).State != Revoked {
						t.Errorf("node %d accepts %s", k, token)
					}
				}
			}
		})
	}
	// One restarts again and again.
	stop := make(chan struct{})
	var restarts sync.WaitGroup
	restarts.Go(func() {
		replica := new(keptStore)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := join(t, f, replica, named("restarting"))
			n.untilFresh(t)
			n.leave()
			time.Sleep(20 * time.Millisecond)
		}
	})
	writers.Wait()
	close(stop)
	restarts.Wait()
}

func TestAwaitNodesWaitsForANodeThatIsBehind(t *testing.T) {
	nodes := joinNamed(t, newFeed(), 3)
	late := nodes[1]
	late.client.set(func() { late.client.deaf = true })
	r := blockToken("token")
	revoke(t, nodes[0].List, r)
	// It beats, and so it isn't taken for gone, but isn't fresh for long.
	began := time.Now()
	wantNotEverywhere(t, nodes[0].awaitNodes(t, shortBound/4, r), "node1")
	if late.Check("token").State != Active {
		t.Fatal("the node isn't behind")
	}
	if err := nodes[0].awaitNodes(t, long, r); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); waited < shortBound {
		t.Errorf("that no node accepts the token is said after %s, when one may still", waited)
	}
	if late.Check("token").State == Active && !late.Stale() {
		t.Error("a node accepts the token")
	}
	late.client.set(func() { late.client.deaf = false })
	late.untilFresh(t)
	if late.Check("token").State != Revoked {
		t.Error("a node accepts the token")
	}
}

func TestAwaitNodesWaitsUntilANodeThatIsCutOffCanNotAnswer(t *testing.T) {
	nodes := joinNamed(t, newFeed(), 3)
	gone := nodes[2]
	gone.client.set(func() { gone.client.cut = errBroken })
	cut := time.Now()
	r := blockToken("token")
	revoke(t, nodes[0].List, r)
	wantNotEverywhere(t, nodes[0].awaitNodes(t, shortBound/4, r), "node2")
	if err := nodes[0].awaitNodes(t, long, r); err != nil {
		t.Fatal(err)
	}
	if gone.Check("token").State == Active && !gone.Stale() {
		t.Errorf("a node that was cut off %s ago accepts the token", time.Since(cut))
	}
	// From now on it is known to be gone.
	r = blockToken("another")
	revoke(t, nodes[0].List, r)
	if err := nodes[0].awaitNodes(t, shortBound/2, r); err != nil {
		t.Error(err)
	}
}

func TestAwaitNodesDoesNotWaitForANodeThatHasEnded(t *testing.T) {
	f := newFeed()
	nodes := make([]*clusterNode, 3)
	for i := range nodes {
		nodes[i] = join(t, f, nil, func(o *Options) { o.MaxStaleness = time.Hour })
		nodes[i].untilFresh(t)
	}
	nodes[2].leave()
	r := blockToken("token")
	revoke(t, nodes[0].List, r)
	if err := nodes[0].awaitNodes(t, long, r); err != nil {
		t.Error(err)
	}
}

func TestTheStoreForgetsANodeThatHasEnded(t *testing.T) {
	f := newFeed()
	nodes := joinNamed(t, f, 3)
	nodes[2].leave()
	eventually(t, "the store forgets it", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.nodes) == 2
	})
}

func TestAwaitNodesWaitsForALenientNodeUntilItSaysThatItHasTheRecord(t *testing.T) {
	f := newFeed()
	nodes := joinNamed(t, f, 2)
	end := nodes[1].Lenient()
	eventually(t, "the store knows", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.nodes[nodes[1].follower.node.Node].Lenient
	})
	nodes[1].client.set(func() { nodes[1].client.cut = errBroken })
	r := blockToken("token")
	revoke(t, nodes[0].List, r)
	wantNotEverywhere(t, nodes[0].awaitNodes(t, 3*shortBound, r), "node1")
	nodes[1].client.set(func() { nodes[1].client.cut = nil })
	if err := nodes[0].awaitNodes(t, long, r); err != nil {
		t.Fatal(err)
	}
	if nodes[1].Check("token").State != Revoked {
		t.Error("a node accepts the token")
	}
	end()
	end()
	eventually(t, "the store knows", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return !f.nodes[nodes[1].follower.node.Node].Lenient
	})
}

func TestAwaitNodesDoesNotBelieveAStoreThatHasLostTheRecord(t *testing.T) {
	f := newFeed()
	nodes := joinNamed(t, f, 3)
	for i := range 10 {
		revoke(t, nodes[0].List, blockToken(fmt.Sprint("before", i)))
	}
	everywhere(t, nodes, "before9", Revoked)
	for _, n := range nodes[1:] {
		n.client.set(func() { n.client.deaf = true })
	}
	r := blockToken("token")
	revoke(t, nodes[0].List, r)
	f.fork(1)
	f.set(func() { f.add(blockToken("another's")) }) // at its place
	for _, n := range nodes[1:] {
		n.client.set(func() { n.client.deaf = false })
	}
	began := time.Now()
	if err := nodes[0].awaitNodes(t, long, r); err != nil {
		t.Fatal(err)
	}
	// It may have lost the beats of nodes that nobody else knows of.
	if waited := time.Since(began); waited < shortBound/2 {
		t.Errorf("a store that has just lost something is believed after %s", waited)
	}
	for i, n := range nodes {
		if n.Check("token").State != Revoked && !n.Stale() {
			t.Errorf("node %d accepts the token", i)
		}
	}
}

func TestAwaitNodesWithoutOthers(t *testing.T) {
	l := openList(t, new(memoryStore))
	r := blockToken("token")
	revoke(t, l, r)
	if err := l.AwaitNodes(t.Context(), r); err != nil {
		t.Error(err)
	}
	n := joinFresh(t, newFeed(), nil)
	revoke(t, n.List, r)
	if err := n.awaitNodes(t, long, r); err != nil {
		t.Error(err)
	}
	n.client.set(func() { n.client.mute = true })
	wantNotEverywhere(t, n.awaitNodes(t, 50*time.Millisecond, r))
	n.leave()
	if err := n.awaitNodes(t, long, r); !errors.Is(err, ErrListClosed) {
		t.Errorf("error %v from a closed list", err)
	}
}
