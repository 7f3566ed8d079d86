// Being told that something was appended.

package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Between attempts to be told.
const (
	firstListen = 100 * time.Millisecond
	lastListen  = 30 * time.Second
)

// listen puts an element into told whenever something may have been appended, until ctx
// ends. It isn't depended on, so its errors are told once and to the log alone.
func (s *Store) listen(ctx context.Context, told chan<- struct{}) {
	tell := func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	for wait := firstListen; ; wait = min(2*wait, lastListen) {
		began := time.Now()
		err := s.listenOnce(ctx, tell)
		if ctx.Err() != nil || s.gate.Closed() {
			return
		}
		if time.Since(began) > lastListen {
			wait = firstListen
		}
		s.logOnce("listening", func(message string) {
			s.log.Info(message, "store", s.name, "error", s.explain(ctx, err))
		}, "the connection on which the postgres server tells of new revocations was lost or refused; they are looked for each second until there is one")
		select {
		case <-ctx.Done():
			return
		case <-s.gate.Closing():
			return
		case <-time.After(wait):
		}
	}
}

func (s *Store) listenOnce(ctx context.Context, tell func()) error {
	conn, err := pgx.ConnectConfig(ctx, s.listener)
	if err != nil {
		return err
	}
	// It says goodbye, but doesn't wait for long.
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+pgx.Identifier{s.channel}.Sanitize()); err != nil {
		return err
	}
	for {
		tell() // also of what came before it listened
		if err := s.awaitNotification(ctx, conn); err != nil {
			return err
		}
	}
}

// awaitNotification waits for as long as it takes. When nothing has come for Options.Timeout
// it asks for a sign of life: a connection that is dead without a sign is quiet as well.
func (s *Store) awaitNotification(ctx context.Context, conn *pgx.Conn) error {
	for {
		quiet, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		_, err := conn.WaitForNotification(quiet)
		cancel()
		if err == nil || ctx.Err() != nil || !pgconn.Timeout(err) {
			return err
		}
		bounded, cancel := context.WithTimeout(ctx, s.opts.Timeout)
		err = conn.Ping(bounded)
		cancel()
		if err != nil {
			return err
		}
	}
}
