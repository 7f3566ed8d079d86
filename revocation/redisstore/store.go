// Package redisstore keeps revocation records in Redis or Valkey, for nodes that share
// them: a single server, one behind Sentinel, or a cluster.
//
// # The keys
//
// All have the same hash tag and so live on one server. With the default prefix:
//
//	{token_revocation}:log:<class>  a stream for each class of time to live
//	{token_revocation}:meta         a hash: schema, epoch, seq, and each class's ends
//	{token_revocation}:nodes        a hash: what each node last said
//	{token_revocation}:probe        nothing: written to see whether replicas follow
//
// Entries are numbered in one sequence over all streams, in which no number is left
// out; an entry's id is its number, never a time: after a failover the new master's
// clock may be behind. An entry holds up to 64 records of one Append (see package blocks) and a
// checksum over itself and the entry before it in its stream, the chain. Meta has the
// number and chain of the last entry of each stream, and of the last one that was
// trimmed. What stands behind the last entry isn't one, whoever put it there: an entry
// counts from the moment at which meta says so, at the end of the script that adds it.
//
// A stream is snapshot and feed at once. The epoch is a random name that meta gets when
// it is made: a store that was emptied has another. Epoch and chain together tell whether
// a position belongs to this history. Numbers alone don't: a replica that is promoted
// without the last entries gives their numbers to others.
//
// # Classes
//
// A stream is trimmed from the front, as far as everything has expired. In a single
// stream one record of 30 days would hold back all that was revoked after it: an hour's
// records would take 700 times the memory that they need. With classes an entry is gone
// at the latest when its class's longest time to live has passed twice. A position has
// to name a place in each class for that.
package redisstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

func init() {
	// The client writes to standard error, past every log. What matters of it comes back as
	// an error of the call that it is about.
	redis.SetLogger(silent{})
}

// silent is a log that nobody reads.
type silent struct{}

// Printf implements the client's interface of a log.
func (silent) Printf(context.Context, string, ...any) {}

// Store is a revocation.Feed and a revocation.Pruner on a Redis or Valkey server. Its
// methods may be called from any goroutine.
type Store struct {
	opts Options
	name string // of the store in errors and logs
	log  *slog.Logger
	now  func() time.Time
	keys keys

	client redis.UniversalClient
	feed   redis.UniversalClient // whose connections wait for what is appended
	block  time.Duration         // blockFor, but for tests

	durability   atomic.Value // a string
	plainScripts atomic.Bool  // the server is too old for flags of scripts
	warned       sync.Map     // warnings that were logged
	nextInspect  atomic.Int64 // when the server's configuration is looked at again

	alone   atomic.Bool // the last Append didn't come to Options.WaitReplicas
	pruning sync.Mutex  // held by Prune

	gate *gate.Gate
}

var (
	_ revocation.Feed   = (*Store)(nil)
	_ revocation.Pruner = (*Store)(nil)
)

// schema is the version of everything under the prefix. A change of blocks.Classes, of an
// entry's content or of meta's fields needs a new one.
const schema = "1"

// classes is how many streams there are.
const classes = len(blocks.Classes)

// keys are the names of what the store has on the server.
type keys struct {
	meta, nodes, probe string

	logs [classes]string
	all  []string // meta, then logs: what the scripts get
}

func newKeys(prefix string) keys {
	tag := "{" + prefix + "}:"
	k := keys{meta: tag + "meta", nodes: tag + "nodes", probe: tag + "probe"}
	k.all = []string{k.meta}
	for i := range classes {
		k.logs[i] = tag + "log:" + blocks.Classes[i].Name
		k.all = append(k.all, k.logs[i])
	}
	return k
}

func (s *Store) errClosed() error { return fmt.Errorf("%s: %w", s.name, revocation.ErrStoreClosed) }

// Close ends Follow, Load and Prune, waits for what is under way at the server, at most
// for Options.Timeout, and closes the connections. It may be called again.
func (s *Store) Close() error {
	first := s.gate.Close()
	if first {
		_ = s.feed.Close() // ends what waits there
	}
	s.gate.Wait()
	if first {
		_ = s.client.Close()
	}
	return nil
}

// attempts is how often a command is sent when the cluster says that another server has
// the keys by now, or will have: within most of a second, in which the client asks the
// cluster anew up to four times.
const attempts = 5

// call runs f with one connection to the server that has the keys. It returns early when
// ctx ends: go-redis doesn't notice that while it waits for a reply.
func call[T any](ctx context.Context, s *Store, client redis.UniversalClient, f func(context.Context, *redis.Conn) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if !s.gate.Enter() {
		return none, s.errClosed()
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		defer s.gate.Leave()
		value, err := onNode(ctx, s, client, f)
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, s.explain(ctx, o.err)
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func onNode[T any](ctx context.Context, s *Store, client redis.UniversalClient, f func(context.Context, *redis.Conn) (T, error)) (value T, err error) {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return onConn(ctx, client.(*redis.Client), f)
	}
	for i := range attempts {
		var node *redis.Client
		if node, err = cluster.MasterForKey(ctx, s.keys.meta); err == nil {
			value, err = onConn(ctx, node, f)
		}
		if err == nil || noReply(err) {
			return value, err
		}
		cluster.ReloadState(ctx)
		if !moved(err) || i == attempts-1 || s.gate.Closed() {
			return value, err
		}
		if pause(ctx, s.gate.Closing(), 50*time.Millisecond<<i) != nil {
			return value, err
		}
	}
	return value, err
}

func onConn[T any](ctx context.Context, node *redis.Client, f func(context.Context, *redis.Conn) (T, error)) (T, error) {
	conn := node.Conn()
	defer conn.Close()
	return f(ctx, conn)
}

func moved(err error) bool {
	for _, prefix := range []string{"MOVED ", "ASK ", "TRYAGAIN "} {
		if strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	return false
}
