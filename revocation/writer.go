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

// complainEvery is how often a store that fails is worth a line in the log.
const complainEvery = 10 * time.Second

// Bounds of one write, and of all that are made when the list closes.
const (
	writeTimeout = 30 * time.Second
	lastWrites   = 5 * time.Second
)

// queue holds the records that are enforced but not durable, in order. Its
// List's lock guards it.
type queue struct {
	waiting []*waiting
	byID    map[ID]*waiting // of those
	records int             // in all of them
	most    int
	wake    chan struct{} // has an element when something was added
}

// waiting is the records of one call, and of those that repeat it. They stay in
// the queue until an attempt to write them succeeds.
type waiting struct {
	records []Record
	callers []chan error // each is told of the next attempt
	kept    bool         // the replica has them; only the writing goroutine uses it
	tell    bool         // OnDurable is told
}

func newQueue(most int) *queue {
	return &queue{byID: map[ID]*waiting{}, most: most, wake: make(chan struct{}, 1)}
}

func (q *queue) len() int { return q.records }

// hasRoom reports whether the records can be added.
func (q *queue) hasRoom(records []Record) bool {
	return q.repeated(records) != nil || q.records+len(records) <= q.most
}

// repeated returns what waits of the same revocation, when it has all that the
// records say.
func (q *queue) repeated(records []Record) *waiting {
	w := q.byID[records[0].ID]
	if w == nil || !slices.EqualFunc(w.records, records, saysAll) {
		return nil
	}
	return w
}

// saysAll reports whether b is a repetition of a: the same, and it ends no later.
func saysAll(a, b Record) bool {
	return identityOf(&a) == identityOf(&b) && valueOf(&a).merge(valueOf(&b)) == valueOf(&a)
}

// add queues the records and returns where the outcome of the next attempt to
// write them will be told.
func (q *queue) add(records []Record, tell bool) <-chan error {
	done := make(chan error, 1)
	if w := q.repeated(records); w != nil {
		w.callers = append(w.callers, done)
		w.tell = w.tell || tell
		return done
	}
	w := &waiting{records: slices.Clone(records), callers: []chan error{done}, tell: tell}
	q.waiting = append(q.waiting, w)
	q.byID[records[0].ID] = w
	q.records += len(records)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return done
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
		if id := w.records[0].ID; q.byID[id] == w {
			delete(q.byID, id)
		}
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
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.queue.waiting {
		w.end(ErrListClosed)
	}
}

// end tells the callers the outcome of an attempt. The caller of end holds the list's
// lock.
func (w *waiting) end(err error) {
	for _, done := range w.callers {
		done <- err
	}
	w.callers = nil
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
	began := time.Now()
	err := l.storeBatch(ctx, batch, records)
	now := time.Now()
	l.onAppend(len(records), now.Sub(began), err)
	pending := l.noteWrite(len(batch), now, err)
	if err == nil {
		l.tellDurable(batch)
	}
	l.mu.Lock()
	for _, w := range batch {
		w.end(err)
	}
	l.mu.Unlock()
	// The log may be slow: nobody waits for it, and no lock is held.
	if err != nil {
		l.complain("revocations are enforced here but could not be made durable; trying again", err, "records", pending)
	}
	return err == nil
}

// noteWrite takes in how an attempt to write the head of the queue ended. It returns how
// many records are pending.
func (l *List) noteWrite(calls int, now time.Time, err error) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.health.note(err, now)
	if err == nil {
		l.queue.remove(calls)
	}
	return l.queue.len()
}

// tellDurable has OnDurable told of what was in the queue. From then on nobody changes it.
func (l *List) tellDurable(written []*waiting) {
	for _, w := range written {
		if w.tell {
			l.durable(w.records)
		}
	}
}

// tellLater has OnDurable told of records that are pending, or were until now.
func (l *List) tellLater(records []Record) {
	l.mu.Lock()
	w := l.queue.repeated(records)
	if w != nil {
		w.tell = true
	}
	l.mu.Unlock()
	if w == nil {
		l.durable(records)
	}
}

// storeBatch makes records durable. Those that a feed will bring back are in the replica
// first: it has them at the next start even if the store fails, and at no time it lacks
// one that was acknowledged.
func (l *List) storeBatch(ctx context.Context, batch []*waiting, records []Record) error {
	f := l.follower
	if f == nil {
		return l.store.Append(ctx, records)
	}
	var fresh []Record
	for _, w := range batch {
		if !w.kept {
			w.kept = true
			fresh = append(fresh, w.records...)
		}
	}
	f.keep(ctx, fresh)
	f.echoes.expect(records)
	return l.sendBatch(ctx, records)
}

// note takes in how an attempt to write ended.
func (h *StoreHealth) note(err error, now time.Time) {
	if err == nil {
		*h = StoreHealth{}
		return
	}
	if !h.Failing {
		h.Failing, h.Since = true, now
	}
	h.Err = err
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
			back := l.clock.tick(now)
			if back {
				l.logger.Warn("the clock stepped back; reading the revocation store again, since revocations may have been taken for expired")
				l.freshness.lose(recalled, now, errClockBack)
			}
			l.watchLease(now)
			if back || n%recallEvery == 0 && l.freshness.missing.Load() {
				l.recall(ctx)
			}
		}
		const shardsPerTick = 4 // all of them in about a minute
		for i := range shardsPerTick {
			l.index.sweep((n*shardsPerTick+i)%shardCount, l.clock.seconds())
		}
		if n%60 == 59 && n >= firstPrune {
			l.prune(ctx)
		}
	}
}

// firstPrune is how many ticks the store keeps everything after a start: when
// the machine started with a clock that is ahead, it has been corrected by then,
// and what was taken for expired is still there.
const firstPrune = 600

// recall puts what the store has into the index once more. It is done when the
// wall clock stepped back: records may have been left out as expired, or have
// been swept, and aren't.
func (l *List) recall(ctx context.Context) {
	l.mu.Lock()
	l.tally = newTally()
	l.mu.Unlock()
	waiting := l.unstored()
	for _, reinstatements := range []bool{true, false} { // they first: they cancel others
		err := l.forEach(ctx, waiting, func(r *Record) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if reinstatements == (r.Kind == Reinstatement) {
				l.apply(r)
			}
		})
		if err != nil {
			if ctx.Err() == nil {
				l.logger.Error("the revocation store could not be read after the clock stepped back; trying again", "error", err)
				l.freshness.lose(recalled, time.Now(), err)
			}
			return
		}
	}
	l.freshness.regain(recalled, time.Now())
}

// prune forgets what has expired outside of the index. A list with a feed that isn't
// fresh, or whose clock is known to be wrong, leaves that alone: the store is everybody's.
func (l *List) prune(ctx context.Context) {
	if l.lease.over() || l.follower != nil && l.follower.skewed.Load() {
		return
	}
	now := l.clock.seconds()
	l.mu.Lock()
	l.tally.prune(now)
	for id, expires := range l.cancelled {
		if !makeValue(expires, 0).live(now) {
			delete(l.cancelled, id)
		}
	}
	l.mu.Unlock()
	stores := []Store{l.store}
	if l.follower != nil {
		stores = append(stores, l.follower.replica)
	}
	for _, store := range stores {
		if p, ok := store.(Pruner); ok {
			if _, err := p.Prune(ctx, time.Unix(int64(now), 0)); err != nil {
				l.logger.Warn("expired revocations could not be removed from the store; trying again in a minute", "error", err)
			}
		}
	}
}
