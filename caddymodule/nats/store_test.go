package nats

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
	"github.com/nats-io/nkeys"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/natsstore"
)

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("nats " + text))
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
		`nats://127.0.0.1`: `{"urls":["nats://127.0.0.1"]}`,
		`nats://a tls://b:4443 {
			username caddy
			password {env.PASSWORD}
			tls {
				ca a.pem b.pem
				cert c.pem
				key k.pem
				server_name n.example.com
			}
			prefix staging
			replicas 3
			create off
			sync_always
			unsafe_durability
			timeout 2s
		}`: `{"urls":["nats://a","tls://b:4443"],"username":"caddy","password":"{env.PASSWORD}",
			"tls":{"ca":["a.pem","b.pem"],"cert":"c.pem","key":"k.pem","server_name":"n.example.com"},
			"prefix":"staging","replicas":3,"no_create":true,"sync_always":true,"unsafe_durability":true,"timeout":2000000000}`,
		`wss://a {
			token {env.TOKEN}
			create on
			tls
		}`: `{"urls":["wss://a"],"token":"{env.TOKEN}","tls":{}}`,
		"nats://a {\ncredentials /etc/caddy.creds\n}": `{"urls":["nats://a"],"credentials":"/etc/caddy.creds"}`,
		"nats://a {\nnkey /etc/caddy.nk\n}":           `{"urls":["nats://a"],"nkey":"/etc/caddy.nk"}`,
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
		"{\nuser a\n}":                 "unrecognized subdirective 'user', accepted are: username, password, token, credentials, nkey, tls, prefix, replicas, create, sync_always, unsafe_durability, timeout",
		"{\nusername a\nusername b\n}": "'username' is already specified",
		"{\nusername\n}":               "'username' takes one argument",
		"{\npassword sesame open\n}":   "'password' takes one argument: a secret",
		"{\ntoken sesame open\n}":      "'token' takes one argument: a secret",
		"{\ncredentials\n}":            "'credentials' takes one argument: a file",
		"{\nnkey a b\n}":               "'nkey' takes one argument: a file",
		"{\nreplicas 6\n}":             "'replicas 6' is not possible, it takes a number from 0 to 5",
		"{\ncreate maybe\n}":           "'create maybe' is not possible, it takes on or off",
		"{\nsync_always yes\n}":        "'sync_always' takes no arguments",
		"{\nunsafe_durability yes\n}":  "'unsafe_durability' takes no arguments",
		"{\ntimeout 0\n}":              "'timeout 0' is not possible, it takes a duration from 10ms to 5m0s",
		"{\ntls on\n}":                 "'tls' takes no arguments",
		"{\ntls {\ninsecure\n}\n}":     "unrecognized subdirective 'insecure', accepted are: ca, cert, key, server_name",
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
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte(hidden), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		"":                              "no address",
		"http://a":                      "nats://[user:password@]host",
		"a:4222":                        "nats://[user:password@]host",
		"nats://":                       "nats://[user:password@]host",
		"nats://a:port":                 "nats://[user:password@]host",
		"nats://a/x":                    "nats://[user:password@]host",
		"nats://a?b=c":                  "nats://[user:password@]host",
		"nats://" + hidden + "@a":       "nats://[user:password@]host",
		"nats://:" + hidden + "@a":      "nats://[user:password@]host",
		"nats://u:" + hidden + "%zz@a":  "nats://[user:password@]host",
		"nats://a wss://b":              "must all be for WebSocket",
		"{env.NO_URL}":                  "nats://[user:password@]host",
		"{env.NOT_SET}":                 "url: a placeholder in it is unknown or empty",
		"nats://u:{" + hidden + "}@a":   "url: password: a placeholder in it is unknown or empty",
		"nats://{env.NOT_SET}:p@a":      "url: user",
		"nats://u:p@a nats://v:q@b":     "only one of them can have a user and a password",
		"nats://u:p@a {\nusername b\n}": "only one of username, token, credentials and nkey",
		"nats://a {\ntoken " + hidden + "\nusername b\n}":                    "only one of username, token, credentials and nkey",
		"nats://a {\nnkey a\ncredentials b\n}":                               "only one of username, token, credentials and nkey",
		"nats://a {\npassword " + hidden + "\n}":                             "it needs a username",
		"nats://a {\nusername b\npassword {" + hidden + "}\n}":               "password: a placeholder in it is unknown or empty",
		"nats://a {\ntoken {" + hidden + "}\n}":                              "token: a placeholder in it is unknown or empty",
		"nats://a {\ncredentials /no/such\n}":                                "credentials: open /no/such",
		"nats://a {\ncredentials " + garbage + "\n}":                         "name the file that nsc makes",
		"nats://a {\nnkey /no/such\n}":                                       "nkey: open /no/such",
		"nats://a {\nnkey " + garbage + "\n}":                                "seed of a user's NKey",
		"nats://a {\nprefix a.b\n}":                                          "the prefix has letters, digits",
		"nats://a {\ntls {\nca /no/such.pem\n}\n}":                           "tls: ca: open /no/such.pem",
		"nats://a {\ntls {\nca " + garbage + "\n}\n}":                        "has no certificate in PEM",
		"nats://a {\ntls {\ncert " + garbage + "\n}\n}":                      "cert and key belong together",
		"nats://a {\ntls {\ncert " + garbage + "\nkey " + garbage + "\n}\n}": "aren't a certificate in PEM and its key",
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
	for _, s := range []*Store{{URLs: []string{"nats://a"}, Replicas: -1}, {URLs: []string{"nats://a"}, Replicas: 6}, {URLs: []string{"nats://a"}, Timeout: 1}} {
		if err := provision(s); err == nil {
			t.Errorf("%s is taken", caddyconfig.JSON(s, nil))
		}
	}
}

// writeKeys writes a credentials file and a file with the seed of an NKey.
func writeKeys(t *testing.T) (credentials, seed string, content [2]string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	content = [2]string{
		"-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n" + string(text) + "\n------END USER NKEY SEED------\n",
		string(text),
	}
	credentials, seed = filepath.Join(t.TempDir(), "creds"), filepath.Join(t.TempDir(), "seed")
	for file, text := range map[string]string{credentials: content[0], seed: content[1] + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return credentials, seed, content
}

func TestWhereTheStoreIsAndHowToGetIn(t *testing.T) {
	const strange = "a/b@c:d%20{e}"
	credentials, seed, content := writeKeys(t)
	t.Setenv("PASSWORD", strange)
	t.Setenv("URL", "tls://u:a%2Fb%7B@n.example.com")
	t.Setenv("HOST", "n.example.com:4300")
	for text, want := range map[string]natsstore.Options{
		"nats://127.0.0.1":                                   {Servers: []string{"nats://127.0.0.1:4222"}},
		"nats://[::1]:1/ tls://N":                            {Servers: []string{"nats://[::1]:1", "tls://n:4222"}},
		"ws://a wss://b":                                     {Servers: []string{"ws://a:80", "wss://b:443"}},
		"nats://u:p%40@R":                                    {Servers: []string{"nats://r:4222"}, Username: "u", Password: "p@"},
		"nats://a nats://u:{env.PASSWORD}@r:1":               {Servers: []string{"nats://a:4222", "nats://r:1"}, Username: "u", Password: strange},
		"nats://u:{env.PASSWORD}@{env.HOST}":                 {Servers: []string{"nats://n.example.com:4300"}, Username: "u", Password: strange},
		"{env.URL}":                                          {Servers: []string{"tls://n.example.com:4222"}, Username: "u", Password: "a/b{"},
		"nats://r {\nusername u\npassword {env.PASSWORD}\n}": {Servers: []string{"nats://r:4222"}, Username: "u", Password: strange},
		"nats://r {\ntoken {env.PASSWORD}\n}":                {Servers: []string{"nats://r:4222"}, Token: strange},
		"nats://r {\ncredentials " + credentials + "\n}":     {Servers: []string{"nats://r:4222"}, Credentials: []byte(content[0])},
		"nats://r {\nnkey " + seed + "\n}":                   {Servers: []string{"nats://r:4222"}, Seed: []byte(content[1])},
		"nats://r {\nprefix x\nreplicas 5\ncreate off\nsync_always\nunsafe_durability\ntimeout 1s\n}": {Servers: []string{"nats://r:4222"},
			Prefix: "x", Replicas: 5, NoCreate: true, SyncAlways: true, UnsafeDurability: true, Timeout: time.Second},
	} {
		s := mustProvision(t, text)
		if !reflect.DeepEqual(s.options, want) {
			t.Errorf("%s: %+v", text, s.options)
		}
		for _, secret := range []string{strange, "a/b{", content[1]} {
			if strings.Contains(s.StoreKey(), secret) || strings.Contains(string(s.Settings()), secret) {
				t.Errorf("%s: a secret is in %q", text, s.StoreKey())
			}
		}
	}
	if s := mustProvision(t, "nats://r {\ntls\n}"); s.options.TLS == nil {
		t.Error("tls is off")
	}
}

func TestOneStoreHasOneKey(t *testing.T) {
	base := mustProvision(t, "nats://a nats://b:1")
	for text, same := range map[string]bool{
		"nats://b:1 nats://A:4222":                          true,
		"tls://u:p@a nats://b:1":                            true,
		"nats://a nats://b:1 {\nprefix token_revocation\n}": true,
		"nats://a nats://b:1 {\nreplicas 1\n}":              true,
		"nats://a":                                          false,
		"nats://a:2 nats://b:1":                             false,
		"nats://a nats://b:1 {\nprefix x\n}":                false,
	} {
		if s := mustProvision(t, text); (s.StoreKey() == base.StoreKey()) != same {
			t.Errorf("%s has the key %q", text, s.StoreKey())
		}
	}
	credentials, seed, _ := writeKeys(t)
	seen := map[string]string{}
	for _, text := range []string{
		"nats://r", "tls://r", "nats://u:p@r", "nats://u:q@r", "nats://v:p@r", "nats://r {\ntoken a\n}", "nats://r {\ntoken b\n}",
		"nats://r {\ncredentials " + credentials + "\n}", "nats://r {\nnkey " + seed + "\n}",
		"nats://r {\ntls\n}", "nats://r {\ntls {\nserver_name x\n}\n}", "nats://r {\nprefix x\n}",
		"nats://r {\nreplicas 1\n}", "nats://r {\ncreate off\n}", "nats://r {\nsync_always\n}", "nats://r {\nunsafe_durability\n}", "nats://r {\ntimeout 1s\n}",
		"nats://u:%80@r", "nats://u:%81@r",
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
	s := mustProvision(t, "nats://"+l.Addr().String())
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
	config := fmt.Sprintf("{\nadmin off\npersist_config off\ntoken_revocation {\nstore nats nats://%s\n}\n}\n:0 {\nreject_revoked\n}", l.Addr())
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
	for position, want := range map[revocation.Position]uint64{"a-b.0.0": 0, "a-b.42.dxyz1": 42} {
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

// Whoever doesn't build this package in has no client for NATS in the binary.
func TestOnlyThisPackageLinksTheClient(t *testing.T) {
	for pkg, wants := range map[string]bool{"..": false, ".": true} {
		deps, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(string(deps), "github.com/nats-io/nats.go"); has != wants {
			t.Errorf("%s links nats.go: %v", pkg, has)
		}
	}
}

// Every option is in docs/clusters-nats.md.
func TestTheDocsNameEveryOption(t *testing.T) {
	page, err := os.ReadFile("../../docs/clusters-nats.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []any{Store{}, guest.TLS{}} {
		for i := range reflect.TypeOf(config).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(config).Field(i).Tag.Get("json"), ",")
			if name != "" && !regexp.MustCompile("`"+name+"`").Match(page) {
				t.Errorf("docs/clusters-nats.md doesn't name %s", name)
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
			if !regexp.MustCompile(`(?m)^\t+` + name + `\b`).Match(page) {
				t.Errorf("the syntax in docs/clusters-nats.md lacks %s", name)
			}
		}
	}
	for _, word := range []string{natsstore.DurabilityStated, natsstore.DurabilityUnverified, natsstore.DurabilityUnsafe} {
		if !strings.Contains(string(page), "| `"+word+"` |") {
			t.Errorf("docs/clusters-nats.md doesn't say what %s means", word)
		}
	}
}

func FuzzURL(f *testing.F) {
	for _, s := range []string{"nats://u:p@h:1", "tls://{env.A}:{env.B}@[::1]", "{env.URL}", "wss://%zz@h", "nats://a{b@c}/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := placeholder.New()
		a, err := parseURL(r, text)
		if err == nil && r.Err() == nil && (a.server == "" || (a.username == "") != (a.password == "")) {
			t.Errorf("%q becomes %+v", text, a)
		}
		if err != nil && err != errURL {
			t.Errorf("%q: %v", text, err)
		}
	})
}
