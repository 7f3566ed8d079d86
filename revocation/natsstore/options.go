// What a store is told when it is opened.

package natsstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Defaults of Options.
const (
	DefaultPrefix  = "token_revocation"
	DefaultTimeout = 5 * time.Second
)

// maxReplicas is how many replicas a stream of NATS can have.
const maxReplicas = 5

// Options are how a store is opened. Only Servers has no default.
type Options struct {
	// Servers are URLs of some of the servers: nats:// or tls://, ws:// or wss://, each
	// with a host and a port.
	Servers []string
	// Username and Password, or Token, or Credentials, or Seed are how to get in.
	Username, Password string
	Token              string
	// Credentials is the content of a credentials file: a JWT and the seed of its key.
	Credentials []byte
	// Seed is the seed of an NKey.
	Seed []byte
	// TLS is how to connect, if not in plain text.
	TLS *tls.Config

	// Prefix is what the names of streams and subjects begin with. Stores with different
	// ones share nothing. Default: DefaultPrefix.
	Prefix string
	// Replicas is how many servers have each stream that is made. A stream that is there
	// keeps what it has. Default: 3 in a cluster, 1 at a server of its own.
	Replicas int
	// NoCreate says that the streams must be there.
	NoCreate bool

	// SyncAlways says that whoever runs the servers has set sync_interval to always, which
	// no client can see.
	SyncAlways bool
	// UnsafeDurability accepts streams that lose revocations.
	UnsafeDurability bool
	// Timeout bounds connecting to a server, and waiting for an answer. Default:
	// DefaultTimeout.
	Timeout time.Duration

	// Logger is told what isn't an error of a call. Default: nothing is logged.
	Logger *slog.Logger
	// Clock decides for how long a message is kept. Default: time.Now.
	Clock func() time.Time
}

// Errors of Open.
var (
	errNoServer  = errors.New("it has no address: name a server by its url, such as nats://127.0.0.1:4222")
	errServer    = errors.New("the url of a server is nats://host:port, or tls://, ws:// or wss://, without a user, a path or a query")
	errManyWays  = errors.New("only one of user and password, token, credentials and NKey can be the way in")
	errFile      = errors.New("the credentials have no JWT, or no seed of a user's NKey: name the file that nsc makes")
	errSeed      = errors.New("that isn't the seed of a user's NKey, which begins with SU")
	errPrefix    = errors.New("the prefix has letters, digits, - and _, and 200 of them at most")
	errReplicas  = errors.New("a stream has from 1 to 5 replicas")
	errNegative  = errors.New("the timeout must not be negative")
	errNoUser    = errors.New("a password needs a user name")
	errMixedURLs = errors.New("the servers' urls must all be for WebSocket (ws, wss), or none")
)

func (o *Options) validate() error {
	ways := 0
	for _, used := range []bool{o.Username != "", o.Token != "", o.Credentials != nil, o.Seed != nil} {
		if used {
			ways++
		}
	}
	switch {
	case len(o.Servers) == 0:
		return errNoServer
	case ways > 1:
		return errManyWays
	case o.Password != "" && o.Username == "":
		return errNoUser
	case o.Timeout < 0:
		return errNegative
	case o.Replicas < 0 || o.Replicas > maxReplicas:
		return errReplicas
	case len(o.Prefix) > 200 || strings.ContainsFunc(o.Prefix, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && r != '-' && r != '_'
	}):
		return errPrefix
	}
	webSockets := 0
	for _, server := range o.Servers {
		u, err := url.Parse(server)
		if err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Host == "" || u.Port() == "" ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
			return errServer
		}
		if u.Scheme[0] == 'w' {
			webSockets++
		}
	}
	if webSockets > 0 && webSockets < len(o.Servers) {
		return errMixedURLs
	}
	if o.Credentials != nil {
		_, err1 := nkeys.ParseDecoratedJWT(o.Credentials)
		_, err2 := nkeys.ParseDecoratedUserNKey(o.Credentials)
		if err1 != nil || err2 != nil {
			return errFile
		}
	}
	if o.Seed != nil {
		key, err := nkeys.FromSeed(o.Seed)
		if err != nil {
			return errSeed
		}
		if public, err := key.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(public) {
			return errSeed
		}
	}
	return nil
}

// Open makes a store of NATS servers. It connects when it is first used, so that they may
// be away: the error is about opts alone.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
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
		opts:    opts,
		name:    nameOf(&opts),
		log:     opts.Logger,
		now:     opts.Clock,
		streams: newStreams(opts.Prefix),
		margin:  margin, markerLife: markerLife,
		gate: gate.New(),
	}
	s.durability.Store("")
	return s, nil
}

// nameOf names a store in errors: where it is, never how to get in.
func nameOf(o *Options) string {
	var hosts []string
	for _, server := range o.Servers {
		_, host, _ := strings.Cut(server, "://")
		hosts = append(hosts, strings.TrimSuffix(host, "/"))
	}
	return "nats " + strings.Join(hosts, ",")
}
