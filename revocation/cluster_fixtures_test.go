package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// memoryFeed is the sequence of records that several lists share, with what goes wrong
// with real engines. Each list gets a client of its own.
type memoryFeed struct {
	mu      sync.Mutex
	records []Record
	chain   []string // of each record: says what came before it
	forks   int
	changed chan struct{} // closed and replaced at every change
	nodes   map[string]NodeStatus
	skew    time.Duration // of its clock
	down    error         // for all
	full    bool          // takes nothing
	forget  func(Record) bool
}

// feedClient is one node's way to a memoryFeed.
type feedClient struct {
	*memoryFeed
	cut     error         // this node can't reach it
	ahead   time.Duration // the node's clock: its lease is told by who sets that
	deaf    bool          // what is new doesn't arrive
	mute    bool          // beats aren't answered
	unsure  bool          // what is appended is taken, and yet an error
	delay   time.Duration
	twice   bool // deliveries come twice, and in another order within a batch
	loadErr func(records int) error
	closed  bool
	appends int
	pruned  time.Time // up to when
	busy    int
	overlap bool // Append was called by two goroutines at once
}

func newFeed() *memoryFeed {
	return &memoryFeed{changed: make(chan struct{}), nodes: map[string]NodeStatus{}}
}

func (f *memoryFeed) client() *feedClient { return &feedClient{memoryFeed: f} }

// set changes something, and wakes who waits.
func (f *memoryFeed) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.notify()
}

func (f *memoryFeed) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *memoryFeed) add(records ...Record) {
	for _, r := range records {
		f.records = append(f.records, r)
		f.chain = append(f.chain, fmt.Sprint(f.forks, "-", len(f.records)))
	}
}

// fork loses the last n records: another server took over. What is appended next has the
// places of these in the sequence.
func (f *memoryFeed) fork(n int) {
	f.set(func() {
		f.forks++
		n = max(len(f.records)-n, 0)
		f.records, f.chain = f.records[:n:n], f.chain[:n:n]
	})
}

func (f *memoryFeed) stored() []Record {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.records)
}

func (f *memoryFeed) at(n int) Position {
	if n == 0 {
		return "0 start"
	}
	return Position(fmt.Sprint(n, " ", f.chain[n-1]))
}

// find returns the place of a position.
func (f *memoryFeed) find(p Position) (int, error) {
	n, err := strconv.Atoi(strings.Fields(string(p))[0])
	if err != nil {
		return 0, err
	}
	if n > len(f.records) || f.at(n) != p {
		return 0, fmt.Errorf("%w: %s is not in it", ErrFeedBroken, p)
	}
	return n, nil
}

func (c *feedClient) err() error {
	if c.closed {
		return ErrStoreClosed
	}
	return errors.Join(c.cut, c.down)
}

func (c *feedClient) Append(ctx context.Context, records []Record) error {
	c.mu.Lock()
	c.busy++
	c.overlap = c.overlap || c.busy > 1
	delay := c.delay
	c.mu.Unlock()
	sleep(ctx, delay)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy--
	c.appends++
	if err := c.err(); err != nil {
		return err
	}
	if c.full {
		return ErrStoreFull
	}
	c.add(slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return c.forget != nil && c.forget(r) })...)
	c.notify()
	if c.unsure {
		return errBroken
	}
	return nil
}

func (c *feedClient) Load(ctx context.Context, apply func([]Record) error) (Position, error) {
	c.mu.Lock()
	err, records, at, failing := c.err(), slices.Clone(c.records), c.at(len(c.records)), c.loadErr
	c.mu.Unlock()
	if err != nil {
		return "", err
	}
	n := 0
	for batch := range slices.Chunk(records, 50) {
		if failing != nil {
			if err := failing(n); err != nil {
				return "", err
			}
		}
		if err := apply(slices.Clone(batch)); err != nil {
			return "", err
		}
		n += len(batch)
	}
	return at, nil
}

func (c *feedClient) Follow(ctx context.Context, from Position, apply func([]Record, Position) error) error {
	for {
		c.mu.Lock()
		err, n, changed, deaf, delay := c.err(), 0, c.changed, c.deaf, c.delay
		var fresh []Record
		at := from
		if err == nil && !deaf {
			if n, err = c.find(from); err == nil {
				fresh, at = slices.Clone(c.records[n:]), c.at(len(c.records))
			}
		}
		if c.twice {
			slices.Reverse(fresh)
			fresh = append(fresh, fresh...)
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if len(fresh) > 0 {
			if sleep(ctx, delay); ctx.Err() != nil {
				return ctx.Err()
			}
			if err := apply(fresh, at); err != nil {
				return err
			}
			from = at
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

func (c *feedClient) Beat(ctx context.Context, b Beat) (Head, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.err(); err != nil {
		return Head{}, err
	}
	if c.mute {
		return Head{}, context.DeadlineExceeded
	}
	if b.Applied != "" {
		if _, err := c.find(b.Applied); err != nil {
			return Head{}, err
		}
	}
	now := time.Now().Add(c.skew - c.ahead)
	for id, number := range b.Forget {
		if c.nodes[id].Number == number {
			delete(c.nodes, id)
		}
	}
	b.Forget = nil
	c.nodes[b.Node] = NodeStatus{b, now}
	h := Head{Position: c.at(len(c.records)), Time: now.Round(0)}
	for _, n := range c.nodes {
		h.Nodes = append(h.Nodes, n)
	}
	return h, nil
}

func (c *feedClient) Covers(applied, head Position) bool {
	place := func(p Position) int {
		n, _ := strconv.Atoi(strings.Fields(string(p))[0])
		return n
	}
	return place(applied) >= place(head)
}

func (c *feedClient) Prune(_ context.Context, before time.Time) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for i := range c.records {
		if c.records[i].Expires.Before(before) {
			n++ // only counted: an engine keeps the places
		}
	}
	c.pruned = before
	return n, nil
}

func (c *feedClient) Close() error {
	c.set(func() { c.closed = true })
	return nil
}

// keptStore is a replica that outlives its list, as a file does.
type keptStore struct{ memoryStore }

func (*keptStore) Close() error { return nil }

// clusterNode is a list on a feed.
type clusterNode struct {
	*List
	*Checker
	client  *feedClient
	replica *keptStore
}

// testBound is how old a node's view may be in these tests.
const testBound = 3 * time.Second

// join opens a list on the feed; replica is that of a node before its restart, or nil.
func join(t testing.TB, f *memoryFeed, replica *keptStore, change ...func(*Options)) *clusterNode {
	t.Helper()
	if replica == nil {
		replica = new(keptStore)
	}
	n := &clusterNode{client: f.client(), replica: replica}
	opts := Options{CommitTimeout: 2 * time.Second, MaxStaleness: testBound, Replica: replica}
	for _, c := range change {
		c(&opts)
	}
	l, err := Open(t.Context(), n.client, opts)
	if err != nil {
		t.Fatal(err)
	}
	n.List, n.Checker = l, newChecker(t, l, plainReader{})
	t.Cleanup(n.leave)
	return n
}

// joinFresh is join, and waits until the list is fresh.
func joinFresh(t testing.TB, f *memoryFeed, replica *keptStore) *clusterNode {
	t.Helper()
	n := join(t, f, replica)
	n.untilFresh(t)
	return n
}

// joinAll opens several lists, which are fresh then.
func joinAll(t testing.TB, f *memoryFeed, count int) []*clusterNode {
	t.Helper()
	nodes := make([]*clusterNode, count)
	for i := range nodes {
		nodes[i] = join(t, f, nil)
	}
	for _, n := range nodes {
		n.untilFresh(t)
	}
	return nodes
}

func (n *clusterNode) leave() { n.List.Close() }

func (n *clusterNode) untilFresh(t testing.TB) {
	t.Helper()
	eventually(t, "the node is fresh", func() bool { return !n.Stale() })
}

// eventually waits for something that needs no more than what goes on anyway.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("never: %s", what)
		}
	}
}

// everywhere waits until all nodes have a verdict on a token.
func everywhere(t testing.TB, nodes []*clusterNode, token string, want State) {
	t.Helper()
	for i, n := range nodes {
		eventually(t, fmt.Sprintf("%s is %s on node %d", token, want, i), func() bool { return n.Check(token).State == want })
	}
}

// count returns how often a feed or replica has a record.
func count(records []Record, id ID) (n int) {
	for i := range records {
		if records[i].ID == id {
			n++
		}
	}
	return n
}

func (n *clusterNode) mustReinstate(t testing.TB, ids ...ID) {
	t.Helper()
	if _, err := n.Reinstate(t.Context(), Note{"test", "operator", "a mistake"}, ids...); err != nil {
		t.Fatal(err)
	}
}
