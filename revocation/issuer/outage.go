package issuer

// This file remembers that questions fail, so that not everybody has to wait to find
// that out, and tells the log.

import (
	"log/slog"
	"sync"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

const (
	// failedFor is how long nothing is asked after a question has failed.
	failedFor = 2 * time.Second

	// rememberedFailures is how many tokens are remembered about which only they can't
	// be asked; at most twice as many are.
	rememberedFailures = 512
)

// outage remembers failures. After one that may be everywhere, nobody asks for a
// moment, and then one at a time until there is an answer again. It isn't everywhere
// when another question was answered meanwhile: one in a hundred may well be lost.
//
// Any other failure is remembered of its question alone.
type outage struct {
	elapsed func() time.Duration
	ofToken *pace.Generations[fingerprint, failed]

	mu         sync.Mutex
	everywhere *failed       // nil while questions are answered
	probing    bool          // one is under way in spite of it
	answeredAt time.Duration // when a question was last answered
}

// failed is a failure that is remembered.
type failed struct {
	err error
	at  time.Duration
}

func newOutage(elapsed func() time.Duration) *outage {
	return &outage{
		elapsed:    elapsed,
		ofToken:    pace.NewGenerations[fingerprint, failed](rememberedFailures),
		answeredAt: -1,
	}
}

// recall returns the failure that the question would meet, too.
func (o *outage) recall(q question) error {
	if f, ok := o.ofToken.Get(q.fingerprint); ok && o.elapsed()-f.at < failedFor {
		return f.err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.refused(o.elapsed())
}

// refused returns why nobody asks now, with the lock held.
func (o *outage) refused(now time.Duration) error {
	if f := o.everywhere; f != nil && (o.probing || now-f.at < failedFor) {
		return f.err
	}
	return nil
}

// attempt is a question under way. It must fail or succeed.
type attempt struct {
	outage *outage
	since  time.Duration
	probe  bool
}

// begin begins a question, unless nobody asks now.
func (o *outage) begin() (attempt, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.elapsed()
	if err := o.refused(now); err != nil {
		return attempt{}, err
	}
	o.probing = o.everywhere != nil
	return attempt{o, now, o.probing}, nil
}

func (a attempt) succeed() {
	o := a.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	o.everywhere, o.probing, o.answeredAt = nil, false, o.elapsed()
}

func (a attempt) fail(q question, err error, everywhere bool) {
	o := a.outage
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.elapsed()
	if a.probe {
		o.probing = false
	}
	if everywhere && o.answeredAt < a.since {
		o.everywhere = &failed{err, now}
		return
	}
	o.ofToken.Put(q.fingerprint, failed{err, now})
}

// report tells the log and whoever asks for the status how questions fare.
type report struct {
	logger  *slog.Logger
	elapsed func() time.Duration

	mu     sync.Mutex
	err    error
	told   bool // the log says that questions fail
	failed map[Outcome]pace.Meter
}

// linesPerMinute is how many lines there are about one kind of failure.
const linesPerMinute = 1

func newReport(logger *slog.Logger, issuer string, elapsed func() time.Duration) *report {
	return &report{logger: logger.With("issuer", issuer), elapsed: elapsed, failed: map[Outcome]pace.Meter{}}
}

// fails says that a question failed.
func (r *report) fails(outcome Outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	after, wait := r.failed[outcome].Take(linesPerMinute, r.elapsed())
	if wait > 0 {
		return
	}
	r.failed[outcome], r.told = after, true
	if outcome == OutcomeUnauthorized {
		r.logger.Error("the issuer refuses this server's own credentials: it can't be asked about tokens",
			"error", err, "hint", "see the client's id and secret, whether they belong in a header or in the body, and whether the client may introspect")
		return
	}
	r.logger.Warn("a question about a token failed", "outcome", outcome, "error", err)
}

// answered says that a question was answered.
func (r *report) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told {
		r.logger.Info("the issuer answers questions about tokens again")
	}
	r.err, r.told = nil, false
}

// status returns why the last question failed, nil when it was answered.
func (r *report) status() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
