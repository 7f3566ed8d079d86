package caddymodule

// This file is the one way by which the list changes: what is counted, traced and told
// about a change is in one place.

import (
	"context"
	"sync"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

// ledger is the list of an app that may not have started yet.
type ledger struct{ app *App }

// Revoke waits for the app and makes the records of one revocation effective, as
// revocation.List.Revoke does.
func (l ledger) Revoke(ctx context.Context, records ...revocation.Record) error {
	run, err := l.app.wait(ctx)
	if err != nil {
		return err
	}
	ctx, end := traceStore(ctx, records...)
	err = run.list.Revoke(ctx, records...)
	end(err)
	return err // that it is durable, tellDurable tells
}

// AwaitNodes waits until no node accepts a token that the records hit, as
// revocation.List.AwaitNodes does.
func (l ledger) AwaitNodes(ctx context.Context, records ...revocation.Record) error {
	run, err := l.app.wait(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	err = run.list.AwaitNodes(ctx, records...)
	observeAwait(time.Since(began), err)
	return err
}

// Reinstate waits for the app and takes revocations back, as revocation.List.Reinstate
// does.
func (l ledger) Reinstate(ctx context.Context, note revocation.Note, ids ...revocation.ID) (revocation.Record, error) {
	run, err := l.app.wait(ctx)
	if err != nil {
		return revocation.Record{}, err
	}
	ctx, end := traceStore(ctx, revocation.Record{Source: note.Source})
	made, err := run.list.Reinstate(ctx, note, ids...)
	end(err)
	if err != nil {
		return made, err
	}
	tellDurable(run.events, []revocation.Record{made})
	return made, nil
}

// tellDurable counts a revocation or a reinstatement that is durable, and tells of it. It
// is a list's OnDurable.
func tellDurable(events *eventQueue, records []revocation.Record) {
	switch first := &records[0]; {
	case !told.first(first.ID):
	case first.Kind == revocation.Reinstatement:
		reinstatementsTotal.Inc()
		events.put(reinstatedEvent(*first))
	default:
		countRecorded(first.Source, len(records))
		events.put(revokedEvent(records))
	}
}

// told are the revocations that were told of last: a client that tries again makes the
// same one durable once more, and so do the lists of two configurations.
var told recently

// rememberedTold is how many of them are remembered before the oldest are forgotten; at
// most twice as many are kept.
const rememberedTold = 1 << 15 // some 2 MiB

// recently are the ids that came last.
type recently struct {
	mu                sync.Mutex
	current, previous map[revocation.ID]struct{}
}

// first reports whether the id didn't come before.
func (r *recently) first(id revocation.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.current[id]
	if _, before := r.previous[id]; known || before {
		return false
	}
	if r.current == nil || len(r.current) >= rememberedTold {
		r.previous, r.current = r.current, map[revocation.ID]struct{}{}
	}
	r.current[id] = struct{}{}
	return true
}

// imported counts records that were imported and are durable. There is no event for
// each of them: they may be millions.
func (l ledger) imported(records int) { countRecorded(sourceImport, records) }

// Live returns how many live records the actor has.
func (l ledger) Live(actor string) int {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.Live(actor)
}

// LiveTotal returns how many live records there are.
func (l ledger) LiveTotal() int {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.LiveTotal()
}

// Now returns the time by which records expire.
func (l ledger) Now() time.Time {
	if !l.app.started() {
		return time.Now()
	}
	return l.app.running.list.Now()
}

// Reinstatements returns a number that changes with every reinstatement.
func (l ledger) Reinstatements() uint64 {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.Reinstatements()
}

// Interface guard
var _ endpoint.List = ledger{}
