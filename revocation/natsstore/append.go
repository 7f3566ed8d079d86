// The way in: one Append, one message that counts.

package natsstore

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// atOnce is how many parts of an Append are under way at a time.
const atOnce = 16

// Append publishes the records, and returns nil when the servers that have the stream say
// that they have them (see Durability). When ctx ends first, they may still get to it.
//
// Messages have no ids by which the server would drop a repeated one: a record that is
// there twice does no harm, and one that was dropped for a repeated one would be missing.
func (s *Store) Append(ctx context.Context, records []revocation.Record) error {
	now := s.now()
	all := blocks.Split(records, now)
	return s.run(ctx, func(ctx context.Context, sess *session) error {
		if len(all) == 0 {
			return nil
		}
		ctx, cancel := s.timed(ctx)
		defer cancel()
		limit := min(maxMessage, int(sess.conn.MaxPayload())-headroom, sess.messageLimit())
		parts, err := plan(all, limit)
		if err != nil {
			return err
		}
		last := parts[0]
		if len(parts) > 1 {
			if last, err = s.publishParts(ctx, sess, parts, now, limit); err != nil {
				return err
			}
		}
		_, err = s.publish(ctx, sess, s.streams.log, s.streams.logSubject, last.payload, s.timeToLive(last.expires, now))
		return err
	})
}

// publishParts publishes the parts of an Append and returns the message that makes them
// count.
func (s *Store) publishParts(ctx context.Context, sess *session, parts []message, now time.Time, limit int) (message, error) {
	seqs := make([]uint64, len(parts))
	var publishing errgroup.Group
	publishing.SetLimit(atOnce)
	for i, p := range parts {
		publishing.Go(func() (err error) {
			seqs[i], err = s.publish(ctx, sess, s.streams.log, s.streams.parts, p.payload, s.timeToLive(p.expires, now))
			return err
		})
	}
	if err := publishing.Wait(); err != nil {
		return message{}, err
	}
	return seal(parts, seqs, limit)
}

// publish returns the number of a message when the servers have it.
func (s *Store) publish(ctx context.Context, sess *session, stream, subject string, payload []byte, ttl time.Duration, options ...jetstream.PublishOpt) (uint64, error) {
	options = append(options, jetstream.WithExpectStream(stream))
	if ttl > 0 {
		options = append(options, jetstream.WithMsgTTL(ttl))
	}
	ack, err := sess.js.PublishMsg(ctx, &nats.Msg{Subject: subject, Data: payload}, options...)
	if err != nil {
		return 0, err
	}
	if ack.Stream != stream || ack.Sequence == 0 {
		return 0, refuse("the stream %s has answered for %s: choose another prefix", ack.Stream, stream)
	}
	return ack.Sequence, nil
}
