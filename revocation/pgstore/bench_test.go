package pgstore

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var benchRecords = flag.Int("records", 50_000, "records in the store that BenchmarkLoad reads")

// BenchmarkAppend has stores that append one record at a time, as a node does when its
// batches are small, and one that appends many at a time.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, batch int }{{1, 1}, {64, 1}, {1, 64}, {1, 4096}} {
		b.Run(fmt.Sprintf("writers=%d/batch=%d", c.writers, c.batch), func(b *testing.B) {
			s := open(b, startServer(b).options())
			batch := newBatch("a", c.batch)
			appendTo(b, s, batch...)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var writers sync.WaitGroup
			for range c.writers {
				writers.Go(func() {
					for left.Add(-1) >= 0 {
						if err := s.Append(background, batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			b.ReportMetric(float64(b.N*c.batch)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkLoad reads a store whose records were appended one by one, and one whose
// records came in batches.
func BenchmarkLoad(b *testing.B) {
	for _, size := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			sv := startServer(b, "fsync=off")
			opts := sv.options()
			opts.Timeout = time.Minute // while it is filled
			opts.UnsafeDurability = true
			s := open(b, opts)
			n := *benchRecords
			if testing.Short() {
				n = min(n, 20_000)
			}
			var left atomic.Int64
			left.Store(int64(n / size))
			var writers sync.WaitGroup
			for range 8 {
				writers.Go(func() {
					for left.Add(-1) >= 0 {
						if err := s.Append(background, newBatch("a", size)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			used := ask[int64](b, sv, "SELECT pg_total_relation_size('token_revocation.records')")
			b.Logf("%d records, %d bytes on the server", n, used)
			b.ReportAllocs()
			records := 0
			for b.Loop() {
				records = 0
				_, err := s.Load(background, func(batch []revocation.Record) error {
					records += len(batch)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(records), "ns/record")
		})
	}
}

// BenchmarkFollow takes the time from the beginning of Append until four other stores have
// the record, while 200 records a second are appended.
func BenchmarkFollow(b *testing.B) {
	const followers = 4
	sv := startServer(b)
	writer := open(b, sv.options())
	_, p := mustLoad(b, writer)
	arrived := make(chan time.Time, followers)
	for range followers {
		s := open(b, sv.options())
		go func() {
			_ = s.Follow(background, p, func([]revocation.Record, revocation.Position) error {
				arrived <- time.Now()
				return nil
			})
		}()
	}
	var acks, all []time.Duration
	for b.Loop() {
		start := time.Now()
		appendTo(b, writer, newBatch("a", 1)...)
		acks = append(acks, time.Since(start))
		last := start
		for range followers {
			if at := <-arrived; at.After(last) {
				last = at
			}
		}
		all = append(all, last.Sub(start))
		time.Sleep(time.Until(start.Add(5 * time.Millisecond)))
	}
	for name, times := range map[string][]time.Duration{"ack": acks, "all": all} {
		slices.Sort(times)
		b.ReportMetric(float64(times[len(times)/2].Microseconds()), name+"-p50-µs")
		b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), name+"-p99-µs")
	}
}

// BenchmarkBeat is what a heartbeat costs.
func BenchmarkBeat(b *testing.B) {
	s := open(b, startServer(b).options())
	appendTo(b, s, newBatch("a", 100)...)
	_, p := mustLoad(b, s)
	for b.Loop() {
		if _, err := s.Beat(background, revocation.Beat{Node: "a", Name: "host", Applied: p}); err != nil {
			b.Fatal(err)
		}
	}
}
