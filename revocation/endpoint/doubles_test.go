// What stands in for a store, a list, a password hash and the time.

package endpoint

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// store is a revocation.Store in memory that can be told to fail or to wait.
type store struct {
	mu      sync.Mutex
	records []revocation.Record
	err     error
	gate    chan struct{} // when set, Append waits until it is closed
}

func (s *store) Append(ctx context.Context, records []revocation.Record) error {
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.records = append(s.records, records...)
	return nil
}

func (s *store) Load(_ context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "", apply(slices.Clone(s.records))
}

func (s *store) Close() error { return nil }

func (s *store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *store) all() []revocation.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records)
}

// stub is a List that takes everything and can be told otherwise.
type stub struct {
	mu      sync.Mutex
	records []revocation.Record
	live    map[string]int
	total   int
	revoke  func(context.Context) error
	await   func(context.Context) error
	again   atomic.Uint64
}

func (l *stub) Revoke(ctx context.Context, records ...revocation.Record) error {
	if l.revoke != nil {
		if err := l.revoke(ctx); err != nil {
			return err
		}
	}
	for i := range records {
		if err := records[i].Validate(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == nil {
		l.live = map[string]int{}
	}
	l.records = append(l.records, records...)
	l.live[records[0].Actor] += len(records)
	l.total += len(records)
	return nil
}

func (l *stub) AwaitNodes(ctx context.Context, records ...revocation.Record) error {
	if l.await != nil && len(records) > 0 {
		return l.await(ctx)
	}
	return nil
}

func (l *stub) Live(actor string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live[actor]
}

func (l *stub) LiveTotal() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func (l *stub) Reinstatements() uint64 { return l.again.Load() }
func (l *stub) Now() time.Time         { return time.Now() }

// hash is a fast password hash that counts how often it is compared.
type hash struct {
	compared atomic.Int64
	busy     atomic.Int64
	mostBusy atomic.Int64
	during   func() // called while comparing
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func (h *hash) Compare(hash, plaintext []byte) (bool, error) {
	h.compared.Add(1)
	busy := h.busy.Add(1)
	defer h.busy.Add(-1)
	for most := h.mostBusy.Load(); busy > most && !h.mostBusy.CompareAndSwap(most, busy); most = h.mostBusy.Load() {
	}
	if h.during != nil {
		h.during()
	}
	return subtle.ConstantTimeCompare(hash, hashOf(string(plaintext))) == 1, nil
}

// clock is a time of day that stands still until it is moved.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.now.Store(time.Now().UnixNano())
	return c
}
func (c *clock) Now() time.Time          { return time.Unix(0, c.now.Load()) }
func (c *clock) advance(d time.Duration) { c.now.Add(int64(d)) }
