package boltstore

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// TestKill kills a process that appends and prunes, at any moment, again and
// again on one file: every batch that it acknowledged must be there.
func TestKill(t *testing.T) {
	path := filepath.Join(memoryDir(t), "records.db")
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	acked := map[string]int{} // batches acknowledged, by round
	total := 0
	for i := range rounds {
		round := fmt.Sprint("round", i)
		lines := killChild(t, time.Duration(random.IntN(60_000))*time.Microsecond, "append", path, round)
		for j, line := range lines {
			if want := fmt.Sprintf("%s %d", round, j); line != want {
				t.Fatalf("child says %q, want %q", line, want)
			}
		}
		acked[round] = len(lines)
		total += len(lines)
		s := openStore(t, path)
		have := map[string]bool{}
		for _, n := range mustLoad(t, s) {
			have[n] = true
		}
		closeStore(t, s)
		for round, n := range acked {
			for j := range n {
				for k := 0; k < 1+j*37%200; k += 2 { // the others have expired
					if n := fmt.Sprintf("%s-%d/%d", round, j, k); !have[n] {
						t.Fatalf("record %s was acknowledged and is lost", n)
					}
				}
			}
		}
	}
	checkBolt(t, path)
	t.Logf("%d batches acknowledged in %d rounds", total, rounds)
}

// TestKillCreation kills a process that creates one store after the other: all
// of them can be opened.
func TestKillCreation(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	total := 0
	for range rounds {
		dir := memoryDir(t)
		acked := len(killChild(t, time.Duration(random.IntN(20_000))*time.Microsecond, "creates", dir))
		for i := range acked + 1 {
			s := openStore(t, filepath.Join(dir, fmt.Sprint(i), "records.db"))
			if n := len(mustLoad(t, s)); n != 1 && i < acked {
				t.Fatalf("store %d has %d records, want 1", i, n)
			}
			appendTo(t, s, newRecord("next", time.Hour))
			closeStore(t, s)
		}
		total += acked
	}
	t.Logf("%d stores created in %d rounds", total, rounds)
}

// TestKillWhileLocked makes sure that a lock ends with its process.
func TestKillWhileLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	killChild(t, 0, "hold", path)
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 1)...)
}
