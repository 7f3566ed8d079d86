package revocation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The encoding of a record, the same in every store: a version byte, the kind,
// the expiry and cutoff as big-endian 32-bit seconds, the id, recorded_at as a
// varint of milliseconds, the strings of the selector and the notes each behind
// its length, and the ids that a reinstatement cancels.
const codecVersion = 1

// codecFixed is the length of the part before the first varint.
const codecFixed = 1 + 1 + 4 + 4 + 16

var (
	errShortRecord    = errors.New("it ends too early")
	errTrailingRecord = errors.New("bytes follow its end")
)

// AppendRecord appends the record's encoding to b. The record must be valid.
func AppendRecord(b []byte, r *Record) []byte {
	b = append(b, codecVersion, byte(r.Kind))
	b = binary.BigEndian.AppendUint32(b, uint32(r.Expires.Unix()))
	b = binary.BigEndian.AppendUint32(b, cutoffSeconds(r))
	b = append(b, r.ID[:]...)
	b = binary.AppendVarint(b, r.RecordedAt.UnixMilli())
	b = appendString(b, r.Selector.Issuer)
	b = binary.AppendUvarint(b, uint64(len(r.Selector.Claims)))
	for _, c := range r.Selector.Claims {
		b = appendString(b, string(c.Role))
		b = appendString(b, c.Value)
	}
	b = appendString(b, r.Source)
	b = appendString(b, r.Actor)
	b = appendString(b, r.Reason)
	b = binary.AppendUvarint(b, uint64(len(r.Reinstates)))
	for _, id := range r.Reinstates {
		b = append(b, id[:]...)
	}
	return b
}

// cutoffSeconds returns the cutoff in Unix seconds, 0 where there is none.
func cutoffSeconds(r *Record) uint32 {
	if r.Cutoff.IsZero() {
		return 0
	}
	return uint32(r.Cutoff.Unix())
}

// DecodeRecord reads a record from its encoding, all of b. It keeps nothing of
// b. The error wraps ErrInvalidRecord.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	if len(b) < codecFixed {
		return r, fmt.Errorf("%w: %w", ErrInvalidRecord, errShortRecord)
	}
	if b[0] != codecVersion {
		return r, fmt.Errorf("%w: its encoding has version %d, this is version %d", ErrInvalidRecord, b[0], codecVersion)
	}
	r.Kind = Kind(b[1])
	r.Expires = time.Unix(int64(binary.BigEndian.Uint32(b[2:])), 0).UTC()
	if seconds := binary.BigEndian.Uint32(b[6:]); seconds > 0 {
		r.Cutoff = time.Unix(int64(seconds), 0).UTC()
	}
	copy(r.ID[:], b[10:])
	// One string for all parts: a record of a million is one allocation here.
	d := decoder{rest: string(b[codecFixed:])}
	r.RecordedAt = time.UnixMilli(d.varint()).UTC()
	r.Selector.Issuer = d.string()
	if n := d.count(MaxClaims); n > 0 {
		r.Selector.Claims = make([]Claim, n)
		for i := range r.Selector.Claims {
			role := d.string()
			r.Selector.Claims[i] = Claim{Role(role), d.string()}
		}
	}
	r.Source, r.Actor, r.Reason = d.string(), d.string(), d.string()
	if n := d.count(MaxReinstates); n > 0 {
		r.Reinstates = make([]ID, n)
		for i := range r.Reinstates {
			copy(r.Reinstates[i][:], d.bytes(len(ID{})))
		}
	}
	if d.err == nil && d.rest != "" {
		d.err = errTrailingRecord
	}
	if d.err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalidRecord, d.err)
	}
	return r, r.Validate()
}

// decoder takes parts off the front of rest. After the first error it returns
// zero values.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err, d.rest = err, ""
	}
}

func (d *decoder) uvarint() uint64 {
	var v uint64
	for i := range min(len(d.rest), binary.MaxVarintLen64) {
		c := d.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.rest = d.rest[i+1:]
			return v
		}
	}
	d.fail(errShortRecord)
	return 0
}

func (d *decoder) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) count(most int) int {
	n := d.uvarint()
	if n > uint64(most) {
		d.fail(fmt.Errorf("it counts %d parts where at most %d are possible", n, most))
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) string {
	if n > len(d.rest) {
		d.fail(errShortRecord)
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail(errShortRecord)
		return ""
	}
	return d.bytes(int(n))
}
