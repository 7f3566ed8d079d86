package revocation

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// freshnessLog is what OnFreshness was told.
type freshnessLog struct {
	mu   sync.Mutex
	told []Freshness
}

func (g *freshnessLog) note(f Freshness) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, f)
}

// want compares what was told with what should have been, and that by turns.
func (g *freshnessLog) want(t *testing.T, want ...bool) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.told) != len(want) {
		t.Fatalf("told %+v, want %v", g.told, want)
	}
	for i, f := range g.told {
		if f.Fresh != want[i] || f.Fresh != (f.Cause == nil) {
			t.Errorf("told %+v, want %v", g.told, want)
		}
	}
}

// What makes a node stale does so after the bound, no earlier than a beat before it, and
// is told once; what is known to be revoked stays so.
func TestANodeThatCannotKnowIsStale(t *testing.T) {
	for name, c := range map[string]struct {
		begin, end func(*memoryFeed, *feedClient)
		cause      string
	}{
		"cut off": {
			func(_ *memoryFeed, c *feedClient) { c.cut = errBroken },
			func(_ *memoryFeed, c *feedClient) { c.cut = nil }, errBroken.Error()},
		"the feed quiet and the beats dead": {
			func(_ *memoryFeed, c *feedClient) { c.mute = true },
			func(_ *memoryFeed, c *feedClient) { c.mute = false }, "deadline"},
		"beats alive and the feed stuck": {
			func(_ *memoryFeed, c *feedClient) { c.deaf = true },
			func(_ *memoryFeed, c *feedClient) { c.deaf = false }, errStuck.Error()},
		"its clock is wrong": {
			func(f *memoryFeed, _ *feedClient) { f.skew = 3 * time.Minute },
			func(f *memoryFeed, _ *feedClient) { f.skew = 0 }, "set it"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, log := newFeed(), new(freshnessLog)
				n := join(t, f, nil, func(o *Options) { o.OnFreshness = log.note })
				other := join(t, f, nil)
				n.untilFresh(t)
				revoke(t, other.List, blockToken("known"))
				everywhere(t, []*clusterNode{n}, "known", Revoked)
				time.Sleep(time.Minute)
				log.want(t, false, true)

				f.set(func() { c.begin(f, n.client) })
				began := time.Now()
				other.Revoke(t.Context(), blockToken("missed"))
				for !n.Stale() {
					if v := n.Check("known"); v.State != Revoked {
						t.Fatal("forgotten")
					}
					time.Sleep(10 * time.Millisecond)
				}
				if took := time.Since(began); took > testBound || took < testBound-beatEvery(testBound)-20*time.Millisecond {
					t.Errorf("stale after %s, the bound is %s", took, testBound)
				}
				time.Sleep(10 * time.Second)
				if v := n.Check("known"); v.State != Revoked || v.Stale {
					t.Errorf("a token that is known to be revoked: %+v", v)
				}
				if v := n.Check("other"); v.State != Active || !v.Stale {
					t.Errorf("another one: %+v", v)
				}
				log.want(t, false, true, false)
				if fr := n.Freshness(); fr.Fresh || !strings.Contains(fr.Cause.Error(), c.cause) {
					t.Errorf("%+v, want %s", fr, c.cause)
				}
				f.set(func() { c.end(f, n.client) })
				n.untilFresh(t)
				synctest.Wait()
				if v := n.Check("missed"); v.State != Revoked {
					t.Errorf("fresh, and doesn't know what was revoked meanwhile: %+v", v)
				}
				time.Sleep(time.Minute)
				log.want(t, false, true, false, true)
			})
		})
	}
}

// What stops a node from following shows in how far it is behind, what stops answers in
// how old the last one is, long before it is stale.
func TestTheLagOfAList(t *testing.T) {
	if _, ok := openList(t, new(memoryStore)).Lag(); ok {
		t.Error("a list without a feed has one")
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.down = errBroken
		n := join(t, f, nil, func(o *Options) { o.MaxStaleness = 10 * time.Minute })
		lag := func() Lag {
			lag, _ := n.Lag()
			return lag
		}
		time.Sleep(time.Minute)
		if got := lag(); got.Applied != "" || got.Head != "" || got.Age != time.Minute {
			t.Errorf("before there was an answer: %+v", got)
		}
		f.set(func() { f.down = nil })
		n.untilFresh(t)
		if got := lag(); got.Applied != got.Head || got.Age > 5*time.Second {
			t.Errorf("fresh: %+v", got)
		}
		f.set(func() {
			n.client.deaf = true
			f.add(blockToken("a"), blockToken("b"))
		})
		time.Sleep(time.Minute)
		if got := lag(); got.Applied != f.at(0) || got.Head != f.at(2) || got.Age > 5*time.Second || n.Stale() {
			t.Errorf("without the feed: %+v", got)
		}
		f.set(func() { n.client.deaf, n.client.mute = false, true })
		time.Sleep(time.Minute)
		if got := lag(); got.Applied != got.Head || got.Age < 55*time.Second || got.Age > 65*time.Second || n.Stale() {
			t.Errorf("without answers: %+v", got)
		}
	})
}

// A machine that slept asks as soon as it can.
func TestALapsedLeaseIsRenewedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := join(t, newFeed(), nil, func(o *Options) { o.MaxStaleness = 10 * time.Minute })
		n.untilFresh(t)
		time.Sleep(300 * time.Millisecond) // between two ticks
		n.lease.tick(time.Now().Add(time.Hour))
		if !n.Stale() {
			t.Error("it isn't stale")
		}
		began := time.Now()
		n.untilFresh(t)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("fresh after %s", took)
		}
	})
}

// A node whose wall clock is set is stale until it is set right: at once when it was set
// ahead, since the machine may have slept, and else when its lease is over. It forgets
// nothing, and the other nodes go on. (There is but one clock here. Which of two the lease
// goes by is tested in lease_test.go, and how far the wall's is believed in clock_test.go.)
func TestAStepOfANodesWallClock(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 3 * time.Minute, -3 * time.Minute, 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, log := newFeed(), new(freshnessLog)
				n := join(t, f, nil, func(o *Options) { o.OnFreshness = log.note })
				other := join(t, f, nil)
				n.untilFresh(t)
				other.untilFresh(t)
				revoke(t, other.List, blockToken("known"))
				everywhere(t, []*clusterNode{n}, "known", Revoked)
				log.want(t, false, true)
				time.Sleep(300 * time.Millisecond) // between two ticks
				synctest.Wait()

				f.set(func() { n.client.ahead = ahead })
				began := time.Now()
				back := n.clock.advance(began.Add(ahead), 300*time.Millisecond)
				if back != (ahead < 0) {
					t.Errorf("the clock stepped back: %v", back)
				}
				if n.watchLease(began.Add(ahead)); back { // as keepHouse does
					n.freshness.lose(recalled, began, errClockBack)
					n.recall(t.Context())
				}
				if ahead > 0 && !n.Stale() {
					t.Error("it isn't stale at once")
				}
				revoke(t, other.List, blockToken("meanwhile"))
				eventually(t, "it is stale", n.Stale)
				if took := time.Since(began); took > testBound {
					t.Errorf("stale after %s", took)
				}
				for time.Since(began) < 5*time.Minute {
					for shard := range shardCount {
						n.index.sweep(shard, n.clock.seconds())
					}
					if v := n.Check("known"); v.State != Revoked {
						t.Fatal("what was revoked is active")
					}
					if v := n.Check("other"); v.State != Active || !v.Stale || other.Stale() {
						t.Fatalf("another token: %+v; the other node is stale: %v", v, other.Stale())
					}
					time.Sleep(time.Second)
				}
				if c := n.Freshness().Cause; c == nil || !strings.Contains(c.Error(), "differs from the revocation store's by "+ahead.String()) {
					t.Errorf("it isn't fresh because %v", c)
				}

				f.set(func() { n.client.ahead = 0 })
				n.untilFresh(t)
				synctest.Wait()
				for _, token := range []string{"known", "meanwhile"} {
					if v := n.Check(token); v.State != Revoked || v.Stale {
						t.Errorf("%s: %+v", token, v)
					}
				}
				log.mu.Lock()
				defer log.mu.Unlock()
				if last := log.told[len(log.told)-1]; !last.Fresh {
					t.Errorf("the last that was told is %+v", last)
				}
			})
		})
	}
}

// A renewal between a look-up and its end says nothing about the look-up.
func TestALookUpIsOnlyAsGoodAsTheLeaseBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed()
		f.down = errBroken
		n := join(t, f, nil)
		before := n.outlook()
		f.set(func() { f.down = nil })
		n.untilFresh(t)
		if !n.staleBy(before) {
			t.Error("it counts")
		}
		if n.staleBy(n.outlook()) {
			t.Error("a new one doesn't")
		}
	})
}

func TestTwoDoubtsAreTwoCauses(t *testing.T) {
	var f freshness
	now := time.Now()
	f.lose(recalled, now, errClockBack)
	f.explain(errBroken)
	f.judge(func() bool { return true })
	if c := f.now().Cause.Error(); !strings.Contains(c, errBroken.Error()) || !strings.Contains(c, errClockBack.Error()) {
		t.Error(c)
	}
	f.explain(nil)
	f.judge(func() bool { return false })
	if fr := f.now(); fr.Fresh || fr.Cause != errClockBack {
		t.Errorf("%+v", fr)
	}
	f.regain(recalled, now)
	if fr := f.now(); !fr.Fresh || fr.Cause != nil {
		t.Errorf("%+v", fr)
	}
}
