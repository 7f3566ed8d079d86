// What the tests have in common that is about stores, not about servers.

package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var background = context.Background()

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(background, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func newRecord(name string, ttl time.Duration) revocation.Record {
	now := time.Now().UTC()
	return revocation.Record{
		ID:         revocation.NewID(),
		Kind:       revocation.Block,
		Selector:   revocation.Selector{Issuer: "https://idp.example.com/realms/acme", Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: name}}},
		Expires:    now.Add(ttl).Truncate(time.Second),
		Source:     "endpoint",
		Actor:      "client:web-app",
		RecordedAt: now.Truncate(time.Millisecond),
	}
}

func newBatch(prefix string, n int) []revocation.Record {
	batch := make([]revocation.Record, n)
	for i := range batch {
		batch[i] = newRecord(fmt.Sprintf("%s/%d", prefix, i), time.Hour)
	}
	return batch
}

func appendTo(t testing.TB, s *Store, records ...revocation.Record) {
	t.Helper()
	if err := s.Append(background, records); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

func load(s *Store) (names []string, p revocation.Position, err error) {
	p, err = s.Load(background, func(batch []revocation.Record) error {
		for i := range batch {
			names = append(names, batch[i].Selector.Claims[0].Value)
		}
		return nil
	})
	return names, p, err
}

func mustLoad(t testing.TB, s *Store) ([]string, revocation.Position) {
	t.Helper()
	names, p, err := load(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return names, p
}

func wantErrorIs(t testing.TB, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("%s: got error %v, want one that wraps %q", what, err, target)
		}
	}
}

// wantWords fails the test unless the error says all of it, and nothing secret.
func wantWords(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error, want one", what)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q doesn't say %q", what, err, w)
		}
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("%s: error %q has the password", what, err)
	}
}

const secret = "correct-horse"

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// follower collects what Follow hands out.
type follower struct {
	mu    sync.Mutex
	names []string
	last  revocation.Position
	done  chan error
	stop  context.CancelFunc
}

func follow(t testing.TB, s *Store, from revocation.Position) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(background)
	f := &follower{done: make(chan error, 1), stop: cancel, last: from}
	t.Cleanup(cancel)
	go func() {
		f.done <- s.Follow(ctx, from, func(batch []revocation.Record, p revocation.Position) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			for i := range batch {
				f.names = append(f.names, batch[i].Selector.Claims[0].Value)
			}
			f.last = p
			return nil
		})
	}()
	return f
}

func (f *follower) got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.names...)
}

func (f *follower) position() revocation.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// wait returns the error with which Follow ended.
func (f *follower) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("Follow doesn't end")
		return nil
	}
}
