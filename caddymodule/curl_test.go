package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"testing"
)

// TestCurl goes the way of the README's tour, with curl, over HTTP/1.1 and over
// HTTP/2 without TLS.
func TestCurl(t *testing.T) {
	c := startCaddy(t, `
{
	servers {
		protocols h1 h2 h2c
	}
}
`+oneSite)
	for _, version := range []struct{ flag, number string }{
		{"--http1.1", "1.1"},
		{"--http2-prior-knowledge", "2"},
	} {
		t.Run(version.flag, func(t *testing.T) {
			token := "curl-" + version.number
			api := []string{version.flag, "-H", "Authorization: Bearer " + token, c.URL("/")}
			revoke := func(secret string) curlAnswer {
				return curl(t, version.flag, "-u", "app:"+secret, "--data-urlencode", "token="+token, c.URL("/oauth2/revoke"))
			}

			before := curl(t, api...)
			before.want(t, http.StatusOK, "served")
			if before.HTTPVersion != version.number {
				t.Errorf("curl spoke HTTP/%s", before.HTTPVersion)
			}

			refused := revoke("wrong")
			refused.want(t, http.StatusUnauthorized, "")
			if got := refused.header("www-authenticate"); got == "" {
				t.Error("the refusal of Basic credentials has no WWW-Authenticate")
			}
			curl(t, api...).want(t, http.StatusOK, "served")

			success := revoke(appSecret)
			success.want(t, http.StatusOK, "{}")
			if got := success.header("content-type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
			if got := success.header("cache-control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}

			rejected := curl(t, api...)
			rejected.want(t, http.StatusUnauthorized, "")
			const challenge = `Bearer error="invalid_token", error_description="The access token has been revoked"`
			if got := rejected.header("www-authenticate"); got != challenge {
				t.Errorf("WWW-Authenticate is\n     %s\nwant %s", got, challenge)
			}
			curl(t, version.flag, "-H", "Authorization: Bearer another", c.URL("/")).want(t, http.StatusOK, "served")
		})
	}
}

// curlAnswer is what curl tells of an answer.
type curlAnswer struct {
	Status      int                 `json:"status"`
	HTTPVersion string              `json:"http_version"`
	Headers     map[string][]string `json:"headers"` // names in lower case
	body        string
}

// header returns the header's only value.
func (a curlAnswer) header(name string) string {
	if len(a.Headers[name]) != 1 {
		return ""
	}
	return a.Headers[name][0]
}

// want checks the status and, when it isn't empty, the body.
func (a curlAnswer) want(t *testing.T, status int, body string) {
	t.Helper()
	if a.Status != status || body != "" && a.body != body {
		t.Fatalf("got %d %q, want %d %q", a.Status, a.body, status, body)
	}
}

// curl runs the curl program, which is skipped where there is none and fails in CI.
func curl(t *testing.T, args ...string) curlAnswer {
	t.Helper()
	program, err := exec.LookPath("curl")
	if err != nil {
		missing(t, "curl")
	}
	const report = `%{stderr}{"status":%{http_code},"http_version":"%{http_version}","headers":%{header_json}}`
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-sS", "--max-time", "30", "--write-out", report}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	body, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, stderr.Bytes())
	}
	var answer curlAnswer
	if err := json.Unmarshal(stderr.Bytes(), &answer); err != nil {
		t.Fatalf("curl %q reported %q: %v", args, stderr.Bytes(), err)
	}
	answer.body = string(body)
	return answer
}
