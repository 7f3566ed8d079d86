package natsstore

import (
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/storetest"
)

var benchRecords = flag.Int("records", 200_000, "records in the store that BenchmarkLoad reads")

// BenchmarkAppend has stores that append one record at a time, as a node does when its
// batches are small, and one that appends many at a time.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct{ writers, batch int }{{1, 1}, {64, 1}, {1, 64}, {1, 4096}} {
		b.Run(fmt.Sprintf("writers=%d/batch=%d", c.writers, c.batch), func(b *testing.B) {
			s := openStore(b, startServer(b).options())
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
			sv := newServer(b)
			sv.configure(b, "sync_interval: 2m")
			sv.start(b)
			s := openStore(b, sv.options())
			n := *benchRecords
			if testing.Short() {
				n = min(n, 20_000)
			}
			var left atomic.Int64
			left.Store(int64(n / size))
			var writers sync.WaitGroup
			for range 32 {
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
			found, err := sv.admin(b).Stream(background, s.streams.log)
			if err != nil {
				b.Fatal(err)
			}
			b.Logf("%d records, %d bytes on the server", n, found.CachedInfo().State.Bytes)
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

// BenchmarkFeed has lists on the store.
func BenchmarkFeed(b *testing.B) {
	sv := startServer(b)
	storetest.BenchmarkFeed(b, func(b *testing.B) storetest.Opener {
		opts := sv.options()
		opts.Prefix = fmt.Sprintf("store%d", stores.Add(1))
		return func(t testing.TB) revocation.Store { return openStore(t, opts) }
	})
}
