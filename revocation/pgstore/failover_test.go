package pgstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// startStandby makes a copy of a server that follows it, without being waited for.
func startStandby(t *testing.T, primary *server) *server {
	t.Helper()
	sv := newServer(t)
	sv.tool(t, "pg_basebackup", "--pgdata", sv.dir, "--dbname", "postgres://postgres@"+primary.addr()+"/postgres?sslmode=disable", "--checkpoint", "fast", "--no-sync", "--write-recovery-conf", "--wal-method", "stream")
	sv.start(t)
	return sv
}

// waitSynced waits until a standby has all that its primary has.
func waitSynced(t *testing.T, primary, standby *server) {
	t.Helper()
	at := ask[string](t, primary, "SELECT pg_current_wal_lsn()::text")
	eventually(t, "the standby has what the primary has", func() bool {
		return ask[bool](t, standby, "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", at)
	})
}

// TestFailover promotes a standby that lacks the last acknowledged records. Nodes that have
// them must notice: before anything is appended, when the new numbers haven't come to
// theirs, and when they have. The store finds the new primary by itself.
func TestFailover(t *testing.T) {
	const lost = 60
	for _, appended := range []int{0, lost / 2, lost, 2 * lost} {
		t.Run(fmt.Sprintf("%d new records", appended), func(t *testing.T) {
			primary := startServer(t)
			standby := startStandby(t, primary)
			opts := primary.options()
			opts.Hosts = []string{standby.addr(), primary.addr()}
			s := open(t, opts)
			var want []string
			add := func(prefix string, n int) {
				for i := range n {
					batch := newBatch(fmt.Sprintf("%s %d", prefix, i), 1)
					want = append(want, batch[0].Selector.Claims[0].Value)
					appendTo(t, s, batch...)
				}
			}
			add("replicated", 30)
			waitSynced(t, primary, standby)
			_, old := mustLoad(t, s)
			wantReadOnly(t, standby)
			standby.do(t, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
			eventually(t, "the standby follows no more", func() bool { return ask[int](t, primary, "SELECT count(*)::int FROM pg_stat_replication") == 0 })
			add("lost", lost)
			known, applied := mustLoad(t, s)
			waiting := follow(t, s, applied)
			beatAs(t, s, "a", applied)
			primary.kill()
			if err := waiting.Wait(t); err == nil {
				t.Fatal("Follow ended without an error")
			}
			standby.do(t, "SELECT pg_promote()")
			eventually(t, "the store has found the new primary", func() bool { _, _, err := load(s); return err == nil })
			add("new", appended)
			for what, p := range map[string]revocation.Position{"lost": applied, "replicated": old} {
				wantErrorIs(t, "Follow from "+what, follow(t, s, p).Wait(t), revocation.ErrFeedBroken)
				_, err := s.Beat(background, revocation.Beat{Node: "b", Applied: p})
				wantErrorIs(t, "Beat at "+what, err, revocation.ErrFeedBroken)
			}
			have, p := mustLoad(t, s)
			if s.Covers(applied, p) || s.Covers(p, applied) || s.Covers(p, old) {
				t.Error("positions of both servers compare")
			}
			head := beatAs(t, s, "c", p)
			for _, n := range head.Nodes {
				if n.Node == "b" && n.Applied != "" || n.Node == "c" && n.Applied != p {
					t.Errorf("node %s is at %q", n.Node, n.Applied)
				}
			}
			// A node gives back what the store has lost.
			for _, n := range known {
				if !slices.Contains(have, n) {
					appendTo(t, s, newRecord(n, time.Hour))
				}
			}
			have, _ = mustLoad(t, s)
			for _, n := range want {
				if !slices.Contains(have, n) {
					t.Fatalf("record %s is lost", n)
				}
			}
		})
	}
}

func beatAs(t *testing.T, s *Store, node string, applied revocation.Position) revocation.Head {
	t.Helper()
	head, err := s.Beat(background, revocation.Beat{Node: node, Number: 1, Applied: applied})
	if err != nil {
		t.Fatalf("Beat: %v", err)
	}
	return head
}

// wantReadOnly uses a standby.
func wantReadOnly(t *testing.T, standby *server) {
	t.Helper()
	for what, err := range failures(open(t, standby.options())) {
		wantErrorIs(t, what, err, revocation.ErrStoreReadOnly)
		wantWords(t, what, err, "standby", "name the primary")
	}
}

// TestKill ends the server while several nodes append, and starts it again: nothing that
// was acknowledged is lost, and followers go on where they were.
func TestKill(t *testing.T) {
	sv := startServer(t)
	follower := open(t, sv.options())
	_, p := mustLoad(t, follower)
	var mu sync.Mutex
	acked := map[string]bool{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		s := open(t, sv.options())
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				batch := newBatch(fmt.Sprintf("%d/%d", w, i), 3)
				if err := s.Append(background, batch); err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				mu.Lock()
				for j := range batch {
					acked[batch[j].Selector.Claims[0].Value] = true
				}
				mu.Unlock()
			}
		})
	}
	got := map[string]bool{}
	for range 4 {
		ctx, cancel := context.WithTimeout(background, 400*time.Millisecond)
		killed := make(chan struct{})
		time.AfterFunc(200*time.Millisecond, func() { sv.kill(); close(killed) })
		_ = follower.Follow(ctx, p, func(batch []revocation.Record, next revocation.Position) error {
			for i := range batch {
				got[batch[i].Selector.Claims[0].Value] = true
			}
			p = next
			return nil
		})
		cancel()
		<-killed
		sv.start(t)
	}
	close(stop)
	writers.Wait()
	f := follow(t, follower, p)
	names, end := mustLoad(t, follower)
	eventually(t, "the follower has come to the end", func() bool { return follower.Covers(f.Position(), end) })
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	for _, n := range f.Got() {
		got[n] = true
	}
	t.Logf("%d records were acknowledged", len(acked))
	if len(acked) == 0 {
		t.Error("nothing was acknowledged")
	}
	for n := range acked {
		if !have[n] || !got[n] {
			t.Fatalf("record %s was acknowledged; loaded: %v, followed: %v", n, have[n], got[n])
		}
	}
}
