package revocation

import (
	"context"
	"errors"
	"time"
)

// Store is where records are durable. A List owns its store: it calls Load
// once, then Append from one goroutine at a time, and Close at the end. Load
// may be called again at any time, concurrently with Append.
//
// A store keeps records; it doesn't interpret them. Merging, cancelling and
// looking up are the List's, and so is the time: a store may hand out a record
// twice or out of order and may keep expired ones for as long as it likes. It
// must not lose a record before it expires, whatever the wall clock does.
//
// An implementation is tested with the suite in storetest.
type Store interface {
	// Append makes the records durable, in order, all of them or none. It
	// returns nil only when they would survive the loss of power.
	//
	// After an error the records may be durable or not, and the List will append
	// them again. An error that wraps ErrStoreFailed says that this can't succeed.
	Append(ctx context.Context, records []Record) error

	// Load calls apply with every record that is in the store and wasn't pruned,
	// expired or not, in batches, until apply returns an error, which Load
	// returns. A record that is appended meanwhile may be among them or not. The
	// batch and its slice are apply's only until it returns; the records'
	// strings may be kept.
	//
	// The position returned is one up to which all records were handed out: a
	// store with a feed continues there without a gap.
	Load(ctx context.Context, apply func([]Record) error) (Position, error)

	// Close releases what the store holds. Append and Load fail afterwards with
	// an error that wraps ErrStoreClosed.
	Close() error
}

// Position is a place in a store's sequence of records. Only the store that
// made it can read it.
type Position string

// Pruner is a Store that removes expired records when it is told to. One that
// isn't a Pruner expires them by itself or keeps them.
type Pruner interface {
	// Prune removes records that expired before the given time and returns how
	// many. It may leave some for a later call, and returns early with nil when
	// ctx ends.
	Prune(ctx context.Context, before time.Time) (removed int, err error)
}

// Errors that a Store wraps.
var (
	// ErrStoreClosed is returned by a store that was closed.
	ErrStoreClosed = errors.New("the revocation store is closed")

	// ErrStoreFailed is returned when the store can accept nothing more until
	// it is opened anew, since what it holds is no longer certain: an fsync
	// failed, say.
	ErrStoreFailed = errors.New("the revocation store has failed and must be opened anew")

	// ErrStoreInUse is returned on opening a store that another process has
	// open.
	ErrStoreInUse = errors.New("the revocation store is in use by another process")

	// ErrStoreCorrupt is returned on opening or loading a store whose content
	// can't be read.
	ErrStoreCorrupt = errors.New("the revocation store is corrupt")

	// ErrStoreVersion is returned on opening a store that was written in a
	// format which this version doesn't know.
	ErrStoreVersion = errors.New("the revocation store has an unknown format version")

	// ErrStoreReadOnly is returned when the store can't be written to.
	ErrStoreReadOnly = errors.New("the revocation store is read-only")

	// ErrStoreFull is returned when there is no room for the records. They can
	// be appended once there is.
	ErrStoreFull = errors.New("the revocation store has no room left")
)
