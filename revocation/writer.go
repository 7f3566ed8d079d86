package revocation

import (
	"context"
	"slices"
	"time"
)

// This file brings records from the index into the store. Everything that is
// revoked while one write is under way goes into the next one together, so that
// any number of callers share the cost of making it durable.

// maxBatch is how many records one write has, unless a single revocation has
// more.
const maxBatch = 4096

// After a failed write the next attempt waits, twice as long each time.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Bounds of one write, and of all that are made when the list closes.
const (
	writeTimeout = 30 * time.Second
	lastWrites   = 5 * time.Second
)

// queue holds the records that are enforced but not durable, in order. Its
// List's lock guards it.
type queue struct {
	waiting []*waiting
	records int // in all of them
	most    int
	wake    chan struct{} // has an element when something was added
}

// waiting is one call's records. done receives the outcome of the first attempt
// to write them; they stay in the queue until an attempt succeeds.
type waiting struct {
	records []Record
	done    chan error // has room for one
}

func newQueue(most int) *queue { return &queue{most: most, wake: make(chan struct{}, 1)} }

func (q *queue) len() int { return q.records }

// add queues the records.
func (q *queue) add(records []Record) *waiting {
	w := &waiting{records: slices.Clone(records), done: make(chan error, 1)}
	if q.records+len(records) > q.most {
		w.done <- ErrTooManyPending
		return w
	}
	q.waiting = append(q.waiting, w)
	q.records += len(records)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return w
}

// batch returns the calls at the head of the queue that fit into one write.
func (q *queue) batch() []*waiting {
	records := 0
	for i, w := range q.waiting {
		records += len(w.records)
		if records > maxBatch && i > 0 {
			return slices.Clone(q.waiting[:i])
		}
	}
	return slices.Clone(q.waiting)
}

// remove takes n calls off the head of the queue.
func (q *queue) remove(n int) {
	for _, w := range q.waiting[:n] {
		q.records -= len(w.records)
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
}

// write brings queued records into the store until ctx ends, and what is left
// then, as far as the store takes it.
func (l *List) write(ctx context.Context) {
	defer l.writeRest()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.queue.wake:
		}
		for retry := time.Duration(0); l.queued() && ctx.Err() == nil; {
			if l.writeBatch(context.WithoutCancel(ctx)) {
				retry = 0
				continue
			}
			retry = min(max(2*retry, firstRetry), lastRetry)
			sleep(ctx, retry)
		}
	}
}

func (l *List) writeRest() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWrites)
	defer cancel()
	for l.queued() && l.writeBatch(ctx) {
	}
}

func (l *List) queued() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.len() > 0
}

// writeBatch makes one attempt to write the head of the queue and tells who
// waits for it. It reports whether it succeeded.
func (l *List) writeBatch(ctx context.Context) bool {
	l.mu.Lock()
	batch := l.queue.batch()
	l.mu.Unlock()
	var records []Record
	for _, w := range batch {
		records = append(records, w.records...)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := l.store.Append(ctx, records)
	if err == nil {
		l.mu.Lock()
		l.queue.remove(len(batch))
		l.mu.Unlock()
	} else {
		l.logger.Error("revocations are enforced here but could not be made durable; trying again", "records", len(records), "error", err)
	}
	for _, w := range batch {
		select {
		case w.done <- err:
		default: // told about an earlier attempt
		}
	}
	return err == nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// keepHouse moves the clock and forgets what has expired, until ctx ends.
func (l *List) keepHouse(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.clock.tick(now)
		}
		const shardsPerTick = 4 // all of them in about a minute
		for i := range shardsPerTick {
			l.index.sweep((n*shardsPerTick+i)%shardCount, l.clock.seconds())
		}
		if n%60 == 59 {
			l.prune(ctx)
		}
	}
}

// prune forgets what has expired outside of the index.
func (l *List) prune(ctx context.Context) {
	now := l.clock.seconds()
	l.mu.Lock()
	l.tally.prune(now)
	for id, expires := range l.cancelled {
		if !makeValue(expires, 0).live(now) {
			delete(l.cancelled, id)
		}
	}
	l.mu.Unlock()
	p, ok := l.store.(Pruner)
	if !ok {
		return
	}
	if _, err := p.Prune(ctx, time.Unix(int64(now), 0)); err != nil {
		l.logger.Warn("expired revocations could not be removed from the store; trying again in a minute", "error", err)
	}
}
