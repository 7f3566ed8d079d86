package caddymodule

// This file is the one way by which the list changes: what is counted, traced and told
// about a change is in one place.

import (
	"context"
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
	if err != nil {
		return err
	}
	countRecorded(records[0].Source, len(records))
	run.events.put(revokedEvent(records))
	return nil
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
	reinstatementsTotal.Inc()
	run.events.put(reinstatedEvent(made))
	return made, nil
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
