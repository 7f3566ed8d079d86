package caddymodule

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestAReinstatedTokenPassesAgainAndTheRevocationSaysSo(t *testing.T) {
	c := startCaddy(t, adminSite)
	mustRevoke(t, c.URL("/oauth2/revoke"), "a-token")
	page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records", "")
	if len(page.Revocations) != 1 || page.Revocations[0].Source != "endpoint" || page.Revocations[0].Actor != "client:app" {
		t.Fatalf("%+v", page)
	}
	id := page.Revocations[0].ID
	made := mustAdmin[reinstateResponse](t, c, 200, "DELETE", "records/"+id, `{"reason":"a mistake","actor":"bob"}`)
	if len(made.Reinstates) != 1 || made.Reinstates[0] != id {
		t.Errorf("%+v", made)
	}
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 200)
	got := mustAdmin[revocationJSON](t, c, 200, "GET", "records/"+id, "")
	if got.State != "reinstated" || got.Reinstated == nil || got.Reinstated.ID != made.ID || got.Reinstated.Actor != "bob" || got.Reinstated.Reason != "a mistake" {
		t.Errorf("%+v", got)
	}
	for query, want := range map[string]int{"": 0, "?state=live": 0, "?state=reinstated": 1, "?state=all": 1} {
		if page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records"+query, ""); len(page.Revocations) != want {
			t.Errorf("%s: %d revocations, want %d", query, len(page.Revocations), want)
		}
	}
	again := refused(t, c.admin(t, "DELETE", "records/"+id, `{"reason":"once more"}`), 409)
	if !strings.Contains(again, "bob") || !strings.Contains(again, "a mistake") {
		t.Errorf("it isn't said by whom and why: %s", again)
	}
	refused(t, c.admin(t, "DELETE", "records/"+revocation.NewID().String(), `{"reason":"r"}`), 404)
	refused(t, c.admin(t, "GET", "records/"+revocation.NewID().String(), ""), 404)
}

func TestWhatHasExpiredIsGone(t *testing.T) {
	c := startCaddy(t, adminSite)
	made := c.revokeBy(t, `"jkt":"x","expires_in":"1s"`)
	id := made.Revocation.ID
	poll(t, "the revocation expires", func() bool {
		return mustAdmin[revocationJSON](t, c, 200, "GET", "records/"+id, "").State == "expired"
	})
	refused(t, c.admin(t, "DELETE", "records/"+id, `{"reason":"r"}`), 410)
}

func TestASearchFindsWhatItIsAskedFor(t *testing.T) {
	c := startCaddy(t, adminSite)
	before := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	const idp = `"iss":"https://idp.example.com"`
	id := func(members string) string { return c.revokeBy(t, members).Revocation.ID }
	alice := id(`"sub":"alice",` + idp)
	app := id(`"sub":"alice","client_id":"app",` + idp)
	elsewhere := id(`"sub":"alice","iss":"https://elsewhere.example.com","issued_before":"now","actor":"carol"`)
	tenant := id(`"claims":{"tenant_id":"a=b"},` + idp)
	cert := id(`"x5t#S256":"c"`)
	token := id(`"token":"a-token"`)
	fingerprint := mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"a-token"}`).Fingerprint
	for query, want := range map[string][]string{
		"":                                  {token, cert, tenant, elsewhere, app, alice},
		"limit=2":                           {token, cert},
		"sub=alice":                         {elsewhere, app, alice},
		"sub=alice&client_id=app":           {app},
		"iss=https://elsewhere.example.com": {elsewhere},
		"shape=client_id+sub":               {app},
		"shape=sub%2Bclient_id":             {app},
		"kind=issued_before":                {elsewhere},
		"claim=tenant_id=a%3Db":             {tenant},
		"x5t%23S256=c":                      {cert},
		"fingerprint=" + fingerprint:        {token},
		"actor=carol":                       {elsewhere},
		"source=admin&kind=block&sub=alice": {app, alice},
		"source=endpoint":                   nil,
		"since=" + url.QueryEscape(before):  {token, cert, tenant, elsewhere, app, alice},
		"until=" + url.QueryEscape(before):  nil,
		"since=1h&until=" + "2100-01-01T00:00:00+02:00": {token, cert, tenant, elsewhere, app, alice},
		"sub=nobody": nil,
	} {
		page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records?"+query, "")
		var got []string
		for _, r := range page.Revocations {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
		if (page.Next != "") != (query == "limit=2") {
			t.Errorf("%s: next is %q", query, page.Next)
		}
	}
}

func TestPagesOfFiveHundredHaveEachOnceWhileOthersAreRevoked(t *testing.T) {
	c := startCaddy(t, adminSite)
	const number = 500
	wanted := map[string]bool{}
	for n := range number {
		wanted[c.revokeBy(t, fmt.Sprintf(`"token":"token-%d"`, n)).Revocation.ID] = true
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for worker := range 2 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if a := c.admin(t, "POST", "records", fmt.Sprintf(`{"reason":"r","token":"other-%d-%d"}`, worker, n)); a.status != 201 {
					t.Errorf("%d %s", a.status, a.body)
					return
				}
			}
		})
	}
	seen := map[string]int{}
	pages := 0
	for next := "first"; next != ""; pages++ {
		query := "records?limit=37"
		if next != "first" {
			query += "&after=" + url.QueryEscape(next)
		}
		page := mustAdmin[revocationsResponse](t, c, 200, "GET", query, "")
		for _, r := range page.Revocations {
			seen[r.ID]++
		}
		next = page.Next
	}
	stop.Store(true)
	wg.Wait()
	if pages < number/37 {
		t.Errorf("%d pages", pages)
	}
	for id := range wanted {
		if seen[id] != 1 {
			t.Errorf("%s was seen %d times", id, seen[id])
		}
	}
}

func TestACheckSaysWhichRecordRejectsATokenAndWhatNeverCan(t *testing.T) {
	c := startCaddy(t, adminSite)
	check := func(token string) checkResponse {
		t.Helper()
		return mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"`+token+`"}`)
	}
	claims := `"iss":"https://idp.example.com","sub":"alice","tenant_id":"acme"`
	token := jwt(t, `{`+claims+`,"iat":2000000000,"auth_time":1000000000,"exp":4000000000}`)
	got := check(token)
	if got.Verdict != "active" || !got.JWT || got.Fingerprint == "" || len(got.Records) != 0 ||
		!slices.Equal(got.Issuers, []string{"https://idp.example.com"}) || !slices.Equal(got.Claims["tenant_id"], []string{"acme"}) ||
		got.IssuedAt.Unix() != 2000000000 || got.AuthenticatedAt.Unix() != 1000000000 || got.Expires.Unix() != 4000000000 || !got.ExpiryTrusted {
		t.Errorf("%+v", got)
	}
	cutoff := c.revokeBy(t, `"sub":"alice","iss":"https://idp.example.com","issued_before":"now","actor":"dave"`).Revocation
	got = check(token)
	if got.Verdict != "active" || len(got.Records) != 1 || got.Records[0].Rejects || got.Records[0].Record.ID != cutoff.ID || !strings.Contains(got.Records[0].Why, "after the cutoff") {
		t.Errorf("%+v", got)
	}
	c.revokeBy(t, `"claims":{"tenant_id":"acme"},"iss":"https://idp.example.com","actor":"erin"`)
	got = check("Bearer " + token)
	if got.Verdict != "revoked" || !strings.Contains(got.Reason, "erin") || !strings.Contains(got.Reason, "a test") || len(got.Records) != 2 {
		t.Errorf("%+v", got)
	}
	wantWarning(t, got.Warnings, "taken off")

	got = check("opaque")
	if got.JWT || len(got.Matches) != 1 || got.Matches[0].Shape != "token" ||
		!slices.ContainsFunc(got.Impossible, func(i impossibleJSON) bool { return i.Shape == "sub" && strings.Contains(i.Why, "no claims") }) {
		t.Errorf("%+v", got)
	}
	if got = check(token + "="); got.Verdict != "revoked" || got.Malformed == "" {
		t.Errorf("%+v", got)
	}
	if got = check(jwt(t, `{"iat":1e300,"exp":99999999999999}`)); got.Verdict != "active" {
		t.Errorf("%+v", got)
	}
}

func TestACheckSaysWhetherAnIssuerVouchesForTheToken(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(""), ""))
	got := mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"`+i.token(t, nil)+`"}`)
	if got.Proof == nil || got.Proof.Issuer != i.URL || got.Proof.Kind != "access_token" || !slices.Equal(got.Proof.Owners, []string{"app"}) || got.Unproven != "" {
		t.Errorf("%+v %+v", got, got.Proof)
	}
	got = mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"`+i.token(t, map[string]any{"exp": 1000})+`"}`)
	if !strings.Contains(got.Reason, "has expired") {
		t.Errorf("%+v", got)
	}
	got = mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"`+jwt(t, `{"iss":"`+i.URL+`"}`)+`"}`)
	if got.Proof != nil || got.Unproven == "" || !strings.Contains(got.Reason, "nobody vouches") {
		t.Errorf("%+v", got)
	}
}
