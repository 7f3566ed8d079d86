package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// pair is a master and its replica, which clients reach by one address.
type pair struct {
	master, replica *server
	front           *proxy // of the clients
	link            *proxy // of the replica to the master
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{master: startServer(t)}
	p.link = startProxy(t, p.master.addr)
	host, port, _ := net.SplitHostPort(p.link.addr())
	p.replica = startServer(t, "--replicaof", host+" "+port)
	p.front = startProxy(t, p.master.addr)
	p.waitSynced(t)
	return p
}

func (p *pair) waitSynced(t *testing.T) {
	t.Helper()
	eventually(t, "the replica has what the master has", func() bool {
		m := parseInfo(p.master.do(t, "INFO", "replication").(string))
		r := parseInfo(p.replica.do(t, "INFO", "replication").(string))
		return r["master_link_status"] == "up" && m["master_repl_offset"] == r["master_repl_offset"]
	})
}

// failOver ends the master and promotes the replica.
func (p *pair) failOver(t *testing.T) {
	t.Helper()
	p.master.kill()
	p.replica.do(t, "REPLICAOF", "NO", "ONE")
	p.front.aim(p.replica.addr)
}

// TestFailover promotes a replica that lacks the last acknowledged entries. Nodes that
// have them must notice: before anything is appended, when the new entries' numbers
// haven't come to theirs, and when they have.
func TestFailover(t *testing.T) {
	const lost = 100
	for _, appended := range []int{0, lost / 2, lost, 2 * lost} {
		t.Run(fmt.Sprintf("%d new entries", appended), func(t *testing.T) {
			p := startPair(t)
			opts := p.replica.options()
			opts.Addrs = []string{p.front.addr()}
			s := open(t, opts)
			var want []string
			add := func(prefix string, n int) {
				for i := range n {
					batch := newBatch(fmt.Sprintf("%s %d", prefix, i), 1)
					want = append(want, batch[0].Selector.Claims[0].Value)
					appendTo(t, s, batch...)
				}
			}
			add("replicated", 50)
			p.waitSynced(t)
			_, old := mustLoad(t, s)
			p.link.aim("")
			add("lost", lost)
			_, applied := mustLoad(t, s)
			known, _ := mustLoad(t, s)
			waiting := follow(t, s, applied)
			p.failOver(t)
			// It loses its connection, unless it has waited for long enough to see more.
			if err := waiting.Wait(t); errors.Is(err, revocation.ErrStoreClosed) {
				t.Fatal(err)
			}
			add("new", appended)
			wantErrorIs(t, "Follow", follow(t, s, applied).Wait(t), revocation.ErrFeedBroken)
			_, err := s.Beat(background, revocation.Beat{Node: "a", Applied: applied})
			wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
			// A node that hadn't come so far goes on without loading anew.
			f := follow(t, s, old)
			eventually(t, "what is new was followed", func() bool { return len(f.Got()) == appended })
			// The beats of nodes are replicated as well, and may be ahead of the entries.
			beatAs(t, s, "ahead", applied)
			beatAs(t, s, "behind", old)
			head, err := s.Beat(background, revocation.Beat{Node: "b", Applied: f.Position()})
			if err != nil {
				t.Fatalf("Beat: %v", err)
			}
			at := map[string]revocation.Position{}
			for _, n := range head.Nodes {
				at[n.Node] = n.Applied
			}
			if len(at) != 4 || at["a"] != "" || at["ahead"] != "" || at["behind"] != old || at["b"] != f.Position() {
				t.Errorf("the nodes are at %v", at)
			}
			// A node gives back what the store has lost.
			have, _ := mustLoad(t, s)
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

// beatAs notes a beat that isn't compared with what the store has.
func beatAs(t *testing.T, s *Store, node string, applied revocation.Position) {
	t.Helper()
	text, err := json.Marshal(revocation.Beat{Applied: applied})
	if err != nil {
		t.Fatal(err)
	}
	_, err = call(background, s, s.client, func(ctx context.Context, conn *redis.Conn) ([]string, error) {
		return s.note(ctx, conn, []any{node, "1", text})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIdleFollower checks that a follower notices a loss while its connection stays and
// nothing comes.
func TestIdleFollower(t *testing.T) {
	for name, lose := range map[string]func(t *testing.T, sv *server){
		"emptied": func(t *testing.T, sv *server) { sv.do(t, "FLUSHALL") },
		"meta gone": func(t *testing.T, sv *server) {
			sv.do(t, "DEL", "{token_revocation}:meta", "{token_revocation}:log:2h")
		},
		"older entries": func(t *testing.T, sv *server) { setBack(t, sv) },
		"another writer": func(t *testing.T, sv *server) {
			sv.do(t, "FLUSHALL")
			appendTo(t, open(t, sv.options()), newBatch("x", 50)...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sv := startServer(t)
			s := open(t, sv.options())
			s.block = 200 * time.Millisecond
			appendTo(t, s, newBatch("a", 3)...)
			appendTo(t, s, newBatch("b", 3)...)
			_, p := mustLoad(t, s)
			f := follow(t, s, p)
			time.Sleep(50 * time.Millisecond)
			lose(t, sv)
			wantErrorIs(t, "Follow", f.Wait(t), revocation.ErrFeedBroken)
			_, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p})
			wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
			if s.Covers(p, p) == false {
				t.Error("a position doesn't cover itself")
			}
		})
	}
}

// setBack makes the store one that ends an entry earlier, as a backup would.
func setBack(t *testing.T, sv *server) {
	t.Helper()
	log, meta := "{token_revocation}:log:2h", "{token_revocation}:meta"
	first := sv.do(t, "XRANGE", log, "1-0", "1-0").([]any)[0].([]any)[1].([]any)
	sv.do(t, "DEL", log)
	sv.do(t, "XADD", log, "1-0", "v", first[1], "c", first[3])
	sv.do(t, "HSET", meta, "seq", "1", "id.1", "1", "chain.1", first[3])
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
		ctx, cancel := context.WithTimeout(background, 300*time.Millisecond)
		killed := make(chan struct{})
		time.AfterFunc(150*time.Millisecond, func() { sv.kill(); close(killed) })
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
	for n := range acked {
		if !have[n] || !got[n] {
			t.Fatalf("record %s was acknowledged; loaded: %v, followed: %v", n, have[n], got[n])
		}
	}
}
