package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// This file gives back to the store what it has lost. All nodes find that out at about the
// same time and have the same records; who comes first spares the others most of it.

const (
	giveBackSpread = 300 * time.Millisecond
	lastGiveBack   = 30 * time.Second // between attempts, each of which reads the replica
)

// giveBack gives back what the store lacks, until ctx ends.
func (l *List) giveBack(ctx context.Context) {
	es := l.follower.echoes
	for {
		select {
		case <-ctx.Done():
			return
		case <-es.wake:
		}
		sleep(ctx, rand.N(giveBackSpread))
		for retry := firstReconnect; ctx.Err() == nil && es.lacking() > 0; {
			given, err := l.giveBackOnce(ctx)
			if given > 0 {
				l.logger.Warn("the revocation store lacked revocations that this node knows; it has them again", "records", given)
			}
			if err == nil {
				retry = firstReconnect
				continue
			}
			l.complain("the revocation store lacks revocations that this node knows; giving them back failed, trying again", err)
			sleep(ctx, jitter(retry))
			retry = min(2*retry, lastGiveBack)
		}
	}
}

// giveBackOnce appends to the store what it lacks.
func (l *List) giveBackOnce(ctx context.Context) (given int, err error) {
	es := l.follower.echoes
	round := es.begin()
	var batch []Record
	flush := func() {
		// Others may have been quicker.
		batch = slices.DeleteFunc(batch, func(r Record) bool { return !es.lacks(&r) })
		if err == nil && len(batch) > 0 {
			if err = l.sendBatch(ctx, batch); err == nil {
				given += len(batch)
			}
		}
		batch = batch[:0]
	}
	readErr := l.forEach(ctx, nil, func(r *Record) {
		if err == nil && es.lacks(r) && l.live(r) {
			if batch = append(batch, *r); len(batch) == maxBatch {
				flush()
			}
		}
	})
	flush()
	if err = errors.Join(readErr, err); err != nil {
		return given, err
	}
	es.finish(round)
	return given, nil
}

// sendBatch appends records to the feed and notes that it has them.
func (l *List) sendBatch(ctx context.Context, records []Record) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	f := l.follower
	select {
	case f.sending <- struct{}{}:
		defer func() { <-f.sending }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := f.feed.Append(ctx, records); err != nil {
		return fmt.Errorf("writing to the revocation store: %w", err)
	}
	f.echoes.sent(records, l.lease.passed(time.Now()))
	return nil
}

// jitter returns a time from half of d to d, so that nodes which began together don't
// come together for ever.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
