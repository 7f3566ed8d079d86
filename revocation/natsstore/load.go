// The way out: everything that is in the log, and what comes after it.

package natsstore

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// batchRecords is about how many records apply gets at a time.
const batchRecords = 4096

// Whoever waits for messages asks the leader, now and then, where the log ends. The last
// message, for which Load waits, may have expired; and a server that has fallen out of step
// with the leader has nothing to hand out, and doesn't know it.
const (
	loadLooks   = 200 * time.Millisecond
	followLooks = 5 * time.Second
)

var errBehind = errors.New("the server that hands out the log is behind its leader; trying another one")

// Load calls apply with all records in the order in which they were appended. Records that
// are appended meanwhile may be among them.
//
// A message that was written by others is passed over, and told to the logger. One of ours
// that can't be read, or a part that is missing, is an error that wraps ErrStoreCorrupt.
func (s *Store) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	var end revocation.Position
	err := s.run(ctx, func(ctx context.Context, sess *session) error {
		if err := s.inspectStreams(ctx, sess); err != nil {
			return err
		}
		p := position{epoch: sess.streamsEpoch()}
		until, err := s.end(ctx, sess)
		if err != nil || until.seq == 0 {
			end = p.text()
			return err
		}
		// Beyond here apply is called: what is missing on the server is an error like others.
		if p.mark, err = s.loadUntil(ctx, sess, until, apply); err != nil {
			return final(err)
		}
		end = p.text()
		return nil
	})
	if err != nil {
		return "", err
	}
	return end, nil
}

// end returns the last message of the log.
func (s *Store) end(ctx context.Context, sess *session) (mark, error) {
	m, err := s.lastOn(ctx, sess, s.streams.log, s.streams.logSubject)
	if errors.Is(err, errNoMessage) {
		return mark{}, nil
	}
	return mark{m.Seq, m.Time.UnixNano()}, err
}

func (s *Store) loadUntil(ctx context.Context, sess *session, until mark, apply func([]revocation.Record) error) (last mark, err error) {
	r, err := s.read(ctx, sess, s.streams.log, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverAllPolicy, FilterSubjects: []string{s.streams.logSubject, s.streams.parts},
	})
	if err != nil {
		return last, err
	}
	defer r.close()
	a := s.assemble(sess)
	flush := func() error {
		if len(a.batch) == 0 {
			return nil
		}
		defer func() { a.batch = a.batch[:0] }()
		return passed(apply(a.batch))
	}
	came := time.Now()
	for last.seq < until.seq {
		d, ok, err := r.nextWithin(ctx, loadLooks)
		if err != nil {
			return last, err
		}
		if !ok {
			if until, err = s.end(ctx, sess); err == nil && last.seq < until.seq && time.Since(came) > s.opts.Timeout {
				err = errBehind
			}
			if err != nil {
				return last, err
			}
			continue
		}
		came = time.Now()
		if err := a.add(ctx, d); err != nil {
			return last, err
		}
		if d.subject == s.streams.logSubject {
			last = d.mark
		}
		if len(a.batch) >= batchRecords {
			if err := flush(); err != nil {
				return last, err
			}
		}
	}
	return last, flush()
}

// Follow calls apply with what was appended after a position. A message of others comes as
// a batch without records, if none with some is at hand: it is a place all the same.
func (s *Store) Follow(ctx context.Context, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	p, err := parsePosition(from)
	if err != nil {
		return s.explain(ctx, broken("%w", err))
	}
	return s.run(ctx, func(ctx context.Context, sess *session) error {
		if err := s.inspectStreams(ctx, sess); err != nil {
			return err
		}
		there, err := s.verify(ctx, sess, p)
		if err != nil {
			return err
		}
		return final(s.follow(ctx, sess, p, there, apply))
	})
}

// follow hands out what is behind a position. there says that the message is, at which it
// is.
func (s *Store) follow(ctx context.Context, sess *session, p position, there bool, apply func([]revocation.Record, revocation.Position) error) error {
	start := p.mark.seq
	if !there {
		start++
	}
	r, err := s.read(ctx, sess, s.streams.log, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: start,
		FilterSubjects: []string{s.streams.logSubject, s.streams.parts},
	})
	if err != nil {
		return err
	}
	defer r.close()
	a := s.assemble(sess)
	if there {
		// The consumer begins with it: else it reads another stream than the one that was
		// asked.
		d, ok, err := r.nextWithin(ctx, followLooks)
		switch {
		case err != nil:
			return err
		case !ok:
			return errBehind
		case d.mark != p.mark:
			return errMovedOn
		}
	}
	for quiet := false; ; {
		d, ok, err := r.nextWithin(ctx, followLooks)
		if err != nil {
			return err
		}
		if !ok {
			last, err := s.end(ctx, sess)
			if behind := last.seq > p.mark.seq; err == nil && behind && quiet {
				err = errBehind
			} else {
				quiet = behind
			}
			if err != nil {
				return err
			}
			continue
		}
		quiet = false
		moved := false
		for ok {
			if err := a.add(ctx, d); err != nil {
				return err
			}
			if d.subject == s.streams.logSubject {
				p.mark, moved = d.mark, true
			}
			if len(a.batch) >= batchRecords {
				break
			}
			d, ok = r.ready()
		}
		if !moved {
			continue
		}
		if err := passed(apply(a.batch, p.text())); err != nil {
			return err
		}
		a.batch = a.batch[:0]
	}
}

var errMovedOn = errors.New("the log has changed while it was opened")

// callers is an error of a caller's function, which is returned as it is.
type callers struct{ error }

func (c *callers) Unwrap() error { return c.error }

func passed(err error) error {
	if err == nil {
		return nil
	}
	return &callers{err}
}
