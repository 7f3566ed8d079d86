package issuer

// This file bounds what senders of unknown tokens can have an issuer asked.

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

const (
	// inactiveFor is how long an issuer isn't asked again about a token that it says
	// isn't active.
	inactiveFor = 10 * time.Second

	// rememberedInactive is how many such tokens are remembered; at most twice as many
	// are. They are remembered for longer than inactiveFor, since none of them may be
	// taken for active again when the issuer can't be asked.
	rememberedInactive = 1 << 13 // up to 2 MiB

	// waitingPerSlot is how many questions may wait for each one in flight. They
	// outlive those who asked.
	waitingPerSlot = 64
)

// sender is who presents a token.
type sender struct {
	from netip.Prefix
	// known says that the token was proven before.
	known bool
}

// bounds are those of one issuer.
type bounds struct {
	elapsed  func() time.Duration
	slots    chan struct{} // held while asking
	waiting  atomic.Int64  // and those who hold none yet
	unknown  *pace.Meters  // tokens that the issuer doesn't know, by sender
	answered *pace.Generations[fingerprint, time.Time]
}

func newBounds(o Introspection, elapsed func() time.Duration) *bounds {
	return &bounds{
		elapsed:  elapsed,
		slots:    make(chan struct{}, o.MaxInFlight),
		unknown:  pace.NewMeters(o.UnknownPerMinute, pace.MaxMeters),
		answered: pace.NewGenerations[fingerprint, time.Time](rememberedInactive),
	}
}

// learn remembers that the answer to a question of that moment was that the token
// isn't active.
func (b *bounds) learn(q question, at time.Time) { b.answered.Put(q.fingerprint, at) }

// inactive reports whether that was the answer a moment ago.
func (b *bounds) inactive(q question, now time.Time) bool {
	at, ok := b.answered.Get(q.fingerprint)
	return ok && passed(at, now) < inactiveFor
}

// inactiveSince reports whether that was an answer after, or at, a moment.
func (b *bounds) inactiveSince(q question, since time.Time) bool {
	at, ok := b.answered.Get(q.fingerprint)
	return ok && !at.Before(since)
}

// Reasons not to ask.
var (
	errTooManyUnknown = errors.New("too many tokens that it doesn't know came from there")
	errTooMany        = errors.New("too many questions are waiting for it")
)

// limitedError says that this sender has had too many unknown tokens asked about.
type limitedError struct{ who sender }

func (e *limitedError) Error() string { return errTooManyUnknown.Error() }

// limited reports, before anything is waited for, whether enter would.
func (b *bounds) limited(who sender) error {
	if !who.known && b.unknown.Wait(pace.Key(who.from), b.elapsed()) > 0 {
		return &limitedError{who}
	}
	return nil
}

// pass admits one question.
type pass struct {
	bounds *bounds
	ticket pace.Ticket
	taken  bool
}

// enter waits for a slot until ctx ends. The token counts as one that the issuer
// doesn't know before that can be known: many at once must not get past the limit
// together. It does so only when its turn has come, since else the honest who share
// an address would be in each other's way.
func (b *bounds) enter(ctx context.Context, who sender) (*pass, error) {
	room := cap(b.slots) * waitingPerSlot
	if who.known {
		room *= 2 // who sends garbage doesn't take the place of those who are known
	}
	if b.waiting.Add(1) > int64(room) {
		b.waiting.Add(-1)
		return nil, errTooMany
	}
	defer b.waiting.Add(-1)
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errTooMany
	}
	p := &pass{bounds: b}
	if who.known {
		return p, nil
	}
	ticket, wait := b.unknown.Take(pace.Key(who.from), b.elapsed())
	if wait > 0 {
		p.leave()
		return nil, &limitedError{who}
	}
	p.ticket, p.taken = ticket, true
	return p, nil
}

// excuse takes back that the token is unknown.
func (p *pass) excuse() {
	if p.taken {
		p.bounds.unknown.GiveBack(p.ticket, p.bounds.elapsed())
		p.taken = false
	}
}

// leave makes room for the next one.
func (p *pass) leave() { <-p.bounds.slots }
