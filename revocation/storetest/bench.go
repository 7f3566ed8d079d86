// What a feed is good for, measured with lists on it as nodes have them.

package storetest

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// benchRecords is how many records there are in the store that is loaded.
var benchRecords = flag.Int("feed-records", 20_000, "records in the store that BenchmarkFeed loads")

// BenchmarkFeed measures a revocation.Feed: how long it takes until a revocation is durable,
// in force on three nodes, and known to be; and what nodes cost. fresh makes Openers of
// stores that no other has.
func BenchmarkFeed(b *testing.B, fresh func(b *testing.B) Opener) {
	for _, c := range []struct {
		name string
		run  func(b *testing.B, open Opener)
	}{
		{"durable, 1 caller", func(b *testing.B, open Opener) { benchDurable(b, open, 1) }},
		{"durable, 64 callers", func(b *testing.B, open Opener) { benchDurable(b, open, 64) }},
		{"enforced on 3 nodes", benchEnforced},
		{"awaited on 3 nodes", benchAwaited},
		{"awaited on 3 nodes, one of them dead", benchAwaitedWithADeadNode},
		{"loaded", benchLoaded},
		{"a beat among 3 nodes", func(b *testing.B, open Opener) { benchBeat(b, open, 3) }},
		{"a beat among 100 nodes", func(b *testing.B, open Opener) { benchBeat(b, open, 100) }},
		{"checks", func(b *testing.B, open Opener) { benchChecks(b, open, 0) }},
		{"checks while 1,000 revocations a second arrive", func(b *testing.B, open Opener) { benchChecks(b, open, 1000) }},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) { c.run(b, fresh(b)) })
	}
}

// freshNode is a node that knows all that there is.
func freshNode(b *testing.B, open Opener) *listNode {
	b.Helper()
	n, err := openNode(open(b).(revocation.Feed))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { n.close() })
	for n.list.Stale() {
		time.Sleep(time.Millisecond)
	}
	return n
}

func freshNodes(b *testing.B, open Opener) []*listNode {
	b.Helper()
	return []*listNode{freshNode(b, open), freshNode(b, open), freshNode(b, open)}
}

// benchRecord revokes the token of a name.
func benchRecord(name string) revocation.Record {
	r := newRecord(name, time.Hour)
	r.Selector = revocation.SelectToken(tokenReader{}.ReadFacts(name).Fingerprint)
	return r
}

// quantiles reports how long something took.
func quantiles(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

func benchDurable(b *testing.B, open Opener, callers int) {
	n := freshNode(b, open)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	var calling sync.WaitGroup
	for range callers {
		calling.Go(func() {
			for i := left.Add(-1); i >= 0; i = left.Add(-1) {
				if err := n.list.Revoke(background, benchRecord(fmt.Sprint(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	calling.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "revocations/s")
}

func benchEnforced(b *testing.B, open Opener) {
	nodes := freshNodes(b, open)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprint(i)
		began := time.Now()
		if err := nodes[i%3].list.Revoke(background, benchRecord(name)); err != nil {
			b.Fatal(err)
		}
		for _, n := range nodes {
			for n.checker.Check(name).State != revocation.Revoked {
				time.Sleep(20 * time.Microsecond)
			}
		}
		took = append(took, time.Since(began))
		time.Sleep(time.Millisecond)
	}
	quantiles(b, took)
}

func benchAwaited(b *testing.B, open Opener) {
	nodes := freshNodes(b, open)
	defer nodes[0].list.WillAwaitNodes()()
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		r := benchRecord(fmt.Sprint(i))
		began := time.Now()
		if err := nodes[i%3].list.Revoke(background, r); err != nil {
			b.Fatal(err)
		}
		if err := nodes[i%3].list.AwaitNodes(background, r); err != nil {
			b.Fatal(err)
		}
		if i >= 3 { // until then they learn that somebody waits
			took = append(took, time.Since(began))
		}
		time.Sleep(time.Millisecond)
	}
	if len(took) > 0 {
		quantiles(b, took)
	}
}

// benchAwaitedWithADeadNode has one node that beat once and never again, as one does that was
// killed. The first wait is for all of its time, those that follow know that it is gone.
func benchAwaitedWithADeadNode(b *testing.B, open Opener) {
	const staleness = time.Second
	var lists []*revocation.List
	for range 2 {
		l, err := revocation.Open(background, open(b), revocation.Options{MaxStaleness: staleness})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		defer l.WillAwaitNodes()()
		lists = append(lists, l)
	}
	dead := open(b).(revocation.Feed)
	defer dead.Close()
	if _, err := dead.Beat(background, revocation.Beat{Node: "dead", Number: 1}); err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		r := benchRecord(fmt.Sprint(i))
		began := time.Now()
		if err := lists[i%2].Revoke(background, r); err != nil {
			b.Fatal(err)
		}
		if err := lists[i%2].AwaitNodes(background, r); err != nil {
			b.Fatal(err)
		}
		if i == 0 {
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "first-ms")
		} else {
			took = append(took, time.Since(began))
		}
		time.Sleep(time.Millisecond)
	}
	if len(took) > 0 {
		quantiles(b, took)
	}
}

// benchLoaded opens a list whose store has many records, without a file of its own.
func benchLoaded(b *testing.B, open Opener) {
	n := *benchRecords
	s := open(b)
	const batch = 4096
	for done := 0; done < n; done += batch {
		records := make([]revocation.Record, min(batch, n-done))
		for i := range records {
			records[i] = benchRecord(fmt.Sprint(done + i))
		}
		if err := s.Append(background, records); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for b.Loop() {
		l, err := revocation.Open(background, open(b), revocation.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for l.Stale() {
			time.Sleep(time.Millisecond)
		}
		if got := l.LiveTotal(); got != n {
			b.Fatalf("%d records were loaded, want %d", got, n)
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func benchBeat(b *testing.B, open Opener, nodes int) {
	s := open(b).(revocation.Feed)
	b.Cleanup(func() { s.Close() })
	if err := s.Append(background, newBatch("a", 100)); err != nil {
		b.Fatal(err)
	}
	p, err := s.Load(background, func([]revocation.Record) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	beat := func(i int) {
		if _, err := s.Beat(background, revocation.Beat{Node: fmt.Sprint(i % nodes), Number: uint64(1 + i/nodes), Name: "caddy.example.com", Version: "v0.5.0", Applied: p, Fresh: true}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range nodes {
		beat(i)
	}
	for i := nodes; b.Loop(); i++ {
		beat(i)
	}
}

func benchChecks(b *testing.B, open Opener, arriving int) {
	checking, other := freshNode(b, open), freshNode(b, open)
	tokens := make([]string, 512)
	for i := range tokens {
		tokens[i] = fmt.Sprint("in use ", i)
	}
	ctx, stop := context.WithCancel(background)
	var writing sync.WaitGroup
	writing.Go(func() {
		const perTick = 10
		if arriving == 0 {
			return
		}
		tick := time.NewTicker(time.Second * perTick / time.Duration(arriving))
		defer tick.Stop()
		for n := 0; ; n += perTick {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				for i := range perTick {
					writing.Go(func() { other.list.Revoke(background, benchRecord(fmt.Sprint("arriving ", n+i))) })
				}
			}
		}
	})
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		checking.checker.Check(tokens[i%len(tokens)])
	}
	b.StopTimer()
	stop()
	writing.Wait()
}
