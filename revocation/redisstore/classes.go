// What is in an entry, and in which stream it is.

package redisstore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// schema is the version of everything under the prefix. A change of classes, of an
// entry's content or of meta's fields needs a new one.
const schema = "1"

// classes are the times to live up to which a record is in a class. The common ones of
// tokens (an hour, a day, 30 days) have room for the margin that Retention adds.
// Records that are kept for good have the last class to themselves.
var classes = [...]struct {
	name    string
	longest time.Duration
}{
	{"2h", 2 * time.Hour},
	{"2d", 48 * time.Hour},
	{"10d", 10 * 24 * time.Hour},
	{"40d", 40 * 24 * time.Hour},
	{"longer", 0},
	{"never", 0},
}

// classOf returns the index of the class for a record that is appended now.
func classOf(expires, now time.Time) int {
	if expires.Equal(revocation.Never) {
		return len(classes) - 1
	}
	ttl, last := expires.Sub(now), len(classes)-2
	for i := range last {
		if ttl <= classes[i].longest {
			return i
		}
	}
	return last
}

// Bounds of an entry, unless a single record is longer.
const (
	blockRecords = 64
	blockBytes   = 16 << 10
)

// block is the content of an entry: records of one class that follow each other in one
// Append, each as its length and its encoding (revocation.AppendRecord). One entry for
// many records takes a fraction of the memory and time on the server.
type block struct {
	class   int
	payload []byte
}

// blocksOf splits what is appended into entries, and keeps its order.
func blocksOf(records []revocation.Record, now time.Time) []block {
	var blocks []block
	var buf, one []byte
	start, inside := 0, 0
	for i := range records {
		r := &records[i]
		class := classOf(r.Expires, now)
		one = revocation.AppendRecord(one[:0], r)
		last := len(blocks) - 1
		if last < 0 || blocks[last].class != class || inside == blockRecords || len(buf)-start+len(one) > blockBytes {
			blocks = append(blocks, block{class: class})
			last++
			start, inside = len(buf), 0
		}
		buf = binary.AppendUvarint(buf, uint64(len(one)))
		buf = append(buf, one...)
		inside++
		// When buf grows, earlier payloads stay in the old one.
		blocks[last].payload = buf[start:len(buf):len(buf)]
	}
	return blocks
}

var errBadBlock = errors.New("its records have wrong lengths")

// decodeBlock appends an entry's records to batch. It keeps nothing of payload.
func decodeBlock(batch []revocation.Record, payload []byte) ([]revocation.Record, error) {
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
