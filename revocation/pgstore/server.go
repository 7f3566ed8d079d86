// Whether a server may be trusted with revocations.

package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// What Durability returns.
const (
	// DurabilityVerified says that the server writes everything to its disk before it
	// answers.
	DurabilityVerified = "verified"
	// DurabilityUnverified says that the server does that, but doesn't protect itself from
	// pages that are torn when it loses power (full_page_writes is off), which is right on
	// storage that tears none.
	DurabilityUnverified = "unverified"
	// DurabilityUnsafe says that the server can forget revocations, which
	// Options.UnsafeDurability allows.
	DurabilityUnsafe = "unsafe"
)

// inspectEvery is how often Beat looks at the server's configuration: it can change while
// a connection is open.
const inspectEvery = time.Minute

// oldest is the first version of PostgreSQL that has all that is needed.
const oldest = 13_00_00

// Durability returns how far the server that was connected to last can be trusted, or
// nothing before the first connection.
func (s *Store) Durability() string { return s.durability.Load().(string) }

// settings are those of a server that matter, as the connection has them.
type settings struct {
	version                          int
	standby                          bool
	readOnly                         string
	fsync, fullPages, commit, copies string
}

// inspect looks at the server behind a new connection. The error says what to set.
func (s *Store) inspect(ctx context.Context, conn *pgx.Conn) error {
	var f settings
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('transaction_read_only'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names')`).
		Scan(&f.version, &f.standby, &f.readOnly, &f.fsync, &f.fullPages, &f.commit, &f.copies)
	if err != nil {
		return err
	}
	switch {
	case f.version < oldest:
		return refuse("%w: it has version %d.%d: use PostgreSQL %d or newer", revocation.ErrStoreVersion, f.version/10_000, f.version%10_000, oldest/10_000)
	case f.standby:
		return refuse("%w: it is a standby: name the primary, or all servers, of which the one is used that can be written to", revocation.ErrStoreReadOnly)
	case f.readOnly == "on":
		return refuse("%w: default_transaction_read_only is on: run ALTER ROLE … SET default_transaction_read_only = off, or the same with ALTER DATABASE or ALTER SYSTEM", revocation.ErrStoreReadOnly)
	}
	return s.inspectDurability(f)
}

func (s *Store) inspectDurability(f settings) error {
	if err := s.judge(f); err != nil {
		return err
	}
	wrong, remedy := f.fault()
	switch {
	case wrong != "":
		s.durability.Store(DurabilityUnsafe)
		s.warnOnce("the postgres server can forget revocations, which unsafe_durability allows", "problem", wrong, "remedy", remedy)
	case f.fullPages == "off":
		s.durability.Store(DurabilityUnverified)
		s.warnOnce("the postgres server doesn't protect itself from torn pages (full_page_writes is off): make sure that its storage tears none", "remedy", "ALTER SYSTEM SET full_page_writes = on")
	default:
		s.durability.Store(DurabilityVerified)
	}
	copies := f.copies
	if copies == "" || f.commit == "local" {
		copies = "none: a standby that takes over may lack what was acknowledged last"
	}
	s.logOnce("acknowledges", func(message string) {
		s.log.Info(message, "store", s.name, "synchronous_commit", f.commit, "standbys", copies)
	}, "when the postgres server acknowledges revocations")
	return nil
}

// fault returns what makes the server forget, and what to do about it.
func (f *settings) fault() (wrong, remedy string) {
	switch {
	case f.fsync == "off":
		return "it doesn't write to its disk what it acknowledges (fsync = off)", "ALTER SYSTEM SET fsync = on"
	case f.commit == "off":
		return "it doesn't wait for its disk (synchronous_commit = off)", "ALTER ROLE … SET synchronous_commit = on"
	}
	return "", ""
}

// judge refuses a server that forgets, unless that is allowed.
func (s *Store) judge(f settings) error {
	if wrong, remedy := f.fault(); wrong != "" && !s.opts.UnsafeDurability {
		return refuse("%s and would forget revocations: run %s, and reload the server's configuration or connect anew, or accept that with unsafe_durability", wrong, remedy)
	}
	return nil
}

// warnOnce logs a warning unless the store has done so before.
func (s *Store) warnOnce(message string, args ...any) {
	s.logOnce(message, func(message string) { s.log.Warn(message, append([]any{"store", s.name}, args...)...) }, message)
}

func (s *Store) logOnce(key string, log func(message string), message string) {
	if _, again := s.warned.LoadOrStore(key, true); !again {
		log(message)
	}
}

// inspectAgain is inspect, at most once in inspectEvery.
func (s *Store) inspectAgain(ctx context.Context, conn *pgx.Conn) error {
	now := time.Now().UnixNano()
	next := s.nextInspect.Load()
	if now < next || !s.nextInspect.CompareAndSwap(next, now+int64(inspectEvery)) {
		return nil
	}
	err := s.inspect(ctx, conn)
	if err != nil {
		s.nextInspect.Store(0) // and before the next beat
	}
	return err
}

// uncopied is the key in a connection's data that says that a transaction was acknowledged
// without the standbys that it had to wait for: somebody cancelled the wait, which the
// server tells as a mere warning.
const uncopied = "uncopied"

func noticed(conn *pgconn.PgConn, n *pgconn.Notice) {
	if n.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[uncopied] = true
	}
}

// copied returns an error if a transaction on the connection was acknowledged too early.
func copied(conn *pgx.Conn) error {
	data := conn.PgConn().CustomData()
	if _, ok := data[uncopied]; !ok {
		return nil
	}
	delete(data, uncopied)
	return refuse("somebody cancelled its wait for the standbys (synchronous_standby_names), which may lack the transaction")
}
