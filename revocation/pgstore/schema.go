// Making the tables, once for all nodes.

package pgstore

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// tables is what there is of a store.
type tables struct {
	schema, meta, records, nodes bool
	unlogged                     string
}

func (s *Store) lookAround(ctx context.Context, db queryer) (t tables, err error) {
	err = db.QueryRow(ctx, s.sql.look).Scan(&t.schema, &t.meta, &t.records, &t.nodes, &t.unlogged)
	return t, err
}

type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// prepare makes what is missing of the tables, under a lock: nodes start at the same time.
// Records that went without the epoch get another one, since positions were lost with
// them.
func (s *Store) prepare(ctx context.Context, conn *pgx.Conn) error {
	t, err := s.lookAround(ctx, conn)
	if err != nil {
		return err
	}
	if t.meta && t.records && t.nodes {
		if t.unlogged != "" && !s.opts.UnsafeDurability {
			return refuse("its table %s.%s is UNLOGGED and would be empty after a crash: run ALTER TABLE %[1]s.%[2]s SET LOGGED, or accept that with unsafe_durability", s.opts.Schema, t.unlogged)
		}
		found, err := s.version(ctx, conn)
		switch {
		case err != nil:
			return err
		case found != 0:
			return checkVersion(s, found)
		}
	}
	if s.opts.NoCreate {
		return refuse("the tables in schema %s are missing or incomplete, and creating them is turned off: run the SQL that `caddy tokens schema` prints", s.opts.Schema)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1::bigint)`, lockKey(s.opts.Schema)); err != nil {
			return err
		}
		t, err := s.lookAround(ctx, tx)
		if err != nil {
			return err
		}
		if t.meta {
			found, err := s.version(ctx, tx)
			if err != nil {
				return err
			}
			if found != 0 {
				if err := checkVersion(s, found); err != nil {
					return err
				}
			}
			if !t.records {
				if _, err := tx.Exec(ctx, expand(s.opts.Schema, `DELETE FROM {schema}.meta`)); err != nil {
					return err
				}
			}
		}
		if !t.schema {
			if _, err := tx.Exec(ctx, s.sql.createSchema); err != nil {
				return err
			}
		}
		sql := s.sql.createEpoch
		if !t.meta || !t.records || !t.nodes {
			sql = s.sql.createTables
		}
		// Several statements at once.
		if _, err = tx.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil || t.records {
			return err
		}
		// What was made now may be the sequence alone.
		_, err = tx.Exec(ctx, s.sql.advance)
		return err
	})
}

// version returns that of the tables, or 0 if meta is empty.
func (s *Store) version(ctx context.Context, db queryer) (found int, err error) {
	err = db.QueryRow(ctx, expand(s.opts.Schema, `SELECT COALESCE((SELECT version FROM {schema}.meta), 0)`)).Scan(&found)
	return found, err
}

func checkVersion(s *Store, found int) error {
	if fmt.Sprint(found) != version {
		return refuse("%w: the tables in schema %s have version %d, this version writes %s: update every node, or choose another schema", revocation.ErrStoreVersion, s.opts.Schema, found, version)
	}
	return nil
}

// lockKey is the key of the advisory lock under which tables are made.
func lockKey(schema string) int64 {
	h := fnv.New64a()
	h.Write([]byte("caddy token_revocation " + schema))
	return int64(h.Sum64())
}
