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
	for name, value := range map[string]string{
		"OPS_HASH": appHash, "INTROSPECTION_SECRET": "secret", "INTROSPECTION_CLIENT": "caddy",
		"HMAC_SECRET": strings.Repeat("s", 64), "AUDIENCE": "audience",
	} {
		t.Setenv(name, value)
	}
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
		"staleness: no duration":     {"{\ntoken_revocation {\nmax_staleness soon\n}\n}", "Caddyfile:3: 'max_staleness soon' is not possible, it takes a duration such as 5m"},
		"staleness: too short":       {"{\ntoken_revocation {\nmax_staleness 999ms\n}\n}", "Caddyfile:3: 'max_staleness 999ms' is not possible"},
		"staleness: too long":        {"{\ntoken_revocation {\nmax_staleness 25h\n}\n}", "Caddyfile:3: 'max_staleness 25h' is not possible"},
		"on_stale: unknown":          {"{\ntoken_revocation {\non_stale pass\n}\n}", "Caddyfile:3: 'on_stale pass' is not possible, it takes deny or allow"},
		"on_stale of a route":        {":80 {\nreject_revoked {\non_stale pass\n}\n}", "Caddyfile:3: 'on_stale pass' is not possible, it takes deny or allow"},
		"warm_start: unknown":        {"{\ntoken_revocation {\nwarm_start no\n}\n}", "Caddyfile:3: 'warm_start no' is not possible, it takes on or off"},
		"claims: none":               {"{\ntoken_revocation {\nmatch_claims\n}\n}", "Caddyfile:3"},

		"issuer: no name":             {"{\ntoken_revocation {\nissuer\n}\n}", "Caddyfile:3: 'issuer' needs its name"},
		"issuer: two names":           {"{\ntoken_revocation {\nissuer a b\n}\n}", "Caddyfile:3: 'issuer' takes one name"},
		"issuer: twice":               {"{\ntoken_revocation {\nissuer a\nissuer a\n}\n}", "Caddyfile:4: issuer 'a' is already specified"},
		"issuer: unknown":             {"{\ntoken_revocation {\nissuer a {\njwks x\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'jwks', accepted are: preset, alias, claim"},
		"issuer: subdirective twice":  {"{\ntoken_revocation {\nissuer a {\nleeway 1m\nleeway 1m\n}\n}\n}", "Caddyfile:5: 'leeway' is already specified"},
		"preset: unknown":             {"{\ntoken_revocation {\nissuer a {\npreset keyclock\n}\n}\n}", "Caddyfile:4: 'preset keyclock' is not possible, it takes one of auth0, cognito"},
		"alias: none":                 {"{\ntoken_revocation {\nissuer a {\nalias\n}\n}\n}", "Caddyfile:4: 'alias' needs other iss"},
		"claim: no claims":            {"{\ntoken_revocation {\nissuer a {\nclaim sid\n}\n}\n}", "Caddyfile:4: 'claim' needs a role and the claims that play it"},
		"claim: unknown role":         {"{\ntoken_revocation {\nissuer a {\nclaim session sid\n}\n}\n}", "Caddyfile:4: claim: claims can't play the role \"session\", possible are"},
		"claim: twice":                {"{\ntoken_revocation {\nissuer a {\nclaim sid a\nclaim sid b\n}\n}\n}", "Caddyfile:5: the claims of 'sid' are already specified"},
		"issuer leeway: negative":     {"{\ntoken_revocation {\nissuer a {\nleeway -1m\n}\n}\n}", "Caddyfile:4: 'leeway -1m' is not possible"},
		"refresh_interval: zero":      {"{\ntoken_revocation {\nissuer a {\nrefresh_interval 0\n}\n}\n}", "Caddyfile:4: 'refresh_interval 0' is not possible, it takes a duration such as 10m"},
		"timeout: no duration":        {"{\ntoken_revocation {\nissuer a {\ntimeout soon\n}\n}\n}", "Caddyfile:4: 'timeout soon' is not possible"},
		"hmac_secret: two":            {"{\ntoken_revocation {\nissuer a {\nhmac_secret x y\n}\n}\n}", "Caddyfile:4: 'hmac_secret' takes one argument: a secret"},
		"allow_http: argument":        {"{\ntoken_revocation {\nissuer a {\nallow_http on\n}\n}\n}", "Caddyfile:4: 'allow_http' takes no arguments"},
		"introspection: two URLs":     {"{\ntoken_revocation {\nissuer a {\nintrospection b c\n}\n}\n}", "Caddyfile:4: 'introspection' takes one URL"},
		"introspection: unknown":      {"{\ntoken_revocation {\nissuer a {\nintrospection {\nsecret x\n}\n}\n}\n}", "Caddyfile:5: unrecognized subdirective 'secret', accepted are: client_id, client_secret"},
		"introspection: auth_method":  {"{\ntoken_revocation {\nissuer a {\nintrospection {\nauth_method jwt\n}\n}\n}\n}", "Caddyfile:5: 'auth_method jwt' is not possible, it takes basic or post"},
		"introspection: max":          {"{\ntoken_revocation {\nissuer a {\nintrospection {\nmax_in_flight unlimited\n}\n}\n}\n}", "Caddyfile:5: 'max_in_flight unlimited' is not possible"},
		"introspection: unknown rate": {"{\ntoken_revocation {\nissuer a {\nintrospection {\nunknown_per_minute few\n}\n}\n}\n}", "Caddyfile:5: 'unknown_per_minute few' is not possible, it takes a number from 1 on, or unlimited"},

		"relay: argument":             {":80 {\nrevocation_endpoint /a {\nrelay b\n}\n}", "Caddyfile:3: 'relay' takes no arguments"},
		"relay: unknown":              {":80 {\nrevocation_endpoint /a {\nrelay {\nstrict\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'strict', accepted are: best_effort, revoke_unsupported, timeout"},
		"relay: timeout":              {":80 {\nrevocation_endpoint /a {\nrelay {\ntimeout 0\n}\n}\n}", "Caddyfile:4: 'timeout 0' is not possible, it takes a duration such as 30s"},
		"cascade: unknown":            {":80 {\nrevocation_endpoint /a {\ncascade grant\n}\n}", "Caddyfile:3: 'cascade grant' is not possible, it takes session, subject_client or off"},
		"refresh_tokens: unknown":     {":80 {\nrevocation_endpoint /a {\nrefresh_tokens off\n}\n}", "Caddyfile:3: 'refresh_tokens off' is not possible, it takes refuse"},
		"ownership_mismatch: unknown": {":80 {\nrevocation_endpoint /a {\nownership_mismatch allow\n}\n}", "Caddyfile:3: 'ownership_mismatch allow' is not possible, it takes silent"},
		"assertion_audience: none":    {":80 {\nrevocation_endpoint /a {\nassertion_audience\n}\n}", "Caddyfile:3: 'assertion_audience' needs values of aud"},
		"client: no keys":             {":80 {\nrevocation_endpoint /a {\nclient a {\npublic_keys\n}\n}\n}", "Caddyfile:4: 'public_keys' needs files"},
		"client: no issuer":           {":80 {\nrevocation_endpoint /a {\nclient a {\nissuer\n}\n}\n}", "Caddyfile:4: 'issuer' needs names of issuers"},

		"verify: argument":    {":80 {\nreject_revoked {\nverify api\n}\n}", "Caddyfile:3: 'verify' takes no arguments"},
		"verify: unknown":     {":80 {\nreject_revoked {\nverify {\naud api\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'aud', accepted are: audience, issuer"},
		"verify: twice":       {":80 {\nreject_revoked {\nverify\nverify\n}\n}", "Caddyfile:4: 'verify' is already specified"},
		"verify: no audience": {":80 {\nreject_revoked {\nverify {\naudience\n}\n}\n}", "Caddyfile:4: 'audience' needs values"},

		"endpoint: no path":       {":80 {\nrevocation_endpoint {\nclient a\n}\n}", "Caddyfile:2: the endpoint needs its path"},
		"endpoint: two paths":     {":80 {\nrevocation_endpoint /a /b {\nclient a\n}\n}", "Caddyfile:2: the endpoint takes one path"},
		"endpoint: unknown":       {":80 {\nrevocation_endpoint /a {\nclients a\n}\n}", "Caddyfile:3: unrecognized subdirective 'clients', accepted are: client, hash_algorithm"},
		"client: no id":           {":80 {\nrevocation_endpoint /a {\nclient\n}\n}", "Caddyfile:3: 'client' needs an id"},
		"client: twice":           {":80 {\nrevocation_endpoint /a {\nclient a\nclient a\n}\n}", "Caddyfile:4: client 'a' is already specified"},
		"client: any_token twice": {":80 {\nrevocation_endpoint /a {\nclient a {\nany_token\nany_token\n}\n}\n}", "Caddyfile:5: 'any_token' is already specified"},
		"relay: twice":            {":80 {\nrevocation_endpoint /a {\nrelay {\ntimeout 1s\ntimeout 2s\n}\n}\n}", "Caddyfile:5: 'timeout' is already specified"},
		"limits: twice":           {":80 {\nrevocation_endpoint /a {\nlimits {\nlive_total 1\nlive_total 2\n}\n}\n}", "Caddyfile:5: 'live_total' is already specified"},
		"client: unknown":         {":80 {\nrevocation_endpoint /a {\nclient a {\nany\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'any', accepted are: public_keys, jwks_uri, issuer, any_token, quota"},
		"quota: unknown":          {":80 {\nrevocation_endpoint /a {\nclient a {\nquota hourly 1\n}\n}\n}", "Caddyfile:4: unknown limit 'hourly', accepted are: live, per_minute"},
		"quota: none":             {":80 {\nrevocation_endpoint /a {\nclient a {\nquota live 0\n}\n}\n}", "Caddyfile:4: 'live 0' is not possible, it takes a number from 1 on, or unlimited"},
		"hash: unknown":           {":80 {\nrevocation_endpoint /a {\nhash_algorithm md5\n}\n}", "Caddyfile:3: 'hash_algorithm md5' is not possible, it takes one of argon2id, bcrypt, sha256"},
		"json: unknown":           {":80 {\nrevocation_endpoint /a {\njson 201\n}\n}", "Caddyfile:3: 'json 201' is not possible, it takes 204, 200 or off"},
		"flag with an argument":   {":80 {\nrevocation_endpoint /a {\nrequire_tls on\n}\n}", "Caddyfile:3: 'require_tls' takes no arguments"},
		"limits: unknown":         {":80 {\nrevocation_endpoint /a {\nlimits {\nfailures 1\n}\n}\n}", "Caddyfile:4: unrecognized subdirective 'failures', accepted are: failures_per_minute"},

		"reject: unknown":      {":80 {\nreject_revoked {\ntoken_form x\n}\n}", "Caddyfile:3: unrecognized subdirective 'token_form', accepted are: token_from"},
		"reject: argument":     {":80 {\nreject_revoked /a /b\n}", "Caddyfile:2"},
		"token_from: unknown":  {":80 {\nreject_revoked {\ntoken_from body x\n}\n}", "Caddyfile:3: token_from"},
		"token_from: no name":  {":80 {\nreject_revoked {\ntoken_from header\n}\n}", "Caddyfile:3: token_from"},
		"malformed: unknown":   {":80 {\nreject_revoked {\nmalformed ok\n}\n}", "Caddyfile:3: 'malformed ok' is not possible, it takes reject or pass"},
		"realm: two":           {":80 {\nreject_revoked {\nrealm a b\n}\n}", "Caddyfile:3: 'realm' takes one argument"},
		"close_streams: word":  {":80 {\nreject_revoked {\nclose_streams on\n}\n}", "Caddyfile:3: 'close_streams on' is not possible, it takes streams, all or off"},
		"close_on_expiry: arg": {":80 {\nreject_revoked {\nclose_on_expiry 1m\n}\n}", "Caddyfile:3: 'close_on_expiry' takes no arguments"},
		"strict: twice":        {":80 {\nreject_revoked {\nstrict\nstrict\n}\n}", "Caddyfile:4: 'strict' is already specified"},
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
	with := func(issuer, site string) string {
		return "{\ntoken_revocation {\nissuer https://idp.example.com {\n" + issuer + "\n}\n}\n}\n" + site
	}
	issuer := func(block string) string { return with(block, ":80 {\nreject_revoked\n}") }
	verify := func(block string) string { return ":80 {\nreject_revoked {\nverify {\n" + block + "\n}\n}\n}" }
	introspection := func(block string) string { return issuer("introspection {\n" + block + "\n}") }
	const secret = "{do-not-show-me}"
	for name, tc := range map[string]struct{ text, says string }{
		"no client":                        {endpoint("realm x"), "no client"},
		"hash of another kind":             {endpoint("hash_algorithm sha256\nclient app $2a$14$X3ulqf/iGxnf1k6oMZ.RZeJUoqI9PX2PM4rS5lkIKJXduLGXGPrt6"), "client app: hash 1"},
		"plain text as hash":               {endpoint("client app secret"), "client app: hash 1"},
		"origin with a path":               {endpoint("client app\nallow_origin https://a.example.com/"), "https://a.example.com"},
		"any origin":                       {endpoint("client app\nallow_origin *"), "would let every page use the endpoint"},
		"placeholder unknown":              {endpoint("client {nothing.known}"), "nothing.known"},
		"realm with a quote":               {":80 {\nreject_revoked {\nrealm `a\"b`\n}\n}", "realm contains a quote"},
		"expiry without streams":           {":80 {\nreject_revoked {\nclose_streams off\nclose_on_expiry\n}\n}", "close_on_expiry can't stand beside close_streams off"},
		"verify without an issuer":         {verify(""), "verify: there is no issuer who could vouch for tokens"},
		"verify by an unknown issuer":      {with("", verify("issuer https://idp")), "verify: unknown issuer 'https://idp', accepted are: https://idp.example.com"},
		"issuer: leeway beyond the list's": {issuer("leeway 1h"), "leeway is 1h0m0s, and that of token_revocation only 5m0s"},
		"issuer: keys and their address":   {issuer("hmac_secret 0123456789abcdef0123456789abcdef\njwks_uri https://a.example.com"), "only one can count"},
		"issuer: refresh in a century":     {issuer("refresh_interval 36500d"), "at most 720h0m0s is possible"},
		"verify and malformed pass":        {with("", strings.Replace(verify(""), "verify", "malformed pass\nverify", 1)), "malformed pass can't stand beside verify"},
		"verify for an empty audience":     {with("", verify("audience {env.NOT_SET}")), "verify: audience: evaluated placeholder {env.NOT_SET} is empty"},
		"client of an unknown issuer":      {with("", endpoint("client app {\nissuer https://idp\n}")), "client app: unknown issuer 'https://idp', accepted are: https://idp.example.com"},
		"client of no issuer":              {endpoint("client app {\nissuer https://idp\n}"), "client app: unknown issuer 'https://idp', accepted are: none is configured"},
		"client keys: no file":             {with("", endpoint("client app {\npublic_keys /does/not/exist\n}")), "client app: public_keys: open /does/not/exist"},
		"client keys: garbage":             {with("", endpoint("client app {\npublic_keys testdata/secret.txt\n}")), "client app: PEM 1 of 1"},
		"client keys: twice":               {with("", endpoint("client app {\npublic_keys testdata/keys.json\njwks_uri https://a.example.com\n}")), "client app: its keys are either public_keys or at a jwks_uri"},
		"client keys: plain HTTP":          {with("", endpoint("client app {\njwks_uri http://a.example.com\n}")), "client app: "},
		"client keys: nobody's audience":   {endpoint("client app {\npublic_keys testdata/keys.json\n}"), "which audience"},
		"self_revocation, no issuer":       {endpoint("client app\nself_revocation"), "tokens can't revoke themselves"},
		"relay with a client":              {endpoint("relay\nclient app"), "client can't stand beside relay: the authorization server knows its clients"},
		"relay with a hash algorithm":      {endpoint("relay\nhash_algorithm sha256"), "hash_algorithm can't stand beside relay"},
		"relay with client limits":         {endpoint("relay\nlimits {\nconfidential live 5\n}"), "limits confidential can't stand beside relay"},
		"relay with a limit of secrets":    {endpoint("relay\nlimits {\nconcurrent_compares 5\n}"), "limits concurrent_compares can't stand beside relay"},
		"relay with self_revocation":       {endpoint("relay\nself_revocation"), "self_revocation can't stand beside relay"},
		"relay with an audience":           {endpoint("relay\nassertion_audience x"), "assertion_audience can't stand beside relay"},
		"relay with refresh_tokens":        {endpoint("relay\nrefresh_tokens refuse"), "refresh_tokens can't stand beside relay: the authorization server decides"},
		"issuer without a URL":             {strings.Replace(issuer(""), "https://idp.example.com", "idp", 1), "idp"},
		"issuer over plain HTTP":           {strings.Replace(issuer(""), "https://", "http://", 1), "plain HTTP"},
		"issuer: no key file":              {issuer("jwks_file /does/not/exist"), "issuer https://idp.example.com: jwks_file: open /does/not/exist"},
		"issuer: garbage as a key":         {issuer("public_key_file testdata/secret.txt"), "PEM 1 of 1"},
		"issuer: garbage as an authority":  {issuer("trusted_ca testdata/secret.txt"), "trusted_ca: file 1 has no certificate in PEM"},
		"issuer: short secret":             {issuer("hmac_secret short"), "32"},
		"issuer: secret not set":           {issuer("hmac_secret {env.NOT_SET}"), "hmac_secret: a placeholder in it is unknown or empty"},
		"issuer: secret like one":          {issuer("hmac_secret " + secret), "hmac_secret: a placeholder in it is unknown or empty"},
		"issuer: unknown algorithm":        {issuer("algorithms RS255"), "RS255"},
		"issuer: HMAC without a secret":    {issuer("algorithms HS256"), "HS256"},
		"issuer: alias is another's":       {strings.Replace(issuer("alias https://b"), "token_revocation {", "token_revocation {\nissuer https://b", 1), "https://b"},
		"introspection: no client":         {introspection("client_secret x"), "client_id"},
		"introspection: no secret":         {introspection("client_id x"), "client_secret"},
		"introspection: secret not set":    {introspection("client_id x\nclient_secret {env.NOT_SET}"), "client_secret: a placeholder in it is unknown or empty"},
		"claim that is a role":             {"{\ntoken_revocation {\nmatch_claims sub\n}\n}\n:80 {\nreject_revoked\n}", "match_claims"},
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
			if err := caddy.Validate(&cfg); err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), secret) {
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
	f.Add(" /revoke {\nrelay {\nbest_effort\nrevoke_unsupported\ntimeout 10s\n}\ncascade off\n}")
	f.Add(" {\nverify {\naudience api {env.AUDIENCE}\nissuer https://idp.example.com\n}\n}")
	f.Add(" {\nissuer https://idp.example.com {\nhmac_secret {$SECRET}\nleeway 0\nintrospection {\nttl 0\n}\n}\n}")
	f.Fuzz(func(t *testing.T, text string) {
		for _, m := range []caddyfile.Unmarshaler{new(App), new(RevocationEndpoint), new(RejectRevoked)} {
			if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("directive " + text)); err != nil && !strings.Contains(err.Error(), "Testfile:") && !errors.Is(err, io.EOF) {
				t.Errorf("%q: the error names no line: %v", text, err)
			}
		}
	})
}
