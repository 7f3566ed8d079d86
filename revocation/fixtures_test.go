package revocation

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// memoryStore is a Store whose power never fails and that can be told to refuse.
// The real engines have tests of their own; here it is the List that is tested.
type memoryStore struct {
	mu      sync.Mutex
	records []Record
	fail    error         // what Append returns
	gate    chan struct{} // when not nil, Append waits for it to close
	appends int
	closed  bool
}

func (s *memoryStore) Append(_ context.Context, records []Record) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.appends++
	if s.fail != nil {
		return s.fail
	}
	s.records = append(s.records, slices.Clone(records)...)
	return nil
}

func (s *memoryStore) Load(_ context.Context, apply func([]Record) error) (Position, error) {
	s.mu.Lock()
	records := slices.Clone(s.records)
	s.mu.Unlock()
	for batch := range slices.Chunk(records, 100) {
		if err := apply(batch); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (s *memoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *memoryStore) set(change func(*memoryStore)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *memoryStore) stored() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

var errBroken = errors.New("the disk is on fire")

func openList(t testing.TB, store Store) *List {
	t.Helper()
	l, err := Open(t.Context(), store, Options{CommitTimeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// plainReader reads every token as an opaque one.
type plainReader struct{}

func (plainReader) ReadFacts(token string) *Facts {
	return &Facts{Fingerprint: sha256.Sum256([]byte(token))}
}

// factsReader has the facts of some tokens, and reads all others as opaque.
type factsReader map[string]*Facts

func (r factsReader) ReadFacts(token string) *Facts {
	if f, ok := r[token]; ok {
		return f
	}
	return plainReader{}.ReadFacts(token)
}

func newChecker(t testing.TB, l *List, read FactsReader) *Checker {
	t.Helper()
	c, err := NewChecker(l, read, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func mustSelect(t testing.TB, issuer string, claims ...Claim) Selector {
	t.Helper()
	s, err := Select(issuer, claims...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// block makes a record that is valid for an hour.
func block(s Selector) Record {
	return Record{
		ID: NewID(), Kind: Block, Selector: s, Source: "test", Actor: "tester",
		Expires:    time.Now().Add(time.Hour).Truncate(time.Second),
		RecordedAt: time.Now().Truncate(time.Millisecond),
	}
}

func blockToken(token string) Record {
	return block(SelectToken(plainReader{}.ReadFacts(token).Fingerprint))
}

func cutoffAt(kind Kind, s Selector, at time.Time) Record {
	r := block(s)
	r.Kind, r.Cutoff = kind, at.Truncate(time.Second)
	return r
}

func revoke(t testing.TB, l *List, records ...Record) {
	t.Helper()
	if err := l.Revoke(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func wantState(t testing.TB, c *Checker, token string, want State) {
	t.Helper()
	if got := c.Check(token).State; got != want {
		t.Errorf("%s is %s, want %s", token, got, want)
	}
}
