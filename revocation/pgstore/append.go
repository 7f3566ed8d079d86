// The way in: one Append, one statement, one promise.

package pgstore

import (
	"context"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Append adds the records in one statement, and returns nil when the server has written
// them to its disk (see Durability), and those standbys have them that the server waits
// for. When ctx ends first, the server may still get to it.
func (s *Store) Append(ctx context.Context, records []revocation.Record) error {
	expires := make([]pgtype.Timestamptz, len(records))
	payloads := make([][]byte, len(records))
	for i := range records {
		r := &records[i]
		expires[i] = timestamp(r)
		payloads[i] = revocation.AppendRecord(nil, r)
	}
	tag := newTag()
	_, err := call(ctx, s, func(ctx context.Context, conn *pgx.Conn) (none struct{}, err error) {
		if len(records) == 0 {
			return none, nil
		}
		var added int
		var fsync, commit string
		var known bool
		err = queryRow(ctx, conn, []any{&added, &fsync, &commit, nil, &known}, s.sql.append, tag, expires, payloads, s.channel)
		switch {
		case err != nil:
			return none, err
		case !known:
			return none, s.whyUnknown(ctx, conn)
		case added != len(records):
			return none, refuse("its sequence %s.numbers was set back: run SELECT setval('%s.numbers', max(number)) FROM %s.records", s.opts.Schema, s.opts.Schema, s.opts.Schema)
		}
		// These are those of this very transaction.
		if err := s.judge(settings{fsync: fsync, commit: commit}); err != nil {
			return none, err
		}
		return none, copied(conn)
	})
	return err
}

func timestamp(r *revocation.Record) pgtype.Timestamptz {
	if r.Expires.Equal(revocation.Never) {
		return pgtype.Timestamptz{Valid: true, InfinityModifier: pgtype.Infinity}
	}
	return pgtype.Timestamptz{Valid: true, Time: r.Expires}
}

// newTag returns what tells an Append from others. It is never that of the zero mark.
func newTag() int64 { return 1 + rand.Int64N(1<<63-1) }

// whyUnknown returns why there is no row in meta with this version.
func (s *Store) whyUnknown(ctx context.Context, conn *pgx.Conn) error {
	found, err := s.version(ctx, conn)
	switch {
	case err != nil:
		return err
	case found == 0:
		return errNoTables
	}
	return checkVersion(s, found)
}
