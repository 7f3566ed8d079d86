package revocation

import (
	"context"
	"errors"
	"time"
)

// Feed is a Store that other nodes write to as well, each with a list of its own. What
// they append comes to all of them.
//
// Its records are in one sequence. A Position is a place in it and never empty.
type Feed interface {
	Store

	// Follow calls apply with the records after a position, in the order of the
	// sequence and without a gap, as they are appended, with the position of the last
	// one. It returns when ctx ends, when apply returns an error, which it returns, or
	// when the store fails. The batch is apply's only until it returns. It is empty where
	// the sequence has something that is no record: the position counts all the same.
	//
	// An error that wraps ErrFeedBroken says that the position isn't one of the
	// sequence any more: the store has lost records, was replaced, or was restored. Then
	// everything must be loaded anew.
	Follow(ctx context.Context, from Position, apply func([]Record, Position) error) error

	// Beat tells the store that a node lives and how far it has come, and returns how
	// far the sequence goes: every record that was acknowledged before Beat was called
	// is at or before Head.Position. The error wraps ErrFeedBroken as that of Follow
	// does, for Beat.Applied.
	//
	// The store remembers each node's last beat, as durably as what is appended, until it
	// is told to forget it, whatever its clock does: Head.Nodes has all of them, this one
	// and every one that was acknowledged before Beat was called. A beat and an Append that
	// happen at the same time don't miss each other both ways: the beat's head covers the
	// records, or whoever calls Beat after their Append has returned sees the beat.
	Beat(ctx context.Context, b Beat) (Head, error)

	// Covers reports whether a position is at or behind another one, both of one
	// sequence.
	Covers(applied, head Position) bool
}

// Beat is what a node says about itself. Stores keep it in JSON.
type Beat struct {
	Node    string   `json:"node"`              // its id, a new one for each start
	Number  uint64   `json:"number"`            // of this beat among the node's, from 1 on
	Name    string   `json:"name,omitempty"`    // for people: a host name
	Version string   `json:"version,omitempty"` // of this module
	Applied Position `json:"applied,omitempty"` // what it has applied; empty before it has loaded anything
	Fresh   bool     `json:"fresh,omitempty"`   // it answers, and isn't stale
	Lenient bool     `json:"lenient,omitempty"` // it has routes that accept tokens while it isn't fresh
	Waits   bool     `json:"waits,omitempty"`   // somebody there waits for other nodes: they say at once what they have applied
	Ended   bool     `json:"ended,omitempty"`   // this is its last beat: it accepts nothing any more

	// Forget are nodes to forget, by their id, each only if its last beat has this number.
	// It isn't remembered.
	Forget map[string]uint64 `json:"-"`
}

// Head is where a feed's sequence ends.
type Head struct {
	Position Position
	Time     time.Time    // by the store's clock
	Nodes    []NodeStatus // all that the store remembers, without Forget; Applied is empty if it isn't a place of this sequence
}

// NodeStatus is what a node last said about itself.
type NodeStatus struct {
	Beat
	At time.Time // by the store's clock
}

// ErrFeedBroken is wrapped by errors of a Feed that has lost what came after a position,
// or the position itself.
var ErrFeedBroken = errors.New("the store's sequence of records is not the one that was followed")
