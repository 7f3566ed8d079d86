package pgstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// failures runs everything that uses the server, and returns the errors.
func failures(s *Store) map[string]error {
	_, _, loaded := load(s)
	_, beaten := s.Beat(background, revocation.Beat{Node: "a"})
	return map[string]error{"Append": s.Append(background, newBatch("a", 1)), "Load": loaded, "Beat": beaten}
}

// startGuarded runs a server that wants a password of everybody but postgres.
func startGuarded(t testing.TB, settings ...string) *server {
	t.Helper()
	sv := newServer(t, settings...)
	sv.fill(t)
	const rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(sv.dir, "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	sv.start(t)
	return sv
}

// role makes one, with a database that it owns, and returns how it gets in.
func (sv *server) role(t testing.TB, name string) Options {
	t.Helper()
	sv.do(t, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", name, secret), fmt.Sprintf("CREATE DATABASE %s OWNER %s", name, name))
	o := sv.options()
	o.Username, o.Password, o.Database = name, secret, name
	return o
}

// doAs runs statements as the superuser in a database.
func (sv *server) doAs(t testing.TB, database string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(background, "postgres://postgres@"+sv.addr()+"/"+database+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(background)
	for _, sql := range statements {
		if _, err := conn.Exec(background, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestRefusals checks that every mistake gets an error that says what to do, and that the
// store works once the mistake is put right.
func TestRefusals(t *testing.T) {
	sv := startGuarded(t, "max_connections=60")
	const grants = "GRANT USAGE ON SCHEMA token_revocation TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA token_revocation TO %[1]s; GRANT USAGE, SELECT ON SEQUENCE token_revocation.numbers TO %[1]s"
	for i, test := range []struct {
		name   string
		break_ func(t *testing.T, role string, o *Options)
		kind   error
		words  []string
		mend   string // in the role's database
	}{
		{"no password", func(_ *testing.T, _ string, o *Options) { o.Password = "" }, nil, []string{"password"}, ""},
		{"wrong password", func(t *testing.T, role string, _ *Options) { sv.do(t, "ALTER ROLE "+role+" PASSWORD 'other'") }, nil,
			[]string{"28P01", "the password is wrong"}, "ALTER ROLE %[1]s PASSWORD '" + secret + "'"},
		{"unknown user", func(_ *testing.T, _ string, o *Options) { o.Username = "nobody_knows" }, nil, []string{"nobody_knows", "the user name or the password is wrong"}, ""},
		{"unknown database", func(_ *testing.T, _ string, o *Options) { o.Database = "none" }, nil, []string{"3D000", "create the database"}, ""},
		{"a role that may not log in", func(t *testing.T, role string, _ *Options) { sv.do(t, "ALTER ROLE "+role+" NOLOGIN") }, nil, []string{"28000", "pg_hba.conf"}, "ALTER ROLE %[1]s LOGIN"},
		{"a host that isn't let in", func(_ *testing.T, _ string, o *Options) { o.Hosts = []string{"[::1]:" + sv.port} }, nil, []string{"can't be reached"}, ""},
		{"a server without TLS", func(_ *testing.T, _ string, o *Options) { o.Parameters = map[string]string{"sslmode": "require"} }, nil, []string{"no TLS", "ssl = on"}, ""},
		{"a role that may not create", func(t *testing.T, role string, o *Options) {
			sv.do(t, "ALTER DATABASE "+role+" OWNER TO postgres")
		}, nil, []string{"42501", "CREATE on the database"}, "GRANT CREATE ON DATABASE %[1]s TO %[1]s"},
		{"tables that somebody else makes", func(t *testing.T, role string, o *Options) {
			o.NoCreate = true
		}, nil, []string{"schema token_revocation are missing", "run the SQL"}, Schema("") + grants},
		{"a role without rights", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, Schema(""))
		}, nil, []string{"42501", "USAGE on the schema"}, grants},
		{"rights to read alone", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, Schema(""), fmt.Sprintf("GRANT USAGE ON SCHEMA token_revocation TO %[1]s; GRANT SELECT ON ALL TABLES IN SCHEMA token_revocation TO %[1]s", role))
		}, nil, []string{"42501", "INSERT"}, grants},
		{"read-only by default", func(t *testing.T, role string, _ *Options) {
			sv.do(t, "ALTER ROLE "+role+" SET default_transaction_read_only = on")
		}, revocation.ErrStoreReadOnly, []string{"default_transaction_read_only", "ALTER ROLE"}, "ALTER ROLE %[1]s RESET default_transaction_read_only"},
		{"it doesn't wait for its disk", func(t *testing.T, role string, _ *Options) {
			sv.do(t, "ALTER ROLE "+role+" SET synchronous_commit = off")
		}, nil, []string{"synchronous_commit = off", "unsafe_durability"}, "ALTER ROLE %[1]s SET synchronous_commit = local"},
		{"a newer schema", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, Schema("")+fmt.Sprintf(grants, role)+"; UPDATE token_revocation.meta SET version = 2")
		}, revocation.ErrStoreVersion, []string{"version 2", "update every node"}, "UPDATE token_revocation.meta SET version = 1"},
		{"tables of another program", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, "CREATE SCHEMA token_revocation; CREATE TABLE token_revocation.meta (a int); CREATE TABLE token_revocation.records (a int); CREATE TABLE token_revocation.nodes (a int); CREATE SEQUENCE token_revocation.numbers;"+fmt.Sprintf(grants, role))
		}, nil, []string{"42703", "choose another schema"}, ""},
		{"an unlogged table", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, Schema("")+fmt.Sprintf(grants, role)+"; ALTER TABLE token_revocation.records SET UNLOGGED")
		}, nil, []string{"UNLOGGED", "SET LOGGED"}, "ALTER TABLE token_revocation.records SET LOGGED"},
		{"nodes that a crash forgets", func(t *testing.T, role string, _ *Options) {
			sv.doAs(t, role, Schema("")+fmt.Sprintf(grants, role)+"; ALTER TABLE token_revocation.nodes SET UNLOGGED")
		}, nil, []string{"token_revocation.nodes is UNLOGGED", "ALTER TABLE token_revocation.nodes SET LOGGED"}, "ALTER TABLE token_revocation.nodes SET LOGGED"},
		{"no room for its connections", func(t *testing.T, role string, _ *Options) {
			sv.do(t, "ALTER ROLE "+role+" CONNECTION LIMIT 0")
		}, nil, []string{"53300", "CONNECTION LIMIT"}, "ALTER ROLE %[1]s CONNECTION LIMIT -1"},
		{"statements that may not take long", func(t *testing.T, role string, o *Options) {
			sv.doAs(t, role, Schema("")+fmt.Sprintf(grants, role)+"; ALTER ROLE "+role+" SET statement_timeout = '100ms'")
			holdTables(t, sv, role)
		}, nil, []string{"57014", "statement_timeout"}, ""},
		{"tables that somebody has locked", func(t *testing.T, role string, o *Options) {
			sv.doAs(t, role, Schema("")+fmt.Sprintf(grants, role))
			o.Timeout = 200 * time.Millisecond
			holdTables(t, sv, role)
		}, nil, []string{"doesn't answer within 200ms"}, ""},
		{"too many connections", func(t *testing.T, role string, o *Options) {
			sv.do(t, "ALTER ROLE "+role+" CONNECTION LIMIT 1")
			other := *o
			conn, err := pgx.Connect(background, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", role, secret, sv.addr(), other.Database))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(background) })
		}, nil, []string{"53300", "CONNECTION LIMIT"}, "ALTER ROLE %[1]s CONNECTION LIMIT 10"},
	} {
		t.Run(test.name, func(t *testing.T) {
			role := fmt.Sprintf("role%d", i)
			opts := sv.role(t, role)
			test.break_(t, role, &opts)
			s := open(t, opts)
			for what, err := range failures(s) {
				if test.name == "rights to read alone" && what == "Load" {
					if err != nil {
						t.Errorf("Load: %v", err)
					}
					continue
				}
				wantWords(t, what, err, append([]string{"postgres ", sv.port}, test.words...)...)
				if test.kind != nil {
					wantErrorIs(t, what, err, test.kind)
				}
			}
			if test.mend != "" {
				sql := test.mend
				if strings.Contains(sql, "%[1]s") {
					sql = fmt.Sprintf(sql, role)
				}
				sv.doAs(t, role, sql)
				eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("b", 1)) == nil })
				mustLoad(t, s)
				if _, err := s.Beat(background, revocation.Beat{Node: "a"}); err != nil {
					t.Errorf("Beat: %v", err)
				}
				if _, err := s.Prune(background, time.Now()); err != nil {
					t.Errorf("Prune: %v", err)
				}
			}
		})
	}
}

// holdTables locks the tables until the test ends.
func holdTables(t *testing.T, sv *server, database string) {
	t.Helper()
	conn, err := pgx.Connect(background, "postgres://postgres@"+sv.addr()+"/"+database+"?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(background) })
	if _, err := conn.Exec(background, "BEGIN; LOCK token_revocation.meta", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

func wantDurability(t *testing.T, s *Store, want string) {
	t.Helper()
	if got := s.Durability(); got != want {
		t.Errorf("Durability is %q, want %q", got, want)
	}
}

// TestDurability changes the server's settings while the store has it open.
func TestDurability(t *testing.T) {
	var log lines
	sv := startServer(t)
	opts := sv.options()
	opts.Logger = log.Logger()
	s := open(t, opts)
	wantDurability(t, s, "")
	appendTo(t, s, newBatch("a", 1)...)
	wantDurability(t, s, DurabilityVerified)
	if !strings.Contains(log.String(), "synchronous_commit=on") || strings.Contains(log.String(), "WARN") {
		t.Errorf("the log says %s", log.String())
	}
	set := func(sql string) {
		t.Helper()
		sv.do(t, sql, "SELECT pg_reload_conf()")
	}
	set("ALTER SYSTEM SET full_page_writes = off")
	eventually(t, "it is noticed", func() bool {
		s.nextInspect.Store(0)
		_, err := s.Beat(background, revocation.Beat{Node: "a"})
		return err == nil && s.Durability() == DurabilityUnverified
	})
	if strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("the log says %s", log.String())
	}
	set("ALTER SYSTEM RESET full_page_writes")
	s.nextInspect.Store(time.Now().Add(time.Hour).UnixNano()) // that isn't what tells
	for setting, words := range map[string]string{"synchronous_commit": "synchronous_commit = on", "fsync": "fsync = on"} {
		set("ALTER SYSTEM SET " + setting + " = off")
		var err error
		eventually(t, "a revocation is refused", func() bool {
			err = s.Append(background, newBatch("refused", 1))
			return err != nil
		})
		wantWords(t, "Append", err, words, "unsafe_durability")
		for range 2 {
			_, err = s.Beat(background, revocation.Beat{Node: "a"})
			wantWords(t, "Beat", err, words)
		}
		unsafe := sv.options()
		unsafe.UnsafeDurability, unsafe.Logger = true, log.Logger()
		u := open(t, unsafe)
		appendTo(t, u, newBatch("unsafe", 1)...)
		wantDurability(t, u, DurabilityUnsafe)
		set("ALTER SYSTEM RESET " + setting)
		eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("b", 1)) == nil })
	}
}

// TestStandbysThatAreWaitedFor has a server that waits for a standby that isn't there:
// nothing is acknowledged, neither records nor beats, also when somebody cancels the wait.
func TestStandbysThatAreWaitedFor(t *testing.T) {
	sv := startServer(t)
	opts := sv.options()
	opts.Timeout = 400 * time.Millisecond
	s := open(t, opts)
	appendTo(t, s, newBatch("before", 1)...)
	sv.do(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	eventually(t, "it waits", func() bool { return s.Append(background, newBatch("waits", 1)) != nil })
	_, err := s.Beat(background, revocation.Beat{Node: "a"})
	wantWords(t, "Beat", err, "doesn't answer within 400ms")
	mustLoad(t, s)

	opts.Timeout = 20 * time.Second
	patient := open(t, opts)
	for what, f := range map[string]func() error{
		"Append": func() error { return patient.Append(background, newBatch("cancelled", 1)) },
		"Beat":   func() error { _, err := patient.Beat(background, revocation.Beat{Node: "a"}); return err },
	} {
		done := make(chan error, 1)
		go func() { done <- f() }()
		var err error
		eventually(t, what+" ends", func() bool {
			sv.do(t, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
			select {
			case err = <-done:
				return true
			default:
				return false
			}
		})
		wantWords(t, what, err, "cancelled its wait for the standbys")
	}
	sv.do(t, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("after", 1)) == nil })
}

// TestAway begins without a server, which then comes, stops answering, and goes on.
func TestAway(t *testing.T) {
	sv := newServer(t)
	opts := sv.options()
	opts.Timeout = 700 * time.Millisecond
	s := open(t, opts)
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr(), "can't be reached")
	}
	sv.fill(t)
	sv.start(t)
	eventually(t, "the store works", func() bool { return s.Append(background, newBatch("a", 1)) == nil })
	connected := open(t, opts)
	appendTo(t, connected, newBatch("b", 1)...)
	resume := sv.pause(t)
	defer resume()
	for what, err := range failures(s) {
		wantWords(t, what, err, sv.addr(), "doesn't answer within 700ms")
	}
	for _, f := range []*Store{open(t, opts), connected} {
		start := time.Now()
		_ = f.Append(background, newBatch("b", 1))
		if f.Close(); time.Since(start) > 10*time.Second {
			t.Errorf("Close took %s", time.Since(start))
		}
	}
	resume()
	eventually(t, "the store works again", func() bool { return s.Append(background, newBatch("c", 1)) == nil })
}

func TestOptions(t *testing.T) {
	for want, opts := range map[string]Options{
		"the schema's name":        {Schema: "a\x00b"},
		"1 to 63 bytes":            {Schema: strings.Repeat("x", 64)},
		"negative":                 {MaxConnections: -1},
		"a host is written":        {Hosts: []string{"a:b:c"}},
		"as host, host:port":       {Hosts: []string{"a:0"}},
		"options of their own":     {Parameters: map[string]string{"password": secret}},
		"a parameter's name":       {Parameters: map[string]string{"a b": secret}},
		"sslmode is invalid":       {Hosts: []string{"a"}, Parameters: map[string]string{"sslmode": "x"}, Password: secret},
		"how to connect":           {Parameters: map[string]string{"service": "none", "sslpassword": secret}},
		"unknown target_session_a": {Parameters: map[string]string{"target_session_attrs": "x", "sslpassword": secret}},
	} {
		_, err := Open(background, opts)
		wantWords(t, "Open for "+want, err, want)
	}
}

// TestSecret looks for the password in everything that the store shows.
func TestSecret(t *testing.T) {
	var log lines
	sv := startGuarded(t)
	opts := sv.role(t, "caddy")
	opts.Logger = log.Logger()
	s := open(t, opts)
	appendTo(t, s, newBatch("a", 1)...)
	_, p := mustLoad(t, s)
	follow(t, s, p)
	sv.kill()
	eventually(t, "the listener has noticed", func() bool { return strings.Contains(log.String(), "each second") })
	wantWords(t, "Append", s.Append(background, newBatch("a", 1)), sv.port)
	if strings.Contains(log.String()+s.name, secret) {
		t.Error("the password is shown")
	}
}
