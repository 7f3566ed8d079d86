// Package pgstore keeps revocation records in PostgreSQL, for nodes that share them.
//
// # The tables
//
// They are in a schema of their own, token_revocation by default; Schema has the SQL:
//
//	meta     one row: the format's version, the epoch, and how far was removed
//	records  a row for each record: its number, a tag, when it expires, and what it says
//	numbers  the sequence that numbers come from
//	nodes    a row for each node: what it last said
//
// # The sequence
//
// Numbers of a sequence don't say in which order transactions become visible: who reads
// what is behind the last number that it saw misses what commits later with a smaller one.
// So Append locks the row in meta before it takes numbers, in the same statement, and the
// lock ends after its transaction is visible. Then whoever sees a number sees all smaller
// ones that there will ever be. The statement is a transaction by itself, so that no client
// has the lock while it does something else. It costs nothing: NOTIFY makes the transactions
// of a server wait for each other anyway.
//
// The other way to read without a gap, comparing snapshots (pg_visible_in_snapshot), needs
// no lock, but its positions don't compare: every transaction in the server moves the
// snapshot, and a node that has all records would be behind after each of them.
//
// # Positions
//
// A position is a number with its tag, which is random and the same for what one Append
// added, and with the history: the epoch, the server's system identifier and its timeline. A
// store that was made anew has another epoch, a copy of it in another server another system
// identifier, and a standby that is promoted begins another timeline: it may lack what was
// acknowledged last and give its numbers to others. The tag tells it when the server's disk
// was set back. So positions of different histories never compare.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Store is a revocation.Feed and a revocation.Pruner on a PostgreSQL server. Its methods
// may be called from any goroutine.
type Store struct {
	opts    Options
	name    string // of the store in errors and logs
	channel string // where Append notifies
	log     *slog.Logger
	sql     statements
	poll    time.Duration // pollEvery, but for tests

	pool     *pgxpool.Pool
	listener *pgx.ConnConfig // of the connections that wait for notifications

	prepared    atomic.Bool  // the tables are there
	durability  atomic.Value // a string
	warned      sync.Map     // what was logged once
	nextInspect atomic.Int64 // when Beat looks at the server's configuration again

	pruning sync.Mutex // held by Prune

	gate *gate.Gate
}

var (
	_ revocation.Feed   = (*Store)(nil)
	_ revocation.Pruner = (*Store)(nil)
)

func (s *Store) errClosed() error { return fmt.Errorf("%s: %w", s.name, revocation.ErrStoreClosed) }

// Close ends Follow, Load and Prune, waits for what is under way at the server, at most
// for Options.Timeout, and closes the connections. It may be called again.
func (s *Store) Close() error {
	first := s.gate.Close()
	s.gate.Wait()
	if first {
		closed := make(chan struct{})
		go func() {
			s.pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(s.opts.Timeout): // a server that says nothing isn't waited for
		}
	}
	return nil
}

// attempts is how often something is tried while the tables are missing.
const attempts = 3

// suspectAfter is how long a call was given at the least that makes all connections suspect
// when it has no answer.
const suspectAfter = time.Second / 2

// errNoTables is returned when there is no row in meta.
var errNoTables = errors.New("meta is empty")

// call runs f with a connection, for Options.Timeout at the most. When the tables are
// missing it makes them and runs f again: they may have been dropped at any time.
//
// A connection that ends says that the others may have as well, with the server. They are
// closed, and f runs again, once: all that it does may be done twice. Without an answer in time
// they are closed too: they may be dead without a sign, and the next calls would wait for each
// of them in turn.
func call[T any](ctx context.Context, s *Store, f func(context.Context, *pgx.Conn) (T, error)) (value T, err error) {
	if err := ctx.Err(); err != nil {
		return value, err
	}
	if !s.gate.Enter() {
		return value, s.errClosed()
	}
	defer s.gate.Leave()
	bounded, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	began := time.Now()
	again := true
	for range attempts {
		var lost bool
		value, lost, err = onConn(bounded, s, f)
		switch {
		case err == nil:
			return value, nil
		case tablesMissing(err):
			s.prepared.Store(false)
			continue
		case lost && bounded.Err() == nil:
			s.pool.Reset()
			if again {
				again = false
				continue
			}
		}
		break
	}
	if err != nil && errors.Is(bounded.Err(), context.DeadlineExceeded) && time.Since(began) >= min(suspectAfter, s.opts.Timeout) {
		s.pool.Reset()
	}
	return value, s.explain(ctx, err)
}

// onConn runs f once. It reports whether the connection that it had is lost.
func onConn[T any](ctx context.Context, s *Store, f func(context.Context, *pgx.Conn) (T, error)) (value T, lost bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return value, false, err
	}
	defer conn.Release()
	if !s.prepared.Load() {
		if err := s.prepare(ctx, conn.Conn()); err != nil {
			return value, conn.Conn().IsClosed(), err
		}
		s.prepared.Store(true)
	}
	value, err = f(ctx, conn.Conn())
	return value, conn.Conn().IsClosed(), err
}
