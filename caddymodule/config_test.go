package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func adapt(text string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return config, err
}

// Every subdirective, and what it becomes. Run with UPDATE=1 to write the file
// anew after a change that is meant.
func TestEverySubdirectiveAdapts(t *testing.T) {
	t.Setenv("OPS_HASH", appHash)
	input, err := os.ReadFile("testdata/full.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	config, err := adapt(string(input))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, config, "", "\t"); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	const golden = "testdata/full.json"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("adapts to\n%s\nwant\n%s", got.Bytes(), want)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&cfg); err != nil {
		t.Error(err)
	}
}

func TestWrongCaddyfilesNameTheLineAndWhatIsAccepted(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"option: unknown":            {"{\ntoken_revocation {\nstor bolt\n}\n}", "Caddyfile:3: unrecognized subdirective 'stor', accepted are: store, max_token_lifetime"},
		"option: with an argument":   {"{\ntoken_revocation bolt\n}", "Caddyfile:2"},
		"option: twice":              {"{\ntoken_revocation {\n}\ntoken_revocation {\n}\n}", "already specified"},
		"option: subdirective twice": {"{\ntoken_revocation {\nleeway 1m\nleeway 2m\n}\n}", "Caddyfile:4: 'leeway' is already specified"},
		"store: unknown":             {"{\ntoken_revocation {\nstore bold\n}\n}", "Caddyfile:3: unknown store 'bold': built in are [bolt"},
		"store: none":                {"{\ntoken_revocation {\nstore\n}\n}", "Caddyfile:3"},
		"store: two paths":           {"{\ntoken_revocation {\nstore bolt a b\n}\n}", "Caddyfile:3"},
		"store: block":               {"{\ntoken_revocation {\nstore bolt {\npath x\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'path'"},
		"lifetime: no duration":      {"{\ntoken_revocation {\nmax_token_lifetime long\n}\n}", "Caddyfile:3: 'max_token_lifetime long' is not possible, it takes a duration such as 30d, or never"},
		"lifetime: negative":         {"{\ntoken_revocation {\nmax_token_lifetime -1h\n}\n}", "Caddyfile:3"},
		"lifetime: missing":          {"{\ntoken_revocation {\nmax_token_lifetime\n}\n}", "'max_token_lifetime' needs a duration"},
		"cache: no size":             {"{\ntoken_revocation {\ncache_size big\n}\n}", "Caddyfile:3: 'cache_size big' is not possible, it takes a size such as 64MiB"},
		"cache: too large":           {"{\ntoken_revocation {\ncache_size 1PB\n}\n}", "Caddyfile:3: 'cache_size 1PB' is not possible"},
		"leeway: zero":               {"{\ntoken_revocation {\nleeway 0\n}\n}", "Caddyfile:3: 'leeway 0' is not possible"},
		"leeway: too long":           {"{\ntoken_revocation {\nleeway 2562047h\n}\n}", "Caddyfile:3: 'leeway 2562047h' is not possible"},
		"endpoint: everywhere":       {":80 {\nrevocation_endpoint * {\nclient a\n}\n}", "Caddyfile:2: the endpoint needs its path"},
		"compares: unlimited":        {":80 {\nrevocation_endpoint /a {\nlimits {\nconcurrent_compares unlimited\n}\n}\n}", "Caddyfile:4: 'concurrent_compares unlimited' is not possible"},
		"form_limit: zero":           {":80 {\nreject_revoked {\nform_limit 0\n}\n}", "Caddyfile:3: 'form_limit 0' is not possible"},
		"claims: none":               {"{\ntoken_revocation {\nmatch_claims\n}\n}", "Caddyfile:3"},

		"endpoint: no path":     {":80 {\nrevocation_endpoint {\nclient a\n}\n}", "Caddyfile:2: the endpoint needs its path"},
		"endpoint: two paths":   {":80 {\nrevocation_endpoint /a /b {\nclient a\n}\n}", "Caddyfile:2: the endpoint takes one path"},
		"endpoint: unknown":     {":80 {\nrevocation_endpoint /a {\nclients a\n}\n}", "Caddyfile:3: unrecognized subdirective 'clients', accepted are: client, hash_algorithm"},
		"client: no id":         {":80 {\nrevocation_endpoint /a {\nclient\n}\n}", "Caddyfile:3: 'client' needs an id"},
		"client: twice":         {":80 {\nrevocation_endpoint /a {\nclient a\nclient a\n}\n}", "Caddyfile:4: client 'a' is already specified"},
		"client: unknown":       {":80 {\nrevocation_endpoint /a {\nclient a {\nany\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'any', accepted are: any_token, quota"},
		"quota: unknown":        {":80 {\nrevocation_endpoint /a {\nclient a {\nquota hourly 1\n}\n}\n}", "Caddyfile:4: unknown limit 'hourly', accepted are: live, per_minute"},
		"quota: none":           {":80 {\nrevocation_endpoint /a {\nclient a {\nquota live 0\n}\n}\n}", "Caddyfile:4: 'live 0' is not possible, it takes a number from 1 on, or unlimited"},
		"hash: unknown":         {":80 {\nrevocation_endpoint /a {\nhash_algorithm md5\n}\n}", "Caddyfile:3: 'hash_algorithm md5' is not possible, it takes one of argon2id, bcrypt, sha256"},
		"json: unknown":         {":80 {\nrevocation_endpoint /a {\njson 201\n}\n}", "Caddyfile:3: 'json 201' is not possible, it takes 204, 200 or off"},
		"flag with an argument": {":80 {\nrevocation_endpoint /a {\nrequire_tls on\n}\n}", "Caddyfile:3: 'require_tls' takes no arguments"},
		"limits: unknown":       {":80 {\nrevocation_endpoint /a {\nlimits {\nfailures 1\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'failures', accepted are: failures_per_minute"},

		"reject: unknown":     {":80 {\nreject_revoked {\ntoken_form x\n}\n}", "Caddyfile:3: unrecognized subdirective 'token_form', accepted are: token_from"},
		"reject: argument":    {":80 {\nreject_revoked /a /b\n}", "Caddyfile:2"},
		"token_from: unknown": {":80 {\nreject_revoked {\ntoken_from body x\n}\n}", "Caddyfile:3: token_from"},
		"token_from: no name": {":80 {\nreject_revoked {\ntoken_from header\n}\n}", "Caddyfile:3: token_from"},
		"malformed: unknown":  {":80 {\nreject_revoked {\nmalformed ok\n}\n}", "Caddyfile:3: 'malformed ok' is not possible, it takes reject or pass"},
		"realm: two":          {":80 {\nreject_revoked {\nrealm a b\n}\n}", "Caddyfile:3: 'realm' takes one argument"},
		"strict: twice":       {":80 {\nreject_revoked {\nstrict\nstrict\n}\n}", "Caddyfile:4: 'strict' is already specified"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := adapt(tc.text)
			line, message, both := strings.Cut(tc.says, ": ")
			if !strings.HasPrefix(line, "Caddyfile:") {
				line, message, both = "Caddyfile:", tc.says, true
			}
			if err == nil || !strings.Contains(err.Error(), "at "+line) || both && !strings.Contains(err.Error(), message) {
				t.Errorf("says %v\nwant %s", err, tc.says)
			}
		})
	}
}

// What a Caddyfile's syntax can't tell is told when the configuration is loaded.
func TestWrongConfigurationsAreRefused(t *testing.T) {
	endpoint := func(block string) string { return ":80 {\nrevocation_endpoint /a {\n" + block + "\n}\n}" }
	for name, tc := range map[string]struct{ text, says string }{
		"no client":            {endpoint("realm x"), "no client"},
		"hash of another kind": {endpoint("hash_algorithm sha256\nclient app $2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"), "client app: hash 1"},
		"plain text as hash":   {endpoint("client app secret"), "client app: hash 1"},
		"origin with a path":   {endpoint("client app\nallow_origin https://a.example.com/"), "https://a.example.com"},
		"any origin":           {endpoint("client app\nallow_origin *"), "would let every page use the endpoint"},
		"placeholder unknown":  {endpoint("client {nothing.known}"), "nothing.known"},
		"realm with a quote":   {":80 {\nreject_revoked {\nrealm `a\"b`\n}\n}", "realm contains a quote"},
		"claim that is a role": {"{\ntoken_revocation {\nmatch_claims sub\n}\n}\n:80 {\nreject_revoked\n}", "match_claims"},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := adapt(tc.text)
			if err != nil {
				t.Fatal(err)
			}
			var cfg caddy.Config
			if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("says %v\nwant %s", err, tc.says)
			}
		})
	}
}

func TestSecretsOfClientsMayBePlaceholders(t *testing.T) {
	t.Setenv("APP_HASH", appHash)
	c := startCaddy(t, strings.Replace(oneSite, "client app "+appHash, "client app {env.APP_HASH}", 1))
	mustRevoke(t, c.URL("/oauth2/revoke"), "token")
	if shown := get(t, c.urlOf("ADMIN", "/config/")).body; !strings.Contains(shown, "{env.APP_HASH}") {
		t.Error("the configuration shows the hash")
	}
}

func TestLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{`"never"`: revocation.Forever, `"30d"`: 30 * 24 * time.Hour, `60000000000`: time.Minute} {
		var l Lifetime
		if err := json.Unmarshal([]byte(text), &l); err != nil || time.Duration(l) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(l), err)
		}
		back, err := json.Marshal(l)
		var again Lifetime
		if err != nil || json.Unmarshal(back, &again) != nil || again != l {
			t.Errorf("%s became %s, %v", text, back, err)
		}
	}
	for _, text := range []string{`"-1h"`, `"soon"`, `0`, `true`} {
		if err := json.Unmarshal([]byte(text), new(Lifetime)); err == nil {
			t.Errorf("%s is a lifetime", text)
		}
	}
}

func TestSHA256Hash(t *testing.T) {
	secret, hash, err := newSecret()
	if err != nil || len(secret) != 43 {
		t.Fatal(secret, err)
	}
	h := SHA256Hash{}
	compare := func(hash, secret string, want bool) {
		t.Helper()
		if ok, err := h.Compare([]byte(hash), []byte(secret)); ok != want || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
	}
	compare(hash, secret, true)
	compare(hash, secret+"x", false)
	compare(hash, "", false)
	compare(string(h.FakeHash()), secret, false)
	for _, bad := range []string{"", "secret", "$sha256$", "$sha256$AAAA", hash + "A", "$2a$14$X3ulqf"} {
		if _, err := h.Compare([]byte(bad), []byte(secret)); err == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
	var _ caddyauth.Comparer = h
}

func TestTheSecretCommandMakesAClientThatWorks(t *testing.T) {
	cmd := secretCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"--json"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	var made struct{ Secret, Hash string }
	if err := json.Unmarshal(out.Bytes(), &made); err != nil {
		t.Fatal(err)
	}
	c := startCaddy(t, strings.Replace(oneSite, "client spa", "client made "+made.Hash, 1))
	a := get(t, c.URL("/oauth2/revoke")) // a GET, to see that the endpoint is there
	wantStatus(t, a, 405)
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "made", made.Secret, "token"), 200)
	wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "made", made.Secret+"x", "token"), 401)
}

func FuzzCaddyfile(f *testing.F) {
	full, err := os.ReadFile("testdata/full.Caddyfile")
	if err != nil {
		f.Fatal(err)
	}
	for _, directive := range []string{"token_revocation", "revocation_endpoint", "reject_revoked"} {
		_, block, _ := strings.Cut(string(full), "\t"+directive)
		block, _, _ = strings.Cut(block, "\n\t}\n")
		f.Add(block + "\n}")
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range []caddyfile.Unmarshaler{new(App), new(RevocationEndpoint), new(RejectRevoked)} {
			if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("directive " + text)); err != nil && !strings.Contains(err.Error(), "Testfile:") && !errors.Is(err, io.EOF) {
				t.Errorf("%q: the error names no line: %v", text, err)
			}
		}
	})
}
