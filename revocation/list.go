package revocation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a List.
var (
	// ErrNotDurable says that a revocation is enforced on this node but isn't
	// durable: the store failed or didn't answer in time. The list keeps trying.
	// Nobody may be told that the revocation succeeded.
	ErrNotDurable = errors.New("the revocation is enforced here but is not durable yet")

	// ErrListClosed says that the list was closed and took nothing.
	ErrListClosed = errors.New("the revocation list is closed")

	// ErrTooManyShapes says that a selector's combination of roles would be one
	// too many for the list.
	ErrTooManyShapes = fmt.Errorf("records of %d different combinations of claims exist, more are not possible", MaxShapes)

	// ErrTooManyPending says that so many records wait for a store that fails
	// that the list takes no more. Nothing was done.
	ErrTooManyPending = errors.New("too many revocations wait for the store")

	// ErrUnknownRevocation says that no live record has the revocation id.
	ErrUnknownRevocation = errors.New("no such revocation")
)

// Options of a List. The zero value has the defaults.
type Options struct {
	// Logger receives what an operator should know. Default: none.
	Logger *slog.Logger

	// CommitTimeout is how long Revoke waits for the store. Default: 5 s.
	CommitTimeout time.Duration

	// MaxPending is how many records may wait for a store that fails, at some 300
	// bytes each. Default: 1,000,000.
	MaxPending int

	// OnAppend is told of every attempt to write to the store: how many records it
	// had, how long it took, and how it ended. It must not block. Default: none.
	OnAppend func(records int, took time.Duration, err error)

	// OnDurable is told of the records of a revocation, or of a reinstatement, when they
	// have become durable, also when that is long after Revoke or Reinstate has returned
	// ErrNotDurable. Of a revocation it is told before Revoke returns, of a reinstatement
	// only when Reinstate has returned ErrNotDurable. It is told again when the same
	// records are made durable again, or by another list that this one hands over to.
	// What is imported isn't told. It must neither block nor change the list. Default:
	// none.
	OnDurable func(records []Record)

	// OnFreshness is told when the list's freshness changes, one change at a time.
	// It must neither block nor ask the list. Default: none.
	OnFreshness func(Freshness)

	// Replica is where a list whose store is a Feed keeps what it knows, so that it
	// enforces that at once at its next start. The list owns it. Default: it is kept in
	// memory.
	Replica Store

	// MaxStaleness is how old the view of a list whose store is a Feed may be. Default:
	// DefaultMaxStaleness.
	MaxStaleness time.Duration

	// NodeName and Version are what other nodes see of this one.
	NodeName, Version string

	// Streams are the open exchanges that end when a record hits one of their tokens:
	// from Open on, and those that records hit already when EndStreams is called.
	// Default: none.
	Streams *Streams
}

const (
	defaultCommitTimeout = 5 * time.Second
	defaultMaxPending    = 1_000_000
)

// List is the revocation list of a node: a store where records are durable, an
// index where they are enforced, and what keeps the two together. Revoke puts a
// record into the index first and then into the store; when the store fails,
// the record stays enforced and pending until the store has it.
//
// All methods may be called concurrently.
type List struct {
	store    Store
	index    *Index
	clock    *clock
	logger   *slog.Logger
	timeout  time.Duration
	onAppend func(records int, took time.Duration, err error)
	durable  func(records []Record) // Options.OnDurable
	streams  *Streams               // nil while the list is loaded

	mu        sync.Mutex
	queue     *queue          // records that are enforced but not durable
	cancelled map[ID]uint32   // reinstated revocations and until when
	watched   map[place]value // keys that are being recomputed, see reinstate.go
	tally     *tally
	closed    bool

	health     StoreHealth
	complained time.Time // when the log was last told that the store fails

	freshness freshness
	lease     *lease
	follower  *follower // nil unless the store is a Feed

	reinstating   sync.Mutex    // held by one reinstatement at a time
	reinstatement atomic.Uint64 // how many there were

	successor    atomic.Pointer[List] // see handoff.go
	predecessors predecessors

	stop    context.CancelFunc // ends the list's goroutines
	running sync.WaitGroup
}

// Open loads the store's records into a new list. The list owns the store from
// then on, also when Open fails: it is closed with the list.
func Open(ctx context.Context, store Store, opts Options) (*List, error) {
	l := &List{
		store:     store,
		clock:     newClock(time.Now()),
		logger:    opts.Logger,
		timeout:   opts.CommitTimeout,
		onAppend:  opts.OnAppend,
		durable:   opts.OnDurable,
		freshness: freshness{changed: opts.OnFreshness},
		cancelled: map[ID]uint32{},
		watched:   map[place]value{},
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.timeout == 0 {
		l.timeout = defaultCommitTimeout
	}
	if opts.MaxPending == 0 {
		opts.MaxPending = defaultMaxPending
	}
	if l.onAppend == nil {
		l.onAppend = func(int, time.Duration, error) {}
	}
	if l.durable == nil {
		l.durable = func([]Record) {}
	}
	l.queue = newQueue(opts.MaxPending)
	l.lease = newLease(cmp.Or(opts.MaxStaleness, DefaultMaxStaleness), time.Now())
	l.lease.until.Store(endless)
	if feed, ok := store.(Feed); ok {
		if opts.Replica == nil {
			opts.Replica = new(volatile)
		}
		l.follower = newFollower(feed, opts, l.logger)
		l.lease.until.Store(0)
		l.freshness.lose(lapsed, time.Now(), errNoAnswer)
	}
	if err := l.load(ctx); err != nil {
		return nil, errors.Join(err, l.closeStores())
	}
	l.streams = opts.Streams
	background, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.write(background) })
	l.running.Go(func() { l.keepHouse(background) })
	if l.follower != nil {
		l.running.Go(func() { l.follow(background) })
		l.running.Go(func() { l.adopting(background) })
		l.running.Go(func() { l.giveBack(background) })
		l.running.Go(func() { l.beat(background) })
	}
	return l, nil
}

// load fills the index. A reinstatement may stand behind the records that it
// cancels, so where there is one the records are read a second time, with
// everything that was cancelled known.
func (l *List) load(ctx context.Context) error {
	for {
		known := len(l.cancelled)
		l.index, l.tally = newIndex(), newTally()
		_, err := l.local().Load(ctx, func(records []Record) error {
			for i := range records {
				l.apply(&records[i])
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("loading the revocation store: %w", err)
		}
		if len(l.cancelled) == known {
			return nil
		}
	}
}

// local is the store that the node has at hand: it knows what the list knows.
func (l *List) local() Store {
	if l.follower != nil {
		return l.follower.replica
	}
	return l.store
}

func (l *List) closeStores() error {
	err := l.store.Close()
	if l.follower != nil {
		err = errors.Join(err, l.follower.replica.Close())
	}
	return err
}

// apply makes a record effective: it goes into the index, and open exchanges that it
// hits are ended. The caller holds the lock, or is the only one that knows the list.
func (l *List) apply(r *Record) {
	if e, ok := l.put(r); ok {
		l.count(r)
		l.streams.hit(e)
	}
}

// count counts a record as one of its actor's. The caller holds the lock.
func (l *List) count(r *Record) { l.tally.add(r.Actor, uint32(r.Expires.Unix())) }

// put puts a record into the index, unless it is cancelled or has expired. A
// reinstatement is only noted here: Reinstate undoes what it cancels. The
// caller holds the lock, or is the only one that knows the list.
func (l *List) put(r *Record) (e entry, ok bool) {
	now, expires := l.clock.seconds(), uint32(r.Expires.Unix())
	if !makeValue(expires, 0).live(now) {
		return e, false
	}
	if r.Kind == Reinstatement {
		for _, id := range r.Reinstates {
			l.cancelled[id] = max(l.cancelled[id], expires)
		}
		return e, false
	}
	if _, cancelled := l.cancelled[r.ID]; cancelled {
		return e, false
	}
	e = l.index.entry(r)
	e.merge(now)
	if v, watched := l.watched[e.place()]; watched {
		l.watched[e.place()] = v.merge(e.value)
	}
	return e, true
}

// Revoke makes the records of one revocation effective, blocks and cutoffs with
// one ID. They are enforced on this node before anything else happens; nil is
// returned when they are durable as well. From then on, and across a restart,
// no Check lets a token pass that they hit.
//
// An error that wraps ErrNotDurable means that they are enforced but may not
// survive a restart; the list goes on trying. The same records may be given
// again then. After ErrInvalidRecord, ErrTooManyShapes, ErrTooManyPending and
// ErrListClosed nothing was done. When ctx ends, Revoke returns, the records are
// written all the same.
func (l *List) Revoke(ctx context.Context, records ...Record) error {
	if err := validateRevocation(records); err != nil {
		return err
	}
	return l.withRelatives(func(l *List) error { return l.commit(ctx, records) })
}

func validateRevocation(records []Record) error {
	if len(records) == 0 {
		return fmt.Errorf("%w: a revocation has at least one", ErrInvalidRecord)
	}
	for i := range records {
		r := &records[i]
		if err := r.Validate(); err != nil {
			return err
		}
		if r.ID != records[0].ID {
			return fmt.Errorf("%w: the records of one revocation share their id", ErrInvalidRecord)
		}
		if r.Kind == Reinstatement {
			return fmt.Errorf("%w: a reinstatement is not a revocation", ErrInvalidRecord)
		}
	}
	return nil
}

// commit enforces the records and waits until they are durable.
func (l *List) commit(ctx context.Context, records []Record) error {
	done, err := l.enforce(records, true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotDurable, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: the store has not answered: %w", ErrNotDurable, ctx.Err())
	}
}

// enforce puts the records into the index and into the queue for the store. It
// returns where the outcome of writing them will be told. OnDurable is told as well if it
// should be.
func (l *List) enforce(records []Record, tell bool) (<-chan error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrListClosed
	}
	if !l.queue.hasRoom(records) {
		return nil, ErrTooManyPending
	}
	if err := l.admitShapes(records); err != nil {
		return nil, err
	}
	if l.queue.repeated(records) == nil {
		for i := range records {
			l.apply(&records[i])
		}
	}
	return l.queue.add(records, tell), nil
}

// admitShapes refuses records that would bring the list to more than MaxShapes
// shapes, each of which is one more look-up for every token.
func (l *List) admitShapes(records []Record) error {
	fresh := map[Shape]bool{}
	for i := range records {
		if r := &records[i]; r.Kind != Reinstatement && !l.index.hasShape(r.Selector.Shape()) {
			fresh[r.Selector.Shape()] = true
		}
	}
	if len(fresh) > 0 && l.index.shapes()+len(fresh) > MaxShapes {
		return ErrTooManyShapes
	}
	return nil
}

// Live returns how many live records the actor has.
func (l *List) Live(actor string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally.live(actor)
}

// LiveTotal returns how many keys the index holds.
func (l *List) LiveTotal() int { return l.index.len() }

// Now returns the time by which the list lets records expire. It doesn't run
// ahead when the wall clock suddenly does.
func (l *List) Now() time.Time { return time.Unix(int64(l.clock.seconds()), 0) }

// Reinstatements returns a number that changes with every reinstatement. Who
// remembers that something was revoked must forget it when this changes.
func (l *List) Reinstatements() uint64 { return l.reinstatement.Load() }

// Close writes what is pending, as far as the store takes it, and closes the
// store. Checks go on with what the list knew.
func (l *List) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	l.stop()
	l.running.Wait()
	l.release()
	if n := l.Stats().Pending; n > 0 {
		if l.forgets() {
			l.logger.Error("revocations were never durable and are lost with this process unless another list took them over", "records", n)
		} else {
			l.logger.Warn("revocations are not in the revocation store; it is given them at the next start", "records", n)
		}
	}
	return l.closeStores()
}
