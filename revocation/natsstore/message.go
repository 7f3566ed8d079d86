// What is in a message of the log.

package natsstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// A message begins with magic, the schema and its kind.
const (
	magic       = "tr"
	prefaceSize = len(magic) + 2
)

// Kinds of messages.
const (
	kindWhole  = 'w' // an Append, as its blocks
	kindPart   = 'p' // some blocks of one
	kindCommit = 'c' // an Append, as the numbers of its parts
	kindHead   = 'h' // nothing: its number matters
)

func preface(kind byte) []byte { return append([]byte(magic), schema, kind) }

var (
	errForeign = errors.New("it wasn't written by this module")
	errNewer   = errors.New("it has another schema")
	errContent = errors.New("its content can't be read")
)

// open returns the kind of a message and what it has.
func open(data []byte) (kind byte, body []byte, err error) {
	switch {
	case len(data) < prefaceSize || string(data[:len(magic)]) != magic:
		return 0, nil, errForeign
	case data[len(magic)] != schema:
		return 0, nil, errNewer
	}
	return data[prefaceSize-1], data[prefaceSize:], nil
}

// piece is a block and its place among those of its Append.
type piece struct {
	ordinal uint64
	payload []byte
}

// appendPiece adds a block to a message.
func appendPiece(to []byte, ordinal int, payload []byte) []byte {
	to = binary.AppendUvarint(to, uint64(ordinal))
	to = binary.AppendUvarint(to, uint64(len(payload)))
	return append(to, payload...)
}

// parsePieces reads the blocks of a message. They refer to body.
func parsePieces(to []piece, body []byte) ([]piece, error) {
	if len(body) == 0 {
		return to, errContent
	}
	for len(body) > 0 {
		ordinal, n := binary.Uvarint(body)
		if n <= 0 {
			return to, errContent
		}
		body = body[n:]
		size, n := binary.Uvarint(body)
		if n <= 0 || size > uint64(len(body)-n) {
			return to, errContent
		}
		end := n + int(size)
		to = append(to, piece{ordinal, body[n:end]})
		body = body[end:]
	}
	return to, nil
}

// decodePieces appends the records of blocks to batch, in the order in which they were
// appended.
func decodePieces(batch []revocation.Record, pieces []piece) ([]revocation.Record, error) {
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(a.ordinal, b.ordinal) })
	for _, p := range pieces {
		var err error
		if batch, err = blocks.Decode(batch, p.payload); err != nil {
			return batch, err
		}
	}
	return batch, nil
}

// partRef is what the last message of an Append says of a part.
type partRef struct {
	seq     uint64
	expires int64 // of the record that does so last, in Unix seconds
}

func appendRef(to []byte, r partRef) []byte {
	to = binary.AppendUvarint(to, r.seq)
	return binary.AppendVarint(to, r.expires)
}

func parseRefs(body []byte) (refs []partRef, err error) {
	if len(body) == 0 {
		return nil, errContent
	}
	for len(body) > 0 {
		var r partRef
		var n int
		if r.seq, n = binary.Uvarint(body); n <= 0 || r.seq == 0 {
			return nil, errContent
		}
		body = body[n:]
		if r.expires, n = binary.Varint(body); n <= 0 {
			return nil, errContent
		}
		body = body[n:]
		refs = append(refs, r)
	}
	return refs, nil
}

// margin is how much longer than the records need the server keeps a message: its clock
// decides, and whoever sets that forward by less than this loses nothing. For how long
// records are needed leaves room for clocks that differ already.
const margin = time.Hour

// timeToLive returns for how long the server keeps a message; 0 is for good.
func (s *Store) timeToLive(expires, now time.Time) time.Duration {
	if expires.Equal(revocation.Never) {
		return 0
	}
	left := max(expires.Sub(now), 0)
	return time.Duration(math.Ceil((left + s.margin).Seconds())) * time.Second
}

// message is one that is to be published.
type message struct {
	payload []byte
	expires time.Time // of the record that does so last
}

// Bounds of a message.
const (
	maxMessage = 64 << 10
	// headroom is what the server counts besides the payload: the headers.
	headroom = 512
)

// mixture is how many times larger a message may be than what in it belongs to the class of
// its records that live longest.
const mixture = 4

// plan puts the blocks of an Append into messages of up to a size: one, or several parts.
func plan(all []blocks.Block, limit int) ([]message, error) {
	total, last := 0, 0
	var byClass [len(blocks.Classes)]int
	for _, b := range all {
		size := len(b.Payload) + 2*binary.MaxVarintLen32
		if prefaceSize+size > limit {
			return nil, refuse("%d bytes of records don't fit into a message: raise the server's max_payload, and max_msg_size of the stream, to 1 MB", len(b.Payload))
		}
		total += size
		byClass[b.Class] += size
		last = max(last, b.Class)
	}
	if prefaceSize+total <= limit && total <= mixture*byClass[last] {
		one := message{payload: preface(kindWhole)}
		for i, b := range all {
			one.add(i, b)
		}
		return []message{one}, nil
	}
	var parts []message
	for class := range byClass {
		current := -1
		for i, b := range all {
			if b.Class != class {
				continue
			}
			if current < 0 || len(parts[current].payload)+len(b.Payload)+2*binary.MaxVarintLen32 > limit {
				parts = append(parts, message{payload: preface(kindPart)})
				current = len(parts) - 1
			}
			parts[current].add(i, b)
		}
	}
	return parts, nil
}

func (m *message) add(ordinal int, b blocks.Block) {
	m.payload = appendPiece(m.payload, ordinal, b.Payload)
	if b.Expires.After(m.expires) {
		m.expires = b.Expires
	}
}

// seal makes the message that names the parts of an Append.
func seal(parts []message, seqs []uint64, limit int) (message, error) {
	m := message{payload: preface(kindCommit)}
	for i, p := range parts {
		m.payload = appendRef(m.payload, partRef{seqs[i], p.expires.Unix()})
		if p.expires.After(m.expires) {
			m.expires = p.expires
		}
	}
	if len(m.payload) > limit {
		return m, refuse("these are too many records for one Append: %w", fmt.Errorf("%d parts", len(parts)))
	}
	return m, nil
}
