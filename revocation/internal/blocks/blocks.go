// Package blocks puts records together for stores whose entries have several, and that
// forget an entry as a whole: records that expire at about the same time belong together.
package blocks

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Classes are the times to live up to which a record is in a class. The common ones of
// tokens (an hour, a day, 30 days) have room for the margin that Retention adds. Records
// that are kept for good have the last class to themselves. What is in a store depends on
// these: a change needs a new version of the store's format.
var Classes = [...]struct {
	Name    string
	Longest time.Duration
}{
	{"2h", 2 * time.Hour},
	{"2d", 48 * time.Hour},
	{"10d", 10 * 24 * time.Hour},
	{"40d", 40 * 24 * time.Hour},
	{"longer", 0},
	{"never", 0},
}

// ClassOf returns the index of the class for a record that is appended now.
func ClassOf(expires, now time.Time) int {
	if expires.Equal(revocation.Never) {
		return len(Classes) - 1
	}
	ttl, last := expires.Sub(now), len(Classes)-2
	for i := range last {
		if ttl <= Classes[i].Longest {
			return i
		}
	}
	return last
}

// Bounds of a block, unless a single record is longer.
const (
	MaxRecords = 64
	MaxBytes   = 16 << 10
)

// Block is records of one class that follow each other, each as its length and its
// encoding (revocation.AppendRecord). One entry for many records takes a fraction of the
// memory and time on a server.
type Block struct {
	Class   int
	Expires time.Time // of the record that does so last
	Payload []byte
}

// Split puts what is appended now into blocks, and keeps its order. The payloads don't
// refer to the records.
func Split(records []revocation.Record, now time.Time) []Block {
	var all []Block
	var buf, one []byte
	start, inside := 0, 0
	for i := range records {
		r := &records[i]
		class := ClassOf(r.Expires, now)
		one = revocation.AppendRecord(one[:0], r)
		last := len(all) - 1
		if last < 0 || all[last].Class != class || inside == MaxRecords || len(buf)-start+len(one) > MaxBytes {
			all = append(all, Block{Class: class})
			last++
			start, inside = len(buf), 0
		}
		buf = binary.AppendUvarint(buf, uint64(len(one)))
		buf = append(buf, one...)
		inside++
		// When buf grows, earlier payloads stay in the old one.
		all[last].Payload = buf[start:len(buf):len(buf)]
		if r.Expires.After(all[last].Expires) {
			all[last].Expires = r.Expires
		}
	}
	return all
}

var errBadBlock = errors.New("its records have wrong lengths")

// Decode appends a block's records to batch. It keeps nothing of payload.
func Decode(batch []revocation.Record, payload []byte) ([]revocation.Record, error) {
	if len(payload) == 0 {
		return batch, errBadBlock
	}
	for len(payload) > 0 {
		n, width := binary.Uvarint(payload)
		if width <= 0 || n > uint64(len(payload)-width) {
			return batch, errBadBlock
		}
		end := width + int(n)
		r, err := revocation.DecodeRecord(payload[width:end])
		if err != nil {
			return batch, err
		}
		batch = append(batch, r)
		payload = payload[end:]
	}
	return batch, nil
}
