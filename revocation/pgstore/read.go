// What the store holds at one moment: how Load, Follow and Beat read it.

package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// pageRecords is how many records are read at a time.
const pageRecords = 2000

// cutAt is the end of a store at one moment, as it is seen from a position.
type cutAt struct {
	version int
	history string
	pruned  mark  // the last record that was removed
	last    mark  // the last one that is there behind it
	tag     int64 // of what stands at the position; 0: nothing
}

// head is where the sequence ends.
func (c *cutAt) head() position {
	if c.pruned.number > c.last.number {
		return position{c.history, c.pruned}
	}
	return position{c.history, c.last}
}

// fields are those of the statements' cut, to be scanned.
func (c *cutAt) fields() []any {
	return []any{&c.version, &c.history, &c.pruned.number, &c.pruned.tag, &c.last.number, &c.last.tag, &c.tag}
}

// verify reports whether a position is in the history that the cut is of.
func (c *cutAt) verify(p *position) error {
	switch {
	case p.history != c.history:
		return broken("it was made anew, restored, or taken over by a standby")
	case p.mark.number == 0 || p.mark.tag == c.tag:
	case c.tag != 0:
		return broken("record %d is another than the one that was followed", p.mark.number)
	case p.mark == c.pruned || p.mark.number < c.pruned.number:
		// It had expired.
	default:
		return broken("record %d, which was followed, is gone without having expired", p.mark.number)
	}
	return nil
}

// page is records that follow a position.
type page struct {
	cutAt
	numbers, tags []int64
	payloads      [][]byte
}

// full reports that there may be more.
func (p *page) full() bool { return len(p.numbers) == pageRecords }

// end is up to where somebody is who has the page.
func (p *page) end() position {
	if p.full() {
		last := len(p.numbers) - 1
		return position{p.history, mark{p.numbers[last], p.tags[last]}}
	}
	return p.head()
}

// read takes a page behind a number.
func (s *Store) read(ctx context.Context, after int64) (page, error) {
	return call(ctx, s, func(ctx context.Context, conn *pgx.Conn) (p page, err error) {
		fields := append(p.fields(), &p.numbers, &p.tags, &p.payloads)
		err = queryRow(ctx, conn, fields, s.sql.read, after, int64(pageRecords))
		if errors.Is(err, pgx.ErrNoRows) {
			return p, errNoTables
		}
		if err == nil {
			err = checkVersion(s, p.version)
		}
		return p, err
	})
}

// decode returns the records of a page, in batch's memory.
func (s *Store) decode(batch []revocation.Record, p *page) ([]revocation.Record, error) {
	batch = batch[:0]
	for i, payload := range p.payloads {
		r, err := revocation.DecodeRecord(payload)
		if err != nil {
			return nil, refuse("%w: the row with number %d in %s.records: %w: DELETE it, and the nodes that run write what they know again",
				revocation.ErrStoreCorrupt, p.numbers[i], s.opts.Schema, err)
		}
		batch = append(batch, r)
	}
	return batch, nil
}
