// Package postgres has the store of Caddy clusters on PostgreSQL. It is a package of its own
// so that a Caddy that doesn't use it links no client for it:
//
//	xcaddy build --with …/caddymodule --with …/caddymodule/postgres
package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

func init() {
	caddy.RegisterModule(Store{})
}

// Store keeps revocations in PostgreSQL, where all nodes of a cluster have them. It needs
// version 13 or newer, and its primary server.
//
// Where nothing is configured, the environment variables of PostgreSQL's own clients count:
// `PGHOST`, `PGPORT`, `PGDATABASE`, `PGUSER`, `PGPASSWORD`, `PGPASSFILE`, `PGSERVICE`,
// `PGSSLMODE` and so on. The server isn't connected to before the list is in use, and may be
// away then: what this node knows is enforced.
type Store struct {
	// The server, as `postgres://[user[:password]@][host[:port],…][/database][?parameters]`.
	// Of several hosts, the one is used that can be written to. Parameters are those of
	// PostgreSQL's own clients, such as `sslmode`. Placeholders are possible, also for all of
	// it. Default: what the environment says.
	URL string `json:"url,omitempty"`

	// The role and its password. Placeholders are possible. Default: as in `url`, or what
	// the environment says.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// The name of the database. Placeholders are possible. Default: as in `url`, what the
	// environment says, or the role's name.
	Database string `json:"database,omitempty"`

	// How TLS is used, in place of `sslmode`. Default: as `sslmode` says, which is `prefer`
	// by default: TLS if the server has it, without looking who it is.
	TLS *guest.TLS `json:"tls,omitempty"`

	// The schema that the tables are in. Lists with different ones share nothing. Default:
	// `token_revocation`.
	Schema string `json:"schema,omitempty"`

	// Whether the schema and its tables are made where they are missing: `on`, or `off` for
	// a role that may not do that. Default: `on`.
	CreateSchema string `json:"create_schema,omitempty"`

	// How many connections there are at most, besides one on which the server tells what
	// came. Default: 4.
	MaxConnections int `json:"max_connections,omitempty"`

	// Accept a server that doesn't write to its disk what it acknowledges, and so forgets
	// revocations. Default: false.
	UnsafeDurability bool `json:"unsafe_durability,omitempty"`

	// How long to wait for a connection, and for a reply. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	options  pgstore.Options
	location string
	settings []byte
}

// CaddyModule returns the Caddy module information.
func (Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "token_revocation.stores.postgres",
		New: func() caddy.Module { return new(Store) },
	}
}

// What create_schema may be.
const (
	createOn  = "on"
	createOff = "off"
)

// maxConnections bounds the configuration: what is beyond it is a slip of the pen.
const maxConnections = 1000

// Provision replaces placeholders and reads files. It connects to nothing.
func (s *Store) Provision(caddy.Context) error {
	if err := s.checkBounds(); err != nil {
		return err
	}
	r := placeholder.New()
	o := pgstore.Options{
		Schema:           r.Text("schema", s.Schema),
		NoCreate:         s.CreateSchema == createOff,
		MaxConnections:   s.MaxConnections,
		UnsafeDurability: s.UnsafeDurability,
		Timeout:          time.Duration(s.Timeout),
	}
	if err := locate(r, s.URL, &o); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	for _, override := range []struct {
		name, text string
		replace    func(name, text string) string
		to         *string
	}{
		{"username", s.Username, r.Text, &o.Username},
		{"password", s.Password, r.Secret, &o.Password},
		{"database", s.Database, r.Text, &o.Database},
	} {
		if override.text == "" {
			continue
		}
		if *override.to != "" {
			return fmt.Errorf("%s stands in the url as well: only one can count", override.name)
		}
		*override.to = override.replace(override.name, override.text)
	}
	serverName := ""
	if s.TLS != nil {
		if name := tlsParameter(o.Parameters); name != "" {
			return fmt.Errorf("tls: %s stands in the url as well: only one can count", name)
		}
		var err error
		if o.TLS, err = s.TLS.Config(r); err != nil {
			return err
		}
		if o.TLS != nil {
			serverName = o.TLS.ServerName
		}
	}
	if r.Err() != nil {
		return r.Err()
	}
	location, identity, err := o.Identify()
	if err != nil {
		return err
	}
	settings, _ := json.Marshal([]any{identity[:], r.Contents(), serverName}) // can't fail
	sum := sha256.Sum256(settings)
	s.options, s.location, s.settings = o, location, sum[:]
	return nil
}

func (s *Store) checkBounds() error {
	switch timeout := time.Duration(s.Timeout); {
	case s.MaxConnections < 0 || s.MaxConnections > maxConnections:
		return fmt.Errorf("max_connections is %d, possible is from 0 to %d", s.MaxConnections, maxConnections)
	case timeout != 0 && (timeout < guest.MinTimeout || timeout > guest.MaxTimeout):
		return fmt.Errorf("timeout is %s, possible is from %s to %s", timeout, guest.MinTimeout, guest.MaxTimeout)
	}
	return s.checkCreateSchema()
}

func (s *Store) checkCreateSchema() error {
	switch s.CreateSchema {
	case "", createOn, createOff:
		return nil
	}
	return fmt.Errorf("create_schema is %q, possible are on and off", s.CreateSchema)
}

// StoreKey implements caddymodule.Store: where the records are, and not how to get in.
func (s *Store) StoreKey() string { return "postgres:" + s.location }

// Settings implements caddymodule.SharedStore.
func (s *Store) Settings() []byte { return s.settings }

// OpenStore implements caddymodule.Store. It doesn't connect.
func (s *Store) OpenStore(ctx context.Context, logger *slog.Logger) (revocation.Store, error) {
	o := s.options
	o.Logger = logger
	store, err := pgstore.Open(ctx, o)
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
