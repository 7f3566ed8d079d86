package revocation

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

func randomKey(r *rand.Rand) (k Key) {
	binary.LittleEndian.PutUint64(k[:], r.Uint64())
	binary.LittleEndian.PutUint64(k[8:], r.Uint64())
	return k
}

// The table must always answer like a plain map that is told the same.
func TestTableIsAMap(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		table, model := newTable(), map[Key]value{}
		keys := make([]Key, 2000)
		for i := range keys {
			keys[i] = randomKey(r)
			if i%10 == 0 {
				keys[i] = Key{15: byte(i), 14: byte(i >> 8)} // halves of zero
			}
		}
		now := uint32(1000)
		for range 20_000 {
			k := keys[r.IntN(len(keys))]
			switch r.IntN(20) {
			case 0:
				now += uint32(r.IntN(20))
				for k, v := range model {
					if !v.live(now) {
						delete(model, k)
					}
				}
			case 1:
				table.sweep(r.IntN(shardCount), now)
			case 2:
				table.set(k, 0, now)
				delete(model, k)
			default:
				v := makeValue(now+uint32(r.IntN(100)), uint32(r.IntN(100)))
				if old, _ := table.get(k); !old.live(now) {
					table.set(k, 0, now) // the model forgets at once, the table when it likes
				}
				table.merge(k, v, now)
				if v = model[k].merge(v); v.live(now) {
					model[k] = v
				}
			}
		}
		for _, k := range keys {
			got, found := table.get(k)
			if want := model[k]; want != got && (got.live(now) || want != 0) {
				t.Fatalf("seed %d: got %x %v, want %x", seed, got, found, want)
			}
		}
	}
}

func TestTableForgetsWhatExpired(t *testing.T) {
	table, r := newTable(), rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		table.merge(randomKey(r), makeValue(100, 0), 1)
	}
	lasting := randomKey(r)
	table.merge(lasting, makeValue(neverSeconds, 0), 1)
	for i := range shardCount {
		table.sweep(i, 100)
	}
	if n := table.keys.Load(); n != 1 {
		t.Errorf("%d keys are left", n)
	}
	if v, _ := table.get(lasting); !v.live(neverSeconds) {
		t.Error("a key that never expires is gone")
	}
	if table.bytes() > minSlots*24 {
		t.Errorf("%d bytes are left", table.bytes())
	}
}

func TestTableTakesAtMostFiftyBytesAKey(t *testing.T) {
	table, r := newTable(), rand.New(rand.NewPCG(1, 1))
	for i := 1; i <= 400_000; i++ {
		table.merge(randomKey(r), makeValue(100, 0), 1)
		if i%1000 == 0 && i > 50_000 && table.bytes() > int64(i)*50 {
			t.Fatalf("%d bytes a key at %d keys", table.bytes()/int64(i), i)
		}
	}
}

// While writers insert and shards are rebuilt and swept, a reader finds every
// key whose insert returned before.
func TestEveryInsertIsSeenByLookUpsThatBeginLater(t *testing.T) {
	table := newTable()
	const writers, perWriter = 4, 30_000
	var done [writers]atomic.Int64
	keys := [writers][]Key{}
	for w := range writers {
		r := rand.New(rand.NewPCG(uint64(w), 7))
		for range perWriter {
			keys[w] = append(keys[w], randomKey(r))
		}
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i, k := range keys[w] {
				table.merge(k, makeValue(50+uint32(i%2)*1000, 0), 1) // half of it expires
				done[w].Store(int64(i + 1))
			}
		})
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	readers.Go(func() {
		for i := 0; !stop.Load(); i++ {
			table.sweep(i%shardCount, 100)
		}
	})
	for seed := range uint64(2) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(seed, 9))
			for !stop.Load() {
				w := r.IntN(writers)
				n := done[w].Load()
				if n == 0 {
					continue
				}
				i := r.Int64N(n)
				if v, _ := table.get(keys[w][i]); i%2 == 1 && !v.live(100) {
					t.Errorf("key %d of writer %d was inserted and isn't found", i, w)
					return
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	readers.Wait()
}
