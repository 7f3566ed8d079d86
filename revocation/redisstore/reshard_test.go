package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// clusterPair is a Redis Cluster of two masters, each with half of the slots.
type clusterPair struct {
	servers [2]*server
	ids     [2]string
}

func startClusterPair(t *testing.T) *clusterPair {
	t.Helper()
	c := &clusterPair{}
	for i, slots := range [2][2]int{{0, 8191}, {8192, 16383}} {
		c.servers[i] = startServer(t, "--cluster-enabled", "yes")
		c.ids[i] = c.servers[i].do(t, "CLUSTER", "MYID").(string)
		c.servers[i].do(t, "CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1])
	}
	host, port := c.address(1)
	c.servers[0].do(t, "CLUSTER", "MEET", host, port)
	for _, sv := range c.servers {
		eventually(t, "the cluster is up", func() bool {
			info := parseInfo(sv.do(t, "CLUSTER", "INFO").(string))
			return info["cluster_state"] == "ok" && info["cluster_known_nodes"] == "2" && info["cluster_size"] == "2"
		})
	}
	return c
}

func (c *clusterPair) address(i int) (host, port string) {
	return "127.0.0.1", c.servers[i].addr[len("127.0.0.1:"):]
}

// move moves a slot from one server to the other as redis-cli --cluster does, and runs
// something before each step.
func (c *clusterPair) move(t *testing.T, slot, from int, before func()) {
	t.Helper()
	to := 1 - from
	source, target := c.servers[from], c.servers[to]
	host, port := c.address(to)
	before()
	target.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", c.ids[from])
	source.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", c.ids[to])
	for {
		before()
		keys := source.do(t, "CLUSTER", "GETKEYSINSLOT", slot, 1).([]any)
		if len(keys) == 0 {
			break
		}
		source.do(t, "MIGRATE", host, port, keys[0], 0, 5000)
	}
	for _, sv := range []*server{target, source} {
		sv.do(t, "CLUSTER", "SETSLOT", slot, "NODE", c.ids[to])
		before()
	}
}

func slotOf(t *testing.T, sv *server, key string) int {
	t.Helper()
	return int(sv.do(t, "CLUSTER", "KEYSLOT", key).(int64))
}

// owner returns which server has a key at first.
func (c *clusterPair) owner(t *testing.T, key string) int {
	t.Helper()
	return slotOf(t, c.servers[0], key) / 8192
}

// TestSlotMoves moves the list from one node of a cluster to the other and back, while two
// lists revoke: nothing that is acknowledged is lost, both go on, and neither has to read
// anything again.
func TestSlotMoves(t *testing.T) {
	c := startClusterPair(t)
	var log lines
	type node struct {
		store   *Store
		list    *revocation.List
		revoked atomic.Int64
	}
	var nodes [2]*node
	for i := range nodes {
		opts := c.servers[i].options()
		opts.Cluster = true
		n := &node{store: open(t, opts)}
		var err error
		if n.list, err = revocation.Open(background, n.store, revocation.Options{MaxStaleness: 3 * time.Second, Logger: log.Logger()}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.list.Close() })
		nodes[i] = n
	}
	var mu sync.Mutex
	acked := map[revocation.ID]bool{}
	late := 0
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for i, n := range nodes {
		writers.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-stop:
					return
				default:
				}
				r := newRecord(fmt.Sprintf("%d/%d", i, k), []time.Duration{time.Hour, 20 * time.Hour}[k%2])
				err := n.list.Revoke(background, r)
				mu.Lock()
				switch {
				case err == nil:
					acked[r.ID] = true
				case errors.Is(err, revocation.ErrNotDurable):
					late++
				default:
					t.Error(err)
				}
				mu.Unlock()
				n.revoked.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	eventually(t, "both revoke", func() bool { return nodes[0].revoked.Load() > 50 && nodes[1].revoked.Load() > 50 })
	slot, owner := slotOf(t, c.servers[0], nodes[0].store.keys.meta), c.owner(t, nodes[0].store.keys.meta)
	for move := range 4 {
		c.move(t, slot, owner, func() { time.Sleep(20 * time.Millisecond) })
		owner = 1 - owner
		for i, n := range nodes {
			before := n.revoked.Load()
			eventually(t, fmt.Sprintf("node %d revokes after move %d", i, move), func() bool {
				return n.revoked.Load() > before+20 && n.list.Stats().Pending < 20 && !n.list.Stale()
			})
		}
	}
	close(stop)
	writers.Wait()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("nothing is pending at node %d", i), func() bool { return n.list.Stats().Pending == 0 })
		eventually(t, fmt.Sprintf("node %d has everything", i), func() bool {
			page, err := n.list.Search(background, revocation.Query{Limit: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			have := map[revocation.ID]bool{}
			for k := range page.Revocations {
				have[page.Revocations[k].ID] = true
			}
			for id := range acked {
				if !have[id] {
					return false
				}
			}
			return len(have) == int(nodes[0].revoked.Load()+nodes[1].revoked.Load())
		})
	}
	names, _ := mustLoad(t, nodes[0].store)
	t.Logf("%d were acknowledged, %d later; the store has %d records, at slot %d", len(acked), late, len(names), slot)
	direct := redis.NewClient(&redis.Options{Addr: c.servers[owner].addr})
	defer direct.Close()
	if n, err := direct.Exists(background, nodes[0].store.keys.all...).Result(); err != nil || n == 0 {
		t.Errorf("%d keys are where the slot is, %v", n, err)
	}
	if strings.Contains(log.String(), "turn on cluster mode") {
		t.Errorf("the log says what isn't so: %s", log.String())
	}
	if strings.Contains(log.String(), "reading all of it again") {
		t.Errorf("a node has read everything again: %s", log.String())
	}
}

// TestSlotBetweenNodes stops in the midst of a move: the error says what goes on, and when
// it is over the store works.
func TestSlotBetweenNodes(t *testing.T) {
	c := startClusterPair(t)
	opts := c.servers[0].options()
	opts.Cluster = true
	s := open(t, opts)
	appendTo(t, s, newBatch("before", 10)...)
	_, p := mustLoad(t, s)
	steps := 0
	c.move(t, slotOf(t, c.servers[0], s.keys.meta), c.owner(t, s.keys.meta), func() {
		if steps++; steps != 3 { // a key is here, others are there
			return
		}
		for what, err := range failures(s) {
			wantWords(t, what, err, "the cluster moves the slot", "CLUSTER NODES")
		}
	})
	eventually(t, "the store works", func() bool { return s.Append(background, newBatch("after", 1)) == nil })
	names, _ := mustLoad(t, s)
	if len(names) != 11 {
		t.Errorf("%d records are there, want 11", len(names))
	}
	if _, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p}); err != nil {
		t.Errorf("a position from before the move: %v", err)
	}
	f := follow(t, s, p)
	eventually(t, "what came after is followed", func() bool { return len(f.Got()) == 1 })
}
