package revocation

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Times are those of synctest's clock here: nothing is waited for in earnest.

func TestWhatOneNodeRevokesAllReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := joinAll(t, newFeed(), 3)
		for i, n := range nodes {
			revoke(t, n.List, blockToken(fmt.Sprint(i)))
			everywhere(t, nodes, fmt.Sprint(i), Revoked)
		}
		everywhere(t, nodes, "other", Active)
		eventually(t, "all see each other", func() bool { return len(nodes[0].Nodes()) == 3 })
	})
}

func TestStreamsAreCutOnOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFeed(), NewStreams()
		a, b := join(t, f, nil), join(t, f, nil, func(o *Options) { o.Streams = s })
		b.untilFresh(t)
		facts := plainReader{}.ReadFacts("a")
		w := watch(s, facts)
		revoke(t, a.List, blockToken("a"))
		w.wantCut(t, "token", facts)
	})
}

// A node that is started while the store is away enforces all it knew; what was pending
// is durable as soon as the store is back.
func TestARestartDuringAnOutageForgetsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		revoke(t, nodes[0].List, blockToken("own"))
		revoke(t, nodes[1].List, blockToken("foreign"))
		everywhere(t, nodes, "foreign", Revoked)
		f.set(func() { f.down = errBroken })
		pending := blockToken("pending")
		if err := nodes[0].Revoke(t.Context(), pending); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		nodes[0].leave()

		again := join(t, f, nodes[0].replica)
		for _, token := range []string{"own", "foreign", "pending"} {
			wantState(t, again.Checker, token, Revoked)
		}
		if v := again.Check("other"); v.State != Active || !v.Stale {
			t.Errorf("an unknown token without the store: %+v", v)
		}
		f.set(func() { f.down = nil })
		everywhere(t, []*clusterNode{nodes[1], again}, "pending", Revoked)
		again.untilFresh(t)
		eventually(t, "nothing is pending", func() bool { return again.Stats().Pending == 0 })
		if n := count(f.stored(), pending.ID); n != 1 {
			t.Errorf("the pending record is stored %d times", n)
		}
		if n := again.Live("tester"); n != 3 {
			t.Errorf("%d live records are counted", n)
		}
	})
}

func TestAForkLosesNothing(t *testing.T) {
	for _, continued := range []bool{false, true} {
		t.Run(fmt.Sprint("continued ", continued), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				nodes := joinAll(t, f, 3)
				var ids []ID
				const all, lost = 200, 80
				for i := range all {
					r := blockToken(fmt.Sprint(i))
					ids = append(ids, r.ID)
					revoke(t, nodes[i%3].List, r)
				}
				everywhere(t, nodes, fmt.Sprint(all-1), Revoked)
				f.fork(lost)
				if continued { // longer than what was lost, before anybody notices
					f.set(func() {
						for i := range 2 * lost {
							f.add(blockToken(fmt.Sprint("new", i)))
						}
					})
					everywhere(t, nodes, "new0", Revoked)
				}
				eventually(t, "the store has everything again", func() bool {
					return countDistinct(f.stored(), ids) == all
				})
				joiner := join(t, f, nil)
				joiner.untilFresh(t)
				for i := range all {
					everywhere(t, append(nodes, joiner), fmt.Sprint(i), Revoked)
				}
				time.Sleep(time.Minute)
				for i, n := range nodes {
					live := all
					if continued {
						live += 2 * lost
					}
					if got := n.Live("tester"); got != live {
						t.Errorf("node %d counts %d records, there are %d", i, got, live)
					}
					if got := len(n.replica.stored()); got != live {
						t.Errorf("the replica of node %d has %d records, there are %d", i, got, live)
					}
				}
			})
		})
	}
}

func countDistinct(records []Record, ids []ID) (n int) {
	have := map[ID]bool{}
	for i := range records {
		have[records[i].ID] = true
	}
	for _, id := range ids {
		if have[id] {
			n++
		}
	}
	return n
}

// A server takes over that never had a record which only its own node knows: all
// positions are right, and nobody is told that something is missing.
func TestARecordThatTheStoreAcknowledgedAndNeverHadIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 3)
		r := blockToken("lost")
		f.set(func() { f.forget = func(got Record) bool { return got.ID == r.ID } })
		revoke(t, nodes[0].List, r)
		f.set(func() { f.forget = nil })
		everywhere(t, nodes, "lost", Revoked)
		if n := count(f.stored(), r.ID); n != 1 {
			t.Errorf("it is stored %d times", n)
		}
		if n := nodes[0].Live("tester"); n != 1 {
			t.Errorf("it is counted %d times", n)
		}
	})
}

func TestAReinstatementTakesEffectEverywhereAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 3)
		mistake, real := blockToken("mistake"), blockToken("real")
		twice, again := blockToken("twice"), blockToken("twice")
		for _, r := range []Record{real, mistake, twice, again} {
			revoke(t, nodes[0].List, r)
			everywhere(t, nodes, "mistake", nodes[0].Check("mistake").State)
		}
		everywhere(t, nodes, "twice", Revoked)
		nodes[1].mustReinstate(t, mistake.ID, twice.ID)
		check := func(when string, nodes []*clusterNode) {
			t.Helper()
			everywhere(t, nodes, "mistake", Active)
			for i, n := range nodes {
				for _, token := range []string{"real", "twice"} {
					if n.Check(token).State != Revoked {
						t.Errorf("%s, node %d: %s isn't revoked", when, i, token)
					}
				}
			}
		}
		check("at first", nodes)
		for _, lost := range []int{1, 2, 4, 5} { // the reinstatement, then what it cancels
			f.fork(lost)
			time.Sleep(20 * time.Second)
			check(fmt.Sprint("after a fork of ", lost), nodes)
			check("on a new node", []*clusterNode{joinFresh(t, f, nil)})
		}
		for i, n := range nodes {
			n.leave()
			nodes[i] = joinFresh(t, f, n.replica)
		}
		check("after a restart", nodes)
		// Somebody who doesn't know better gives the mistake back.
		f.set(func() { f.add(mistake) })
		time.Sleep(20 * time.Second)
		check("after it came again", nodes)
		check("on a new node", []*clusterNode{joinFresh(t, f, nil)})
	})
}

func TestOwnRecordsAreNotDoubled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		a := nodes[0]
		// The store takes it, and says that it didn't.
		f.set(func() { a.client.unsure = true })
		r := blockToken("a")
		if err := a.Revoke(t.Context(), r); !errors.Is(err, ErrNotDurable) {
			t.Fatal(err)
		}
		f.set(func() { a.client.unsure = false })
		eventually(t, "it is durable", func() bool { return a.Stats().Pending == 0 })
		time.Sleep(time.Minute)
		if n := count(f.stored(), r.ID); n < 2 {
			t.Fatalf("it is stored %d times, this test needs more", n)
		}
		if n := a.Live("tester"); n != 1 {
			t.Errorf("its own node counts it %d times", n)
		}
		if n := len(a.replica.stored()); n != 1 {
			t.Errorf("its node's replica has it %d times", n)
		}
		if n := len(a.follower.echoes.all); n != 0 {
			t.Errorf("%d records are still awaited", n)
		}
		// Reading all of it again doubles nothing either, whoever does.
		before := len(nodes[1].replica.stored())
		for _, n := range nodes {
			n.follower.breakOff(ErrFeedBroken)
		}
		time.Sleep(time.Minute)
		if n := len(nodes[1].replica.stored()); n != before {
			t.Errorf("the other replica had %d records and has %d", before, n)
		}
		if n := a.Live("tester"); n != 1 {
			t.Errorf("its own node counts it %d times", n)
		}
	})
}

// Records of one revocation that two nodes write, each a part of it.
func TestAnIDIsNotARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 2)
		one, other := blockToken("one"), blockToken("other")
		other.ID = one.ID
		f.set(func() { nodes[0].client.delay = time.Second })
		done := make(chan error)
		go func() { done <- nodes[0].Revoke(t.Context(), one) }()
		synctest.Wait() // it is being written
		revoke(t, nodes[1].List, other)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		everywhere(t, nodes, "one", Revoked)
		everywhere(t, nodes, "other", Revoked)
	})
}

func TestDuplicatesAndDisorderAreHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		nodes := joinAll(t, f, 3)
		f.set(func() { nodes[1].client.twice, nodes[1].client.delay = true, 50*time.Millisecond })
		for i := range 100 {
			undone, kept := blockToken(fmt.Sprint("undone", i)), blockToken(fmt.Sprint("kept", i))
			revoke(t, nodes[0].List, undone)
			revoke(t, nodes[0].List, kept)
			nodes[0].mustReinstate(t, undone.ID)
		}
		for i := range 100 {
			everywhere(t, nodes, fmt.Sprint("kept", i), Revoked)
			everywhere(t, nodes, fmt.Sprint("undone", i), Active)
		}
	})
}

// What a node reads at its start may be cancelled further on.
func TestASnapshotCutsOnlyWhatItLeavesRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFeed(), NewStreams()
		undone, real := blockToken("undone"), blockToken("real")
		undo := Record{ID: NewID(), Kind: Reinstatement, Reinstates: []ID{undone.ID}, Expires: undone.Expires, RecordedAt: undone.RecordedAt}
		f.add(undone, real)
		for i := range 200 {
			f.add(blockToken(fmt.Sprint(i)))
		}
		f.add(undo)
		innocent, guilty := plainReader{}.ReadFacts("undone"), plainReader{}.ReadFacts("real")
		watchInnocent, watchGuilty := watch(s, innocent), watch(s, guilty)
		n := join(t, f, nil, func(o *Options) { o.Streams = s })
		n.untilFresh(t)
		watchGuilty.wantCut(t, "token", guilty)
		watchInnocent.wantOpen(t)
		wantState(t, n.Checker, "undone", Active)
	})
}

func TestAStoreThatIsFullIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		replica := new(keptStore)
		replica.records = []Record{blockToken("known")}
		f.add(blockToken("stored"))
		f.full = true
		n := join(t, f, replica)
		n.untilFresh(t)
		wantState(t, n.Checker, "stored", Revoked)
		time.Sleep(time.Minute)
		if p := n.Stats().Pending; p != 1 || n.Stale() {
			t.Errorf("%d records are pending, stale: %v", p, n.Stale())
		}
		f.set(func() { f.full = false })
		eventually(t, "it is given back", func() bool { return n.Stats().Pending == 0 && len(f.stored()) == 2 })
	})
}

func TestAReadThatFailsHalfWayIsDoneAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		for i := range 300 {
			f.add(blockToken(fmt.Sprint(i)))
		}
		var attempts atomic.Int32
		n := &clusterNode{client: f.client(), replica: new(keptStore)}
		n.client.loadErr = func(records int) error {
			if records < 200 {
				return nil
			}
			switch attempts.Add(1) {
			case 1:
				return errBroken
			case 2:
				return fmt.Errorf("page 3: %w", ErrFeedBroken)
			}
			return nil
		}
		l, err := Open(t.Context(), n.client, Options{MaxStaleness: testBound, Replica: n.replica})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		eventually(t, "it is fresh", func() bool { return !l.Stale() })
		if got := len(n.replica.stored()); got != 300 || l.Live("tester") != 300 {
			t.Errorf("the replica has %d records, %d are counted", got, l.Live("tester"))
		}
	})
}

func TestAppendsDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		replica := new(keptStore)
		for i := range 500 {
			replica.records = append(replica.records, blockToken(fmt.Sprint(i)))
		}
		n := join(t, f, replica)
		f.set(func() { n.client.delay = 100 * time.Millisecond })
		for i := range 20 {
			revoke(t, n.List, blockToken(fmt.Sprint("own", i)))
		}
		eventually(t, "all is given back", func() bool { return len(f.stored()) >= 520 })
		f.set(func() {
			if n.client.overlap {
				t.Error("two goroutines appended at once")
			}
		})
	})
}

// A list that is closed leaves nothing running, whatever its store does: synctest fails
// where a goroutine stays.
func TestACloseEndsEverything(t *testing.T) {
	for name, change := range map[string]func(*feedClient){
		"as usual": func(*feedClient) {},
		"down":     func(c *feedClient) { c.down = errBroken },
		"slow":     func(c *feedClient) { c.delay = 10 * time.Second },
		"deaf":     func(c *feedClient) { c.deaf = true },
		"broken":   func(c *feedClient) { c.cut = ErrFeedBroken },
		"full":     func(c *feedClient) { c.full = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFeed()
				n := join(t, f, &keptStore{memoryStore{records: []Record{blockToken("known")}}})
				f.set(func() { change(n.client) })
				time.Sleep(time.Second)
				n.Revoke(t.Context(), blockToken("a"))
				n.leave()
				wantState(t, n.Checker, "a", Revoked)
				wantState(t, n.Checker, "known", Revoked)
			})
		})
	}
}

// A record of another node is in force before the replica has it. A key that is computed
// anew from the replica just then must not lose it.
func TestWhatIsArrivingCountsInAReinstatement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		n := joinAll(t, f, 1)[0]
		mistake, real := blockToken("a"), blockToken("a")
		revoke(t, n.List, mistake)
		f.set(func() { n.client.deaf = true })
		synctest.Wait()
		gate := make(chan struct{})
		n.mu.Lock() // as receive does, whose replica is slow
		n.note(&real)
		n.follower.arriving = &waiting{records: []Record{real}}
		n.mu.Unlock()
		go func() {
			<-gate
			n.stow(t.Context())
		}()
		n.mustReinstate(t, mistake.ID)
		wantState(t, n.Checker, "a", Revoked)
		close(gate)
		synctest.Wait()
		n.mustReinstate(t, real.ID)
		wantState(t, n.Checker, "a", Active)
	})
}

// A clock that is wrong must not remove from the store what others need, even where the
// node is fresh for long after the clock was set.
func TestANodeWithAWrongClockPrunesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		n := join(t, f, nil, func(o *Options) { o.MaxStaleness = 24 * time.Hour })
		n.untilFresh(t)
		time.Sleep(20 * time.Minute)
		pruned := func() (p time.Time) {
			f.set(func() { p = n.client.pruned })
			return p
		}
		if pruned().IsZero() {
			t.Fatal("it doesn't prune at all")
		}
		f.set(func() { f.skew = -time.Hour })
		time.Sleep(2 * time.Minute)
		before := pruned()
		time.Sleep(20 * time.Minute)
		if n.Stale() {
			t.Fatal("it is stale, this test needs one that isn't")
		}
		if p := pruned(); !p.Equal(before) {
			t.Errorf("it pruned up to %s of a clock that is an hour ahead", p)
		}
		f.set(func() { f.skew = 0 })
		time.Sleep(2 * time.Minute)
		if pruned().Equal(before) {
			t.Error("it doesn't prune any more")
		}
	})
}
