package boltstore

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var benchRecords = flag.Int("records", 1_000_000, "records in the store that BenchmarkLoad and BenchmarkOpen read")

// revoked makes what the endpoint writes for each revoked JWT.
func revoked(n int) []revocation.Record {
	batch := make([]revocation.Record, n)
	now := time.Now()
	for i := range batch {
		batch[i] = newRecord(revocation.NewID().String(), time.Hour)
		batch[i].Expires = now.Add(time.Duration(1+i%24) * time.Hour).Truncate(time.Second).UTC()
	}
	return batch
}

func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 64, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := openStore(b, filepath.Join(b.TempDir(), "records.db"))
			batch := revoked(n)
			b.ReportAllocs()
			for b.Loop() {
				appendTo(b, s, batch...)
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// fillStore makes a store with -records records.
func fillStore(b *testing.B) string {
	n := *benchRecords
	if testing.Short() {
		n = min(n, 100_000)
	}
	path := filepath.Join(b.TempDir(), "records.db")
	s := openStore(b, path)
	s.db.NoSync = true
	for left := n; left > 0; left -= 4096 {
		appendTo(b, s, revoked(min(left, 4096))...)
	}
	if err := s.db.Sync(); err != nil {
		b.Fatal(err)
	}
	st := s.Stats()
	b.Logf("%d records, %d bytes each in the file", st.Records, (st.FileBytes-st.FreeBytes)/int64(n))
	closeStore(b, s)
	return path
}

func BenchmarkLoad(b *testing.B) {
	s := openStore(b, fillStore(b))
	records := 0
	b.ReportAllocs()
	for b.Loop() {
		records = 0
		_, err := s.Load(context.Background(), func(batch []revocation.Record) error {
			records += len(batch)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(records), "ns/record")
}

// BenchmarkOpen opens a store: the whole file is checked, without decoding it.
func BenchmarkOpen(b *testing.B) {
	path := fillStore(b)
	for b.Loop() {
		closeStore(b, openStore(b, path))
	}
}

func BenchmarkPrune(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		s := openStore(b, filepath.Join(b.TempDir(), "records.db"))
		for range 5 {
			appendTo(b, s, revoked(4000)...)
		}
		b.StartTimer()
		if n, err := s.Prune(context.Background(), time.Now().Add(1000*time.Hour)); n != 20_000 || err != nil {
			b.Fatal(n, err)
		}
		b.StopTimer()
		closeStore(b, s)
		b.StartTimer()
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/20_000, "ns/record")
}
