// How records are laid out in the file: by class of time to live, so that the
// expired ones are together at the front of each class.

package boltstore

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const formatVersion = "1"

// Names in the file. Changing one, or what is behind it, needs a new
// formatVersion.
var (
	metaBucket    = []byte("meta")
	recordsBucket = []byte("records")

	formatKey  = []byte("format")
	idKey      = []byte("id")
	createdKey = []byte("created")
)

// fill is how full pages are made. Keys only grow within a class: a page that
// was split is never inserted into again.
const fill = 0.95

// classes are the times to live at which a record is put into the next class.
//
// Prune removes the expired records at the front of a class and stops at the
// first that isn't. That bounds how long an expired record can stay: those in
// front of it were appended before it, so the last of them expires at most the
// class's longest time to live after it was appended. A record of 2 hours can
// be kept 4 hours too long, never more (on a clock that isn't set back). With
// one class for all, one record of 30 days would keep everything behind it.
//
// Records that are kept for good have the last class to themselves. New classes
// may be added, other names are read as well.
var classes = [...]struct {
	name    string
	longest time.Duration
}{
	{"10m", 10 * time.Minute},
	{"1h", time.Hour},
	{"6h", 6 * time.Hour},
	{"1d", 24 * time.Hour},
	{"7d", 7 * 24 * time.Hour},
	{"30d", 30 * 24 * time.Hour},
	{"90d", 90 * 24 * time.Hour},
	{"1y", 366 * 24 * time.Hour},
	{"longer", 0},
	{"never", 0},
}

// classOf returns the index of the class in which a record is kept that is
// appended now.
func classOf(expires, now time.Time) int {
	if expires.Equal(revocation.Never) {
		return len(classes) - 1
	}
	ttl := expires.Sub(now)
	last := len(classes) - 2
	for i := range last {
		if ttl <= classes[i].longest {
			return i
		}
	}
	return last
}

// eachClass calls f with the bucket of every class there is.
func eachClass(tx *bbolt.Tx, f func(name []byte, class *bbolt.Bucket) error) error {
	records := tx.Bucket(recordsBucket)
	if records == nil {
		return corrupt("it has no bucket %s", recordsBucket)
	}
	return records.ForEach(func(name, value []byte) error {
		if value != nil {
			// One flipped bit makes a bucket a value, and all that is in it invisible.
			return corrupt("class %s is not a bucket", name)
		}
		return f(name, records.Bucket(name))
	})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, encoding []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, encoding)
}

// appendValue appends the value that is stored under key for a record.
func appendValue(b, key []byte, r *revocation.Record) []byte {
	start := len(b)
	b = revocation.AppendRecord(b, r)
	return binary.BigEndian.AppendUint32(b, checksum(key, b[start:]))
}

// decode reads what appendValue made. It keeps nothing of value.
func decode(class string, key, value []byte) (revocation.Record, error) {
	n := len(value) - crc32.Size
	if len(key) != 8 || n < 0 || binary.BigEndian.Uint32(value[n:]) != checksum(key, value[:n]) {
		return revocation.Record{}, corrupt("record %x of class %s has a wrong checksum", key, class)
	}
	r, err := revocation.DecodeRecord(value[:n])
	if err != nil {
		return r, corrupt("record %x of class %s: %w", key, class, err)
	}
	return r, nil
}
