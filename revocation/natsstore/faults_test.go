package natsstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// storm has several nodes append, and one follow, while servers fail.
type storm struct {
	mu     sync.Mutex
	acked  map[string]bool
	got    map[string]bool
	at     revocation.Position
	reader *Store
	stop   chan struct{}
	nodes  sync.WaitGroup
}

func startStorm(t *testing.T, opts Options) *storm {
	t.Helper()
	s := &storm{acked: map[string]bool{}, got: map[string]bool{}, stop: make(chan struct{}), reader: openStore(t, opts)}
	_, s.at = mustLoad(t, s.reader)
	ctx, cancel := context.WithCancel(background)
	go func() { <-s.stop; cancel() }()
	for w := range 4 {
		node := openStore(t, opts)
		s.nodes.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				batch := newBatch(fmt.Sprintf("%d/%d", w, i), 3)
				if i%4 == 0 { // in several messages
					batch[0].Expires = revocation.Never
					for range 20 {
						batch = append(batch, batch[1])
					}
				}
				if err := node.Append(background, batch); err != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				s.mu.Lock()
				for j := range batch {
					s.acked[nameOfRecord(&batch[j])] = true
				}
				s.mu.Unlock()
			}
		})
	}
	s.nodes.Go(func() {
		for ctx.Err() == nil {
			_ = s.follow(ctx)
			time.Sleep(5 * time.Millisecond)
		}
	})
	return s
}

func nameOfRecord(r *revocation.Record) string { return r.Selector.Claims[0].Value }

func (s *storm) follow(ctx context.Context) error {
	return s.reader.Follow(ctx, s.at, func(batch []revocation.Record, next revocation.Position) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range batch {
			s.got[nameOfRecord(&batch[i])] = true
		}
		s.at = next
		return nil
	})
}

func (s *storm) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// goesOn waits until more is acknowledged.
func (s *storm) goesOn(t *testing.T, what string) {
	t.Helper()
	before := s.count()
	eventually(t, "appends go on "+what, func() bool { return s.count() > before+20 })
}

// end ends the storm and looks for everything that was acknowledged.
func (s *storm) end(t *testing.T) {
	t.Helper()
	close(s.stop)
	s.nodes.Wait()
	var names []string
	var end revocation.Position
	eventually(t, "the store can be read", func() (ok bool) {
		var err error
		names, end, err = load(s.reader)
		return err == nil
	})
	ctx, cancel := context.WithTimeout(background, 30*time.Second)
	defer cancel()
	enough := errors.New("enough")
	for !s.reader.Covers(s.at, end) && ctx.Err() == nil {
		_ = s.reader.Follow(ctx, s.at, func(batch []revocation.Record, next revocation.Position) error {
			for i := range batch {
				s.got[nameOfRecord(&batch[i])] = true
			}
			if s.at = next; s.reader.Covers(next, end) {
				return enough
			}
			return nil
		})
	}
	have := map[string]bool{}
	for _, n := range names {
		have[n] = true
	}
	t.Logf("%d records were acknowledged", len(s.acked))
	for n := range s.acked {
		if !have[n] || !s.got[n] {
			t.Fatalf("record %s was acknowledged; loaded: %v, followed: %v", n, have[n], s.got[n])
		}
	}
}

// TestKill ends the server while several nodes append, and starts it again: nothing that
// was acknowledged is lost, and a follower goes on where it was.
func TestKill(t *testing.T) {
	sv := startServer(t)
	s := startStorm(t, sv.options())
	for range 5 {
		s.goesOn(t, "between kills")
		sv.kill()
		time.Sleep(20 * time.Millisecond)
		sv.start(t)
	}
	s.goesOn(t, "at last")
	s.end(t)
}

// TestKillInACluster ends each of three servers, and then the leader of the log: that one is
// missing stops nobody, and nothing that was acknowledged is lost.
func TestKillInACluster(t *testing.T) {
	all := startCluster(t, 3)
	opts := clusterOptions(all)
	s := startStorm(t, opts)
	s.goesOn(t, "before anything")
	beats := openStore(t, opts)
	lose := func(sv *server) {
		sv.kill()
		s.goesOn(t, "with two servers")
		eventually(t, "beats go on with two servers", func() bool {
			_, err := beats.Beat(background, revocation.Beat{Node: "n"})
			return err == nil
		})
		sv.start(t)
		s.goesOn(t, "with three servers")
		waitInStep(t, all, beats.streams)
	}
	for _, sv := range all {
		lose(sv)
	}
	lose(all[leaderOf(t, all, beats.streams.log)])
	// With one of three nobody is told anything.
	all[0].kill()
	all[1].kill()
	err := openStore(t, opts).Append(background, newBatch("unheard", 1))
	if err == nil {
		t.Error("one server of three has acknowledged")
	}
	if _, err := beats.Beat(background, revocation.Beat{Node: "n"}); err == nil {
		t.Error("one server of three says how far the log goes")
	}
	all[0].start(t)
	all[1].start(t)
	s.goesOn(t, "with all servers again")
	s.end(t)
}

// leaderOf returns which server leads a stream.
func leaderOf(t *testing.T, all []*server, stream string) (i int) {
	t.Helper()
	js := all[0].admin(t)
	eventually(t, "the stream has a leader", func() bool {
		found, err := js.Stream(background, stream)
		if err != nil || found.CachedInfo().Cluster == nil {
			return false
		}
		i = slices.IndexFunc(all, func(sv *server) bool { return "n"+sv.port == found.CachedInfo().Cluster.Leader })
		return i >= 0
	})
	return i
}

// waitInStep waits until every server has what the leaders have.
func waitInStep(t *testing.T, all []*server, names streams) {
	t.Helper()
	js := all[0].admin(t)
	eventually(t, "all servers are in step", func() bool {
		for _, name := range []string{names.log, names.nodes} {
			found, err := js.Stream(background, name)
			if err != nil || len(found.CachedInfo().Cluster.Replicas) != len(all)-1 {
				return false
			}
			for _, r := range found.CachedInfo().Cluster.Replicas {
				if !r.Current || r.Offline {
					return false
				}
			}
		}
		return true
	})
}

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
			wantErrorIs(t, "Follow", follow(t, s, applied).wait(t), revocation.ErrFeedBroken)
			_, err := beat(s, "a", 2, applied)
			wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
			// A node that hadn't come so far goes on without loading anew.
			f := follow(t, s, old)
			eventually(t, "what is new was followed", func() bool { return len(f.got()) == appended })
			head, err := beat(s, "b", 1, f.position())
			if err != nil {
				t.Fatalf("Beat: %v", err)
			}
			at := map[string]revocation.Position{}
			for _, n := range head.Nodes {
				at[n.Node] = n.Applied
			}
			if len(at) != 4 || at["a"] != "" || at["before"] != old || at["other"] != "" || at["b"] != f.position() {
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
					wantErrorIs(t, "Follow", follow(t, s, p).wait(t), revocation.ErrFeedBroken)
				}
				for _, was := range []revocation.Position{p, empty} {
					_, err := s.Beat(background, revocation.Beat{Node: "a", Number: 4, Applied: was})
					wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
					wantErrorIs(t, "Follow", follow(t, s, was).wait(t), revocation.ErrFeedBroken)
				}
				if name == "log" {
					if err := f.wait(t); err == nil {
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
				eventually(t, "what came after is followed", func() bool { return slices.Contains(f.got(), "after/9") })
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
	eventually(t, "it follows", func() bool { return len(f.got()) == 1 })
	sv.pause()
	defer sv.resume()
	if err := f.wait(t); err == nil || errors.Is(err, revocation.ErrFeedBroken) {
		t.Errorf("Follow: %v", err)
	}
}

// failures runs everything that uses the server, and returns the errors.
func failures(s *Store) map[string]error {
	_, _, loaded := load(s)
	_, beaten := s.Beat(background, revocation.Beat{Node: "a"})
	return map[string]error{"Append": s.Append(background, newBatch("a", 1)), "Load": loaded, "Beat": beaten}
}
