// What nodes tell each other: that they live, and how far they have come.

package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// said is a node's beat as it stands in its row, besides its number and when it came.
type said struct {
	Name    string              `json:"name,omitempty"`
	Version string              `json:"version,omitempty"`
	Applied revocation.Position `json:"applied,omitempty"`
	Fresh   bool                `json:"fresh,omitempty"`
	Lenient bool                `json:"lenient,omitempty"`
	Waits   bool                `json:"waits,omitempty"`
	Ended   bool                `json:"ended,omitempty"`
}

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
	text, err := json.Marshal(said{b.Name, b.Version, b.Applied, b.Fresh, b.Lenient, b.Waits, b.Ended})
	if err != nil {
		return none, err
	}
	note := []any{b.Node, strconv.FormatUint(b.Number, 10), string(text), []string{}, []string{}}
	for id, number := range b.Forget {
		note[3] = append(note[3].([]string), id)
		note[4] = append(note[4].([]string), strconv.FormatUint(number, 10))
	}
	a, err := call(ctx, s, func(ctx context.Context, conn *pgx.Conn) (a answer, err error) {
		if err := s.inspectAgain(ctx, conn); err != nil {
			return a, err
		}
		if err := a.ask(ctx, conn, s.sql.note, note, s.sql.head, []any{applied.mark.number}); err != nil {
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
func (a *answer) ask(ctx context.Context, conn *pgx.Conn, note string, noteArgs []any, head string, headArgs []any) error {
	m := conn.TypeMap()
	p := conn.PgConn().StartPipeline(ctx)
	err := send(p, m, note, noteArgs)
	if err == nil {
		p.SendPipelineSync()
		err = send(p, m, head, headArgs)
	}
	if err == nil {
		err = p.Sync()
	}
	if err == nil {
		err = a.receive(p, m)
	}
	return errors.Join(err, p.Close())
}

// send has a statement follow in a pipeline, its arguments as text.
func send(p *pgconn.Pipeline, m *pgtype.Map, sql string, args []any) error {
	values := make([][]byte, len(args))
	for i, arg := range args {
		t, ok := m.TypeForValue(arg)
		if !ok {
			return fmt.Errorf("argument %d has no type at the server", 1+i)
		}
		var err error
		if values[i], err = m.Encode(t.OID, pgtype.TextFormatCode, arg, []byte{}); err != nil {
			return err
		}
	}
	p.SendQueryParams(sql, values, nil, nil, nil)
	return nil
}

// receive reads what comes back: of the first statement that it is done, of the second one
// a row.
func (a *answer) receive(p *pgconn.Pipeline, m *pgtype.Map) error {
	rows := 0
	fields := append(a.fields(), &a.time, &a.ids, &a.numbers, &a.times, &a.said, &a.tags, &a.fsync, &a.commit)
	for statement := 0; ; {
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
		case *pgconn.PipelineSync:
			statement++
		case *pgconn.ResultReader:
			for r.NextRow() {
				rows++
				for i, value := range r.Values() {
					if err := m.Scan(r.FieldDescriptions()[i].DataTypeOID, r.FieldDescriptions()[i].Format, value, fields[i]); err != nil {
						return err
					}
				}
			}
			if _, err := r.Close(); err != nil {
				return err
			}
			if statement == 1 && rows == 0 {
				return errNoTables
			}
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
		var what said
		if err != nil || json.Unmarshal([]byte(a.said[i]), &what) != nil || a.times[i].InfinityModifier != pgtype.Finite {
			continue
		}
		there := a.cutAt
		there.tag = a.tags[i]
		if at, err := parsePosition(what.Applied); err != nil || !head.covers(at) || there.verify(&at) != nil {
			what.Applied = ""
		}
		nodes = append(nodes, revocation.NodeStatus{
			Beat: revocation.Beat{
				Node:    id,
				Number:  number,
				Name:    what.Name,
				Version: what.Version,
				Applied: what.Applied,
				Fresh:   what.Fresh,
				Lenient: what.Lenient,
				Waits:   what.Waits,
				Ended:   what.Ended,
			},
			At: a.times[i].Time.UTC(),
		})
	}
	return nodes
}
