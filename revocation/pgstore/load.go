// The way out: everything that is in the store.

package pgstore

import (
	"context"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Load calls apply with all records in the order of their numbers, a page at a time. No
// connection is held and no transaction open meanwhile. Records that are appended
// meanwhile may be among them.
//
// A record that can't be read is an error that wraps ErrStoreCorrupt and names its row.
func (s *Store) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	var at position
	var batch []revocation.Record
	until := int64(-1)
	for {
		p, err := s.read(ctx, at.mark.number)
		if err != nil {
			return "", err
		}
		if until < 0 {
			until, at.history = p.head().mark.number, p.history
		}
		if err := p.verify(&at); err != nil {
			return "", s.explain(ctx, err)
		}
		if batch, err = s.decode(batch, &p); err != nil {
			return "", s.explain(ctx, err)
		}
		if len(batch) > 0 {
			if err := apply(batch); err != nil {
				return "", err
			}
		}
		if at = p.end(); !p.full() || at.mark.number >= until {
			return at.text(), nil
		}
	}
}
