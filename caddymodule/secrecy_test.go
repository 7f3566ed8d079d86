package caddymodule

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// With the log filter of Caddyfile.example, at the level debug, and with access
// logs: what is written anywhere must not help anybody to a token or a secret.
func TestNoTokenAndNoSecretIsWrittenAnywhere(t *testing.T) {
	p := newProcess(t, t.TempDir())
	p.start(t, `
{
	log audit {
		include token_revocation.audit
		output file DIR/audit.log
	}
	log visible {
		level DEBUG
		output file DIR/all.log
		format filter {
			request>uri query {
				replace access_token REDACTED
			}
		}
	}
}
`+strings.Replace(oneSite, "reject_revoked", "log\nreject_revoked {\ntoken_from header Authorization\ntoken_from query access_token\ntoken_from form access_token\ntoken_from cookie session\n}", 1))

	opaque := "very-secret-opaque-token"
	claims := jwt(t, `{"jti":"very-secret-jti","sub":"very-secret-subject"}`)
	odd := claims[:len(claims)-1] + "B"
	form := func(path, contentType, body string, headers ...string) answer {
		r, err := http.NewRequest(http.MethodPost, p.URL(path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return do(t, r)
	}
	const urlencoded = "application/x-www-form-urlencoded"
	shown := new(strings.Builder) // answers and metrics
	for _, token := range []string{opaque, claims, odd} {
		for range 2 { // live, then revoked
			for _, a := range []answer{
				bearer(t, p.URL("/"), token),
				get(t, p.URL("/?access_token="+token)),
				get(t, p.URL("/?access_token=%zz"+token)),
				get(t, p.URL("/"), "Cookie", "session="+token),
				get(t, p.URL("/"), "Authorization", "DPoP "+token),
				form("/", urlencoded, "access_token="+token),
				postAs(t, p.URL("/oauth2/revoke"), "app", "very-wrong-secret", token),
				postAs(t, p.URL("/oauth2/revoke"), "app", appSecret, "Bearer "+token),
				form("/oauth2/revoke", urlencoded, "token="+token+"&token="+token),
				form("/oauth2/revoke", "application/json", `{"token":"`+token+`","client_id":"app","client_secret":"very-wrong-secret"}`),
				form("/oauth2/revoke", "application/json", `{"token":"`+token),
				postRevoke(t, p.URL("/oauth2/revoke"), token),
			} {
				shown.WriteString(a.body)
				a.header.Write(shown)
			}
		}
		wantStatus(t, bearer(t, p.URL("/"), token), 401)
	}
	shown.WriteString(get(t, p.urlOf("ADMIN", "/metrics")).body)
	p.kill()
	payload := strings.Split(claims, ".")[1]
	p.searchEverywhere(t, shown.String(),
		opaque, claims, odd, payload, "very-secret", "very-wrong-secret", appSecret, basic("app", appSecret))
}

// The same for what is presented to issuers, and what is verified: the credentials
// of this server, the secrets of issuers, assertions, and tokens that are relayed.
func TestNoSecretOfAnIssuerAndNoAssertionIsWrittenAnywhere(t *testing.T) {
	i, as, key := startIssuer(t), startAuthorizationServer(t), newKey(t, "1")
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, publicKeys(t, key), 0o600); err != nil {
		t.Fatal(err)
	}
	hmacSecret := strings.Repeat("very-secret-hmac", 4)
	t.Setenv("INTROSPECTION_SECRET", introspectionSecret)
	t.Setenv("HMAC_SECRET", hmacSecret)
	caddyfile := func() string {
		return `
{
	log audit {
		include token_revocation.audit
		output file DIR/audit.log
	}
	log visible {
		level DEBUG
		output file DIR/all.log
	}
	token_revocation {
		` + i.asIssuer(strings.Replace(asking, introspectionSecret, "{env.INTROSPECTION_SECRET}", 1)) + `
		issuer https://hmac.example.com {
			hmac_secret {env.HMAC_SECRET}
		}
	}
}
:PORT {
	log
	revocation_endpoint /oauth2/revoke {
		client signer {
			public_keys ` + keys + `
		}
	}
	reject_revoked {
		verify
	}
	respond served
}
:PORT1 {
	log
	revocation_endpoint /revoke {
		relay {
			revoke_unsupported
		}
	}
	reverse_proxy ` + as.Listener.Addr().String() + `
}
`
	}
	p := newProcess(t, t.TempDir())
	shown := new(strings.Builder) // answers, metrics and the configuration
	show := func(a answer) {
		shown.WriteString(a.body)
		a.header.Write(shown)
	}
	i.activate(t, "very-secret-active", map[string]any{"sub": "very-secret-subject", "client_id": "app"})
	tokens := []string{"very-secret-active", "very-secret-unknown", i.token(t, nil), i.token(t, map[string]any{"exp": nil}), jwt(t, `{"iss":"`+i.URL+`"}`)}
	stranger := newKey(t, "1")
	var used []string // assertions
	for _, setup := range []string{"", "client_secret wrong", "down"} {
		i.down.Store(setup == "down")
		text := caddyfile()
		if setup == "client_secret wrong" {
			text = strings.Replace(text, "{env.INTROSPECTION_SECRET}", "{env.HMAC_SECRET}", 1)
		}
		p.start(t, text)
		for _, token := range tokens {
			show(bearer(t, p.URL("/"), token))
			for _, signer := range []jose.JSONWebKey{key, stranger} {
				a := assertion(t, signer, map[string]any{"aud": i.URL})
				used = append(used, a)
				show(postAsserted(t, p.URL("/oauth2/revoke"), a, token))
			}
			show(relayed(t, p.testCaddy, token))
			show(postAs(t, p.urlOf("PORT1", "/revoke"), "app", "very-secret-of-a-client", token))
		}
		show(get(t, p.urlOf("ADMIN", "/metrics")))
		config := get(t, p.urlOf("ADMIN", "/config/"))
		if !strings.Contains(config.body, "{env.HMAC_SECRET}") {
			t.Error("the configuration doesn't show its placeholders")
		}
		show(config)
		p.kill()
		shown.WriteString(p.log.String())
	}
	secrets := append(used, introspectionSecret, basic("caddy", introspectionSecret), hmacSecret, "very-secret")
	for _, token := range append(tokens, used...) {
		if parts := strings.Split(token, "."); len(parts) == 3 {
			secrets = append(secrets, parts[1], parts[2])
		}
	}
	p.searchEverywhere(t, shown.String(), secrets...)
}

// searchEverywhere looks for secrets in what a process has shown, and in everything
// that it has written.
func (p *process) searchEverywhere(t *testing.T, shown string, secrets ...string) {
	t.Helper()
	written := map[string][]byte{"what was shown": []byte(shown), "stderr": []byte(p.log.String())}
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		written[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(written[filepath.Join(p.dir, "all.log")]) < 10_000 || len(written[filepath.Join(p.dir, "audit.log")]) < 5_000 || len(written[filepath.Join(p.dir, "caddy", "token_revocation", "records.db")]) == 0 {
		t.Error("a log or the store isn't where this test looks")
	}
	for where, content := range written {
		for _, secret := range secrets {
			if at := bytes.Index(content, []byte(secret)); secret != "" && at >= 0 {
				t.Errorf("%s has %s: …%s…", where, secret, content[max(0, at-200):min(len(content), at+len(secret)+50)])
			}
		}
	}
}
