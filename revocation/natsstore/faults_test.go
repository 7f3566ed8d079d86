package natsstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestRestored puts an older copy of a server's data in its place. Nodes that have come
// further must notice: before anything is appended, when the new messages haven't come to
// their place, and when they have.
func TestRestored(t *testing.T) {
	const lost = 40
	for _, appended := range []int{0, lost / 2, lost, 2 * lost} {
		t.Run(fmt.Sprintf("%d new messages", appended), func(t *testing.T) {
			t.Parallel()
			sv := startServer(t)
			s := openStore(t, sv.options())
			var want []string
			add := func(s *Store, prefix string, n int) {
				for i := range n {
					batch := newBatch(fmt.Sprintf("%s %d", prefix, i), 1)
					want = append(want, nameOfRecord(&batch[0]))
					appendTo(t, s, batch...)
				}
			}
			add(s, "kept", 10)
			beat := func(s *Store, node string, number uint64, applied revocation.Position) (revocation.Head, error) {
				return s.Beat(background, revocation.Beat{Node: node, Number: number, Applied: applied})
			}
			_, old := mustLoad(t, s)
			if _, err := beat(s, "before", 1, old); err != nil {
				t.Fatal(err)
			}
			sv.kill()
			saved := t.TempDir()
			copyDir(t, filepath.Join(sv.dir, "jetstream"), saved)
			sv.start(t)
			add(s, "lost", lost)
			known, applied := mustLoad(t, s)
			if _, err := beat(s, "a", 1, applied); err != nil {
				t.Fatal(err)
			}
			sv.kill()
			if err := os.RemoveAll(filepath.Join(sv.dir, "jetstream")); err != nil {
				t.Fatal(err)
			}
			copyDir(t, saved, filepath.Join(sv.dir, "jetstream"))
			sv.start(t)
			// Another node comes first.
			other := openStore(t, sv.options())
			if _, err := beat(other, "other", 1, ""); err != nil {
				t.Fatal(err)
			}
			add(other, "new", appended)
			wantErrorIs(t, "Follow", follow(t, s, applied).Wait(t), revocation.ErrFeedBroken)
			_, err := beat(s, "a", 2, applied)
			wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
			// A node that hadn't come so far goes on without loading anew.
			f := follow(t, s, old)
			eventually(t, "what is new was followed", func() bool { return len(f.Got()) == appended })
			head, err := beat(s, "b", 1, f.Position())
			if err != nil {
				t.Fatalf("Beat: %v", err)
			}
			at := map[string]revocation.Position{}
			for _, n := range head.Nodes {
				at[n.Node] = n.Applied
			}
			if len(at) != 4 || at["a"] != "" || at["before"] != old || at["other"] != "" || at["b"] != f.Position() {
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

// TestNodesAreLost puts an older copy of a server's data in its place that has all records,
// and lacks a node. Another one must notice, since it would not wait for that node.
func TestNodesAreLost(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	appendTo(t, s, newBatch("a", 3)...)
	at := positionOf(t, s)
	number := uint64(0)
	beat := func(node string) (revocation.Head, error) {
		number++
		return s.Beat(background, revocation.Beat{Node: node, Number: number, Applied: at})
	}
	mustBeat := func(node string, nodes int) {
		t.Helper()
		if head, err := beat(node); err != nil || len(head.Nodes) != nodes {
			t.Fatalf("Beat: %v, of %d nodes, want %d", err, len(head.Nodes), nodes)
		}
	}
	mustBeat("a", 1)
	sv.kill()
	saved := t.TempDir()
	copyDir(t, filepath.Join(sv.dir, "jetstream"), saved)
	sv.start(t)
	mustBeat("a", 1)
	other := openStore(t, sv.options())
	if _, err := other.Beat(background, revocation.Beat{Node: "b", Number: 1, Applied: at}); err != nil {
		t.Fatal(err)
	}
	mustBeat("a", 2)
	sv.kill()
	if err := os.RemoveAll(filepath.Join(sv.dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	copyDir(t, saved, filepath.Join(sv.dir, "jetstream"))
	sv.start(t)
	_, err := beat("a")
	wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
	mustBeat("a", 1)
	_, err = other.Beat(background, revocation.Beat{Node: "b", Number: 2, Applied: at})
	wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
	mustBeat("a", 2) // it is there all the same

	// A beat whose answer was lost is no loss.
	if _, err := other.Beat(background, revocation.Beat{Node: "a", Number: number + 1, Applied: at}); err != nil {
		t.Fatal(err)
	}
	mustBeat("a", 2)
	// One that others have forgotten has to begin anew.
	if _, err := other.Beat(background, revocation.Beat{Node: "b", Number: 3, Applied: at, Forget: map[string]uint64{"a": number}}); err != nil {
		t.Fatal(err)
	}
	_, err = beat("a")
	wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
	mustBeat("a", 2)
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestDeleted deletes streams under nodes that use them. They are made anew, and nodes
// notice.
func TestDeleted(t *testing.T) {
	sv := startServer(t)
	for name, stream := range map[string]func(streams) string{
		"log":   func(n streams) string { return n.log },
		"nodes": func(n streams) string { return n.nodes },
	} {
		for _, first := range []string{"Append", "Follow", "Beat", "another node"} {
			t.Run(name+" then "+first, func(t *testing.T) {
				opts := sv.options()
				opts.Prefix = strings.ReplaceAll(name+first, " ", "")
				s := openStore(t, opts)
				empty := positionOf(t, s)
				appendTo(t, s, newBatch("a", 3)...)
				_, p := mustLoad(t, s)
				f := follow(t, s, p)
				for number := range uint64(3) {
					if _, err := s.Beat(background, revocation.Beat{Node: "a", Number: number, Applied: p}); err != nil {
						t.Fatal(err)
					}
				}
				if err := sv.admin(t).DeleteStream(background, stream(s.streams)); err != nil {
					t.Fatal(err)
				}
				switch first {
				case "Append":
					appendTo(t, s, newBatch("b", 3)...)
				case "another node":
					other := openStore(t, opts)
					appendTo(t, other, newBatch("b", 10)...)
					if _, err := other.Beat(background, revocation.Beat{Node: "b", Number: 1}); err != nil {
						t.Fatal(err)
					}
				case "Follow":
					wantErrorIs(t, "Follow", follow(t, s, p).Wait(t), revocation.ErrFeedBroken)
				}
				for _, was := range []revocation.Position{p, empty} {
					_, err := s.Beat(background, revocation.Beat{Node: "a", Number: 4, Applied: was})
					wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
					wantErrorIs(t, "Follow", follow(t, s, was).Wait(t), revocation.ErrFeedBroken)
				}
				if name == "log" {
					if err := f.Wait(t); err == nil {
						t.Error("a follower of the deleted stream has ended without an error")
					}
				}
				appendTo(t, s, newBatch("c", 3)...)
				names, p := mustLoad(t, s)
				if !slices.Contains(names, "c/0") {
					t.Errorf("loaded %v", names)
				}
				if _, err := s.Beat(background, revocation.Beat{Node: "a", Number: 5, Applied: p}); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func positionOf(t *testing.T, s *Store) revocation.Position {
	t.Helper()
	_, p := mustLoad(t, s)
	return p
}

// TestFull fills the server's disk, as far as it may, and the stream. What is there can be
// read, and there is room again when somebody makes some.
func TestFull(t *testing.T) {
	for name, test := range map[string]struct {
		fill func(t *testing.T, sv *server, s *Store)
		mend func(t *testing.T, sv *server, s *Store)
	}{
		"the server": {
			fill: func(t *testing.T, sv *server, _ *Store) {
				sv.kill()
				sv.configure(t, "max_file_store: 300KB")
				sv.start(t)
			},
			mend: func(t *testing.T, sv *server, _ *Store) {
				sv.kill()
				sv.configure(t, "")
				sv.start(t)
			},
		},
		"the stream": {
			fill: func(t *testing.T, sv *server, s *Store) {
				c := s.logConfig(1)
				c.MaxBytes = 300 << 10
				if _, err := sv.admin(t).UpdateStream(background, c); err != nil {
					t.Fatal(err)
				}
			},
			mend: func(t *testing.T, sv *server, s *Store) {
				if _, err := sv.admin(t).UpdateStream(background, s.logConfig(1)); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sv := startServer(t)
			s := openStore(t, sv.options())
			appendTo(t, s, newBatch("before", 10)...)
			test.fill(t, sv, s)
			var err error
			eventually(t, "it is full", func() bool {
				err = s.Append(background, newBatch("more", 300))
				return errors.Is(err, revocation.ErrStoreFull)
			})
			wantWords(t, "Append", err, "raise")
			names, p := mustLoad(t, s)
			if !slices.Contains(names, "before/9") {
				t.Error("what was there can't be read")
			}
			f := follow(t, s, p)
			eventually(t, "beats are refused as well", func() bool {
				_, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p})
				return errors.Is(err, revocation.ErrStoreFull)
			})
			test.mend(t, sv, s)
			eventually(t, "there is room again", func() bool { return s.Append(background, newBatch("after", 10)) == nil })
			if name == "the stream" {
				eventually(t, "what came after is followed", func() bool { return slices.Contains(f.Got(), "after/9") })
			}
			if _, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p}); err != nil {
				t.Errorf("Beat: %v", err)
			}
		})
	}
}

// TestAway begins without a server, which then comes, stops answering, and goes on.
func TestAway(t *testing.T) {
	sv := newServer(t)
	opts := sv.options()
	opts.Timeout = 400 * time.Millisecond
	s := openStore(t, opts)
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr, "can't be reached")
	}
	sv.start(t)
	eventually(t, "the store works", func() bool { return s.Append(background, newBatch("a", 1)) == nil })
	sv.pause()
	defer sv.resume()
	eventually(t, "it has stopped", func() bool { return s.Append(background, newBatch("a", 1)) != nil })
	start := time.Now()
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr, "doesn't answer within 400ms")
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("three errors took %s", took)
	}
	f := openStore(t, opts)
	start = time.Now()
	_ = f.Append(background, newBatch("b", 1))
	if f.Close(); time.Since(start) > 3*time.Second {
		t.Errorf("Close took %s", time.Since(start))
	}
	sv.resume()
	eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("c", 1)) == nil })
}

// TestDeadFollower has the server stop while a node follows.
func TestDeadFollower(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	f := follow(t, s, positionOf(t, s))
	appendTo(t, s, newBatch("a", 1)...)
	eventually(t, "it follows", func() bool { return len(f.Got()) == 1 })
	sv.pause()
	defer sv.resume()
	if err := f.Wait(t); err == nil || errors.Is(err, revocation.ErrFeedBroken) {
		t.Errorf("Follow: %v", err)
	}
}

// failures runs everything that uses the server, and returns the errors.
func failures(s *Store) map[string]error {
	_, _, loaded := load(s)
	_, beaten := s.Beat(background, revocation.Beat{Node: "a"})
	return map[string]error{"Append": s.Append(background, newBatch("a", 1)), "Load": loaded, "Beat": beaten}
}
