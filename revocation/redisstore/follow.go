// The feed: what is appended from here on.

package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// blockFor is how long Follow waits for an entry before it looks whether its place is
// still in the history: a master that has lost entries gives their numbers to others, and
// the server hands out nothing until it is past them.
const blockFor = 5 * time.Second

// retryClean is how long Follow waits when entries of others can't be removed.
const retryClean = time.Second

// Follow calls apply with what was appended after a position. While it waits it has a
// connection of its own.
func (s *Store) Follow(ctx context.Context, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	p, err := parsePosition(from)
	if err != nil {
		return s.explain(ctx, broken("%w", err))
	}
	var batch []revocation.Record
	pass := func(found []entry, next position) error {
		p = next
		if len(found) == 0 {
			return nil
		}
		var err error
		if batch, err = s.decode(batch[:0], found); err != nil {
			return s.explain(ctx, err)
		}
		return apply(batch, next.text())
	}
	for {
		if err := s.catchUp(ctx, &p, pass); err != nil {
			return err
		}
		for {
			found, next, err := s.await(ctx, p)
			if err != nil {
				return err
			}
			if len(found) == 0 {
				break
			}
			if err := pass(found, next); err != nil {
				return err
			}
		}
	}
}

// catchUp passes on everything that follows p, having seen that p is in the history.
func (s *Store) catchUp(ctx context.Context, p *position, pass func([]entry, position) error) error {
	for {
		from := *p
		c, err := call(ctx, s, s.feed, func(ctx context.Context, conn *redis.Conn) (cut, error) {
			return s.read(ctx, conn, &from, pageEntries)
		})
		if err != nil {
			return err
		}
		if err := c.verify(&from); err != nil {
			return s.explain(ctx, err)
		}
		next := from
		found, more, foreign, err := s.after(&c, &next)
		if err != nil {
			return s.explain(ctx, broken("%w", err))
		}
		if err := pass(found, next); err != nil {
			return err
		}
		if foreign {
			if !s.cleanOrWarn(ctx) {
				// With them, waiting for entries would end at once.
				if err := pause(ctx, s.gate.Closing(), retryClean); err != nil {
					return err
				}
			}
		}
		if !more {
			return nil
		}
	}
}

func pause(ctx context.Context, closing <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-closing: // the next call says so
	case <-timer.C:
	}
	return nil
}

// await waits for entries. It returns those that follow p beyond doubt, without a gap in
// numbers and chains, or none.
func (s *Store) await(ctx context.Context, p position) ([]entry, position, error) {
	streams := slices.Concat(s.keys.logs[:], make([]string, classes))
	for i, m := range p.marks {
		streams[classes+i] = strconv.FormatUint(m.id, 10) + "-0"
	}
	// The client itself would wait for ten seconds longer than the server does. On a
	// connection that is dead without a sign that is for how long nothing comes.
	limited, cancel := context.WithTimeout(ctx, s.block+s.opts.Timeout)
	defer cancel()
	reply, err := call(limited, s, s.feed, func(ctx context.Context, conn *redis.Conn) ([]redis.XStream, error) {
		return conn.XRead(ctx, &redis.XReadArgs{Streams: streams, Count: pageEntries, Block: s.block}).Result()
	})
	if noReply(err) {
		return nil, p, nil
	}
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, p, fmt.Errorf("%s: it doesn't answer within %s: %w", s.name, s.opts.Timeout, limited.Err())
	}
	if err != nil {
		return nil, p, err
	}
	return s.following(reply, &p), p, nil
}

// following returns the entries that follow p without a gap, and moves p to the last one.
func (s *Store) following(reply []redis.XStream, p *position) (found []entry) {
	var lists [classes][]redis.XMessage
	for _, stream := range reply {
		if i := slices.Index(s.keys.logs[:], stream.Stream); i >= 0 {
			lists[i] = stream.Messages
		}
	}
	for {
		id := strconv.FormatUint(p.seq+1, 10) + "-0"
		i := slices.IndexFunc(lists[:], func(l []redis.XMessage) bool { return len(l) > 0 && l[0].ID == id })
		if i < 0 {
			return found
		}
		e := parseMessage(&lists[i][0])
		next := p.marks[i].next(p.seq+1, e.payload)
		if !e.ok || next.chain != e.chain {
			return found
		}
		lists[i] = lists[i][1:]
		found = append(found, entry{i, next, e.payload})
		p.marks[i], p.seq = next, next.id
	}
}
