// What the server refused, in words that say what to do.

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// refusals are the server's errors by how they begin.
var refusals = []struct {
	prefix string
	kind   error // of the revocation package, nil where none fits
	remedy string
}{
	{"OOM", revocation.ErrStoreFull, "raise its maxmemory, or delete what else is in it"},
	{"READONLY", revocation.ErrStoreReadOnly, "it is a replica: name the master, or use Sentinel to find it"},
	{"MISCONF", revocation.ErrStoreReadOnly, "it can't write to its disk: make room there, or see its log"},
	{"NOREPLICAS", revocation.ErrStoreReadOnly, "it has fewer replicas than its min-replicas-to-write: bring them back"},
	{"NOAUTH", nil, "it wants a password: set one"},
	{"WRONGPASS", nil, "the user name or the password is wrong"},
	{"NOPERM", nil, "the ACL user lacks a right: " + rights},
	{"The user executing the script can't", nil, "the ACL user lacks a right: " + rights},
	{"ACL failure", nil, "the ACL user lacks a right: " + rights},
	{"No permissions to access a key", nil, "the ACL user lacks a right: " + rights},
	{"WRONGTYPE", nil, "another program uses the same keys: choose another key prefix or another database"},
	{"LOADING", nil, "it is reading its data after a start: wait"},
	{"MASTERDOWN", nil, "it is a replica without its master: name the master, or use Sentinel to find it"},
	{"CLUSTERDOWN", nil, "a part of the cluster is down: see CLUSTER INFO"},
	{"CROSSSLOT", nil, "it splits keys with one hash tag: use a real Redis Cluster"},
	{"MOVED", nil, "it is a node of a cluster: turn on cluster mode"},
	{"DB index is out of range", nil, "it has no database of that number: see its setting databases"},
	{"SELECT is not allowed in cluster mode", nil, "it is a node of a cluster: use database 0 and turn on cluster mode"},
	{"This instance has cluster support disabled", nil, "it isn't a node of a cluster: turn off cluster mode"},
	{"max number of clients reached", nil, "raise its maxclients"},
	{"BUSY", nil, "a script of another program runs for too long: see SCRIPT KILL"},
	{"unknown command", nil, "it must be Redis 6.2, Valkey, or newer"},
}

const rights = "give it the keys ~{prefix}:* with your prefix, and +@read +@write +@scripting +@connection +info +wait +time +config|get"

// refusal is an error that says by itself what to do.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// explain makes the error of a call from that of go-redis.
func (s *Store) explain(ctx context.Context, err error) error {
	var known *refusal
	switch {
	case err == nil, noReply(err):
		return err
	case s.gate.Closed():
		return s.errClosed()
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", s.name, known.err)
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s.name, ctx.Err())
	}
	if reply := redis.Error(nil); errors.As(err, &reply) {
		return fmt.Errorf("%s: %w", s.name, s.explainReply(reply))
	}
	var network net.Error
	if errors.As(err, &network) && network.Timeout() {
		return fmt.Errorf("%s: it doesn't answer within %s: %w", s.name, s.opts.Timeout, err)
	}
	return fmt.Errorf("%s: it can't be reached: %w", s.name, err)
}

// noReply reports whether a command waited in vain. Sentinel's errors wrap the same error
// and mean another thing.
func noReply(err error) bool {
	return err == redis.Nil //nolint:errorlint // see above
}

func (s *Store) explainReply(reply error) error {
	text := strings.TrimPrefix(reply.Error(), "ERR ")
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case replySchema:
		return fmt.Errorf("%w: the data under %s has schema %s, this version writes %s: update every node, or choose another key prefix", revocation.ErrStoreVersion, s.keys.meta, firstWord(rest), schema)
	case replyOrphan:
		return fmt.Errorf("%w: %s is gone, but %s is there: delete all keys that begin with %s, and the nodes that run write what they know again", revocation.ErrStoreCorrupt, s.keys.meta, firstWord(rest), strings.TrimSuffix(s.keys.meta, "meta"))
	}
	if s.opts.Cluster && moved(reply) {
		return fmt.Errorf("%w: the cluster moves the slot of these keys to another node: see that it comes to an end, CLUSTER NODES shows it", reply)
	}
	for _, r := range refusals {
		if !strings.HasPrefix(text, r.prefix) {
			continue
		}
		if word == "MISCONF" && strings.Contains(text, "No space left") {
			r.kind = revocation.ErrStoreFull
		}
		if r.kind != nil {
			return fmt.Errorf("%w: %w: %s", r.kind, reply, r.remedy)
		}
		return fmt.Errorf("%w: %s", reply, r.remedy)
	}
	return reply
}

// firstWord cuts off what the server adds to a script's error.
func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// broken makes an error that wraps ErrFeedBroken.
func broken(format string, args ...any) error {
	return refuse("%w: "+format, append([]any{revocation.ErrFeedBroken}, args...)...)
}

// corrupt makes an error that wraps ErrStoreCorrupt.
func (s *Store) corrupt(class int, id uint64, what any) error {
	const remedy = "delete all keys of this prefix, and the nodes that run write what they know again"
	format := "%w: entry %d-0 of %s: %v: " + remedy
	if err, ok := what.(error); ok {
		return refuse("%w: entry %d-0 of %s: %w: "+remedy, revocation.ErrStoreCorrupt, id, s.keys.logs[class], err)
	}
	return refuse(format, revocation.ErrStoreCorrupt, id, s.keys.logs[class], what)
}
