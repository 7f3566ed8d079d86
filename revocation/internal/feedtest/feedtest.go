// Package feedtest is what the tests of stores of clusters share that know their engine:
// records, a follower, a log. What every store must do is in package storetest.
package feedtest

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

// patience is how long these tests wait for what must happen.
const patience = 30 * time.Second

// Eventually waits until something holds.
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// NewRecord makes a block of one token that expires so long from now.
func NewRecord(name string, ttl time.Duration) revocation.Record {
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

// NewBatch makes n records named prefix/0, prefix/1, … that live for an hour.
func NewBatch(prefix string, n int) []revocation.Record {
	batch := make([]revocation.Record, n)
	for i := range batch {
		batch[i] = NewRecord(fmt.Sprintf("%s/%d", prefix, i), time.Hour)
	}
	return batch
}

// AppendTo appends records to a store and insists on success.
func AppendTo(t testing.TB, s revocation.Store, records ...revocation.Record) {
	t.Helper()
	if err := s.Append(context.Background(), records); err != nil {
		t.Fatalf("Append: %v", err)
	}
}

// Load returns the names of the records that a store hands out, in that order.
func Load(s revocation.Store) (names []string, p revocation.Position, err error) {
	p, err = s.Load(context.Background(), func(batch []revocation.Record) error {
		for i := range batch {
			names = append(names, batch[i].Selector.Claims[0].Value)
		}
		return nil
	})
	return names, p, err
}

// MustLoad is Load, and insists on success.
func MustLoad(t testing.TB, s revocation.Store) ([]string, revocation.Position) {
	t.Helper()
	names, p, err := Load(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return names, p
}

// WantErrorIs fails the test unless the error wraps all of the targets.
func WantErrorIs(t testing.TB, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("%s: got error %v, want one that wraps %q", what, err, target)
		}
	}
}

// WantWords fails the test unless the error says all of it, and nothing secret.
func WantWords(t testing.TB, what string, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error, want one", what)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: error %q doesn't say %q", what, err, w)
		}
	}
	if strings.Contains(err.Error(), Secret) {
		t.Errorf("%s: error %q has the password", what, err)
	}
}

// Secret is the password in these tests, which no error and no log may have.
const Secret = "correct-horse"

// Lines is a log that can be read while it is written.
type Lines struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (l *Lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String returns what was logged.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Logger returns a logger that writes here.
func (l *Lines) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Follower collects what Follow hands out.
type Follower struct {
	mu    sync.Mutex
	names []string
	last  revocation.Position
	done  chan error
	Stop  context.CancelFunc // ends it
}

// Follow follows a feed from a position until the test ends.
func Follow(t testing.TB, s revocation.Feed, from revocation.Position) *Follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &Follower{done: make(chan error, 1), Stop: cancel, last: from}
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

// Got returns the names of the records that were handed out.
func (f *Follower) Got() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.names...)
}

// Position returns where it is.
func (f *Follower) Position() revocation.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// Wait returns the error with which Follow ended.
func (f *Follower) Wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(patience):
		t.Fatal("Follow doesn't end")
		return nil
	}
}
