package caddymodule

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestWhatIsWrongWithARequestIsSaid(t *testing.T) {
	c := startCaddy(t, adminSite)
	id := c.revokeBy(t, `"token":"a-token"`).Revocation.ID
	long := strings.Repeat("x", 257)
	const idp = `"iss":"https://idp.example.com",`
	for _, test := range []struct {
		method, path, body string
		status             int
		say                string
	}{
		{"POST", "records", ``, 400, "is not one JSON object"},
		{"POST", "records", `[]`, 400, "is not one JSON object"},
		{"POST", "records", `{"sub":"a"} {}`, 400, "is not one JSON object"},
		{"POST", "records", `{"sub":"a",}`, 400, "is not one JSON object"},
		{"POST", "records", "{\"sub\":\"\xff\"}", 400, "is not one JSON object"},
		{"POST", "records", `{"sub":"a"}`, 400, "reason is required"},
		{"POST", "records", `{"reason":"r"}`, 400, "Name a token, or one or more of fingerprint, jti,"},
		{"POST", "records", `{"reason":"r","sub":"a","sub":"b"}`, 400, "has a member twice"},
		{"POST", "records", `{"reason":"r","claims":{"tenant_id":"a","tenant_id":"b"}}`, 400, "has a member twice"},
		{"POST", "records", `{"reason":"r","Sub":"a"}`, 400, "its 2nd, that is not known here: possible are token, fingerprint, jti,"},
		{"POST", "records", `{"reason":"r","subject":"a"}`, 400, "not known here"},
		{"POST", "records", `{"reason":"r",` + idp + `"sub":""}`, 400, "sub without a value"},
		{"POST", "records", `{"reason":"r",` + idp + `"sub":null}`, 400, "sub without a value"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":{ }}`, 400, "claims without a value"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":{"tenant_id":""}}`, 400, "empty"},
		{"POST", "records", `{"reason":"r",` + idp + `"sub":5}`, 400, "sub is not a string"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":{"tenant_id":5}}`, 400, "claims is not"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":["a"]}`, 400, "claims is not an object"},
		{"POST", "records", `{"reason":"r",` + idp + `"dry_run":"yes"}`, 400, "dry_run is not true or false"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":{"department":"x"}}`, 400, "add it to match_claims"},
		{"POST", "records", `{"reason":"r",` + idp + `"claims":{"sub":"x"}}`, 400, "sub is a member of its own"},
		{"POST", "records", `{"reason":"r","sub":"a"}`, 400, "iss is required, since no issuer is configured"},
		{"POST", "records", `{"reason":"r",` + idp + `"jkt":"a"}`, 400, "leave the issuer out"},
		{"POST", "records", `{"reason":"r","fingerprint":"a"}`, 400, "43 characters"},
		{"POST", "records", `{"reason":"r","token":"a","sub":"b"}`, 400, "a token is named, and sub as well"},
		{"POST", "records", `{"reason":"r","token":"a","fingerprint":"b"}`, 400, "a token is named, and fingerprint as well"},
		{"POST", "records", `{"reason":"r","token":"a","issued_before":"now"}`, 400, "not for one token"},
		{"POST", "records", `{"reason":"r","token":" Bearer "}`, 400, "there is no token in token"},
		{"POST", "records", `{"reason":"r","token":"a","cascade":"all"}`, 400, "cascade must be session, subject_client or off"},
		{"POST", "records", `{"reason":"r",` + idp + `"sub":"a","cascade":"off"}`, 400, "cascade is for a token"},
		{"POST", "records", `{"reason":"r",` + idp + `"issued_before":"now","authenticated_before":"now"}`, 400, "only one of them"},
		{"POST", "records", `{"reason":"r",` + idp + `"issued_before":"yesterday"}`, 400, "or now"},
		{"POST", "records", `{"reason":"r",` + idp + `"issued_before":"1960-01-01T00:00:00Z"}`, 400, "between the years 1970"},
		{"POST", "records", `{"reason":"r",` + idp + `"issued_before":"2200-01-01T00:00:00Z"}`, 400, "between the years 1970"},
		{"POST", "records", `{"reason":"r",` + idp + `"expires_in":"soon"}`, 400, "expires_in must be a duration"},
		{"POST", "records", `{"reason":"r",` + idp + `"expires_in":"0"}`, 400, "longer than nothing"},
		{"POST", "records", `{"reason":"r",` + idp + `"expires_in":"-1h"}`, 400, "longer than nothing"},
		{"POST", "records", `{"reason":"r",` + idp + `"expires_in":"36500d"}`, 400, "before the year 2106"},
		{"POST", "records", `{"reason":"` + long + `",` + idp + `"sub":"a"}`, 400, "reason has 257 bytes"},
		{"POST", "records", `{"reason":"r","actor":"` + long + `",` + idp + `"sub":"a"}`, 400, "actor has 257 bytes"},
		{"POST", "records", `{"reason":"r","token":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "more than 1048576 bytes"},
		{"POST", "records", `{"reason":"r",` + idp + `"sub":"` + strings.Repeat("x", 1025) + `"}`, 400, "1025 bytes"},
		{"GET", "records?limit=0", ``, 400, "from 1 to 1000"},
		{"GET", "records?limit=1001", ``, 400, "from 1 to 1000"},
		{"GET", "records?after=x", ``, 400, "next"},
		{"GET", "records?state=dead", ``, 400, "live, reinstated or all"},
		{"GET", "records?kind=reinstatement", ``, 400, "block, issued_before or authenticated_before"},
		{"GET", "records?since=yesterday", ``, 400, "24h or 7d"},
		{"GET", "records?claim=x", ``, 400, "claim=tenant_id=acme"},
		{"GET", "records?shape=%2B", ``, 400, "client_id+sub"},
		{"GET", "records?sub=a&sub=b", ``, 400, "sub is given more than once"},
		{"GET", "records?sub=", ``, 400, "sub has no value"},
		{"GET", "records?subject=a", ``, 400, "possible are actor, after, claim,"},
		{"GET", "records?sub=%zz", ``, 400, "can't be decoded"},
		{"GET", "records/x", ``, 400, "not a revocation id"},
		{"DELETE", "records/x", `{"reason":"r"}`, 400, "not a revocation id"},
		{"DELETE", "records/" + id, ``, 400, "is not one JSON object"},
		{"DELETE", "records/" + id, `{}`, 400, "reason is required"},
		{"DELETE", "records/" + id, `{"reason":"` + long + `"}`, 400, "reason has 257 bytes"},
		{"POST", "check", `{}`, 400, "token is required"},
		{"POST", "check", `{"token":["a"]}`, 400, "token is not a string"},
		{"POST", "import?strict=yes", lines(1, "a"), 400, "true or false"},
		{"POST", "import?loose=true", lines(1, "a"), 400, "possible are actor, reason, strict"},
		{"POST", "import?actor=a&actor=b", lines(1, "a"), 400, "actor is given more than once"},
		{"POST", "status", `{}`, 405, "only for GET"},
		{"PUT", "records", `{}`, 405, "only for GET and POST"},
		{"POST", "records/" + id, `{}`, 405, "only for GET and DELETE"},
		{"GET", "import", ``, 405, "only for POST"},
		{"GET", "", ``, 404, "GET status, GET health, GET records, POST records, GET records/{id},"},
		{"GET", "revoke", ``, 404, "there are only"},
		{"POST", "records/" + id + "/reinstate", `{}`, 404, "there are only"},
	} {
		a := c.admin(t, test.method, test.path, test.body)
		if said := refused(t, a, test.status); !strings.Contains(said, test.say) {
			t.Errorf("%s %s %.100s: %q, want %q", test.method, test.path, test.body, said, test.say)
		}
		if a.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", test.method, test.path)
		}
	}
	if n := c.keys(t); n != 1 {
		t.Errorf("%d keys: something was revoked", n)
	}
	for _, path := range []string{"records", "check", "import", "records/" + id} {
		method := "POST"
		if path == "records/"+id {
			method = "DELETE"
		}
		refused(t, c.admin(t, method, path, `{"reason":"r","token":"x"}`, "Content-Type", "text/plain"), 400)
	}
	refused(t, c.admin(t, "POST", "records", `{"reason":"r","token":"x"}`, "Origin", "https://evil.example.com"), http.StatusForbidden)
}

func TestWithoutARevocationListTheAdminAPISaysWhatToDo(t *testing.T) {
	c := startCaddy(t, `
:PORT {
	respond served
}
`)
	for _, path := range []string{"status", "records", "export"} {
		if said := refused(t, c.admin(t, "GET", path, ""), 404); !strings.Contains(said, "add reject_revoked") {
			t.Error(said)
		}
	}
	refused(t, c.admin(t, "GET", "health", ""), 503)
	// No global options: the handler makes the app.
	c.load(t, `
:PORT {
	reject_revoked
	respond served
}
`)
	c.revokeBy(t, `"token":"a-token"`)
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 401)
	wantStatus(t, c.admin(t, "GET", "health", ""), 200)
}

func TestWhatIsInForceButNotDurableIsSaidAndBecomesDurable(t *testing.T) {
	const site = `
{
	token_revocation {
		store switched DIR/records.db
	}
}
` + oneSite
	c := startCaddy(t, site)
	before := c.revokeBy(t, `"token":"before"`).Revocation.ID
	mend := failStore(t)
	a := c.admin(t, "POST", "records", `{"reason":"r","token":"a-token"}`)
	said := refused(t, a, 503)
	if !strings.Contains(said, "in force here") || a.header.Get("Retry-After") == "" {
		t.Errorf("%s %v", said, a.header)
	}
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 401)
	page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records?limit=1", "")
	if got := page.Revocations[0]; !got.Pending || !strings.Contains(said, got.ID) {
		t.Errorf("%+v isn't the one of %q", got, said)
	}
	health := mustAdmin[healthResponse](t, c, 200, "GET", "health", "")
	if health.Status != "ready" || !strings.Contains(health.Warning, errSwitched.Error()) {
		t.Errorf("%+v", health)
	}
	status := mustAdmin[statusResponse](t, c, 200, "GET", "status", "")
	if !status.Store.Failing || status.Store.Error == "" || status.Store.Since.IsZero() || status.List.Pending != 1 || status.Store.Module != "switched" {
		t.Errorf("%+v", status)
	}
	for range 2 { // also when it is asked for again, since it still isn't durable
		if said := refused(t, c.admin(t, "DELETE", "records/"+before, `{"reason":"r"}`), 503); !strings.Contains(said, "in force here") {
			t.Error(said)
		}
	}
	wantStatus(t, bearer(t, c.URL("/"), "before"), 200)
	if said := refused(t, c.admin(t, "POST", "import", lines(3, "a")), 503); !strings.Contains(said, "3 lines read, 3 accepted") {
		t.Error(said)
	}
	mend()
	poll(t, "everything is durable", func() bool {
		return mustAdmin[statusResponse](t, c, 200, "GET", "status", "").List.Pending == 0
	})
	c.restart(t, site)
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 401)
	wantStatus(t, bearer(t, c.URL("/"), "before"), 200)
	refused(t, c.admin(t, "DELETE", "records/"+before, `{"reason":"r"}`), 409)
}

func TestHealthIsNotReadyUntilTheListIsLoaded(t *testing.T) {
	c := startCaddy(t, `
:PORT {
	respond served
}
`)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	opens := make(chan struct{})
	storeOpens.Store(&opens)
	t.Cleanup(func() { storeOpens.Store(nil) })
	loaded := make(chan error, 1)
	go func() {
		loaded <- c.tryLoad(`
{
	token_revocation {
		store switched DIR/records.db
	}
}
` + oneSite)
	}()
	poll(t, "the admin API answers", func() bool {
		resp, err := http.Get(c.adminURL("health"))
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 503 && resp.Header.Get("Retry-After") != ""
	})
	close(opens)
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c.admin(t, "GET", "health", ""), 200)
}
