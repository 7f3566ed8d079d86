// How statements and what comes back are sent: in the binary forms, which are half as long,
// and without prepared statements, which poolers lose that give each transaction another
// connection.

package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// binary is the form in which all columns are to come.
var binary = []int16{pgtype.BinaryFormatCode}

// statement is one with its arguments, as it is sent.
type statement struct {
	sql     string
	values  [][]byte
	types   []uint32
	formats []int16
}

func newStatement(m *pgtype.Map, sql string, args ...any) (statement, error) {
	s := statement{sql, make([][]byte, len(args)), make([]uint32, len(args)), make([]int16, len(args))}
	for i, arg := range args {
		t, ok := m.TypeForValue(arg)
		if !ok {
			return s, fmt.Errorf("argument %d has no type at the server", 1+i)
		}
		var err error
		if s.values[i], err = m.Encode(t.OID, pgtype.BinaryFormatCode, arg, []byte{}); err != nil {
			return s, err
		}
		s.types[i], s.formats[i] = t.OID, pgtype.BinaryFormatCode
	}
	return s, nil
}

// queryRow sends a statement that has one row, and scans that into fields, but for those
// that are nil.
func queryRow(ctx context.Context, conn *pgx.Conn, fields []any, sql string, args ...any) error {
	m := conn.TypeMap()
	s, err := newStatement(m, sql, args...)
	if err != nil {
		return err
	}
	rows, err := scan(conn.PgConn().ExecParams(ctx, s.sql, s.values, s.types, s.formats, binary), m, fields)
	if err == nil && rows == 0 {
		err = pgx.ErrNoRows
	}
	return err
}

// scan reads all rows of a result into the same fields.
func scan(r *pgconn.ResultReader, m *pgtype.Map, fields []any) (rows int, err error) {
	for r.NextRow() {
		rows++
		columns := r.FieldDescriptions()
		for i, value := range r.Values() {
			if fields[i] == nil || err != nil {
				continue
			}
			err = m.Scan(columns[i].DataTypeOID, columns[i].Format, value, fields[i])
		}
	}
	if _, closed := r.Close(); err == nil {
		err = closed
	}
	return rows, err
}
