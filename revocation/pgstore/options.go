// What a store is told when it is opened.

package pgstore

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/gate"
)

// Defaults of Options.
const (
	DefaultSchema         = "token_revocation"
	DefaultTimeout        = 5 * time.Second
	DefaultMaxConnections = 4
)

// Options are how a store is opened. What says where the server is and how to get in may be
// left out: then the environment variables of PostgreSQL's own clients count (PGHOST,
// PGUSER, PGPASSWORD, PGPASSFILE, PGSERVICE and so on), and then their defaults.
type Options struct {
	// Hosts are host or host:port, or the directory of a Unix socket. Of several, the one
	// is used that can be written to.
	Hosts              []string
	Database           string
	Username, Password string
	// Parameters are others of those that a connection string may have, such as sslmode
	// or target_session_attrs. What isn't one of the client's is set at the server.
	Parameters map[string]string
	// TLS is how to connect, in place of what sslmode and the like say. Without a
	// ServerName that of the host is used.
	TLS *tls.Config

	// Schema has the tables. Stores with different ones share nothing. Default:
	// DefaultSchema.
	Schema string
	// NoCreate leaves it to somebody else to make the tables: see Schema.
	NoCreate bool

	// UnsafeDurability accepts a server that doesn't write to its disk what it
	// acknowledges, one that forgets revocations.
	UnsafeDurability bool
	// MaxConnections bounds the connections, besides the one on which Follow is told of
	// what was appended. Default: DefaultMaxConnections.
	MaxConnections int
	// Timeout bounds connecting, and waiting for a reply. Default: DefaultTimeout.
	Timeout time.Duration

	// Logger is told what isn't an error of a call. Default: nothing is logged.
	Logger *slog.Logger
}

// Errors of Open.
var (
	errSchema        = errors.New("the schema's name must have 1 to 63 bytes and no control characters")
	errNegative      = errors.New("the number of connections and the timeout must not be negative")
	errHost          = errors.New("a host is written as host, host:port or the directory of a socket")
	errParameterName = errors.New("a parameter's name has letters, digits, underscores and dots")
	errParameter     = errors.New("hosts, database, user and password are options of their own, and no parameters")
)

// longestName is that of PostgreSQL's names, in bytes.
const longestName = 63

func (o *Options) validate() error {
	switch {
	case len(o.Schema) > longestName || strings.ContainsFunc(o.Schema, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errSchema
	case o.MaxConnections < 0 || o.Timeout < 0:
		return errNegative
	}
	return nil
}

// Open makes a store of a server. It connects when it is first used, so that the server
// may be away: the error is about opts alone, and about files that they name.
func Open(ctx context.Context, opts Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opts.setDefaults()
	cfg, err := opts.config()
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	s := &Store{
		opts:     opts,
		name:     nameOf(cfg.ConnConfig, opts.Schema),
		channel:  opts.Schema,
		log:      opts.Logger,
		sql:      newStatements(opts.Schema),
		poll:     pollEvery,
		listener: cfg.ConnConfig.Copy(),
		gate:     gate.New(),
	}
	s.durability.Store("")
	cfg.AfterConnect = s.inspect
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), cfg); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return s, nil
}

func (o *Options) setDefaults() {
	if o.Schema == "" {
		o.Schema = DefaultSchema
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.MaxConnections == 0 {
		o.MaxConnections = DefaultMaxConnections
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Identify returns where the records are that a store with these options has, and a hash of
// all that it is opened with, as far as it comes from the environment as well: the hosts,
// the database and the schema, and the password and so on. Files aren't read for the hash,
// but for the one that PGPASSFILE names.
func (o Options) Identify() (location string, settings [sha256.Size]byte, err error) {
	o.setDefaults()
	cfg, err := o.config()
	if err != nil {
		return "", settings, err
	}
	c := cfg.ConnConfig
	hosts := hostsOf(c)
	// The password comes as bytes: as text, those that aren't UTF-8 look alike.
	text, err := json.Marshal([]any{
		hosts, c.Database, c.User, []byte(c.Password), c.RuntimeParams, o.Parameters, o.TLS != nil,
		o.Schema, o.NoCreate, o.UnsafeDurability, o.MaxConnections, o.Timeout,
	})
	if err != nil {
		return "", settings, err
	}
	slices.Sort(hosts)
	return locate(c, hosts, o.Schema), sha256.Sum256(text), nil
}

// idleFor is how long a connection is kept that nobody uses.
const idleFor = 5 * time.Minute

// config makes the client's configuration. The password isn't in the text that is parsed:
// errors quote that.
func (o *Options) config() (*pgxpool.Config, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	text, err := o.connString()
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, withoutConnString(err)
	}
	c := cfg.ConnConfig
	if o.Password != "" {
		c.Password = o.Password
	}
	hosts := hostsOf(c)
	if o.TLS != nil {
		o.useTLS(c)
	}
	if len(hosts) > 1 && c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = o.Timeout / time.Duration(len(hosts))
	}
	if _, ok := c.RuntimeParams["application_name"]; !ok {
		c.RuntimeParams["application_name"] = "caddy token_revocation"
	}
	// Poolers that give each transaction another connection know no prepared statements.
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	c.OnNotice = noticed
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = int32(o.MaxConnections), 0, 0
	cfg.MaxConnIdleTime = idleFor
	return cfg, nil
}

// withoutConnString returns an error of the client without what it was about, which may
// have a secret in it.
func withoutConnString(err error) error {
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+3:]
	}
	return errors.New("how to connect can't be used: " + text)
}

// connString is what says where the server is, as the client reads it.
func (o *Options) connString() (string, error) {
	all := map[string]string{}
	for name, value := range o.Parameters {
		switch name {
		case "host", "hostaddr", "port", "user", "password", "dbname", "database":
			return "", errParameter
		}
		if name == "" || strings.ContainsFunc(name, notInNames) {
			return "", errParameterName
		}
		all[name] = value
	}
	var hosts, ports []string
	for _, h := range o.Hosts {
		host, port, err := splitHost(h)
		if err != nil {
			return "", err
		}
		hosts, ports = append(hosts, host), append(ports, port)
	}
	if len(hosts) > 0 {
		all["host"], all["port"] = strings.Join(hosts, ","), strings.Join(ports, ",")
	}
	if o.Database != "" {
		all["dbname"] = o.Database
	}
	if o.Username != "" {
		all["user"] = o.Username
	}
	var b strings.Builder
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s='%s' ", name, quote.Replace(all[name]))
	}
	return strings.TrimSuffix(b.String(), " "), nil
}

func notInNames(r rune) bool {
	return !(r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

const defaultPort = "5432"

func splitHost(text string) (host, port string, err error) {
	host, port = text, defaultPort
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	} else if strings.Contains(text, ":") && net.ParseIP(text) == nil && !strings.HasPrefix(text, "/") {
		return "", "", errHost
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.Contains(host, ",") {
		return "", "", errHost
	}
	return host, port, nil
}

// useTLS connects to every host with Options.TLS and in no other way.
func (o *Options) useTLS(c *pgx.ConnConfig) {
	config := func(host string) *tls.Config {
		if strings.HasPrefix(host, "/") {
			return nil
		}
		t := o.TLS.Clone()
		if t.ServerName == "" {
			t.ServerName = host
		}
		return t
	}
	c.TLSConfig = config(c.Host)
	type place struct {
		host string
		port uint16
	}
	seen := map[place]bool{{c.Host, c.Port}: true}
	var others []*pgconn.FallbackConfig
	for _, f := range c.Fallbacks {
		if at := (place{f.Host, f.Port}); !seen[at] {
			seen[at] = true
			others = append(others, &pgconn.FallbackConfig{Host: f.Host, Port: f.Port, TLSConfig: config(f.Host)})
		}
	}
	c.Fallbacks = others
}

// hostsOf returns the servers of a configuration, each once.
func hostsOf(c *pgx.ConnConfig) []string {
	write := func(host string, port uint16) string {
		_, address := pgconn.NetworkAddress(host, port)
		return address
	}
	all := []string{write(c.Host, c.Port)}
	for _, f := range c.Fallbacks {
		if h := write(f.Host, f.Port); !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	return all
}

// nameOf names a store in errors: where it is, never how to get in.
func nameOf(c *pgx.ConnConfig, schema string) string {
	return "postgres " + locate(c, hostsOf(c), schema)
}

func locate(c *pgx.ConnConfig, hosts []string, schema string) string {
	database := c.Database
	if database == "" {
		database = c.User // the server's default
	}
	place := strings.Join(hosts, ",") + "/" + database
	if schema != DefaultSchema {
		place += " schema " + schema
	}
	return place
}
