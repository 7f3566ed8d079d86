package revocation

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// strayFeed is a node's way to two servers, each of which believes to be the only one: its
// beats come to one, and what it follows is from the other.
type strayFeed struct {
	*feedClient
	mu     sync.Mutex
	asked  *feedClient // nil: the same
	onBeat func()      // called once, when an answer is on its way
}

func (s *strayFeed) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *strayFeed) Beat(ctx context.Context, b Beat) (Head, error) {
	client, onBeat := s.feedClient, func() {}
	s.set(func() {
		if s.asked != nil {
			client = s.asked
		}
		if s.onBeat != nil {
			onBeat, s.onBeat = s.onBeat, nil
		}
	})
	head, err := client.Beat(ctx, b)
	onBeat()
	return head, err
}

// branch makes another server that has the same until now.
func (f *memoryFeed) branch() *memoryFeed {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := newFeed()
	g.forks = f.forks + 1
	g.records, g.chain = append(g.records, f.records...), append(g.chain, f.chain...)
	return g
}

// A node that follows a master which was replaced and asks the new one may come to have as
// many records as that, and others. It must not be fresh for longer than what it knows
// allows, even if it can't read the new one then.
func TestANodeBetweenTwoMastersIsStaleInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newFeed()
		old.add(blockToken("common"))
		s := &strayFeed{feedClient: old.client()}
		l, err := Open(t.Context(), s, Options{MaxStaleness: testBound})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n := &clusterNode{List: l, Checker: newChecker(t, l, plainReader{})}
		n.untilFresh(t)
		everywhere(t, []*clusterNode{n}, "common", Revoked)
		time.Sleep(10 * time.Second)

		promoted := old.branch()
		answered := make(chan struct{})
		var acknowledged time.Time
		second := func() { // the answer has a head beyond what is applied, and while it comes…
			old.set(func() { old.add(blockToken("a"), blockToken("b")) })
			everywhere(t, []*clusterNode{n}, "b", Revoked)
			old.set(func() { s.loadErr = func(int) error { return errBroken } })
			close(answered)
		}
		first := func() {
			acknowledged = time.Now()
			promoted.set(func() { promoted.add(blockToken("new")) })
			s.set(func() { s.asked, s.onBeat = promoted.client(), second })
		}
		s.set(func() { s.onBeat = first })
		<-answered
		if v := n.Check("new"); v.State != Active {
			t.Fatalf("it knows the record: %+v", v)
		}
		time.Sleep(time.Until(acknowledged.Add(testBound)))
		if v := n.Check("new"); v.State == Active && !v.Stale {
			t.Errorf("it accepts after %s what was acknowledged: %+v", time.Since(acknowledged), v)
		}
		if fresh := n.Freshness(); fresh.Fresh {
			t.Error("and says that it is fresh")
		}
	})
}
