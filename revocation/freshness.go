package revocation

import (
	"errors"
	"sync"
	"time"
)

// Freshness says whether the list knows all that its store has. A list that isn't
// fresh still rejects everything that it knows.
type Freshness struct {
	Fresh bool
	Since time.Time // of the last change; zero if there was none
	Cause error     // why the list isn't fresh
}

// errClockBack is why a list isn't fresh until it has read its store again.
var errClockBack = errors.New("the clock stepped back: revocations may have been taken for expired, until the store is read again")

// recallEvery is how many ticks there are between attempts to read the store again.
const recallEvery = 5

// freshness keeps a list's Freshness. Its zero value is fresh.
type freshness struct {
	mu      sync.Mutex
	stale   bool
	since   time.Time
	cause   error
	changed func(Freshness) // may be nil
}

// Freshness says whether the list knows all that its store has.
func (l *List) Freshness() Freshness {
	l.freshness.mu.Lock()
	defer l.freshness.mu.Unlock()
	return l.freshness.now()
}

func (f *freshness) now() Freshness { return Freshness{!f.stale, f.since, f.cause} }

// lose says that the list may lack something, and why.
func (f *freshness) lose(now time.Time, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cause = cause
	if !f.stale {
		f.change(true, now)
	}
}

// regain says that the list knows everything.
func (f *freshness) regain(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cause = nil
	if f.stale {
		f.change(false, now)
	}
}

func (f *freshness) change(stale bool, now time.Time) {
	f.stale, f.since = stale, now
	if f.changed != nil {
		f.changed(f.now())
	}
}
