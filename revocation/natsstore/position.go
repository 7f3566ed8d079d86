// A place in the log, and how it is told from the same place in another.

package natsstore

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// mark is a message of the log: its number, and the nanosecond in which the server stored
// it. The zero mark is before the first one.
type mark struct {
	seq  uint64
	time int64
}

func (m mark) at() time.Time { return time.Unix(0, m.time).UTC() }

// position is up to where a node has come.
type position struct {
	epoch string // of the streams
	mark  mark
}

// epochOf names two streams by when they were made.
func epochOf(log, nodes time.Time) string {
	return strconv.FormatInt(log.UnixNano(), 36) + "-" + strconv.FormatInt(nodes.UnixNano(), 36)
}

// text writes a position: epoch, number and time stamp, with dots between.
func (p position) text() revocation.Position {
	return revocation.Position(p.epoch + "." + strconv.FormatUint(p.mark.seq, 10) + "." + strconv.FormatInt(p.mark.time, 36))
}

var errNoPosition = errors.New("that isn't a position of this kind of store")

func parsePosition(text revocation.Position) (p position, err error) {
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 || parts[0] == "" {
		return p, errNoPosition
	}
	seq, err1 := strconv.ParseUint(parts[1], 10, 64)
	at, err2 := strconv.ParseInt(parts[2], 36, 64)
	p = position{parts[0], mark{seq, at}}
	if err1 != nil || err2 != nil || (seq == 0) != (at == 0) || p.text() != text {
		return position{}, errNoPosition
	}
	return p, nil
}

// Covers reports whether applied is at or behind head, both of one history as far as the
// two alone can tell: Beat and Follow look at the rest.
func (s *Store) Covers(applied, head revocation.Position) bool {
	a, err := parsePosition(applied)
	if err != nil {
		return false
	}
	h, err := parsePosition(head)
	if err != nil || a.epoch != h.epoch {
		return false
	}
	return a.mark.seq > h.mark.seq || a.mark == h.mark
}
