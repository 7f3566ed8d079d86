package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
