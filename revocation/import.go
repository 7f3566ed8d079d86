package revocation

// This file takes records that were made elsewhere: an export, another product's
// list, a file that somebody wrote.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// ErrBatchRefused says that nothing was done with the records that were accepted last,
// since others used up what there is room for in the meantime.
var ErrBatchRefused = errors.New("the records that were accepted last are not in force")

// Imported says what became of a record that was imported.
type Imported uint8

const (
	// ImportAccepted: the record is in force, and durable when the import has
	// finished.
	ImportAccepted Imported = 1 + iota
	// ImportMerged: the list has it already, or has cancelled it.
	ImportMerged
	// ImportExpired: nobody accepts what it hits any more.
	ImportExpired
)

// Import is records on their way into a list, in batches. Its methods are called from
// one goroutine.
type Import struct {
	list      *List
	ctx       context.Context
	retention func(Selector) Retention
	note      Note
	known     inventory
	shapes    map[Shape]bool // in batch, which the index doesn't have
	batch     []Record
	undone    []Record // reinstatements
	durable   int
}

// Durable returns how many of the records that were accepted are known to be durable.
func (im *Import) Durable() int { return im.durable }

// Import begins an import. It reads the whole store first, and remembers the ids of
// everything in it: some 100 bytes for each record, until the Import is dropped.
//
// A record without an id has one made of its content, so that it is the same when it
// is imported again; one without an expiry is kept as the retention of its
// selector says; one that
// doesn't say who made it was made by the note's actor.
func (l *List) Import(ctx context.Context, retention func(Selector) Retention, note Note) (*Import, error) {
	im := &Import{list: l, ctx: ctx, retention: retention, note: note, known: inventory{}, shapes: map[Shape]bool{}}
	err := l.scan(ctx, func(r *Record, _ bool) { im.known.add(r) })
	if err != nil {
		return nil, err
	}
	return im, nil
}

// Add takes one record. The error wraps ErrInvalidRecord or ErrTooManyShapes when the
// record is refused: the import can go on. Any other error ends the import; what was
// accepted is in force but not durable if the error wraps ErrNotDurable, and the last
// batch isn't in force at all after any other one.
func (im *Import) Add(r Record) (Imported, error) {
	repeatable := r.Expires.IsZero() // and it would be kept for longer each time
	im.complete(&r)
	if err := r.Validate(); err != nil {
		return 0, err
	}
	if !makeValue(uint32(r.Expires.Unix()), 0).live(im.list.clock.seconds()) {
		return ImportExpired, nil
	}
	known := im.known[identityOf(&r)]
	again := repeatable && known != 0 && known.cutoff() >= cutoffSeconds(&r)
	if again || im.known.covers(&r) || !im.list.live(&r) {
		return ImportMerged, nil
	}
	if r.Kind != Reinstatement && !im.admits(r.Selector.Shape()) {
		return 0, ErrTooManyShapes
	}
	im.known.add(&r)
	if r.Kind == Reinstatement {
		im.undone = append(im.undone, r)
		return ImportAccepted, nil
	}
	if im.batch = append(im.batch, r); len(im.batch) == maxBatch {
		return ImportAccepted, im.flush()
	}
	return ImportAccepted, nil
}

// complete fills in what the record doesn't say.
func (im *Import) complete(r *Record) {
	now := time.Now()
	if r.ID == (ID{}) {
		r.ID = contentID(r)
	}
	if r.Expires.IsZero() {
		switch {
		case r.Kind.cutoff():
			r.Expires = im.retention(r.Selector).Cutoff(r.Cutoff)
		case r.Kind == Block:
			r.Expires = im.retention(r.Selector).Cutoff(now)
		}
	}
	if r.Source == "" {
		r.Source = im.note.Source
	}
	if r.Actor == "" {
		r.Actor = im.note.Actor
	}
	if r.Reason == "" {
		r.Reason = im.note.Reason
	}
	if r.RecordedAt.IsZero() {
		r.RecordedAt = now.Truncate(time.Millisecond).UTC()
	}
}

// contentID makes the id of a record that has none.
func contentID(r *Record) ID {
	content := Record{Kind: r.Kind, Selector: r.Selector, Cutoff: r.Cutoff, Reinstates: r.Reinstates, Source: r.Source, Actor: r.Actor, Reason: r.Reason}
	const version = 8 // RFC 9562 §5.8
	return ID(uuid.NewHash(sha256.New(), uuid.Nil, AppendRecord(nil, &content), version))
}

// admits reports whether the list can have records of the shape.
func (im *Import) admits(s Shape) bool {
	if im.list.index.hasShape(s) {
		return true
	}
	im.shapes[s] = true
	if im.list.index.shapes()+len(im.shapes) > MaxShapes {
		delete(im.shapes, s)
		return false
	}
	return true
}

// flush makes the batch effective and durable.
func (im *Import) flush() error {
	if len(im.batch) == 0 {
		return nil
	}
	err := im.list.withRelatives(func(l *List) error { return l.append(im.ctx, im.batch) })
	if err == nil {
		im.durable += len(im.batch)
	}
	im.batch = im.batch[:0]
	clear(im.shapes)
	if errors.Is(err, ErrTooManyShapes) {
		// Others were faster than the whole batch: that is no record's error.
		err = fmt.Errorf("%w: %v", ErrBatchRefused, err)
	}
	return asNotDurable(err)
}

// Finish makes everything durable that was accepted.
func (im *Import) Finish() error {
	if err := im.flush(); err != nil || len(im.undone) == 0 {
		return err
	}
	err := im.list.withRelatives(func(l *List) error { return l.adopt(im.ctx, im.undone) })
	if err == nil {
		im.durable += len(im.undone)
	}
	return asNotDurable(err)
}

// asNotDurable is what a caller is told of a write that failed.
func asNotDurable(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrListClosed), errors.Is(err, ErrTooManyPending), errors.Is(err, ErrBatchRefused):
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotDurable, err)
}
