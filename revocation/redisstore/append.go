// The way in: one Append, one script, one promise.

package redisstore

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// Append adds the records in one script, and returns nil when the server has written them
// to its disk (see Durability) and Options.WaitReplicas have them. When ctx ends first,
// the server may still get to it.
func (s *Store) Append(ctx context.Context, records []revocation.Record) error {
	// What is sent must not refer to records: the call may go on when this returns.
	entries := blocks.Split(records, s.now())
	args := make([]any, 0, 1+2*len(entries))
	args = append(args, newEpoch())
	for _, b := range entries {
		args = append(args, 1+b.Class, b.Payload)
	}
	_, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (struct{}, error) {
		if len(entries) == 0 {
			return struct{}{}, nil
		}
		if err := s.inspectAgain(ctx, conn); err != nil {
			return struct{}{}, err
		}
		if s.alone.Load() {
			if err := s.probe(ctx, conn); err != nil {
				return struct{}{}, err
			}
		}
		removed, err := appendScript.Run(ctx, conn, s.keys.all, args...).StringSlice()
		if err != nil {
			return struct{}{}, err
		}
		s.tellRemoved(removed)
		err = s.wait(ctx, conn)
		s.alone.Store(err != nil)
		return struct{}{}, err
	})
	return err
}

// probe returns when Options.WaitReplicas have what is written from here on. Whoever tries
// again and again while they are away would add the same records each time.
func (s *Store) probe(ctx context.Context, conn *redis.Conn) error {
	const forget = time.Minute
	if err := conn.Set(ctx, s.keys.probe, "", forget).Err(); err != nil {
		return err
	}
	return s.wait(ctx, conn)
}

func newEpoch() string { return uuid.Must(uuid.NewRandom()).String() }

// wait returns when Options.WaitReplicas have what was written on this connection.
func (s *Store) wait(ctx context.Context, conn *redis.Conn) error {
	want := s.opts.WaitReplicas
	if want == 0 {
		return nil
	}
	// The reply comes in time to be read.
	got, err := conn.Wait(ctx, want, s.opts.Timeout*3/4).Result()
	if err != nil {
		return err
	}
	if got < int64(want) {
		return refuse("%d of its replicas have the records, and %d must have them: bring the others back", got, want)
	}
	return nil
}

// clean removes entries that aren't the store's.
func (s *Store) clean(ctx context.Context) error {
	removed, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) ([]string, error) {
		return cleanScript.Run(ctx, conn, s.keys.all, newEpoch()).StringSlice()
	})
	s.tellRemoved(removed)
	return err
}

func (s *Store) tellRemoved(entries []string) {
	if len(entries) > 0 {
		s.log.Error("entries in the redis streams of revocations weren't written by this module and were removed: keep other programs away from these keys", "store", s.name, "entries", entries)
	}
}
