// Package nats has the store of Caddy clusters on NATS JetStream. It is a package of its own
// so that a Caddy that doesn't use it links no client for it:
//
//	xcaddy build --with …/caddymodule --with …/caddymodule/nats
package nats

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/natsstore"
)

func init() {
	caddy.RegisterModule(Store{})
}

// Store keeps revocations in NATS JetStream, where all nodes of a cluster have them. It
// needs nats-server 2.11 or newer, with JetStream and `sync_interval: always`.
//
// The servers aren't connected to before the list is in use, and may be away then: what this
// node knows is enforced.
type Store struct {
	// Some of the servers, as `nats://host[:port]`, `tls://` for TLS, or `ws://` and
	// `wss://` for WebSocket. One of the urls may have the user and the password, as
	// `nats://user:password@host`. Placeholders are possible, also for all of it.
	URLs []string `json:"urls,omitempty"`

	// The user and the password. Placeholders are possible. Default: as in `urls`.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// A token in place of a user. Placeholders are possible. Default: none.
	Token string `json:"token,omitempty"`

	// A credentials file, as `nsc` makes it, in place of a user. Placeholders are possible.
	// Default: none.
	Credentials string `json:"credentials,omitempty"`

	// A file with the seed of an NKey, in place of a user. Placeholders are possible.
	// Default: none.
	NKey string `json:"nkey,omitempty"`

	// How TLS is used. Default: as the servers want it.
	TLS *guest.TLS `json:"tls,omitempty"`

	// What the names of the streams and their subjects begin with. Lists with different ones
	// share nothing. Default: `token_revocation`.
	Prefix string `json:"prefix,omitempty"`

	// How many servers have each of the streams, from 1 to 5, if they are made: those that
	// are there keep what they have. Default: 3 in a cluster, 1 at a server of its own.
	Replicas int `json:"replicas,omitempty"`

	// Use streams that somebody else makes, and make none. Default: false.
	NoCreate bool `json:"no_create,omitempty"`

	// State that all servers have `sync_interval: always`, which no client can see. Default:
	// false, and the durability is `unverified`.
	SyncAlways bool `json:"sync_always,omitempty"`

	// Accept streams that forget revocations: in memory, or with limits that make room.
	// Default: false.
	UnsafeDurability bool `json:"unsafe_durability,omitempty"`

	// How long to wait for a connection, and for an answer. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	options natsstore.Options
	files   [][]byte // that options were made from
}

// CaddyModule returns the Caddy module information.
func (Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "token_revocation.stores.nats",
		New: func() caddy.Module { return new(Store) },
	}
}

// ports are the default ones, by the schemes that there are.
var ports = map[string]string{"nats": "4222", "tls": "4222", "ws": "80", "wss": "443"}

// maxReplicas is how many replicas a stream of NATS can have.
const maxReplicas = 5

// Provision replaces placeholders and reads files. It connects to nothing.
func (s *Store) Provision(caddy.Context) error {
	if err := s.checkBounds(); err != nil {
		return err
	}
	r := placeholder.New()
	o := natsstore.Options{
		Prefix:           r.Text("prefix", s.Prefix),
		Replicas:         s.Replicas,
		NoCreate:         s.NoCreate,
		SyncAlways:       s.SyncAlways,
		UnsafeDurability: s.UnsafeDurability,
		Timeout:          time.Duration(s.Timeout),
	}
	if err := s.locate(r, &o); err != nil {
		return err
	}
	if err := s.authenticate(r, &o); err != nil {
		return err
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
	// The options are checked where they are known: nothing is connected to.
	store, err := natsstore.Open(context.Background(), o)
	if err != nil {
		return err
	}
	return store.Close()
}

func (s *Store) checkBounds() error {
	switch timeout := time.Duration(s.Timeout); {
	case s.Replicas < 0 || s.Replicas > maxReplicas:
		return fmt.Errorf("replicas is %d, possible is from 1 to %d", s.Replicas, maxReplicas)
	case timeout != 0 && (timeout < guest.MinTimeout || timeout > guest.MaxTimeout):
		return fmt.Errorf("timeout is %s, possible is from %s to %s", timeout, guest.MinTimeout, guest.MaxTimeout)
	}
	return nil
}

var (
	errNowhere = errors.New("the store has no address: name servers by their urls, such as nats://127.0.0.1:4222")
	// errURL doesn't show the URL, which may have a password in it.
	errURL      = errors.New("it is written as nats://[user:password@]host[:port], or with tls://, ws:// or wss://")
	errTwoUsers = errors.New("urls: only one of them can have a user and a password")
	errManyWays = errors.New("only one of username, token, credentials and nkey can be the way in, or what is in the urls")
	errNoUser   = errors.New("password: it needs a username")
)

// locate fills in where the servers are, and what the URLs say about how to get in.
func (s *Store) locate(r *placeholder.Resolver, o *natsstore.Options) error {
	if len(s.URLs) == 0 {
		return errNowhere
	}
	for _, text := range s.URLs {
		u, err := parseURL(r, text)
		if err != nil {
			return fmt.Errorf("urls: %w", err)
		}
		if r.Err() != nil {
			return nil // it is told in the end
		}
		o.Servers = append(o.Servers, u.server)
		if u.username == "" {
			continue
		}
		if o.Username != "" {
			return errTwoUsers
		}
		o.Username, o.Password = u.username, u.password
	}
	return nil
}

// address is what a URL says.
type address struct {
	server             string
	username, password string
}

func parseURL(r *placeholder.Resolver, text string) (a address, err error) {
	u, err := guest.ParseURL(r, text, errURL)
	if err != nil || r.Err() != nil {
		return a, err // that of r is told in the end
	}
	port, ok := ports[u.Scheme]
	if !ok || u.Query != "" || u.Path != "" || (u.Username == "") != (u.Password == "") {
		return a, errURL
	}
	host, err := guest.Address(u.Host, port)
	if err != nil {
		return a, errURL
	}
	return address{u.Scheme + "://" + host, u.Username, u.Password}, nil
}

// authenticate fills in how to get in.
func (s *Store) authenticate(r *placeholder.Resolver, o *natsstore.Options) error {
	ways := 0
	for _, used := range []bool{o.Username != "", s.Username != "", s.Token != "", s.Credentials != "", s.NKey != ""} {
		if used {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errManyWays
	case s.Password != "" && s.Username == "":
		return errNoUser
	case s.Username != "":
		o.Username, o.Password = r.Text("username", s.Username), r.Secret("password", s.Password)
	case s.Token != "":
		o.Token = r.Secret("token", s.Token)
	case s.Credentials != "":
		o.Credentials = r.File("credentials", s.Credentials)
	case s.NKey != "":
		o.Seed = []byte(strings.TrimSpace(string(r.File("nkey", s.NKey))))
	}
	return nil
}

// StoreKey implements caddymodule.Store: where the records are, and not how to get in.
func (s *Store) StoreKey() string {
	servers := slices.Clone(s.options.Servers)
	for i, server := range servers {
		_, servers[i], _ = strings.Cut(server, "://")
	}
	slices.Sort(servers)
	key := "nats:" + strings.Join(servers, ",")
	if p := s.options.Prefix; p != "" && p != natsstore.DefaultPrefix {
		key += " prefix " + p
	}
	return key
}

// Settings implements caddymodule.SharedStore.
func (s *Store) Settings() []byte {
	o := s.options
	name := ""
	if s.TLS != nil {
		name = s.TLS.ServerName
	}
	// The secrets come as bytes: as text, those that aren't UTF-8 look alike.
	settings, _ := json.Marshal([]any{ // can't fail
		o.Servers, o.Username, []byte(o.Password), []byte(o.Token), o.Credentials, o.Seed,
		s.TLS != nil, s.files, name, o.Prefix, o.Replicas, o.NoCreate, o.SyncAlways, o.UnsafeDurability, o.Timeout,
	})
	sum := sha256.Sum256(settings)
	return sum[:]
}

// OpenStore implements caddymodule.Store. It doesn't connect.
func (s *Store) OpenStore(ctx context.Context, logger *slog.Logger) (revocation.Store, error) {
	o := s.options
	o.Logger = logger
	store, err := natsstore.Open(ctx, o)
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
