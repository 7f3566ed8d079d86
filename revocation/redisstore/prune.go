// Forgetting what has expired.

package redisstore

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// Bounds of Prune: entries that are read and removed at a time, and in one call.
const (
	pruneChunk = 256
	pruneMost  = 100_000
)

// Prune removes, in each class, the entries at the front of which all records expired
// before the given time, up to 100,000 in a call. One that holds back others that have
// expired is itself gone when its class's longest time to live has passed.
//
// Any node may prune, several at the same time as well. A node that has followed less far
// than what is removed has to load anew.
func (s *Store) Prune(ctx context.Context, before time.Time) (removed int, err error) {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	left := pruneMost
	for class := range classes {
		// Most of the time there is nothing to do, which the first entry tells.
		for count := 1; left > 0; count = pruneChunk {
			if s.gate.Closed() {
				return removed, s.errClosed()
			}
			if ctx.Err() != nil {
				return removed, nil
			}
			records, entries, err := s.pruneFront(ctx, class, min(count, left), before)
			removed += records
			left -= entries
			if err != nil {
				if ctx.Err() != nil {
					return removed, nil
				}
				return removed, err
			}
			if entries < count {
				break
			}
		}
	}
	return removed, nil
}

// pruneFront removes up to count entries from the front of a class. It returns how many
// and the number of records in them.
func (s *Store) pruneFront(ctx context.Context, class, count int, before time.Time) (records, entries int, err error) {
	type front struct {
		epoch   string
		head    uint64
		entries []redis.XMessage
	}
	key := s.keys.logs[class]
	f, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (f front, err error) {
		var meta *redis.MapStringStringCmd
		var entries *redis.XMessageSliceCmd
		_, err = conn.Pipelined(ctx, func(p redis.Pipeliner) error {
			entries = p.XRangeN(ctx, key, "-", "+", int64(count))
			meta = p.HGetAll(ctx, s.keys.meta) // later: what was read is in it
			return nil
		})
		if err != nil || len(meta.Val()) == 0 {
			return f, err
		}
		c, err := s.parseMeta(meta.Val())
		return front{c.epoch, c.heads[class].id, entries.Val()}, err
	})
	if err != nil {
		return 0, 0, err
	}
	last := mark{}
	var batch []revocation.Record
	for i := range f.entries {
		e := parseMessage(&f.entries[i])
		if e.id > f.head {
			break // of somebody else; Append removes it
		}
		if !e.ok {
			return 0, 0, s.explain(ctx, s.corrupt(class, e.id, "it isn't a record"))
		}
		if batch, err = blocks.Decode(batch[:0], []byte(e.payload)); err != nil {
			return 0, 0, s.explain(ctx, s.corrupt(class, e.id, err))
		}
		if !expired(batch, before) {
			break
		}
		last = mark{e.id, e.chain}
		records += len(batch)
		entries++
	}
	if entries == 0 {
		return 0, 0, nil
	}
	n, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (int, error) {
		return trimScript.Run(ctx, conn, []string{s.keys.meta, key}, f.epoch, 1+class, strconv.FormatUint(last.id, 10), last.chain).Int()
	})
	switch {
	case err != nil:
		return 0, 0, err
	case n == 0:
		return 0, entries, nil // another node has trimmed that far
	}
	return records, entries, nil
}

func expired(records []revocation.Record, before time.Time) bool {
	for i := range records {
		if !records[i].Expires.Before(before) {
			return false
		}
	}
	return true
}
