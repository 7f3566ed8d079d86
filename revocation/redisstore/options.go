// What a store is told when it is opened.

package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Defaults of Options.
const (
	DefaultPrefix  = "token_revocation"
	DefaultTimeout = 5 * time.Second
)

// Options are how a store is opened. Only Addrs has no default.
type Options struct {
	// Addrs are host:port of the server; of the Sentinels, if SentinelMaster is set; or of
	// some of the nodes, if Cluster is.
	Addrs []string
	// Username and Password are those of an ACL user. A password alone is that of the
	// user default.
	Username, Password string
	// DB is the number of the database. A cluster has only 0.
	DB int
	// TLS is how to connect, if not in plain text. It holds for Sentinels as well.
	TLS *tls.Config

	// SentinelMaster is the name by which the Sentinels know the master.
	SentinelMaster string
	// SentinelUsername and SentinelPassword are for the Sentinels alone.
	SentinelUsername, SentinelPassword string
	// Cluster says that the addresses are those of a Redis Cluster.
	Cluster bool

	// Prefix is the hash tag of all keys. Stores with different ones share nothing.
	// Default: DefaultPrefix.
	Prefix string

	// UnsafeDurability accepts a server that evicts keys or doesn't write to disk, one
	// that forgets revocations.
	UnsafeDurability bool
	// WaitReplicas is how many replicas must have a record before Append returns nil.
	WaitReplicas int
	// Timeout bounds connecting, and waiting for a reply. Default: DefaultTimeout.
	Timeout time.Duration

	// Logger is told what isn't an error of a call. Default: nothing is logged.
	Logger *slog.Logger
	// Clock decides in which class a record is kept. Default: time.Now.
	Clock func() time.Time
}

// Errors of Open.
var (
	errNoAddress   = errors.New("it has no address: name the server as host:port")
	errManyServers = errors.New("it has several addresses, but neither a Sentinel master's name nor cluster mode: say which of them they are for")
	errBothModes   = errors.New("a server is found through Sentinel or as a cluster, not both")
	errClusterDB   = errors.New("a cluster has no database but 0")
	errPrefix      = errors.New("the key prefix must not have braces, white space or control characters")
	errNegative    = errors.New("the database, the number of replicas and the timeout must not be negative")
)

func (o *Options) validate() error {
	switch {
	case len(o.Addrs) == 0:
		return errNoAddress
	case o.Cluster && o.SentinelMaster != "":
		return errBothModes
	case len(o.Addrs) > 1 && !o.Cluster && o.SentinelMaster == "":
		return errManyServers
	case o.Cluster && o.DB != 0:
		return errClusterDB
	case o.DB < 0 || o.WaitReplicas < 0 || o.Timeout < 0:
		return errNegative
	case strings.ContainsFunc(o.Prefix, func(r rune) bool { return r <= ' ' || r == '{' || r == '}' || r == 0x7f }):
		return errPrefix
	}
	return nil
}

// Open makes a store of a server. It connects when it is first used, so that the server
// may be away: the error is about opts alone.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	s := &Store{
		opts:  opts,
		name:  nameOf(&opts),
		log:   opts.Logger,
		now:   opts.Clock,
		keys:  newKeys(opts.Prefix),
		block: blockFor,
		gate:  gate.New(),
	}
	s.durability.Store("")
	s.client = s.newClient()
	s.feed = s.newClient()
	return s, nil
}

// nameOf names a store in errors: where it is, never how to get in.
func nameOf(o *Options) string {
	name := "redis " + strings.Join(o.Addrs, ",")
	if o.SentinelMaster != "" {
		name += " master " + o.SentinelMaster
	}
	if o.DB != 0 {
		name += " database " + strconv.Itoa(o.DB)
	}
	return name
}

func (s *Store) newClient() redis.UniversalClient {
	o := &s.opts
	return redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:            o.Addrs,
		Username:         o.Username,
		Password:         o.Password,
		DB:               o.DB,
		TLSConfig:        o.TLS,
		MasterName:       o.SentinelMaster,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		IsClusterMode:    o.Cluster,

		DialTimeout:  o.Timeout,
		ReadTimeout:  o.Timeout,
		WriteTimeout: o.Timeout,
		PoolTimeout:  o.Timeout,
		// The deadline of a context holds for replies as well.
		ContextTimeoutEnabled: true,
		// Whoever calls tries again, and knows for how long.
		MaxRetries:    -1,
		DialerRetries: 1,

		OnConnect:                s.inspect,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}
