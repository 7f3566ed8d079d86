package revocation_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/boltstore"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// The benchmarks behind docs/performance.md. Lists with millions of records are
// made once and shared.

// benchToken returns a token of about so many bytes: opaque below 100, else a
// JWT with the usual claims.
func benchToken(bytes, n int) string {
	if bytes < 100 {
		return fmt.Sprintf("ory_at_%0*d", bytes-7, n)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	header := b64([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"2026-11-key-1"}`))
	signature := b64(make([]byte, 64))
	payload := fmt.Sprintf(`{"iss":"https://idp.example.com/realms/acme","sub":"f3c1b2a0-%d","client_id":"web-app","jti":"8d7c-%d","sid":"5e6f-%d","iat":1800000000,"exp":4000000000,"scope":"`, n, n, n)
	for room := (bytes - len(header) - len(signature) - 2) * 3 / 4; len(payload) < room-2; {
		payload += "x"
	}
	return header + "." + b64([]byte(payload+`"}`)) + "." + signature
}

// filler is a store that has n records of tokens and of jtis, and is never
// written to.
type filler int

func (f filler) Load(_ context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	expires := time.Now().Add(24 * time.Hour).Truncate(time.Second)
	batch := make([]revocation.Record, 1)
	for i := range int(f) {
		var seed [8]byte
		binary.LittleEndian.PutUint64(seed[:], uint64(i))
		batch[0] = revocation.Record{ID: revocation.ID{1}, Kind: revocation.Block, Expires: expires, Actor: "client:app",
			Selector: revocation.SelectToken(sha256.Sum256(seed[:]))}
		if i%2 == 1 { // a JWT that the endpoint revokes has two keys
			batch[0].Selector = revocation.Selector{Issuer: "https://idp.example.com/realms/acme",
				Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: fmt.Sprint(i)}}}
		}
		if err := apply(batch); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (filler) Append(context.Context, []revocation.Record) error { return nil }
func (filler) Close() error                                      { return nil }

var filled = map[int]*revocation.List{}

func listOf(b *testing.B, records int) *revocation.List {
	b.Helper()
	if records > 1_000_000 && testing.Short() {
		b.Skip("takes long: not with -short")
	}
	if filled[records] == nil {
		l, err := revocation.Open(context.Background(), filler(records), revocation.Options{})
		if err != nil {
			b.Fatal(err)
		}
		filled[records] = l
	}
	return filled[records]
}

func reader(b *testing.B) *token.Reader {
	r, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func checkerOf(b *testing.B, l *revocation.List) *revocation.Checker {
	c, err := revocation.NewChecker(l, reader(b), 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

// hot is how many tokens are in use at one time.
const hot = 512

func benchTokens(bytes int) []string {
	tokens := make([]string, hot)
	for i := range tokens {
		tokens[i] = benchToken(bytes, i)
	}
	return tokens
}

func BenchmarkCachedCheck(b *testing.B) {
	for _, records := range []int{0, 1_000_000, 10_000_000} {
		for _, bytes := range []int{40, 840, 1200} {
			b.Run(fmt.Sprintf("records=%d/token=%dB", records, bytes), func(b *testing.B) {
				c, tokens := checkerOf(b, listOf(b, records)), benchTokens(bytes)
				b.ReportAllocs()
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						if c.Check(tokens[i%hot]).State != revocation.Active {
							b.Error("not active")
						}
					}
				})
			})
		}
	}
}

// More tokens than the array in front of ristretto has room for.
func BenchmarkCachedCheckOfManyTokens(b *testing.B) {
	c := checkerOf(b, listOf(b, 1_000_000))
	tokens := make([]string, 20_000)
	for i := range tokens {
		tokens[i] = benchToken(840, i)
	}
	for range 20 { // ristretto drops most of a burst
		for _, t := range tokens {
			c.Check(t)
		}
	}
	before := c.CacheMisses()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			c.Check(tokens[i*7919%len(tokens)])
		}
	})
	b.ReportMetric(float64(c.CacheMisses()-before)/float64(b.N), "misses/op")
}

func BenchmarkOneHotToken(b *testing.B) {
	c, hotToken := checkerOf(b, listOf(b, 1_000_000)), benchToken(840, 1)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Check(hotToken)
		}
	})
}

func BenchmarkCachedCheckWhileThousandRevocationsASecondArrive(b *testing.B) {
	l := listOf(b, 1_000_000)
	for _, arrive := range []bool{false, true} {
		b.Run(fmt.Sprintf("arrive=%v", arrive), func(b *testing.B) {
			c, tokens := checkerOf(b, l), benchTokens(840)
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for arrive {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
						for range 10 {
							go l.Revoke(context.Background(), benchRecord())
						}
					}
				}
			}()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					c.Check(tokens[i%hot])
				}
			})
			stop()
			<-done
		})
	}
}

func BenchmarkFirstSight(b *testing.B) {
	for _, bytes := range []int{40, 840, 1200} {
		b.Run(fmt.Sprintf("token=%dB", bytes), func(b *testing.B) {
			c := checkerOf(b, listOf(b, 1_000_000))
			tokens := make([]string, 20_000)
			for i := range tokens {
				tokens[i] = benchToken(bytes, i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if i%len(tokens) == 0 && i > 0 {
					b.StopTimer()
					c = checkerOf(b, listOf(b, 1_000_000))
					b.StartTimer()
				}
				c.Check(tokens[i%len(tokens)])
			}
		})
	}
}

func BenchmarkIndexMemory(b *testing.B) {
	for _, records := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			l := listOf(b, records)
			for b.Loop() {
				runtime.GC()
			}
			b.ReportMetric(float64(l.Stats().Bytes)/float64(l.LiveTotal()), "B/key")
		})
	}
}

var serial atomic.Uint64

func benchRecord() revocation.Record {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], serial.Add(1)+1<<60)
	now := time.Now()
	return revocation.Record{
		ID: revocation.NewID(), Kind: revocation.Block, Selector: revocation.SelectToken(sha256.Sum256(seed[:])),
		Expires: now.Add(time.Hour).Truncate(time.Second), RecordedAt: now, Source: "endpoint", Actor: "client:app",
	}
}

func BenchmarkDurableRevoke(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l := boltList(b, filepath.Join(b.TempDir(), "records.db"))
			b.SetParallelism(max(callers/runtime.GOMAXPROCS(0), 1))
			if callers == 1 {
				for b.Loop() {
					mustRevoke(b, l)
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						mustRevoke(b, l)
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "revokes/s")
		})
	}
}

func mustRevoke(b *testing.B, l *revocation.List) {
	if err := l.Revoke(context.Background(), benchRecord()); err != nil {
		b.Error(err)
	}
}

func boltList(b *testing.B, path string) *revocation.List {
	b.Helper()
	store, err := boltstore.Open(context.Background(), path, boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	l, err := revocation.Open(context.Background(), store, revocation.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

func BenchmarkLoadFromBolt(b *testing.B) {
	records := 1_000_000
	if testing.Short() {
		records = 10_000
	}
	path := filepath.Join(b.TempDir(), "records.db")
	store, err := boltstore.Open(context.Background(), path, boltstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]revocation.Record, 0, 4096)
	for i := range records {
		if batch = append(batch, benchRecord()); len(batch) == cap(batch) || i == records-1 {
			if err := store.Append(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l := boltList(b, path)
		if l.LiveTotal() != records {
			b.Fatalf("%d records", l.LiveTotal())
		}
		b.StopTimer()
		l.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(records), "records")
}

func TestBenchmarkTokensHaveTheSizeTheySay(t *testing.T) {
	for _, bytes := range []int{40, 840, 1200} {
		if n := len(benchToken(bytes, 7)); n < bytes-4 || n > bytes {
			t.Errorf("%d bytes, want %d", n, bytes)
		}
		if bytes > 100 && strings.Count(benchToken(bytes, 7), ".") != 2 {
			t.Error("not a JWT")
		}
	}
}
