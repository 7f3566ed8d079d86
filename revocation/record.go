package revocation

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Kind says what a record does to the tokens that its selector hits.
type Kind uint8

const (
	// Block rejects every token that matches, until the record expires.
	Block Kind = 1 + iota
	// IssuedBefore rejects the tokens whose iat is at or before the cutoff.
	// A token without iat is rejected.
	IssuedBefore
	// AuthenticatedBefore rejects the tokens whose auth_time, or else iat, is at
	// or before the cutoff. A token without either is rejected.
	AuthenticatedBefore
	// Reinstatement cancels the revocations that it names.
	Reinstatement
)

var kindNames = [...]string{Block: "block", IssuedBefore: "issued_before", AuthenticatedBefore: "authenticated_before", Reinstatement: "reinstatement"}

// String returns the kind's name as it stands in JSON.
func (k Kind) String() string {
	if k.valid() {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

func (k Kind) valid() bool  { return k >= Block && k <= Reinstatement }
func (k Kind) cutoff() bool { return k == IssuedBefore || k == AuthenticatedBefore }

// ID identifies a revocation. All records of one revocation share it.
type ID uuid.UUID

// NewID returns a new ID. IDs sort by the time at which they were made.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads what String returns.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return ID{}, fmt.Errorf("%q is not a revocation id: it has the form of a UUID", s)
	}
	return ID(u), nil
}

// String returns the ID in the form of a UUID.
func (id ID) String() string { return uuid.UUID(id).String() }

// Never is the last moment that an expiry can hold: the year 2106. A record
// that expires then is kept for good.
var Never = time.Unix(math.MaxUint32, 0).UTC()

// Limits of a record.
const (
	MaxReinstates = 1000 // revocations that one reinstatement cancels
	MaxNoteBytes  = 256  // length of Source, Actor and Reason each
)

// Record is one durable line of the revocation list.
type Record struct {
	// ID is the revocation that the record belongs to.
	ID ID
	// Kind says what the record does.
	Kind Kind
	// Selector says which tokens it hits. Empty in a reinstatement. It is kept
	// in clear: subjects are personal data.
	Selector Selector
	// Cutoff is the moment that a cutoff compares with, in whole seconds.
	// Zero in every other kind.
	Cutoff time.Time
	// Reinstates names the revocations that a reinstatement cancels.
	Reinstates []ID
	// Expires is when the record may be forgotten, in whole seconds. At most
	// Never.
	Expires time.Time

	// Source is the way by which the revocation came, such as endpoint.
	Source string
	// Actor is who asked for it, such as client:web-app.
	Actor string
	// Reason is why, in the actor's words.
	Reason string
	// RecordedAt is when, in milliseconds.
	RecordedAt time.Time
}

// ErrInvalidRecord is wrapped by every error about a record's content.
var ErrInvalidRecord = errors.New("invalid record")

// Validate reports what is wrong with the record, or nil. The error wraps
// ErrInvalidRecord, and ErrInvalidSelector where that is the cause.
func (r *Record) Validate() error {
	switch {
	case !r.Kind.valid():
		return fmt.Errorf("%w: %s is unknown", ErrInvalidRecord, r.Kind)
	case r.ID == ID{}:
		return fmt.Errorf("%w: it has no revocation id", ErrInvalidRecord)
	case r.Kind == Reinstatement && r.Expires.IsZero():
		return fmt.Errorf("%w: a reinstatement must say when it expires: not before what it cancels", ErrInvalidRecord)
	case !wholeSeconds(r.Expires):
		return fmt.Errorf("%w: it must expire at a whole second between 1970 and %d", ErrInvalidRecord, Never.Year())
	case r.Kind.cutoff() && !wholeSeconds(r.Cutoff):
		return fmt.Errorf("%w: its cutoff must be a whole second between 1970 and %d", ErrInvalidRecord, Never.Year())
	case !r.Kind.cutoff() && !r.Cutoff.IsZero():
		return fmt.Errorf("%w: a %s has no cutoff", ErrInvalidRecord, r.Kind)
	case !writableYear(r.RecordedAt):
		return fmt.Errorf("%w: it must have been recorded in a year of four digits", ErrInvalidRecord)
	}
	for _, note := range []struct{ name, value string }{{"source", r.Source}, {"actor", r.Actor}, {"reason", r.Reason}} {
		if len(note.value) > MaxNoteBytes {
			return fmt.Errorf("%w: its %s has %d bytes, at most %d are possible", ErrInvalidRecord, note.name, len(note.value), MaxNoteBytes)
		}
		if !utf8.ValidString(note.value) {
			return fmt.Errorf("%w: its %s is not valid UTF-8", ErrInvalidRecord, note.name)
		}
	}
	if r.Kind == Reinstatement {
		return r.validateReinstatement()
	}
	if len(r.Reinstates) > 0 {
		return fmt.Errorf("%w: a %s reinstates nothing", ErrInvalidRecord, r.Kind)
	}
	if err := r.Selector.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidRecord, err)
	}
	return nil
}

func (r *Record) validateReinstatement() error {
	switch {
	case len(r.Reinstates) == 0:
		return fmt.Errorf("%w: a reinstatement names no revocation", ErrInvalidRecord)
	case len(r.Reinstates) > MaxReinstates:
		return fmt.Errorf("%w: a reinstatement names %d revocations, at most %d are possible", ErrInvalidRecord, len(r.Reinstates), MaxReinstates)
	case r.Selector.Issuer != "" || len(r.Selector.Claims) > 0:
		return fmt.Errorf("%w: a reinstatement has no selector", ErrInvalidRecord)
	}
	return nil
}

// writableYear reports whether the time can be written as in RFC 3339, in UTC. One that
// can't would make every export and every page that has the record fail.
func writableYear(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

func wholeSeconds(t time.Time) bool {
	return t.Nanosecond() == 0 && t.Unix() > 0 && !t.After(Never)
}
