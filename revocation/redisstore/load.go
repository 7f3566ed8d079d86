// The way out: everything that is in the store.

package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Load calls apply with all records in the order in which they were appended, a page of
// the streams at a time. Records that are appended meanwhile may be among them.
//
// The chain is followed from the last entry that was trimmed to the end: an entry that was
// lost or changed, or that can't be read, is an error that wraps ErrStoreCorrupt and names
// it. Entries behind the end, which others have added, are removed, and told to the logger.
func (s *Store) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	var p position
	var batch []revocation.Record
	until := uint64(0)
	for first := true; ; first = false {
		from := p
		c, err := call(ctx, s, s.client, func(ctx context.Context, conn *redis.Conn) (cut, error) {
			return s.read(ctx, conn, &from, pageEntries)
		})
		if err != nil {
			return "", err
		}
		if first {
			p.epoch, until = c.epoch, c.seq
		}
		for i, base := range c.bases {
			if p.marks[i].id < base.id {
				p.marks[i] = base // what was trimmed had expired
			}
		}
		if !first {
			err = c.verify(&p)
		}
		var found []entry
		var more, foreign bool
		if err == nil {
			found, more, foreign, err = s.after(&c, &p)
		}
		if err == nil {
			batch, err = s.decode(batch[:0], found)
		}
		if err != nil {
			return "", s.explain(ctx, err)
		}
		if len(batch) > 0 {
			if err := apply(batch); err != nil {
				return "", err
			}
		}
		if foreign {
			s.cleanOrWarn(ctx)
		}
		if !more || p.seq >= until {
			return p.text(), nil
		}
	}
}

// cleanOrWarn is clean for those who can go on without it. It reports whether it was done.
func (s *Store) cleanOrWarn(ctx context.Context) bool {
	err := s.clean(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, revocation.ErrStoreClosed) {
		s.log.Error("the redis streams of revocations have entries that this module didn't write, and they can't be removed", "store", s.name, "error", err)
	}
	return err == nil
}
