package redis

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
	"github.com/caddyrevocation/caddy-revocation/revocation/redisstore"
)

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("redis " + text))
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
		`redis://127.0.0.1`: `{"url":"redis://127.0.0.1"}`,
		`redis://r:6380/2 {
			username caddy
			password {env.PASSWORD}
			tls {
				ca a.pem b.pem
				cert c.pem
				key k.pem
				server_name r.example.com
			}
			prefix staging
			wait_replicas 1
			unsafe_durability
			timeout 2s
		}`: `{"url":"redis://r:6380/2","username":"caddy","password":"{env.PASSWORD}",
			"tls":{"ca":["a.pem","b.pem"],"cert":"c.pem","key":"k.pem","server_name":"r.example.com"},
			"prefix":"staging","wait_replicas":1,"unsafe_durability":true,"timeout":2000000000}`,
		`{
			sentinel mymaster s1 s2:26380 {
				username watcher
				password {env.SENTINEL}
			}
			database 4
		}`: `{"sentinel":{"master":"mymaster","addresses":["s1","s2:26380"],"username":"watcher","password":"{env.SENTINEL}"},"database":4}`,
		`{
			cluster c1 c2:7000
			tls
		}`: `{"cluster":["c1","c2:7000"],"tls":{}}`,
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
		"a b":                                 "takes one argument: its url",
		"{\nuser a\n}":                        "unrecognized subdirective 'user', accepted are: username, password, database, tls, sentinel, cluster, prefix, wait_replicas, unsafe_durability, timeout",
		"{\nusername a\nusername b\n}":        "'username' is already specified",
		"{\nusername\n}":                      "'username' takes one argument",
		"{\npassword sesame open\n}":          "'password' takes one argument: a secret",
		"{\ndatabase -1\n}":                   "'database -1' is not possible, it takes a number from 0",
		"{\nwait_replicas many\n}":            "'wait_replicas many' is not possible",
		"{\nunsafe_durability yes\n}":         "'unsafe_durability' takes no arguments",
		"{\ntimeout 0\n}":                     "'timeout 0' is not possible, it takes a duration from 10ms to 5m0s",
		"{\ntls on\n}":                        "'tls' takes no arguments",
		"{\ntls {\ninsecure\n}\n}":            "unrecognized subdirective 'insecure', accepted are: ca, cert, key, server_name",
		"{\ntls {\nca\n}\n}":                  "'ca' needs files",
		"{\nsentinel m\n}":                    "'sentinel' needs the master's name and the addresses",
		"{\nsentinel m a {\ndatabase 1\n}\n}": "unrecognized subdirective 'database', accepted are: username, password",
		"{\ncluster\n}":                       "'cluster' needs addresses",
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
	t.Setenv("EMPTY", "")
	t.Setenv("NO_URL", hidden)
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		"":                              "no address",
		"redis://a {\ncluster b\n}":     "only one of url, sentinel and cluster",
		"{\nsentinel m a\ncluster b\n}": "only one of url, sentinel and cluster",
		"http://a":                      "redis://[user[:password]@]host",
		"a:6379":                        "redis://[user[:password]@]host",
		"redis://":                      "redis://[user[:password]@]host",
		"redis://a:port":                "redis://[user[:password]@]host",
		"redis://a/x":                   "redis://[user[:password]@]host",
		"redis://a/1?protocol=3":        "redis://[user[:password]@]host",
		"redis://a/1/2":                 "redis://[user[:password]@]host",
		"redis://u:" + hidden + "%zz@a": "redis://[user[:password]@]host",
		"{env.NO_URL}":                  "redis://[user[:password]@]host",
		"{env.NOT_SET}":                 "url: a placeholder in it is unknown or empty",
		"redis://u:{" + hidden + "}@a":  "url: password: a placeholder in it is unknown or empty",
		"redis://{env.NOT_SET}@a":       "url: user",
		"redis://a/1 {\ndatabase 2\n}":  "database stands in the url as well",
		"redis://u@a {\nusername b\n}":  "username stands in the url as well",
		"redis://u:" + hidden + "@a {\npassword b\n}":                         "password stands in the url as well",
		"redis://a {\npassword {" + hidden + "}\n}":                           "password: a placeholder in it is unknown or empty",
		"{\nsentinel m a {\npassword {" + hidden + "}\n}\n}":                  "sentinel: password: a placeholder in it is unknown or empty",
		"{\nsentinel m a:b:c\n}":                                              "sentinel: an address is written as host or host:port",
		"{\ncluster redis://a\n}":                                             "cluster: an address is written as host or host:port",
		"{\ncluster a\ndatabase 1\n}":                                         "a cluster has no database but 0",
		"redis://a {\ntls {\nca /no/such.pem\n}\n}":                           "tls: ca: open /no/such.pem",
		"redis://a {\ntls {\nca " + garbage + "\n}\n}":                        "has no certificate in PEM",
		"redis://a {\ntls {\ncert " + garbage + "\n}\n}":                      "cert and key belong together",
		"redis://a {\ntls {\ncert " + garbage + "\nkey " + garbage + "\n}\n}": "aren't a certificate in PEM and its key",
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
	for _, s := range []*Store{{URL: "redis://a", Database: -1}, {URL: "redis://a", WaitReplicas: 65}, {URL: "redis://a", Timeout: 1},
		{Sentinel: &Sentinel{Addresses: []string{"a"}}}, {Sentinel: &Sentinel{Master: "m"}}} {
		if err := provision(s); err == nil {
			t.Errorf("%s is taken", caddyconfig.JSON(s, nil))
		}
	}
}

func TestWhereTheStoreIsAndHowToGetIn(t *testing.T) {
	const strange = "a/b@c:d%20{e}"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(strange), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PASSWORD", strange)
	t.Setenv("URL", "rediss://u:a%2Fb%7B@r.example.com/7")
	t.Setenv("HOST", "r.example.com:6390")
	for text, want := range map[string]redisstore.Options{
		"redis://127.0.0.1":                          {Addrs: []string{"127.0.0.1:6379"}},
		"redis://[::1]:1/":                           {Addrs: []string{"[::1]:1"}},
		"redis://[::1]":                              {Addrs: []string{"[::1]:6379"}},
		"redis://:p%40@R/3":                          {Addrs: []string{"r:6379"}, Password: "p@", DB: 3},
		"redis://u:{env.PASSWORD}@r:1/0":             {Addrs: []string{"r:1"}, Username: "u", Password: strange},
		"redis://u:{file." + file + "}@{env.HOST}/1": {Addrs: []string{"r.example.com:6390"}, Username: "u", Password: strange, DB: 1},
		"{env.URL}":                                  {Addrs: []string{"r.example.com:6379"}, Username: "u", Password: "a/b{", DB: 7},
		"redis://r {\nusername u\npassword {env.PASSWORD}\n}": {Addrs: []string{"r:6379"}, Username: "u", Password: strange},
		"{\nsentinel m a b:1 {\npassword {env.PASSWORD}\n}\ndatabase 2\nprefix x\n}": {
			Addrs: []string{"a:26379", "b:1"}, SentinelMaster: "m", SentinelPassword: strange, DB: 2, Prefix: "x"},
		"{\ncluster a b:1\nwait_replicas 2\ntimeout 1s\nunsafe_durability\n}": {
			Addrs: []string{"a:6379", "b:1"}, Cluster: true, WaitReplicas: 2, Timeout: time.Second, UnsafeDurability: true},
	} {
		s := mustProvision(t, text)
		if secure := text == "{env.URL}"; secure != (s.options.TLS != nil) {
			t.Errorf("%s: TLS is %v", text, s.options.TLS)
		}
		got := s.options
		got.TLS = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", text, got)
		}
		if strings.Contains(s.StoreKey(), strange) || strings.Contains(s.StoreKey(), "a/b{") || strings.Contains(string(s.Settings()), strange) {
			t.Errorf("%s: a secret is in %q", text, s.StoreKey())
		}
	}
}

func TestOneStoreHasOneKey(t *testing.T) {
	base := mustProvision(t, "redis://r/1")
	for text, same := range map[string]bool{
		"redis://R:6379/1":                          true,
		"redis://u:p@r/1":                           true,
		"redis://r {\ndatabase 1\n}":                true,
		"redis://r/1 {\nprefix token_revocation\n}": true,
		"redis://r/2":                               false,
		"redis://r:1/1":                             false,
		"redis://r/1 {\nprefix x\n}":                false,
		"{\nsentinel m r:6379\ndatabase 1\n}":       false,
		"{\ncluster r\n}":                           false,
	} {
		if s := mustProvision(t, text); (s.StoreKey() == base.StoreKey()) != same {
			t.Errorf("%s has the key %q", text, s.StoreKey())
		}
	}
	if a, b := mustProvision(t, "{\ncluster a b\n}"), mustProvision(t, "{\ncluster b a\n}"); a.StoreKey() != b.StoreKey() {
		t.Errorf("%q, %q", a.StoreKey(), b.StoreKey())
	}
	seen := map[string]string{}
	for _, text := range []string{
		"redis://r/1", "redis://u@r/1", "redis://u:p@r/1", "redis://u:q@r/1", "rediss://r/1", "rediss://r/1 {\ntls {\nserver_name x\n}\n}",
		"redis://r/1 {\nwait_replicas 1\n}", "redis://r/1 {\nunsafe_durability\n}", "redis://r/1 {\ntimeout 1s\n}",
		"redis://:%80@r/1", "redis://:%81@r/1",
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
	s := mustProvision(t, "redis://"+l.Addr().String())
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
	config := fmt.Sprintf("{\nadmin off\npersist_config off\ntoken_revocation {\nstore redis redis://%s\n}\n}\n:0 {\nreject_revoked\n}", l.Addr())
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
	for position, want := range map[revocation.Position]uint64{"epoch.0.0.0": 0, "3f-a.42.42-00112233aabbccdd.0": 42} {
		if n, ok := (opened{}).Number(position); !ok || n != want {
			t.Errorf("%s has number %d, %v", position, n, ok)
		}
	}
	for _, position := range []revocation.Position{"", "epoch", "epoch.x"} {
		if n, ok := (opened{}).Number(position); ok {
			t.Errorf("%s has number %d", position, n)
		}
	}
}

// Whoever doesn't build this package in has no client for Redis in the binary.
func TestOnlyThisPackageLinksTheClient(t *testing.T) {
	for pkg, wants := range map[string]bool{"..": false, ".": true} {
		deps, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(deps), "github.com/redis/go-redis"); has != wants {
			t.Errorf("%s links go-redis: %v", pkg, has)
		}
	}
}

// Every option is in docs/clusters-redis.md.
func TestTheDocsNameEveryOption(t *testing.T) {
	page, err := os.ReadFile("../../docs/clusters-redis.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []any{Store{}, guest.TLS{}, Sentinel{}} {
		for i := range reflect.TypeOf(config).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(config).Field(i).Tag.Get("json"), ",")
			if name != "" && !regexp.MustCompile("`"+name+"`").Match(page) {
				t.Errorf("docs/clusters-redis.md doesn't name %s", name)
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
	if len(lists) != 3 {
		t.Errorf("%d blocks", len(lists))
	}
	for _, list := range lists {
		for name := range strings.SplitSeq(string(list[1]), ", ") {
			if !regexp.MustCompile(`(?m)^\t+` + name + `\b`).Match(page) {
				t.Errorf("the syntax in docs/clusters-redis.md lacks %s", name)
			}
		}
	}
	for _, word := range []string{redisstore.DurabilityVerified, redisstore.DurabilityEverySecond, redisstore.DurabilityUnverified, redisstore.DurabilityUnsafe} {
		if !strings.Contains(string(page), "| `"+word+"` |") {
			t.Errorf("docs/clusters-redis.md doesn't say what %s means", word)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "rediss://{env.A}:{env.B}@[::1]/{env.C}", "{env.URL}", "redis://%zz@h", "redis://a{b@c}/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := placeholder.New()
		p, err := parseURL(r, text)
		if err == nil && r.Err() == nil && (p.address == "" || p.database < 0) {
			t.Errorf("%q becomes %+v", text, p)
		}
		if err != nil && err != errURL {
			t.Errorf("%q: %v", text, err)
		}
	})
}
