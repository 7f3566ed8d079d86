// A place in the history of a store, and how it is told from the same place in another.

package redisstore

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// chainLength is how many hex digits of SHA-1 a chain has. It finds accidents; whoever
// may write to the keys can forge everything anyway.
const chainLength = 16

// mark is an entry of one class: its number, and the chain up to it. The zero mark is
// before the first entry.
type mark struct {
	id    uint64
	chain string
}

// next returns the mark of an entry that follows m.
func (m mark) next(id uint64, payload string) mark {
	b := make([]byte, 0, 128)
	b = append(b, m.chain...)
	b = append(b, ':')
	b = strconv.AppendUint(b, id, 10)
	b = append(b, ':')
	b = append(b, payload...)
	sum := sha1.Sum(b)
	return mark{id, hex.EncodeToString(sum[:chainLength/2])}
}

// position is up to where a node has come: everything up to number seq, which is
// everything up to these marks.
type position struct {
	epoch string
	seq   uint64
	marks [classes]mark
}

// text writes a position: epoch, number, and each class's mark, with dots between.
func (p *position) text() revocation.Position {
	var b strings.Builder
	fmt.Fprintf(&b, "%s.%d", p.epoch, p.seq)
	for _, m := range p.marks {
		if m.id == 0 {
			b.WriteString(".0")
		} else {
			fmt.Fprintf(&b, ".%d-%s", m.id, m.chain)
		}
	}
	return revocation.Position(b.String())
}

var errNoPosition = errors.New("that isn't a position of this kind of store")

func parsePosition(text revocation.Position) (position, error) {
	var p position
	parts := strings.Split(string(text), ".")
	if len(parts) != 2+classes || parts[0] == "" {
		return p, errNoPosition
	}
	p.epoch = parts[0]
	var err error
	if p.seq, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return p, errNoPosition
	}
	for i, part := range parts[2:] {
		number, chain, _ := strings.Cut(part, "-")
		m, ok := parseMark(number, chain)
		if !ok || m.id > p.seq {
			return p, errNoPosition
		}
		p.marks[i] = m
	}
	return p, nil
}

// parseMark reads a mark. An empty number is that of the zero mark.
func parseMark(number, chain string) (mark, bool) {
	if number == "" || number == "0" {
		return mark{}, chain == ""
	}
	id, err := strconv.ParseUint(number, 10, 64)
	if err != nil || id == 0 || len(chain) != chainLength {
		return mark{}, false
	}
	return mark{id, chain}, true
}

// Covers reports whether applied is at or behind head, both of one history as far as the
// two alone can tell: Beat and Follow look at the rest.
func (s *Store) Covers(applied, head revocation.Position) bool {
	a, err := parsePosition(applied)
	if err != nil {
		return false
	}
	h, err := parsePosition(head)
	if err != nil || a.epoch != h.epoch || a.seq < h.seq {
		return false
	}
	for i := range a.marks {
		if a.marks[i].id < h.marks[i].id || a.marks[i].id == h.marks[i].id && a.marks[i] != h.marks[i] {
			return false
		}
	}
	return true
}
