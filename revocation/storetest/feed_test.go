// The feed suite's own tests: a feed that does everything right passes, and each of a
// number of faulty ones fails, in the test that is meant to find it.

package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestMemoryFeed(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault != "" {
		patience = 2 * time.Second
	}
	RunFeed(t, func(*testing.T) Opener {
		shared := &sharedFeed{disk: &disk{}, id: revocation.NewID().String(), nodes: map[string]revocation.NodeStatus{}}
		return func(testing.TB) revocation.Store {
			return &memoryFeed{memory: memory{disk: shared.disk}, shared: shared, fault: fault, closing: make(chan struct{})}
		}
	})
}

func TestFeedFaults(t *testing.T) {
	for fault, test := range map[string]string{
		"begins late":                  "Follow_begins_after",
		"begins anew":                  "Follow_begins_after",
		"never wakes":                  "Follow_sees_what_is_appended",
		"skips when busy":              "Follow_has_no_gap",
		"reverses":                     "followers_see_one_sequence",
		"position too far":             "Follow_resumes_at_every",
		"ignores cancelling":           "Follow_ends_with_its_context",
		"goes on":                      "Follow_returns_the_error",
		"ignores Close":                "Follow_and_Beat_end_with_Close",
		"covers everything":            "positions_are_the_same",
		"covers nothing":               "positions_are_the_same",
		"head too low":                 "Beat's_head_covers",
		"forgets beats":                "nodes_see_each_other",
		"reads before it notes":        "a_beat_sees_an_Append",
		"keeps beats":                  "a_node_is_forgotten",
		"forgets who has beaten again": "a_node_is_forgotten",
		"takes any position":           "a_position_of_another_store",
		"takes nothing back":           "lists_agree",
		"hides cutoffs":                "lists_agree",
		"skips far behind":             "a_million_records",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryFeed$/^"+test, "-test.timeout=60s")
			cmd.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("a feed with this fault passes the suite")
			}
			if !regexp.MustCompile(`--- FAIL: TestMemoryFeed/` + regexp.QuoteMeta(test)).Match(out) {
				t.Fatalf("the fault isn't found by %q:\n%s", test, out)
			}
		})
	}
}

// sharedFeed is what several memoryFeeds have in common.
type sharedFeed struct {
	*disk
	id      string
	nodesMu sync.Mutex
	nodes   map[string]revocation.NodeStatus
}

// memoryFeed is a feed whose server is a slice.
type memoryFeed struct {
	memory
	shared  *sharedFeed
	fault   string
	closing chan struct{}
}

func (m *memoryFeed) position(n int) revocation.Position {
	return revocation.Position(m.shared.id + "/" + strconv.Itoa(n))
}

func (m *memoryFeed) number(p revocation.Position) (int, error) {
	id, text, _ := strings.Cut(string(p), "/")
	n, err := strconv.Atoi(text)
	if (err != nil || id != m.shared.id) && m.fault != "takes any position" {
		return 0, fmt.Errorf("%w: %q", revocation.ErrFeedBroken, p)
	}
	return n, nil
}

func (m *memoryFeed) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	m.disk.Lock()
	n := len(m.disk.records)
	m.disk.Unlock()
	_, err := m.memory.Load(ctx, apply)
	return m.position(n), err
}

// Prune keeps everything: numbers are indexes.
func (m *memoryFeed) Prune(context.Context, time.Time) (int, error) { return 0, nil }

func (m *memoryFeed) Close() error {
	m.disk.Lock()
	defer m.disk.Unlock()
	if !m.closed {
		m.closed = true
		close(m.closing)
	}
	return nil
}

func (m *memoryFeed) Follow(ctx context.Context, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	n, err := m.number(from)
	if err != nil {
		return err
	}
	switch m.fault {
	case "begins late":
		n++
	case "begins anew":
		n = 0
	}
	for first := true; ; first = false {
		m.disk.Lock()
		err := m.check()
		rest := m.disk.records[min(n, len(m.disk.records)):]
		batch := slices.Clone(rest[:min(len(rest), 50)])
		m.disk.Unlock()
		if err != nil && m.fault != "ignores Close" {
			return err
		}
		if ctx.Err() != nil && m.fault != "ignores cancelling" {
			return ctx.Err()
		}
		if len(batch) == 0 || m.fault == "never wakes" && !first {
			time.Sleep(time.Millisecond)
			continue
		}
		n += len(batch)
		next := m.position(n)
		hidden := map[string]revocation.Kind{"takes nothing back": revocation.Reinstatement, "hides cutoffs": revocation.IssuedBefore}
		batch = slices.DeleteFunc(batch, func(r revocation.Record) bool { return r.Kind == hidden[m.fault] && hidden[m.fault] != 0 })
		if len(batch) == 0 {
			continue
		}
		switch {
		case m.fault == "skips when busy" && len(batch) > 3, m.fault == "skips far behind" && len(rest) > 100_000:
			batch = batch[1:]
		case m.fault == "reverses" && m.closing != nil && len(batch) > 1 && time.Now().UnixNano()%2 == 0:
			slices.Reverse(batch)
		case m.fault == "position too far":
			next = m.position(n + 1)
		}
		if err := apply(batch, next); err != nil && m.fault != "goes on" {
			return err
		}
	}
}

func (m *memoryFeed) Beat(ctx context.Context, b revocation.Beat) (revocation.Head, error) {
	m.disk.Lock()
	n, err := len(m.disk.records), m.check()
	m.disk.Unlock()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && b.Applied != "" {
		_, err = m.number(b.Applied)
	}
	if err != nil {
		return revocation.Head{}, err
	}
	if m.fault == "reads before it notes" {
		time.Sleep(rand.N(4 * time.Millisecond))
	}
	m.shared.nodesMu.Lock()
	defer m.shared.nodesMu.Unlock()
	forget := b.Forget
	b.Forget = nil
	head := revocation.Head{Time: time.Now()}
	m.shared.nodes[b.Node] = revocation.NodeStatus{Beat: b, At: head.Time}
	if m.fault != "reads before it notes" {
		m.disk.Lock()
		n = len(m.disk.records)
		m.disk.Unlock()
	}
	if m.fault == "head too low" {
		n = max(n-1, 0)
	}
	head.Position = m.position(n)
	for id, node := range m.shared.nodes {
		number, gone := forget[id]
		gone = gone && m.fault != "keeps beats" && (number == node.Number || m.fault == "forgets who has beaten again")
		if gone || id != b.Node && m.fault == "forgets beats" {
			delete(m.shared.nodes, id)
			continue
		}
		head.Nodes = append(head.Nodes, node)
	}
	return head, nil
}

func (m *memoryFeed) Covers(applied, head revocation.Position) bool {
	switch m.fault {
	case "covers everything":
		return true
	case "covers nothing":
		return false
	}
	a, err1 := m.number(applied)
	h, err2 := m.number(head)
	return err1 == nil && err2 == nil && a >= h
}
