// Forgetting what has expired.

package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bounds of Prune: records that are removed at a time, and in one call.
const (
	pruneChunk = 5_000
	pruneMost  = 100_000
)

// Prune removes records that expired before the given time, up to 100,000 in a call. Any
// node may prune, several at the same time as well.
func (s *Store) Prune(ctx context.Context, before time.Time) (removed int, err error) {
	s.pruning.Lock()
	defer s.pruning.Unlock()
	for removed < pruneMost {
		if s.gate.Closed() {
			return removed, s.errClosed()
		}
		if ctx.Err() != nil {
			return removed, nil
		}
		n, err := call(ctx, s, func(ctx context.Context, conn *pgx.Conn) (n int, err error) {
			err = queryRow(ctx, conn, []any{&n}, s.sql.prune, before, int64(pruneChunk))
			return n, err
		})
		removed += n
		if err != nil {
			if ctx.Err() != nil {
				return removed, nil
			}
			return removed, err
		}
		if n < pruneChunk {
			break
		}
	}
	return removed, nil
}
