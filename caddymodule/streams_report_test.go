package caddymodule

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStreamsEndWhenTheirTokenExpires(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, streamSite(u, "close_on_expiry\ntoken_from header Authorization\ntoken_from header X-Token"))
	h1 := c.versions(t)[0]
	exp := time.Now().Add(1500 * time.Millisecond).Unix()
	short := jwt(t, fmt.Sprintf(`{"jti":"short","exp":%d}`, exp))
	long := jwt(t, fmt.Sprintf(`{"jti":"long","exp":%d}`, exp+3600))
	text := jwt(t, fmt.Sprintf(`{"jti":"text","exp":"%d"}`, exp)) // libraries differ on that
	hit := h1.open(t, "/events", short)
	wait(t, "the upstream was not asked", u.began)
	var others []*http.Response
	for _, token := range []string{long, text, "opaque"} {
		others = append(others, h1.open(t, "/events", token))
		wait(t, "the upstream was not asked", u.began)
	}
	// The first of several tokens to expire ends what they opened.
	both := h1.request(t, "/events", long, nil)
	both.Header.Set("X-Token", short)
	double, err := h1.RoundTrip(both)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the upstream was not asked", u.began)
	pending := make(chan answer, 1)
	go func() {
		pending <- get(t, h1.base+"/pending", "Authorization", "Bearer "+short, "Accept", "text/event-stream")
	}()
	wait(t, "the upstream was not asked", u.began)
	wantBroken(t, hit)
	if now := time.Now().Unix(); now < exp {
		t.Errorf("it ended %d s too early", exp-now)
	}
	wantBroken(t, double)
	a := wait(t, "the request goes on", pending)
	wantStatus(t, a, 401)
	if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token", error_description="The access token has expired"` {
		t.Errorf("challenge %q", got)
	}
	for range 3 {
		wait(t, "the upstream goes on", u.ended)
	}
	wantStatus(t, get(t, h1.base+"/pending", "Authorization", "Bearer "+short, "Accept", "text/event-stream"), 401)
	for range others {
		u.events <- struct{}{}
	}
	if m := c.metrics(t); !strings.Contains(m, `caddy_token_revocation_streams_open{kind="event_stream"} 3`) {
		t.Errorf("others ended as well:\n%s", m)
	}
}

func TestCutStreamsAreCountedAndLogged(t *testing.T) {
	u := startStreamer(t)
	c := startCaddy(t, strings.Replace(streamSite(u, ""), "auto_https", "log cut {\noutput file DIR/cut.log\nlevel INFO\ninclude http.handlers.reject_revoked\n}\nauto_https", 1))
	logFile := filepath.Join(c.dir, "cut.log")
	h1 := c.versions(t)[0]
	before := c.metrics(t)
	token := jwt(t, `{"jti":"logged","sub":"alice"}`)
	resp := h1.open(t, "/events", token)
	if m := c.metrics(t); !strings.Contains(m, `streams_open{kind="event_stream"} 1`) || !strings.Contains(m, `streams_cut_total{kind="other",reason="expired"}`) {
		t.Errorf("metrics:\n%s", m)
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), token)
	wantBroken(t, resp)
	waitForStreams(t, c, "event_stream", 0)
	after := c.metrics(t)
	if got := metric(after, `caddy_token_revocation_streams_cut_total{kind="event_stream",reason="revoked"}`) - metric(before, `caddy_token_revocation_streams_cut_total{kind="event_stream",reason="revoked"}`); got != 1 {
		t.Errorf("%v streams were cut", got)
	}
	if got := metric(after, `caddy_token_revocation_checks_total{verdict="revoked"}`) - metric(before, `caddy_token_revocation_checks_total{verdict="revoked"}`); got != 0 {
		t.Errorf("%v checks count as revoked", got)
	}
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"open stream ended"`, `"kind":"event_stream"`, `"reason":"revoked"`, `"selector":"token"`, `"fingerprint":"`, `"host":"127.0.0.1:`, `"duration":`} {
		if !strings.Contains(string(log), part) {
			t.Errorf("the log has no %s:\n%s", part, log)
		}
	}
	if strings.Contains(string(log), strings.Split(token, ".")[1]) {
		t.Error("the log has the token")
	}
}
