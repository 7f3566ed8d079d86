// The feed: what is appended from here on.

package pgstore

import (
	"context"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// pollEvery is how often Follow looks for records of which it wasn't told: notifications
// don't come through every pooler, nor through a connection that is dead without a sign.
const pollEvery = time.Second

// Follow calls apply with what was appended after a position. It has a connection on which
// it is told when to look, and looks each second in any case.
func (s *Store) Follow(ctx context.Context, from revocation.Position, apply func([]revocation.Record, revocation.Position) error) error {
	at, err := parsePosition(from)
	if err != nil {
		return s.explain(ctx, broken("%w", err))
	}
	if s.gate.Closed() {
		return s.errClosed()
	}
	ended, end := context.WithCancel(ctx)
	told := make(chan struct{}, 1)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		s.listen(ended, told)
	}()
	defer func() { end(); <-listening }()
	timer := time.NewTimer(s.poll)
	defer timer.Stop()
	var batch []revocation.Record
	for {
		p, err := s.read(ctx, at.mark.number)
		if err != nil {
			return err
		}
		if batch, err = s.following(batch, &p, &at); err != nil {
			return s.explain(ctx, err)
		}
		if len(batch) > 0 {
			if err := apply(batch, at.text()); err != nil {
				return err
			}
		}
		if p.full() {
			continue
		}
		timer.Reset(s.poll)
		select {
		case <-told:
		case <-timer.C:
		case <-s.gate.Closing(): // the next look says so
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// following returns the records of a page that follow a position, and moves the position to
// the end of the page.
func (s *Store) following(batch []revocation.Record, p *page, at *position) ([]revocation.Record, error) {
	if err := p.verify(at); err != nil {
		return nil, err
	}
	end := p.end()
	if len(p.numbers) == 0 {
		if end.mark.number > at.mark.number {
			return nil, broken("it has removed what had expired up to record %d, and was followed only to %d", end.mark.number, at.mark.number)
		}
		return batch[:0], nil
	}
	batch, err := s.decode(batch, p)
	*at = end
	return batch, err
}
