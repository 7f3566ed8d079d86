package caddymodule

import (
	"bytes"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// With the log filter of Caddyfile.example, at the level debug, and with access
// logs: what is written anywhere must not help anybody to a token or a secret.
func TestNoTokenAndNoSecretIsWrittenAnywhere(t *testing.T) {
	p := newProcess(t, t.TempDir())
	p.start(t, `
{
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

	written := map[string][]byte{"answers and metrics": []byte(shown.String()), "stderr": []byte(p.log.String())}
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
	if len(written[filepath.Join(p.dir, "all.log")]) < 10_000 || len(written[filepath.Join(p.dir, "caddy", "token_revocation", "records.db")]) == 0 {
		t.Error("the log or the store isn't where this test looks")
	}
	payload := strings.Split(claims, ".")[1]
	for where, content := range written {
		for _, secret := range []string{opaque, claims, odd, payload, "very-secret", "very-wrong-secret", appSecret, basic("app", appSecret)} {
			if at := bytes.Index(content, []byte(secret)); at >= 0 {
				t.Errorf("%s has %s: …%s…", where, secret, content[max(0, at-200):min(len(content), at+len(secret)+50)])
			}
		}
	}
}
