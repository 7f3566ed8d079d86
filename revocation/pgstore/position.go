// A place in the history of a store, and how it is told from the same place in another.

package pgstore

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// mark is a record's number and the tag of the Append that added it. The zero mark is
// before the first one.
type mark struct{ number, tag int64 }

// position is up to where a node has come, in which history.
type position struct {
	history string // of historyParts parts with dots between
	mark    mark
}

// historyParts are the epoch, the server's system identifier, and its timeline.
const historyParts = 3

func (p position) text() revocation.Position {
	return revocation.Position(fmt.Sprintf("%s.%d.%016x", p.history, p.mark.number, uint64(p.mark.tag)))
}

var errNoPosition = errors.New("that isn't a position of this kind of store")

func parsePosition(text revocation.Position) (p position, err error) {
	parts := strings.Split(string(text), ".")
	if len(parts) != historyParts+2 {
		return p, errNoPosition
	}
	for _, part := range parts[:historyParts] {
		if part == "" {
			return p, errNoPosition
		}
	}
	number, err1 := strconv.ParseUint(parts[historyParts], 10, 63)
	tag, err2 := strconv.ParseUint(parts[historyParts+1], 16, 64)
	p = position{strings.Join(parts[:historyParts], "."), mark{int64(number), int64(tag)}}
	if err1 != nil || err2 != nil || p.mark.number == 0 && p.mark.tag != 0 || p.text() != text {
		return position{}, errNoPosition
	}
	return p, nil
}

// Number returns the number in a position. No more records came up to there.
func Number(text revocation.Position) (uint64, bool) {
	p, err := parsePosition(text)
	return uint64(p.mark.number), err == nil
}

// Covers reports whether applied is at or behind head, both of one history as far as the
// two alone can tell: Beat and Follow look at the rest.
func (s *Store) Covers(applied, head revocation.Position) bool {
	a, err := parsePosition(applied)
	if err != nil {
		return false
	}
	h, err := parsePosition(head)
	return err == nil && a.covers(h)
}

func (p position) covers(head position) bool {
	return p.history == head.history && (p.mark.number > head.mark.number || p.mark == head.mark)
}
