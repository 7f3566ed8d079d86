package revocation

import (
	"errors"
	"sync"
	"sync/atomic"
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

// errLapsed is why a list isn't fresh whose store doesn't answer.
var errLapsed = errors.New("the revocation store has not answered for too long")

// recallEvery is how many ticks there are between attempts to read the store again.
const recallEvery = 5

// doubt is one reason for which a list may lack something. Each is lost and regained by
// itself.
type doubt int

const (
	recalled doubt = iota // the store must be read again, see recall
	lapsed                // the lease is over
	doubts
)

// freshness keeps a list's Freshness. Its zero value is fresh.
type freshness struct {
	missing atomic.Bool // in doubt about recalled: read by every check

	mu      sync.Mutex
	in      [doubts]bool
	since   time.Time
	causes  [doubts]error
	changed func(Freshness) // may be nil
}

// Freshness says whether the list knows all that its store has.
func (l *List) Freshness() Freshness {
	l.freshness.judge(l.lease.over)
	l.freshness.mu.Lock()
	defer l.freshness.mu.Unlock()
	return l.freshness.now()
}

func (f *freshness) fresh() bool { return f.in == [doubts]bool{} }

func (f *freshness) now() Freshness {
	if f.fresh() {
		return Freshness{Fresh: true, Since: f.since}
	}
	var causes []error
	for d, in := range f.in {
		if in {
			causes = append(causes, f.causes[d])
		}
	}
	if len(causes) == 1 {
		return Freshness{Since: f.since, Cause: causes[0]}
	}
	return Freshness{Since: f.since, Cause: errors.Join(causes...)}
}

// lose says that the list may lack something, and why.
func (f *freshness) lose(d doubt, now time.Time, cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.causes[d] = cause
	f.set(d, true, now)
}

// explain says why the lease is over, if it is, or may be soon; nil: nothing is amiss.
func (f *freshness) explain(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.causes[lapsed] = cause
}

// judge notes whether the lease is over. It asks with the lock held, so that of two who
// ask at once the later one has the last word.
func (f *freshness) judge(over func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := over()
	if in && f.causes[lapsed] == nil {
		f.causes[lapsed] = errLapsed
	}
	f.set(lapsed, in, time.Now())
}

// regain says that there is no such doubt.
func (f *freshness) regain(d doubt, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.causes[d] = nil
	f.set(d, false, now)
}

func (f *freshness) set(d doubt, in bool, now time.Time) {
	before := f.fresh()
	f.in[d] = in
	f.missing.Store(f.in[recalled])
	if f.fresh() == before {
		return
	}
	f.since = now
	if f.changed != nil {
		f.changed(f.now())
	}
}
