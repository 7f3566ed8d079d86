// Connections: there is one at a time, and whoever needs the server when it is gone makes
// the next.

package natsstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// session is a connection to a server on which the streams were found good.
type session struct {
	conn *nats.Conn
	js   jetstream.JetStream
	ctx  context.Context // ends with the connection; the cause says why
	stop context.CancelCauseFunc

	mu            sync.Mutex
	epoch         string    // of the streams, see inspectStreams
	limit         int       // of a message of the log, in bytes; 0: none
	inspected     time.Time // when the streams were looked at
	noted, marker uint64    // the numbers of the last beat's messages
}

// end ends the session and everything on it.
func (sess *session) end(cause error) {
	sess.stop(cause)
	sess.conn.Close()
}

func (sess *session) streamsEpoch() string {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.epoch
}

// messageLimit returns how large a message of the log may be.
func (sess *session) messageLimit() int {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.limit > headroom {
		return sess.limit - headroom
	}
	return maxMessage
}

// attempt is one to connect, which all wait for who need the server.
type attempt struct {
	done chan struct{}
	sess *session
	err  error
}

// pings is how many times a connection is tried within the time that an answer may take: one
// that is dead without a sign is given up after that time, whatever waits on it.
const pings = 3

// session returns the one that is open, or makes one.
func (s *Store) session(ctx context.Context) (*session, error) {
	s.mu.Lock()
	if s.current != nil && s.current.ctx.Err() == nil {
		defer s.mu.Unlock()
		return s.current, nil
	}
	a := s.dialing
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		s.dialing = a
		go s.dial(a)
	}
	s.mu.Unlock()
	timer := time.NewTimer(s.opts.Timeout)
	defer timer.Stop()
	select {
	case <-a.done:
		return a.sess, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.gate.Closing():
		return nil, s.errClosed()
	case <-timer.C: // the attempt goes on, with another server
		return nil, errNoAnswer
	}
}

func (s *Store) dial(a *attempt) {
	a.sess, a.err = s.connect()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing = nil
	if a.err == nil {
		s.current = a.sess
		if s.gate.Closed() {
			a.sess.end(s.errClosed())
			a.err = s.errClosed()
		}
	}
	close(a.done)
}

// connect connects to one of the servers, and looks at the streams.
func (s *Store) connect() (*session, error) {
	sess := new(session)
	sess.ctx, sess.stop = context.WithCancelCause(context.Background())
	var err error
	if sess.conn, err = nats.Connect("", s.connectOptions(sess)...); err != nil {
		sess.stop(err)
		return nil, err
	}
	if sess.js, err = jetstream.New(sess.conn, jetstream.WithDefaultTimeout(s.opts.Timeout)); err == nil {
		err = s.inspectServer(sess)
	}
	if err == nil {
		err = s.inspectStreams(sess.ctx, sess)
	}
	if err != nil {
		if cause := context.Cause(sess.ctx); cause != nil {
			err = &ended{cause, err}
		}
		sess.end(err)
		return nil, err
	}
	return sess, nil
}

var errConnectionLost = errors.New("the connection was lost")

func lost(err error) error {
	if err == nil {
		return errConnectionLost
	}
	return fmt.Errorf("%w: %w", errConnectionLost, err)
}

func (s *Store) connectOptions(sess *session) []nats.Option {
	o := &s.opts
	options := []nats.Option{
		func(n *nats.Options) error { n.Servers = o.Servers; return nil },
		nats.Name("caddy-revocation"),
		nats.Timeout(o.Timeout),
		// Whoever needs the server connects, and looks at the streams then.
		nats.NoReconnect(),
		nats.PingInterval(o.Timeout / pings), nats.MaxPingsOutstanding(pings - 1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			// What isn't allowed isn't answered either. Anything else is an error of the
			// call that it is about.
			if errors.Is(err, nats.ErrPermissionViolation) {
				sess.stop(err)
				go sess.conn.Close()
			}
		}),
		nats.DisconnectErrHandler(func(c *nats.Conn, err error) {
			if err == nil {
				err = c.LastError()
			}
			sess.stop(lost(err))
		}),
		nats.ClosedHandler(func(c *nats.Conn) { sess.stop(lost(c.LastError())) }),
	}
	switch {
	case o.Username != "":
		options = append(options, nats.UserInfo(o.Username, o.Password))
	case o.Token != "":
		options = append(options, nats.Token(o.Token))
	case o.Credentials != nil:
		options = append(options, nats.UserCredentialBytes(o.Credentials))
	case o.Seed != nil:
		options = append(options, nkeyOption(o.Seed))
	}
	if o.TLS != nil {
		options = append(options, nats.Secure(o.TLS.Clone()))
	}
	return options
}

// nkeyOption signs with a seed that validate has found good.
func nkeyOption(seed []byte) nats.Option {
	return func(n *nats.Options) error {
		key, err := nkeys.FromSeed(seed)
		if err != nil {
			return errSeed
		}
		public, err := key.PublicKey()
		if err != nil {
			return errSeed
		}
		return nats.Nkey(public, key.Sign)(n)
	}
}
