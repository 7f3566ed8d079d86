// What the store holds at one moment: how Load, Follow and Beat read it.

package redisstore

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// pageEntries is how many entries of each class are read at a time.
const pageEntries = 512

// cut is the end of a store at one moment, and what follows a position.
type cut struct {
	epoch   string
	seq     uint64
	heads   [classes]mark   // the last entries
	bases   [classes]mark   // the last that were trimmed
	at      [classes]string // the chains of the entries at the position
	entries [classes][]stored
}

// stored is an entry as it stands in a stream.
type stored struct {
	id             uint64
	payload, chain string
	ok             bool // it has the form of one
}

// entry is one whose chain follows.
type entry struct {
	class   int
	mark    mark
	payload string
}

// read takes a cut behind a position, with up to count entries of each class. It is a
// script since a server whose memory is full refuses transactions, even those that only
// read.
func (s *Store) read(ctx context.Context, conn *redis.Conn, from *position, count int) (cut, error) {
	args := make([]any, 0, 2+classes)
	args = append(args, newEpoch(), count)
	for _, m := range from.marks {
		args = append(args, strconv.FormatUint(m.id, 10))
	}
	reply, err := readScript.Run(ctx, conn, s.keys.all, args...).Slice()
	if err != nil {
		return cut{}, err
	}
	if len(reply) != 1+2*classes {
		return cut{}, refuse("%w", errBadReply)
	}
	fields, _ := reply[0].([]any)
	meta := map[string]string{}
	for ; len(fields) >= 2; fields = fields[2:] {
		name, _ := fields[0].(string)
		meta[name], _ = fields[1].(string)
	}
	c, err := s.parseMeta(meta)
	if err != nil {
		return cut{}, err
	}
	for i := range classes {
		c.at[i], _ = reply[1+2*i].(string)
		entries, _ := reply[2+2*i].([]any)
		c.entries[i] = make([]stored, len(entries))
		for j, e := range entries {
			c.entries[i][j] = parseStored(e)
		}
	}
	return c, nil
}

var errBadReply = errors.New("a script's reply has another form than it must have: put no proxy between that changes replies")

// parseStored reads an entry from a script's reply.
func parseStored(reply any) stored {
	pair, _ := reply.([]any)
	if len(pair) != 2 {
		return stored{}
	}
	id, _ := pair[0].(string)
	fields, _ := pair[1].([]any)
	e := stored{ok: len(fields) == 4 && fields[0] == "v" && fields[2] == "c"}
	if e.ok {
		e.payload, _ = fields[1].(string)
		e.chain, _ = fields[3].(string)
	}
	e.setID(id)
	return e
}

// parseMessage reads an entry from the reply to a command.
func parseMessage(m *redis.XMessage) stored {
	var e stored
	var hasPayload, hasChain bool
	e.payload, hasPayload = m.Values["v"].(string)
	e.chain, hasChain = m.Values["c"].(string)
	e.ok = hasPayload && hasChain && len(m.Values) == 2
	e.setID(m.ID)
	return e
}

func (e *stored) setID(text string) {
	number, sub, _ := strings.Cut(text, "-")
	id, err := strconv.ParseUint(number, 10, 64)
	e.id, e.ok = id, e.ok && err == nil && sub == "0"
}

func (s *Store) parseMeta(meta map[string]string) (cut, error) {
	c := cut{epoch: meta["epoch"]}
	if meta["schema"] != schema {
		known := meta["schema"]
		if known == "" {
			known = "none"
		}
		return c, refuse("%w", s.explainReply(proto(replySchema+" "+known)))
	}
	seq, err := strconv.ParseUint(meta["seq"], 10, 64)
	ok := err == nil && c.epoch != "" && !strings.Contains(c.epoch, ".")
	c.seq = seq
	for i := range classes {
		n := strconv.Itoa(1 + i)
		var headOK, baseOK bool
		c.heads[i], headOK = parseMark(meta["id."+n], meta["chain."+n])
		c.bases[i], baseOK = parseMark(meta["base."+n], meta["basechain."+n])
		ok = ok && headOK && baseOK && c.heads[i].id <= c.seq && c.bases[i].id <= c.heads[i].id
	}
	if !ok {
		return c, refuse("%w: %s has fields that don't fit: delete all keys of this prefix, and the nodes that run write what they know again", revocation.ErrStoreCorrupt, s.keys.meta)
	}
	return c, nil
}

// proto is a reply that the server didn't make.
type proto string

func (p proto) Error() string { return string(p) }

// verify reports whether a position is in the history that the cut is of. What comes after
// it must be there as well: where the store was trimmed beyond it, it isn't.
func (c *cut) verify(p *position) error {
	if p.epoch != c.epoch {
		return broken("it was emptied or replaced")
	}
	for i, m := range p.marks {
		head := c.heads[i]
		switch {
		case m == head || m == c.bases[i]:
		case m.id > head.id:
			return broken("it ends at entry %d of class %s, which was followed to %d: it has lost records", head.id, blocks.Classes[i].Name, m.id)
		case m.id > 0 && c.at[i] == m.chain:
		case m.id < c.bases[i].id:
			return broken("class %s was trimmed to entry %d, and was followed only to %d", blocks.Classes[i].Name, c.bases[i].id, m.id)
		default:
			return broken("entry %d of class %s is another than the one that was followed", m.id, blocks.Classes[i].Name)
		}
	}
	return nil
}

// after returns the entries of the cut that follow p, in the order of their numbers, and
// moves p to the last one. more reports that there are more, foreign that somebody else
// has added entries.
func (s *Store) after(c *cut, p *position) (found []entry, more, foreign bool, err error) {
	var lists [classes][]entry
	var whole [classes]bool
	for i := range classes {
		m := p.marks[i]
		for _, e := range c.entries[i] {
			if e.id > c.heads[i].id || !e.ok && m.id == c.heads[i].id {
				foreign = true
				break
			}
			next := m.next(e.id, e.payload)
			if !e.ok || next.chain != e.chain {
				return nil, false, foreign, s.corrupt(i, e.id, "it doesn't follow the entry before it, "+strconv.FormatUint(m.id, 10)+"-0")
			}
			m = next
			lists[i] = append(lists[i], entry{i, m, e.payload})
		}
		whole[i] = m == c.heads[i]
		if !whole[i] && len(c.entries[i]) < pageEntries {
			return nil, false, foreign, s.corrupt(i, c.heads[i].id, "it is missing, or one before it is")
		}
	}
	for {
		least := -1
		for i, list := range lists {
			if len(list) == 0 {
				if !whole[i] {
					// What comes next may be in the rest of this class.
					return found, true, foreign, nil
				}
				continue
			}
			if least < 0 || list[0].mark.id < lists[least][0].mark.id {
				least = i
			}
		}
		if least < 0 {
			p.seq = c.seq
			return found, false, foreign, nil
		}
		e := lists[least][0]
		lists[least] = lists[least][1:]
		found = append(found, e)
		p.marks[least], p.seq = e.mark, e.mark.id
	}
}

// decode appends the records of entries to batch.
func (s *Store) decode(batch []revocation.Record, entries []entry) ([]revocation.Record, error) {
	for i := range entries {
		e := &entries[i]
		var err error
		if batch, err = blocks.Decode(batch, []byte(e.payload)); err != nil {
			return batch, s.corrupt(e.class, e.mark.id, err)
		}
	}
	return batch, nil
}
