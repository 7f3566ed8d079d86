// Package natsstore keeps revocation records in NATS JetStream, for nodes that share them.
//
// # The streams
//
// There are two. With the default prefix:
//
//	token_revocation        the log: what was appended
//	token_revocation_nodes  what each node last said
//
// The log takes three kinds of subjects. Messages on token_revocation.log make up the
// sequence: one holds the records of an Append, or says where its parts are.
// token_revocation.part has these parts, which count for nothing until a message of the log
// names them: so an Append is there as a whole or not at all, whatever happens between its
// messages, and a place in the sequence is just a message of the log.
// token_revocation.head.<node> has the markers of Beat. A marker's sequence number, once it
// is acknowledged, is behind all that was acknowledged before: nothing else that the server
// offers says that without doubt when a leader was deposed and doesn't know it.
//
// The log is snapshot and feed at once. A message expires by itself, an hour after the last
// of its records (see margin); nothing else can remove one: the stream denies that, and has
// no limits that make room. Nodes are a stream of their own since only their last message
// is kept.
//
// # Places
//
// A place is the sequence number and the time stamp of a message, behind when the two
// streams were made. Numbers alone don't tell whether a place belongs to this history: a
// server that was restored from a backup, or that lost power and what it hadn't synced,
// gives the same numbers to other messages, but never with the same nanosecond. When the
// message of a place has expired, a marker that this store has published since then takes
// its part. When that is gone as well, the place isn't one any more.
//
// # Parts
//
// Records that expire at different times go into different messages: in one, a record of 30
// days would hold on to all that was revoked with it. With few records beside a long-lived
// one it isn't worth a second round trip (see mixture).
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Store is a revocation.Feed in NATS JetStream. Its methods may be called from any
// goroutine. It is no revocation.Pruner: the server removes what has expired.
type Store struct {
	opts    Options
	name    string // of the store in errors and logs
	log     *slog.Logger
	now     func() time.Time
	streams streams

	margin, markerLife time.Duration // the constants, but for tests

	durability atomic.Value // a string
	warned     sync.Map     // warnings that were logged

	mu      sync.Mutex
	current *session // the last one that was made
	dialing *attempt // nil when there is none

	proofMu sync.Mutex
	proof   proof // of the last beat

	spokenMu sync.Mutex
	spoken   spoken

	gate *gate.Gate
}

var _ revocation.Feed = (*Store)(nil)

// schema is the version of the messages' content. A change of it, or of blocks.Classes,
// needs a new one.
const schema = '1'

// streams are the names of what the store has on the server.
type streams struct {
	log, nodes        string
	logSubject, parts string
	heads, nodePrefix string // with a node's token behind it
}

func newStreams(prefix string) streams {
	return streams{
		log: prefix, nodes: prefix + "_nodes",
		logSubject: prefix + ".log", parts: prefix + ".part",
		heads: prefix + ".head.", nodePrefix: prefix + ".node.",
	}
}

func (s *Store) errClosed() error { return fmt.Errorf("%s: %w", s.name, revocation.ErrStoreClosed) }

// Close ends everything that is under way and closes the connection. It may be called
// again.
func (s *Store) Close() error {
	if s.gate.Close() {
		s.mu.Lock()
		if s.current != nil {
			s.current.end(s.errClosed())
		}
		s.mu.Unlock()
	}
	s.gate.Wait()
	return nil
}

// Between attempts to reach a stream for which nobody answers.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 250 * time.Millisecond
)

// run calls f with a session. f's context ends with ctx, with the session, whose end is its
// cause then, and when the store is closed. Where nobody answers for a stream, it is made
// if it isn't there, or its servers are choosing a leader; f is called again then, so it
// must have done nothing that can't be done twice.
func (s *Store) run(ctx context.Context, f func(context.Context, *session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.gate.Enter() {
		return s.errClosed()
	}
	defer s.gate.Leave()
	began := time.Now()
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := s.runOnce(ctx, wait > firstRetry, f)
		if err == nil || !isNoStream(err) || time.Since(began) > s.opts.Timeout {
			return s.explain(ctx, err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-s.gate.Closing():
		}
		timer.Stop()
	}
}

func (s *Store) runOnce(ctx context.Context, again bool, f func(context.Context, *session) error) error {
	sess, err := s.session(ctx)
	if err != nil {
		return final(err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(sess.ctx, func() { cancel(context.Cause(sess.ctx)) })()
	if again {
		err = s.inspectStreams(ctx, sess)
	}
	if err == nil {
		err = f(ctx, sess)
	}
	if errors.Is(err, nats.ErrConnectionClosed) {
		<-sess.ctx.Done() // it is told a moment later
	}
	switch {
	case err == nil:
		return nil
	case sess.ctx.Err() != nil: // ctx may not know of it yet
		return &ended{context.Cause(sess.ctx), err}
	case ctx.Err() != nil:
		return &ended{context.Cause(ctx), err}
	}
	return err
}

// ended is an error of what its context ended, for a cause.
type ended struct{ cause, err error }

func (e *ended) Error() string   { return e.cause.Error() }
func (e *ended) Unwrap() []error { return []error{e.cause, e.err} }

// timed returns a context for what must be done in time.
func (s *Store) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.opts.Timeout, errNoAnswer)
}

var errNoAnswer = errors.New("no answer in time")

// asks is how often a request is made in the time that there is for it: one to a leader that
// is just being chosen, or that isn't known everywhere yet, is lost without a sign.
const asks = 4

// ask makes a request that may be made several times.
func ask[T any](ctx context.Context, s *Store, request func(context.Context) (T, error)) (value T, err error) {
	timed, cancel := s.timed(ctx)
	defer cancel()
	for {
		once, cancel := context.WithTimeout(timed, s.opts.Timeout/asks)
		value, err = request(once)
		lost := err != nil && once.Err() != nil
		cancel()
		switch {
		case !lost:
			return value, err
		case ctx.Err() != nil:
			return value, ctx.Err()
		case timed.Err() != nil:
			return value, &ended{context.Cause(timed), err}
		}
	}
}
