package caddymodule

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// askingSite is a site that asks the issuer about tokens, and one on PORT1 that doesn't.
func askingSite(i *testIssuer, u *streamer) string {
	site := verifying(i.asIssuer(strings.Replace(asking, "\n}", "\n\tttl 0s\n}", 1)), "")
	return strings.NewReplacer(
		"reject_revoked {", "reject_revoked {\nclose_on_expiry",
		"reject_revoked\n\trespond open", "reject_revoked {\nclose_on_expiry\n}\nreverse_proxy "+u.Listener.Addr().String(),
	).Replace(site)
}

// What another route learns of a token from its issuer, after a stream was opened, is
// what the stream can be ended by.
func TestStreamsAreCutByWhatAnotherRouteLearns(t *testing.T) {
	i, u := startIssuer(t), startStreamer(t)
	c := startCaddy(t, askingSite(i, u))
	open := version{"", c.urlOf("PORT1", ""), http.DefaultTransport}
	open.open(t, "/events", "opaque-0")
	revokeSubject(t, i, "eve") // so that alice isn't the first one for whom keys are made
	resp := open.open(t, "/events", "opaque-1")
	i.activate(t, "opaque-1", map[string]any{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()})
	wantStatus(t, get(t, c.URL("/"), "Authorization", "Bearer opaque-1"), 200)
	revokeSubject(t, i, "alice")
	wantBroken(t, resp)
}

func revokeSubject(t *testing.T, i *testIssuer, subject string) {
	t.Helper()
	selector, err := revocation.Select(i.URL, revocation.Claim{Role: revocation.RoleSubject, Value: subject})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	if err := activeApp(t).running.list.Revoke(t.Context(), revocation.Record{
		ID: revocation.NewID(), Kind: revocation.Block, Selector: selector, Source: sourceAdmin, RecordedAt: now, Expires: now.Add(time.Hour),
	}); err != nil {
		t.Fatal(err)
	}
}

// An issuer may let a token live on.
func TestStreamsGoOnUntilTheirTokenReallyExpires(t *testing.T) {
	i, u := startIssuer(t), startStreamer(t)
	c := startCaddy(t, askingSite(i, u))
	open := version{"", c.urlOf("PORT1", ""), http.DefaultTransport}
	first := time.Now().Add(1500 * time.Millisecond).Unix()
	say := func(exp int64) {
		t.Helper()
		i.activate(t, "opaque-2", map[string]any{"sub": "alice", "exp": exp})
		wantStatus(t, get(t, c.URL("/"), "Authorization", "Bearer opaque-2"), 200)
	}
	say(first)
	resp := open.open(t, "/events", "opaque-2")
	say(first + 2)
	wantBroken(t, resp)
	if now := time.Now().Unix(); now < first+2 || now > first+4 {
		t.Errorf("it ended %d s after the first expiry, and not 2 s", now-first)
	}
}
