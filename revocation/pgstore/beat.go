// What nodes tell each other: that they live, and how far they have come.

package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

var errNoNode = errors.New("the beat names no node")

// Beat notes what a node says, as durably as Append adds records, and reads where the store
// ends.
//
// These are two transactions that are sent together. In a single one a node could miss
// what was appended while it was under way and be missed itself by whoever appended it and
// then asked for the nodes: its row is seen by nobody before what it reads is settled.
func (s *Store) Beat(ctx context.Context, b revocation.Beat) (revocation.Head, error) {
	var none revocation.Head
	if b.Node == "" {
		return none, errNoNode
	}
	var applied position
	if b.Applied != "" {
		var err error
		if applied, err = parsePosition(b.Applied); err != nil {
			return none, s.explain(ctx, broken("%w", err))
		}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return none, err
	}
	ids, numbers := []string{}, []string{}
	for id, number := range b.Forget {
		ids = append(ids, id)
		numbers = append(numbers, strconv.FormatUint(number, 10))
	}
	a, err := call(ctx, s, func(ctx context.Context, conn *pgx.Conn) (a answer, err error) {
		if err := s.inspectAgain(ctx, conn); err != nil {
			return a, err
		}
		note, err := newStatement(conn.TypeMap(), s.sql.note, b.Node, strconv.FormatUint(b.Number, 10), string(text), ids, numbers)
		if err != nil {
			return a, err
		}
		head, err := newStatement(conn.TypeMap(), s.sql.head, applied.mark.number)
		if err != nil {
			return a, err
		}
		if err := a.ask(ctx, conn, note, head); err != nil {
			return a, err
		}
		if err := errors.Join(checkVersion(s, a.cutAt.version), s.judge(a.settings), copied(conn)); err != nil {
			return a, err
		}
		if b.Applied != "" {
			err = a.verify(&applied)
		}
		return a, err
	})
	if err != nil {
		return none, err
	}
	return revocation.Head{Position: a.head().text(), Time: a.time.UTC(), Nodes: a.nodes()}, nil
}

// answer is what readHead returns.
type answer struct {
	cutAt
	time               time.Time
	ids, numbers, said []string
	times              []pgtype.Timestamptz
	tags               []int64 // of what stands at their positions; 0: nothing
	settings
}

// ask sends both statements in one go.
func (a *answer) ask(ctx context.Context, conn *pgx.Conn, note, head statement) error {
	p := conn.PgConn().StartPipeline(ctx)
	p.SendQueryParams(note.sql, note.values, note.types, note.formats, nil)
	p.SendPipelineSync() // the end of a transaction
	p.SendQueryParams(head.sql, head.values, head.types, head.formats, binary)
	err := p.Sync()
	if err == nil {
		err = a.receive(p, conn.TypeMap())
	}
	return errors.Join(err, p.Close())
}

// receive reads what comes back: of the first statement that it is done, of the second one
// a row.
func (a *answer) receive(p *pgconn.Pipeline, m *pgtype.Map) error {
	rows := 0
	fields := append(a.fields(), &a.time, &a.ids, &a.numbers, &a.times, &a.said, &a.tags, &a.fsync, &a.commit)
	for {
		results, err := p.GetResults()
		if err != nil {
			return err
		}
		switch r := results.(type) {
		case nil:
			if rows == 0 {
				return errNoTables
			}
			return nil
		case *pgconn.ResultReader:
			n, err := scan(r, m, fields)
			if err != nil {
				return err
			}
			rows += n
		}
	}
}

// nodes returns what the nodes said. The position of one that isn't in this history is left
// empty: a server that was set back has given its number to another record. What isn't a beat
// is left out.
func (a *answer) nodes() (nodes []revocation.NodeStatus) {
	head := a.head()
	for i, id := range a.ids {
		number, err := strconv.ParseUint(a.numbers[i], 10, 64)
		var b revocation.Beat
		if err != nil || json.Unmarshal([]byte(a.said[i]), &b) != nil || a.times[i].InfinityModifier != pgtype.Finite {
			continue
		}
		b.Node, b.Number = id, number
		there := a.cutAt
		there.tag = a.tags[i]
		if at, err := parsePosition(b.Applied); err != nil || !head.covers(at) || there.verify(&at) != nil {
			b.Applied = ""
		}
		nodes = append(nodes, revocation.NodeStatus{Beat: b, At: a.times[i].Time.UTC()})
	}
	return nodes
}
