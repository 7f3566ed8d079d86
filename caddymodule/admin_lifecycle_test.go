package caddymodule

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestTheAdminAPIFollowsAReloadToAnotherStore(t *testing.T) {
	c := startCaddy(t, adminSite)
	c.revokeBy(t, `"token":"first"`)
	other := strings.Replace(adminSite, "match_claims", "store bolt DIR/other.db\nmatch_claims", 1)
	c.load(t, other)
	c.revokeBy(t, `"token":"second"`)
	page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records", "")
	if len(page.Revocations) != 2 {
		t.Errorf("%+v", page)
	}
	status := mustAdmin[statusResponse](t, c, 200, "GET", "status", "")
	if !strings.HasSuffix(status.Store.Key, "other.db") || status.Store.Module != "bolt" || status.List.Keys != 2 || !status.List.Fresh {
		t.Errorf("%+v", status)
	}
}

// A configuration that fails has had its admin API in the meantime. It works with what
// runs.
func TestTheAdminAPIStaysWithTheConfigurationThatRuns(t *testing.T) {
	c := startCaddy(t, adminSite)
	failing := strings.Replace(adminSite, "\ttoken_revocation {", "\tfailing_app\n\ttoken_revocation {\n\t\tstore bolt DIR/other.db", 1)
	check := func() {
		if key := mustAdmin[statusResponse](t, c, 200, "GET", "status", "").Store.Key; strings.HasSuffix(key, "other.db") {
			t.Errorf("it shows %s", key)
		}
	}
	asked := false
	beforeFailing = func() { // the apps are started in any order
		asked = true
		check()
	}
	for n := 0; n < 100 && !asked; n++ {
		if err := c.tryLoad(failing); err == nil {
			t.Fatal("the configuration is loaded")
		}
	}
	c.revokeBy(t, `"token":"a-token"`)
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 401)
	check()
}

func TestEveryRevocationOfTheAdminAPIIsEnforcedWhileCaddyReloads(t *testing.T) {
	c := startCaddy(t, adminSite)
	other := strings.Replace(adminSite, "match_claims", "store bolt DIR/other.db\nmatch_claims", 1)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var revoked []string
	wg.Go(func() {
		for n := 0; !stop.Load(); n++ {
			token := strings.Repeat("t", 10) + string(rune('a'+n%26)) + strings.Repeat("x", n/26)
			r := c.adminRequest(t, "POST", "records", strings.NewReader(`{"reason":"r","token":"`+token+`"}`))
			if a := do(t, r); a.status == 201 {
				revoked = append(revoked, token)
			} else if a.status != 503 {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	})
	for n := range 10 {
		c.load(t, []string{other, adminSite}[n%2])
	}
	stop.Store(true)
	wg.Wait()
	if len(revoked) == 0 {
		t.Error("nothing was revoked")
	}
	for _, token := range revoked {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
}

func TestStatusTellsHowEverythingIs(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(asking), ""))
	c.revokeBy(t, `"token":"a-token"`)
	bearer(t, c.urlOf("PORT1", "/"), "another-token")
	bearer(t, c.urlOf("PORT1", "/"), "another-token")
	var got statusResponse
	poll(t, "the issuer's keys are there", func() bool {
		got = mustAdmin[statusResponse](t, c, 200, "GET", "status", "")
		return len(got.Issuers) == 1 && got.Issuers[0].Keys == 1
	})
	if got.Version == "" || got.List.Keys != 1 || len(got.List.Records) != 1 || got.List.Records[0] != (recordsCount{"block", "token", 1}) ||
		got.List.Shapes != 1 || got.List.IndexBytes == 0 || got.Cache.Size == 0 || got.Cache.Hits+got.Cache.Misses == 0 ||
		got.Issuers[0].Issuer != i.URL || !got.Issuers[0].Ready || got.Retention.MaxTokenLifetime != "720h0m0s" || got.Retention.Leeway != "5m0s" {
		t.Errorf("%+v", got)
	}
	if _, ok := got.Streams["websocket"]; !ok || len(got.Streams) != 3 {
		t.Errorf("%v", got.Streams)
	}
}
