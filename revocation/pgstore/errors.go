// What the server refused, in words that say what to do.

package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// refusals are the server's errors by their SQLSTATE, or by how that begins.
var refusals = []struct {
	code   string
	kind   error // of the revocation package, nil where none fits
	remedy string
}{
	{"28P01", nil, "the user name or the password is wrong"},
	{"28000", nil, "the server doesn't let this user in from here: see its pg_hba.conf, which may also want TLS"},
	{"3D000", nil, "create the database, or name another one"},
	{"42501", nil, "the role lacks a right: " + rights},
	{"25006", revocation.ErrStoreReadOnly, "it can't be written to: name the primary, and see default_transaction_read_only"},
	{"55000", revocation.ErrStoreReadOnly, "it is a standby: name the primary, or all servers, of which the one is used that can be written to"},
	{"53100", revocation.ErrStoreFull, "make room on its disk"},
	{"53200", nil, "it is out of memory: see its log"},
	{"53300", nil, "it has too many connections: raise its max_connections or the role's CONNECTION LIMIT, or lower max_connections of this store"},
	{"53", revocation.ErrStoreFull, "it has reached a limit: see its log"},
	{"54000", nil, "its queue of notifications is full: see pg_notification_queue_usage(), and which session that listens has a transaction open"},
	{"57P01", nil, "it is being shut down, or somebody ended the connection"},
	{"57P02", nil, "it has crashed: see its log"},
	{"57P03", nil, "it is starting or being shut down: wait"},
	{"57014", nil, "it ended the statement: see statement_timeout of the role, and who holds locks"},
	{"25P03", nil, "it ended an idle transaction: see idle_in_transaction_session_timeout"},
	{"55P03", nil, "somebody holds a lock on the tables: see pg_stat_activity"},
	{"40", nil, "it gave way to another transaction: this is tried again"},
	{"42703", nil, "another program uses the same names: choose another schema"},
	{"42809", nil, "another program uses the same names: choose another schema"},
	{"42804", nil, "another program uses the same names: choose another schema"},
	{"42883", nil, "it must be PostgreSQL 13 or newer"},
	{"23505", nil, "its sequence of numbers was set back: set it to the greatest number in the table of records"},
	{"58", nil, "it can't read or write its files: see its log"},
	{"XX001", revocation.ErrStoreCorrupt, "restore the server, and the nodes that run write what they know again"},
	{"XX002", revocation.ErrStoreCorrupt, "REINDEX the tables"},
	{"08P01", nil, "something between doesn't speak the whole protocol: a pooler must be PgBouncer 1.18 or newer, or the like"},
	{"0A000", nil, "it must be PostgreSQL 13 or newer, and nothing that is only like it"},
}

const rights = "it needs USAGE on the schema, SELECT, INSERT, UPDATE and DELETE on its tables, USAGE and SELECT on its sequence, and CREATE on the database if it is to make them"

// refusal is an error that says by itself what to do.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// broken makes an error that wraps ErrFeedBroken.
func broken(format string, args ...any) error {
	return refuse("%w: "+format, append([]any{revocation.ErrFeedBroken}, args...)...)
}

// tablesMissing reports whether an error is for want of the tables or of what is in meta.
func tablesMissing(err error) bool {
	var server *pgconn.PgError
	return errors.Is(err, errNoTables) || errors.As(err, &server) && (server.Code == "42P01" || server.Code == "3F000")
}

// explain makes the error of a call from that of pgx.
func (s *Store) explain(ctx context.Context, err error) error {
	var known *refusal
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case s.gate.Closed():
		return s.errClosed()
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", s.name, known.err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s.name, ctx.Err())
	case errors.As(err, &server):
		return fmt.Errorf("%s: %w", s.name, s.explainReply(server))
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return fmt.Errorf("%s: it doesn't answer within %s, or all of the store's connections were in use: %w", s.name, s.opts.Timeout, err)
	case errors.Is(err, errNoTables):
		return fmt.Errorf("%s: %w: the table %s.meta has no row: run the SQL that makes the tables again", s.name, revocation.ErrStoreCorrupt, s.opts.Schema)
	case strings.Contains(err.Error(), "refused TLS"):
		return fmt.Errorf("%s: it has no TLS: turn it on there (ssl = on), or off here: %w", s.name, err)
	}
	return fmt.Errorf("%s: it can't be reached: %w", s.name, err)
}

func (s *Store) explainReply(reply *pgconn.PgError) error {
	for _, r := range refusals {
		if !strings.HasPrefix(reply.Code, r.code) {
			continue
		}
		if r.kind != nil {
			return fmt.Errorf("%w: %w: %s", r.kind, reply, r.remedy)
		}
		return fmt.Errorf("%w: %s", reply, r.remedy)
	}
	return reply
}
