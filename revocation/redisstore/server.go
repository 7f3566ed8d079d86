// Whether a server may be trusted with revocations.

package redisstore

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// What Durability returns.
const (
	// DurabilityVerified says that the server writes everything to disk before it answers.
	DurabilityVerified = "verified"
	// DurabilityEverySecond says that up to a second or two of what it acknowledged is lost
	// when the server loses power.
	DurabilityEverySecond = "everysec"
	// DurabilityUnverified says that the server doesn't tell how it is configured.
	DurabilityUnverified = "unverified"
	// DurabilityUnsafe says that the server can forget revocations, which
	// Options.UnsafeDurability allows.
	DurabilityUnsafe = "unsafe"
)

// inspectEvery is how often Beat and Append look at the server's configuration: it can
// change while a connection is open.
const inspectEvery = time.Minute

// Durability returns how far the server that was connected to last can be trusted, or
// nothing before the first connection.
func (s *Store) Durability() string { return s.durability.Load().(string) }

// inspect looks at the server behind a new connection. The error says what to set.
func (s *Store) inspect(ctx context.Context, conn *redis.Conn) error {
	var info *redis.StringCmd
	var fsync, rewriting, policy *redis.MapStringStringCmd
	// The commands' own errors tell more than that of the pipeline.
	_, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		info = p.Info(ctx)
		fsync = p.ConfigGet(ctx, "appendfsync")
		rewriting = p.ConfigGet(ctx, "no-appendfsync-on-rewrite")
		policy = p.ConfigGet(ctx, "maxmemory-policy")
		return nil
	})
	if err != nil && !isReply(err) {
		return err
	}
	if err := info.Err(); err != nil && !redis.IsPermissionError(err) {
		return err
	}
	facts := parseInfo(info.Val())
	if err := s.inspectServer(facts); err != nil {
		return err
	}
	return s.inspectDurability(facts, fsync.Val()["appendfsync"], rewriting.Val()["no-appendfsync-on-rewrite"], policy.Val()["maxmemory-policy"])
}

func isReply(err error) bool {
	_, ok := err.(redis.Error)
	return ok
}

func parseInfo(text string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	return facts
}

func (s *Store) inspectServer(facts map[string]string) error {
	if version := facts["redis_version"]; version != "" && !atLeast(version, 6, 2) {
		return refuse("%w: it has version %s: use Redis 6.2, Valkey, or newer", revocation.ErrStoreVersion, version)
	}
	if facts["loading"] == "1" {
		return refuse("it is reading its data after a start: wait")
	}
	// A cluster's client connects to replicas as well.
	if facts["role"] == "slave" && !s.opts.Cluster {
		return refuse("%w: it is a replica: name the master, or use Sentinel to find it", revocation.ErrStoreReadOnly)
	}
	return nil
}

func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	a, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 2 {
		return true // another numbering
	}
	b, _ := strconv.Atoi(parts[1])
	return a > major || a == major && b >= minor
}

func (s *Store) inspectDurability(facts map[string]string, fsync, rewriting, policy string) error {
	hidden := fsync == "" || policy == ""
	if policy == "" {
		policy = facts["maxmemory_policy"]
	}
	var wrong, remedy string
	switch {
	case policy != "" && policy != "noeviction":
		wrong, remedy = "it removes keys when memory is short (maxmemory-policy "+policy+")", "CONFIG SET maxmemory-policy noeviction"
	case !hidden && facts["aof_enabled"] == "0":
		wrong, remedy = "it doesn't write to disk what it acknowledges (appendonly no)", "CONFIG SET appendonly yes"
	case fsync == "no":
		wrong, remedy = "it doesn't wait for its disk (appendfsync no)", "CONFIG SET appendfsync always"
	case rewriting == "yes":
		wrong, remedy = "it doesn't wait for its disk while it rewrites its file (no-appendfsync-on-rewrite yes)", "CONFIG SET no-appendfsync-on-rewrite no"
	}
	switch {
	case wrong != "" && !s.opts.UnsafeDurability:
		return refuse("%s and would forget revocations: run %s and write it into the server's configuration, or accept that with unsafe_durability", wrong, remedy)
	case wrong != "":
		s.durability.Store(DurabilityUnsafe)
		s.warnOnce("the redis server can forget revocations, which unsafe_durability allows", "problem", wrong, "remedy", remedy)
	case hidden:
		s.durability.Store(DurabilityUnverified)
		s.warnOnce("the redis server doesn't tell how it is configured: make sure that it never evicts keys and that it writes to disk what it acknowledges")
	case fsync == "everysec":
		s.durability.Store(DurabilityEverySecond)
		s.warnOnce("the redis server writes to its disk once a second: up to two seconds of acknowledged revocations are lost when it loses power", "remedy", "CONFIG SET appendfsync always")
	default:
		s.durability.Store(DurabilityVerified)
	}
	return nil
}

// warnOnce logs a warning unless the store has done so before.
func (s *Store) warnOnce(message string, args ...any) {
	if _, again := s.warned.LoadOrStore(message, true); !again {
		s.log.Warn(message, append([]any{"store", s.name}, args...)...)
	}
}

// inspectAgain is inspect, at most once in inspectEvery.
func (s *Store) inspectAgain(ctx context.Context, conn *redis.Conn) error {
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
