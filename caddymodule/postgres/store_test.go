package postgres

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("postgres " + text))
}

func provision(s *Store) error { return s.Provision(caddy.Context{}) }

// mustProvision returns a store that is ready to be opened.
func mustProvision(t *testing.T, text string) *Store {
	t.Helper()
	s, err := parse(text)
	if err == nil {
		err = provision(s)
	}
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestEverySubdirectiveBecomesJSON(t *testing.T) {
	for text, want := range map[string]string{
		``:                     `{}`,
		`postgres://127.0.0.1`: `{"url":"postgres://127.0.0.1"}`,
		`postgres://db/revocations {
			username caddy
			password {env.PASSWORD}
			tls {
				ca a.pem b.pem
				cert c.pem
				key k.pem
				server_name r.example.com
			}
			schema staging
			create_schema off
			max_connections 8
			unsafe_durability
			timeout 2s
		}`: `{"url":"postgres://db/revocations","username":"caddy","password":"{env.PASSWORD}",
			"tls":{"ca":["a.pem","b.pem"],"cert":"c.pem","key":"k.pem","server_name":"r.example.com"},
			"schema":"staging","create_schema":"off","max_connections":8,"unsafe_durability":true,"timeout":2000000000}`,
		`{
			database revocations
			tls
		}`: `{"database":"revocations","tls":{}}`,
	} {
		s, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		expected := new(Store)
		if err := caddy.StrictUnmarshalJSON([]byte(want), expected); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(s, expected) {
			t.Errorf("%s becomes %s", text, caddyconfig.JSON(s, nil))
		}
	}
}

func TestWrongCaddyfilesNameWhatIsAccepted(t *testing.T) {
	for text, says := range map[string]string{
		"a b":                             "takes one argument: its url",
		`""`:                              "the url of the store is empty",
		"{\nuser a\n}":                    "unrecognized subdirective 'user', accepted are: username, password, database, tls, schema, create_schema, max_connections, unsafe_durability, timeout",
		"{\nusername a\nusername b\n}":    "'username' is already specified",
		"{\nusername\n}":                  "'username' takes one argument",
		"{\npassword sesame open\n}":      "'password' takes one argument: a secret",
		"{\nmax_connections -1\n}":        "'max_connections -1' is not possible, it takes a number from 0",
		"{\ncreate_schema sometimes\n}":   "'create_schema sometimes' is not possible, it takes on or off",
		"{\nunsafe_durability yes\n}":     "'unsafe_durability' takes no arguments",
		"{\ntimeout 0\n}":                 "'timeout 0' is not possible, it takes a duration from 10ms to 5m0s",
		"{\ntls on\n}":                    "'tls' takes no arguments",
		"{\ntls {\ninsecure\n}\n}":        "unrecognized subdirective 'insecure', accepted are: ca, cert, key, server_name",
		"{\nschema\n}":                    "'schema' takes one argument: a name",
		"{\ndatabase a b\n}":              "'database' takes one argument: a name",
		"{\ntls {\nserver_name a b\n}\n}": "'server_name' takes one argument: a name",
	} {
		_, err := parse(text)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "Testfile:") {
			t.Errorf("%q says %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: a secret is in %v", text, err)
		}
	}
}

const hidden = "do-not-show-me"

// What a Caddyfile's syntax can't tell is told at Provision, and no error shows a secret.
func TestWrongConfigurationsAreRefused(t *testing.T) {
	noEnvironment(t)
	t.Setenv("EMPTY", "")
	t.Setenv("NO_URL", hidden)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	const form = "postgres://[user[:password]@][host"
	for text, says := range map[string]string{
		"http://a":             form,
		"a:5432":               form,
		"postgres://a:port":    form,
		"postgres://a,b:c:d":   form,
		"postgres://a/x/y":     form,
		"postgres://a?sslmode": form,
		"postgres://a?sslmode=disable&sslmode=disable":            form,
		"postgres://a?host=/run":                                  form,
		"postgres://u:" + hidden + "%zz@a":                        form,
		"postgres://a?x=%zz" + hidden:                             form,
		"{env.NO_URL}":                                            form,
		"{env.NOT_SET}":                                           "url: a placeholder in it is unknown or empty",
		"postgres://u:{" + hidden + "}@a":                         "url: password: a placeholder in it is unknown or empty",
		"postgres://{env.NOT_SET}@a":                              "url: user",
		"postgres://a?sslmode={env.NOT_SET}":                      "url: sslmode: a placeholder in it is unknown or empty",
		"postgres://a?sslmode=" + hidden[:2]:                      "sslmode is invalid",
		"postgres://a?user=" + hidden:                             "hosts, database, user and password are options of their own",
		"postgres://a?port=1":                                     "hosts, database, user and password are options of their own",
		"postgres://a?target_session_attrs=x":                     "unknown target_session_attrs",
		"postgres://a?sslmode=verify-ca&sslrootcert=/no/such.pem": "url: sslrootcert: open /no/such.pem",
		"postgres://a?sslmode=verify-ca&sslpassword=" + hidden + "&sslcert=" + garbage + "&sslkey=" + garbage: "how to connect can't be used",
		"postgres://a/b {\ndatabase c\n}":                                                            "database stands in the url as well",
		"postgres://u@a {\nusername b\n}":                                                            "username stands in the url as well",
		"postgres://u:" + hidden + "@a {\npassword b\n}":                                             "password stands in the url as well",
		"postgres://a?sslmode=require {\ntls\n}":                                                     "tls: sslmode stands in the url as well",
		"postgres://a {\npassword {" + hidden + "}\n}":                                               "password: a placeholder in it is unknown or empty",
		"postgres://a {\nschema 1234567890123456789012345678901234567890123456789012345678901234\n}": "the schema's name must have 1 to 63 bytes",
		"postgres://a {\ntls {\nca /no/such.pem\n}\n}":                                               "tls: ca: open /no/such.pem",
		"postgres://a {\ntls {\nca " + garbage + "\n}\n}":                                            "has no certificate in PEM",
		"postgres://a {\ntls {\ncert " + garbage + "\n}\n}":                                          "cert and key belong together",
		"postgres://a {\ntls {\ncert " + garbage + "\nkey " + garbage + "\n}\n}":                     "aren't a certificate in PEM and its key",
	} {
		s, err := parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if err := provision(s); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), hidden) {
			t.Errorf("%q says %v\nwant %s", text, err, says)
		}
	}
	for _, s := range []*Store{{MaxConnections: -1}, {MaxConnections: 1001}, {Timeout: 1}, {CreateSchema: "yes"}} {
		if err := provision(s); err == nil {
			t.Errorf("%s is taken", caddyconfig.JSON(s, nil))
		}
	}
}

// noEnvironment takes away what PostgreSQL's clients read from the environment.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, line := range os.Environ() {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "") // so that it comes back
			os.Unsetenv(name)
		}
	}
}

func TestWhereTheStoreIsAndHowToGetIn(t *testing.T) {
	noEnvironment(t)
	const strange = "a/b@c:d%20{e}'\\"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(strange), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PASSWORD", strange)
	t.Setenv("URL", "postgresql://u:a%2Fb%7B@r.example.com/base?sslmode=require")
	t.Setenv("HOSTS", "r.example.com:6390,s.example.com")
	for text, want := range map[string]struct {
		options pgstore.Options
		key     string
	}{
		"postgres://127.0.0.1/d": {pgstore.Options{Hosts: []string{"127.0.0.1:5432"}, Database: "d"}, "127.0.0.1:5432/d"},
		"postgresql://[::1]:1/d": {pgstore.Options{Hosts: []string{"[::1]:1"}, Database: "d"}, "[::1]:1/d"},
		"postgres://:p%40@R/3":   {pgstore.Options{Hosts: []string{"r:5432"}, Password: "p@", Database: "3"}, "r:5432/3"},
		"postgres://b,A:1/d?target_session_attrs=primary": {
			pgstore.Options{Hosts: []string{"b:5432", "a:1"}, Database: "d", Parameters: map[string]string{"target_session_attrs": "primary"}}, "a:1,b:5432/d"},
		"postgres://u:{env.PASSWORD}@r:1/0": {pgstore.Options{Hosts: []string{"r:1"}, Username: "u", Password: strange, Database: "0"}, "r:1/0"},
		"postgres://u:{file." + file + "}@{env.HOSTS}/d": {
			pgstore.Options{Hosts: []string{"r.example.com:6390", "s.example.com:5432"}, Username: "u", Password: strange, Database: "d"}, "r.example.com:6390,s.example.com:5432/d"},
		"{env.URL}": {
			pgstore.Options{Hosts: []string{"r.example.com:5432"}, Username: "u", Password: "a/b{", Database: "base", Parameters: map[string]string{"sslmode": "require"}}, "r.example.com:5432/base"},
		"postgres:///d?host=/var/run/postgresql": {pgstore.Options{Hosts: []string{"/var/run/postgresql"}, Database: "d"}, "/var/run/postgresql/.s.PGSQL.5432/d"},
		"postgres://r {\nusername u\npassword {env.PASSWORD}\nmax_connections 2\n}": {
			pgstore.Options{Hosts: []string{"r:5432"}, Username: "u", Password: strange, MaxConnections: 2}, "r:5432/u"},
		"postgres://r {\ndatabase d\nschema x\ncreate_schema off\ntimeout 1s\nunsafe_durability\n}": {
			pgstore.Options{Hosts: []string{"r:5432"}, Database: "d", Schema: "x", NoCreate: true, Timeout: time.Second, UnsafeDurability: true}, "r:5432/d schema x"},
	} {
		s := mustProvision(t, text)
		if !reflect.DeepEqual(s.options, want.options) {
			t.Errorf("%s: %+v", text, s.options)
		}
		if s.StoreKey() != "postgres:"+want.key {
			t.Errorf("%s: the key is %s", text, s.StoreKey())
		}
		if strings.Contains(s.StoreKey(), strange) || strings.Contains(s.StoreKey(), "a/b{") || strings.Contains(string(s.Settings()), strange) {
			t.Errorf("%s: a secret is in %q", text, s.StoreKey())
		}
	}
}

// What isn't configured comes from the environment, as for PostgreSQL's own clients, and
// what is configured wins.
func TestTheEnvironmentCountsWhereNothingIsConfigured(t *testing.T) {
	noEnvironment(t)
	passfile := filepath.Join(t.TempDir(), "pgpass")
	write := func(password string) {
		if err := os.WriteFile(passfile, []byte("e.example.com:7000:base:caddy:"+password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	for name, value := range map[string]string{"PGHOST": "e.example.com", "PGPORT": "7000", "PGDATABASE": "base", "PGUSER": "caddy", "PGPASSFILE": passfile} {
		t.Setenv(name, value)
	}
	s := mustProvision(t, "")
	if s.StoreKey() != "postgres:e.example.com:7000/base" {
		t.Errorf("the key is %s", s.StoreKey())
	}
	if again := mustProvision(t, ""); string(again.Settings()) != string(s.Settings()) {
		t.Error("the same environment gives other settings")
	}
	write("two")
	if other := mustProvision(t, ""); string(other.Settings()) == string(s.Settings()) {
		t.Error("another password in the file of passwords makes no difference")
	}
	if s := mustProvision(t, "postgres://other/d"); s.StoreKey() != "postgres:other:5432/d" {
		t.Errorf("the key is %s", s.StoreKey())
	}
}

func TestOneStoreHasOneKey(t *testing.T) {
	noEnvironment(t)
	base := mustProvision(t, "postgres://r,s/d")
	for text, same := range map[string]bool{
		"postgresql://S:5432,R/d":                        true,
		"postgres://u:p@r,s/d":                           true,
		"postgres://r,s {\ndatabase d\n}":                true,
		"postgres://r,s/d {\nschema token_revocation\n}": true,
		"postgres://r,s/d?sslmode=disable":               true,
		"postgres://r/d":                                 false,
		"postgres://r,s/e":                               false,
		"postgres://r:1,s/d":                             false,
		"postgres://r,s/d {\nschema x\n}":                false,
	} {
		if s := mustProvision(t, text); (s.StoreKey() == base.StoreKey()) != same {
			t.Errorf("%s has the key %q", text, s.StoreKey())
		}
	}
	seen := map[string]string{}
	for _, text := range []string{
		"postgres://r/1", "postgres://u@r/1", "postgres://u:p@r/1", "postgres://u:q@r/1", "postgres://r/1?sslmode=require", "postgres://r/1 {\ntls {\nserver_name x\n}\n}",
		"postgres://r/1 {\ntls\n}", "postgres://r/1 {\nunsafe_durability\n}", "postgres://r/1 {\ntimeout 1s\n}", "postgres://r/1 {\nmax_connections 9\n}",
		"postgres://r/1 {\ncreate_schema off\n}", "postgres://:%80@r/1", "postgres://:%81@r/1", "postgres://r/1?application_name=x",
	} {
		settings := string(mustProvision(t, text).Settings())
		if other, ok := seen[settings]; ok {
			t.Errorf("%q and %q have the same settings", text, other)
		}
		seen[settings] = text
	}
}

// Provision and OpenStore connect to nothing.
func TestNothingIsDialledBeforeTheListIsInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := mustProvision(t, "postgres://"+l.Addr().String())
	store, err := s.OpenStore(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Error("it connects")
	}
	config := fmt.Sprintf("{\nadmin off\npersist_config off\ntoken_revocation {\nstore postgres postgres://%s/d\n}\n}\n:0 {\nreject_revoked\n}", l.Addr())
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		conn.Close()
		t.Error("caddy validate connects")
	}
}

func TestPositionsHaveANumber(t *testing.T) {
	for position, want := range map[revocation.Position]uint64{
		"epoch.1.00000001.0.0000000000000000": 0,
		"3f-a.2.0000000A.42.00112233aabbccdd": 42,
	} {
		if n, ok := (opened{}).Number(position); !ok || n != want {
			t.Errorf("%s has number %d, %v", position, n, ok)
		}
	}
	for _, position := range []revocation.Position{"", "epoch", "epoch.x", "epoch.1.00000001.-1.00112233aabbccdd"} {
		if n, ok := (opened{}).Number(position); ok {
			t.Errorf("%s has number %d", position, n)
		}
	}
}

// Only this package brings the store's code into a binary. (A Caddy with its standard modules
// has the client already, by way of its certificate authority.)
func TestOnlyThisPackageLinksTheStore(t *testing.T) {
	for pkg, wants := range map[string]bool{"..": false, ".": true} {
		deps, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(deps), "revocation/pgstore"); has != wants {
			t.Errorf("%s links the store: %v", pkg, has)
		}
	}
}

const page = "../../docs/clusters-postgres.md"

// Every option is in the docs.
func TestTheDocsNameEveryOption(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []any{Store{}, guest.TLS{}} {
		for i := range reflect.TypeOf(config).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(config).Field(i).Tag.Get("json"), ",")
			if name != "" && !regexp.MustCompile("`"+name+"`").Match(content) {
				t.Errorf("%s doesn't name %s", page, name)
			}
		}
	}
	var lists [][][]byte
	for _, file := range []string{"caddyfile.go", "../internal/guest/tls.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, regexp.MustCompile(`Block\(d, "([a-z_, ]+)"`).FindAllSubmatch(source, -1)...)
	}
	if len(lists) != 2 {
		t.Errorf("%d blocks", len(lists))
	}
	for _, list := range lists {
		for name := range strings.SplitSeq(string(list[1]), ", ") {
			if !regexp.MustCompile(`(?m)^\t+` + name + `\b`).Match(content) {
				t.Errorf("the syntax in %s lacks %s", page, name)
			}
		}
	}
	for _, word := range []string{pgstore.DurabilityVerified, pgstore.DurabilityUnverified, pgstore.DurabilityUnsafe} {
		if !strings.Contains(string(content), "| `"+word+"` |") {
			t.Errorf("%s doesn't say what %s means", page, word)
		}
	}
	if !strings.Contains(string(content), "```sql\n"+pgstore.Schema("")+"```") {
		t.Errorf("%s doesn't have the SQL of the tables:\n%s", page, pgstore.Schema(""))
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"postgres://u:p@h:1/d", "postgresql://{env.A}:{env.B}@[::1],h/{env.C}?sslmode=require", "{env.URL}", "postgres://%zz@h",
		"postgres://a{b@c}/d", "postgres:///d?host=/run,/tmp&a=b", "postgres://?=&&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var o pgstore.Options
		err := locate(placeholder.New(), text, &o)
		if err != nil && err != errURL {
			t.Errorf("%q: %v", text, err)
		}
		if _, ok := o.Parameters[""]; ok {
			t.Errorf("%q has a parameter without a name", text)
		}
	})
}
