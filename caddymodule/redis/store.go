// Package redis has the store of Caddy clusters on Redis or Valkey. It is a package of its
// own so that a Caddy that doesn't use it links no client for it:
//
//	xcaddy build --with …/caddymodule --with …/caddymodule/redis
package redis

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/redisstore"
)

func init() {
	caddy.RegisterModule(Store{})
}

// Store keeps revocations in Redis or Valkey, where all nodes of a cluster have them. It
// needs version 6.2 or newer, with `appendonly yes` and `maxmemory-policy noeviction`.
//
// The server is named by `url`, `sentinel` or `cluster`. It isn't connected to before the
// list is in use, and may be away then: what this node knows is enforced.
type Store struct {
	// The server, as `redis://[user[:password]@]host[:port][/database]`, or `rediss://`
	// for TLS. Placeholders are possible, also for all of it.
	URL string `json:"url,omitempty"`

	// The user and the password of an ACL user; a password alone is the default user's.
	// Placeholders are possible. Default: as in `url`.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The number of the database. Default: as in `url`, or 0.
	Database int `json:"database,omitempty"`

	// How TLS is used. Default: not, unless `url` is a `rediss://`.
	TLS *guest.TLS `json:"tls,omitempty"`

	// The Sentinels that know the server. Default: none.
	Sentinel *Sentinel `json:"sentinel,omitempty"`

	// Addresses of nodes of a Redis Cluster. Default: none.
	Cluster []string `json:"cluster,omitempty"`

	// What the names of all keys begin with, in braces. Lists with different ones share
	// nothing. Default: `token_revocation`.
	Prefix string `json:"prefix,omitempty"`

	// How many replicas must have a revocation before it is acknowledged. Default: 0.
	WaitReplicas int `json:"wait_replicas,omitempty"`

	// Accept a server that may evict keys or that writes nothing to its disk, and so
	// forgets revocations. Default: false.
	UnsafeDurability bool `json:"unsafe_durability,omitempty"`

	// How long to wait for a connection, and for a reply. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	options redisstore.Options
	files   [][]byte // that options were made from
}

// Sentinel says who knows the server.
type Sentinel struct {
	// The name by which they know the master.
	Master string `json:"master"`

	// Their addresses.
	Addresses []string `json:"addresses"`

	// The user and the password for the Sentinels themselves. Placeholders are possible.
	// Default: none.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "token_revocation.stores.redis",
		New: func() caddy.Module { return new(Store) },
	}
}

// defaultPort is that of servers, and of nodes of a cluster.
const (
	defaultPort  = "6379"
	sentinelPort = "26379"
)

// Bounds of the configuration: what is beyond them is a slip of the pen.
const (
	maxDatabase = 1 << 16
	maxReplicas = 64
)

// Provision replaces placeholders and reads files. It connects to nothing.
func (s *Store) Provision(caddy.Context) error {
	r := placeholder.New()
	o := redisstore.Options{
		DB:               s.Database,
		Prefix:           r.Text("prefix", s.Prefix),
		WaitReplicas:     s.WaitReplicas,
		UnsafeDurability: s.UnsafeDurability,
		Timeout:          time.Duration(s.Timeout),
	}
	if err := s.checkBounds(); err != nil {
		return err
	}
	if err := s.locate(r, &o); err != nil {
		return err
	}
	for _, override := range []struct {
		name, text string
		replace    func(name, text string) string
		to         *string
	}{
		{"username", s.Username, r.Text, &o.Username},
		{"password", s.Password, r.Secret, &o.Password},
	} {
		if override.text == "" {
			continue
		}
		if *override.to != "" {
			return fmt.Errorf("%s stands in the url as well: only one can count", override.name)
		}
		*override.to = override.replace(override.name, override.text)
	}
	if s.TLS != nil {
		var err error
		if o.TLS, err = s.TLS.Config(r); err != nil {
			return err
		}
	}
	if r.Err() != nil {
		return r.Err()
	}
	s.options, s.files = o, r.Contents()
	return nil
}

func (s *Store) checkBounds() error {
	switch timeout := time.Duration(s.Timeout); {
	case s.Database < 0 || s.Database > maxDatabase:
		return fmt.Errorf("database is %d, possible is from 0 to %d", s.Database, maxDatabase)
	case s.WaitReplicas < 0 || s.WaitReplicas > maxReplicas:
		return fmt.Errorf("wait_replicas is %d, possible is from 0 to %d", s.WaitReplicas, maxReplicas)
	case timeout != 0 && (timeout < guest.MinTimeout || timeout > guest.MaxTimeout):
		return fmt.Errorf("timeout is %s, possible is from %s to %s", timeout, guest.MinTimeout, guest.MaxTimeout)
	}
	return nil
}

var (
	errNowhere    = errors.New("the store has no address: name it by its url, such as redis://127.0.0.1:6379/0, or by sentinel or cluster")
	errTwoPlaces  = errors.New("only one of url, sentinel and cluster can say where the store is")
	errClusterDB  = errors.New("a cluster has no database but 0")
	errTwoDBs     = errors.New("database stands in the url as well: only one can count")
	errNoMaster   = errors.New("sentinel: the master's name is missing")
	errNoSentinel = errors.New("sentinel: no address is named")
)

// locate fills in where the server is.
func (s *Store) locate(r *placeholder.Resolver, o *redisstore.Options) error {
	places := 0
	for _, named := range []bool{s.URL != "", s.Sentinel != nil, len(s.Cluster) > 0} {
		if named {
			places++
		}
	}
	switch {
	case places == 0:
		return errNowhere
	case places > 1:
		return errTwoPlaces
	case s.Sentinel != nil:
		if o.SentinelMaster = r.Text("sentinel", s.Sentinel.Master); o.SentinelMaster == "" && r.Err() == nil {
			return errNoMaster
		}
		o.SentinelUsername = r.Text("sentinel: username", s.Sentinel.Username)
		o.SentinelPassword = r.Secret("sentinel: password", s.Sentinel.Password)
		if len(s.Sentinel.Addresses) == 0 {
			return errNoSentinel
		}
		o.Addrs = guest.Addresses(r, "sentinel", s.Sentinel.Addresses, sentinelPort)
		return nil
	case len(s.Cluster) > 0:
		if s.Database != 0 {
			return errClusterDB
		}
		o.Cluster = true
		o.Addrs = guest.Addresses(r, "cluster", s.Cluster, defaultPort)
		return nil
	}
	place, err := parseURL(r, s.URL)
	if err != nil {
		return fmt.Errorf("url: %w", err)
	}
	if place.hasDatabase && s.Database != 0 {
		return errTwoDBs
	}
	o.Addrs, o.Username, o.Password = []string{place.address}, place.username, place.password
	o.DB = cmp.Or(o.DB, place.database)
	if place.tls {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return nil
}

// place is what a URL says.
type place struct {
	tls                bool
	username, password string
	address            string
	database           int
	hasDatabase        bool
}

// errURL doesn't show the URL, which may have a password in it.
var errURL = errors.New("it is written as redis://[user[:password]@]host[:port][/database], or rediss:// for TLS")

func parseURL(r *placeholder.Resolver, text string) (p place, err error) {
	u, err := guest.ParseURL(r, text, errURL)
	if err != nil || r.Err() != nil {
		return p, err // that of r is told in the end
	}
	if u.Scheme != "redis" && u.Scheme != "rediss" || u.Query != "" {
		return p, errURL
	}
	p.tls, p.username, p.password = u.Scheme == "rediss", u.Username, u.Password
	if u.Path != "" {
		p.hasDatabase = true
		if p.database, err = strconv.Atoi(u.Path); err != nil || p.database < 0 || p.database > maxDatabase {
			return p, errURL
		}
	}
	if p.address, err = guest.Address(u.Host, defaultPort); err != nil {
		return p, errURL
	}
	return p, nil
}

// StoreKey implements caddymodule.Store: where the records are, and not how to get in.
func (s *Store) StoreKey() string {
	addresses := slices.Clone(s.options.Addrs)
	slices.Sort(addresses)
	key := "redis:" + strings.Join(addresses, ",")
	switch {
	case s.options.SentinelMaster != "":
		key += " master " + s.options.SentinelMaster
	case s.options.Cluster:
		return "redis:cluster " + strings.Join(addresses, ",") + s.prefixOfKey()
	}
	return key + "/" + strconv.Itoa(s.options.DB) + s.prefixOfKey()
}

func (s *Store) prefixOfKey() string {
	if s.options.Prefix == "" || s.options.Prefix == redisstore.DefaultPrefix {
		return ""
	}
	return " prefix " + s.options.Prefix
}

// Settings implements caddymodule.SharedStore.
func (s *Store) Settings() []byte {
	o := s.options
	o.TLS = nil // it is made from the files
	name := ""
	if s.TLS != nil {
		name = s.TLS.ServerName
	}
	// The passwords come as bytes: as text, those that aren't UTF-8 look alike.
	settings, _ := json.Marshal([]any{ // can't fail
		o.Addrs, o.Username, []byte(o.Password), o.DB, s.options.TLS != nil, s.files, name,
		o.SentinelMaster, o.SentinelUsername, []byte(o.SentinelPassword), o.Cluster,
		o.Prefix, o.UnsafeDurability, o.WaitReplicas, o.Timeout,
	})
	sum := sha256.Sum256(settings)
	return sum[:]
}

// OpenStore implements caddymodule.Store. It doesn't connect.
func (s *Store) OpenStore(ctx context.Context, logger *slog.Logger) (revocation.Store, error) {
	o := s.options
	o.Logger = logger
	store, err := redisstore.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return opened{store}, nil
}

// Interface guards
var (
	_ caddymodule.SharedStore = (*Store)(nil)
	_ caddy.Provisioner       = (*Store)(nil)
	_ caddyfile.Unmarshaler   = (*Store)(nil)
)
