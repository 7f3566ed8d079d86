package caddymodule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestAnOperatorRevokesATokenInAnyForm(t *testing.T) {
	c := startCaddy(t, adminSite)
	for name, pasted := range map[string]string{
		"as it is":      "%s",
		"header's line": "Authorization: Bearer %s",
		"scheme":        "bearer   %s",
		"DPoP":          "DPoP %s\n",
		"quotes":        `\"%s\",`,
		"white space":   " \n%s\n",
		"everything":    `'authorization: \"Bearer %s\"'`,
	} {
		t.Run(name, func(t *testing.T) {
			for n, token := range []string{"opaque-" + strings.ReplaceAll(name, " ", "-"), jwt(t, `{"sub":"`+name+`"}`)} {
				wantStatus(t, bearer(t, c.URL("/"), token), 200)
				body := `"token":"` + strings.ReplaceAll(fmt.Sprintf(pasted, token), "\n", `\n`) + `"`
				made := c.revokeBy(t, body)
				wantStatus(t, bearer(t, c.URL("/"), token), 401)
				if pasted != "%s" {
					wantWarning(t, made.Warnings, "taken off")
				} else if len(made.Warnings) > 0 {
					t.Errorf("%d: warnings %q", n, made.Warnings)
				}
				got := made.Revocation
				if made.Outcome != "revoked" || got.State != "live" || got.Source != "admin" || got.Actor != "admin" || got.Reason != "a test" || len(got.Records) != 1 {
					t.Errorf("%+v %+v", made, got)
				}
			}
		})
	}
}

func TestAProvenTokenIsRevokedByItsIDAndWithACascadeItsSession(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer("max_token_lifetime 2h"), "audience api"))
	session := map[string]any{"sid": "session-1"}
	other := i.token(t, session)

	made := c.revokeBy(t, `"token":"`+i.token(t, session)+`"`)
	if got := selectorsOf(made); !slices.Equal(got, []string{"token", "iss jti"}) {
		t.Errorf("records by %q", got)
	}
	wantStatus(t, bearer(t, c.URL("/"), other), 200)
	made = c.revokeBy(t, `"token":"`+i.token(t, session)+`","cascade":"session"`)
	if got := selectorsOf(made); !slices.Equal(got, []string{"token", "iss jti", "client_id iss sid"}) {
		t.Errorf("records by %q", got)
	}
	wantStatus(t, bearer(t, c.URL("/"), other), 401)
	wantStatus(t, bearer(t, c.URL("/"), i.token(t, map[string]any{"sid": "session-2"})), 200)
	made = c.revokeBy(t, `"token":"`+i.token(t, session)+`","cascade":"subject_client"`)
	if got := selectorsOf(made); !slices.Equal(got, []string{"token", "iss jti", "client_id iss sub"}) {
		t.Errorf("records by %q", got)
	}
	made = c.revokeBy(t, `"token":"`+i.token(t, nil)+`","cascade":"session"`)
	wantWarning(t, made.Warnings, "names no session or grant")
	made = c.revokeBy(t, `"token":"`+i.sign(t, "JWT", map[string]any{"nonce": "n", "aud": "app"})+`"`)
	wantWarning(t, made.Warnings, "not a token for an API")
}

// selectorsOf returns the roles of each record.
func selectorsOf(r revokeResponse) (all []string) {
	for _, record := range r.Revocation.Records {
		all = append(all, strings.Join(slices.Sorted(maps.Keys(record.Selector)), " "))
	}
	return all
}

func TestATokenThatNobodyVouchesForIsRevokedByItsFingerprintAndSaysWhy(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(asking), ""))
	genuine := i.token(t, nil)
	forged := genuine[:strings.LastIndex(genuine, ".")+1] + strings.Repeat("A", 86)
	for token, why := range map[string]string{
		forged:                                  "nobody who verifies it accepts it",
		"opaque-and-unknown":                    "only this token is revoked",
		jwt(t, `{"iss":"https://elsewhere"}`):   "its issuer is not configured",
		jwt(t, `{"a":1,"a":2}`):                 "malformed",
		jwt(t, `{"iss":"`+i.URL+`","sub":"x"}`): "only this token is revoked",
	} {
		made := c.revokeBy(t, `"token":"`+token+`","cascade":"session"`)
		if got := selectorsOf(made); !slices.Equal(got, []string{"token"}) {
			t.Errorf("%s: records by %q", why, got)
		}
		wantWarning(t, made.Warnings, why)
		wantWarning(t, made.Warnings, "nothing is revoked with the token")
	}
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), forged), 401)
	i.down.Store(true)
	made := c.revokeBy(t, `"token":"another-opaque-token"`)
	wantWarning(t, made.Warnings, "when its issuer can be asked")
}

func TestAnExpiredTokenIsRecordedOnlyWhenItIsSaidForHowLong(t *testing.T) {
	c := startCaddy(t, adminSite)
	token := jwt(t, fmt.Sprintf(`{"sub":"alice","exp":%d}`, time.Now().Add(-time.Hour).Unix()))
	made := mustAdmin[revokeResponse](t, c, 200, "POST", "records", `{"reason":"r","token":"`+token+`"}`)
	if made.Outcome != "expired" || made.Revocation != nil || c.keys(t) != 0 {
		t.Errorf("%+v", made)
	}
	wantWarning(t, made.Warnings, "With expires_in")
	wantStatus(t, bearer(t, c.URL("/"), token), 200)
	c.revokeBy(t, `"token":"`+token+`","expires_in":"1h"`)
	wantStatus(t, bearer(t, c.URL("/"), token), 401)
}

func TestARecordIsKeptAsLongAsIsSaidOrAsWhatItHitsCouldBeAccepted(t *testing.T) {
	const issuer = `
		issuer https://short.example.com {
			jwks_uri https://short.example.com/keys
			max_token_lifetime 1h
		}
		issuer https://long.example.com {
			jwks_uri https://long.example.com/keys
		}
		issuer https://longest.example.com {
			jwks_uri https://longest.example.com/keys
			max_token_lifetime 60d
		}
	`
	c := startCaddy(t, strings.Replace(adminSite, "match_claims tenant_id", issuer, 1))
	const margin = 10 * time.Minute // leeway and grace
	living := jwt(t, fmt.Sprintf(`{"exp":%d}`, time.Now().Add(3*time.Hour).Unix()))
	hourAgo := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for members, want := range map[string]struct {
		keep    time.Duration
		warning string
	}{
		`"token":"` + living + `"`:                                                            {3*time.Hour + margin, ""},
		`"token":"opaque"`:                                                                    {30*24*time.Hour + margin, ""},
		`"token":"opaque2","expires_in":"12h"`:                                                {12 * time.Hour, "could be accepted until"},
		`"token":"opaque3","expires_in":"60d"`:                                                {60 * 24 * time.Hour, ""},
		`"sub":"a","iss":"https://short.example.com","issued_before":"now"`:                   {time.Hour + margin, ""},
		`"sub":"b","iss":"https://short.example.com"`:                                         {time.Hour + margin, "from now on"},
		`"sub":"c","iss":"https://long.example.com","expires_in":"1d"`:                        {24 * time.Hour, "after the revocation has expired"},
		`"sub":"d","iss":"https://long.example.com","authenticated_before":"` + hourAgo + `"`: {30*24*time.Hour - time.Hour + margin, ""},
		`"sub":"e","iss":"https://unknown.example.com"`:                                       {30*24*time.Hour + margin, "not one of the issuers"},
		`"jkt":"y"`:                    {60*24*time.Hour + margin, ""}, // of whichever issuer
		`"jkt":"x","expires_in":"90d"`: {90 * 24 * time.Hour, ""},
	} {
		made := c.revokeBy(t, members)
		got := time.Until(made.Revocation.Records[0].Expires)
		if got < want.keep-time.Minute || got > want.keep+time.Minute {
			t.Errorf("%s: kept for %s, want %s", members, got, want.keep)
		}
		if want.warning != "" {
			wantWarning(t, made.Warnings, want.warning)
		} else if slices.ContainsFunc(made.Warnings, func(w string) bool { return strings.Contains(w, "until") && !strings.Contains(w, "new logins") }) {
			t.Errorf("%s: warnings %q", members, made.Warnings)
		}
	}
	// So is what is imported and doesn't say it.
	for selector, want := range map[string]time.Duration{
		`"sub":"i","iss":"https://short.example.com"`:   time.Hour,
		`"sub":"i","iss":"https://longest.example.com"`: 60 * 24 * time.Hour,
		`"sub":"i","iss":"https://unknown.example.com"`: 30 * 24 * time.Hour,
		`"jkt":"i"`: 60 * 24 * time.Hour,
	} {
		c.importLines(t, `{"kind":"block","selector":{`+selector+`},"actor":"imported"}`, "")
		page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records?actor=imported&limit=1", "")
		if got := time.Until(page.Revocations[0].Records[0].Expires) - margin; got < want-time.Minute || got > want+time.Minute {
			t.Errorf("imported %s: kept for %s, want %s", selector, got, want)
		}
		time.Sleep(2 * time.Millisecond) // the newest is the first
	}
	never := c.revokeBy(t, `"sub":"f","iss":"https://long.example.com","expires_in":"never"`)
	if got := never.Revocation.Records[0].Expires; !got.Equal(revocation.Never) {
		t.Errorf("never is %s", got)
	}
	old := mustAdmin[revokeResponse](t, c, 200, "POST", "records", `{"reason":"r","sub":"g","iss":"https://short.example.com","issued_before":"2020-01-01T00:00:00Z"}`)
	if old.Outcome != "expired" || old.Revocation != nil {
		t.Errorf("%+v", old)
	}
}

func TestEachSelectorHitsItsTokensAndNoOthers(t *testing.T) {
	c := startCaddy(t, adminSite)
	const idp = `"iss":"https://idp.example.com"`
	token := func(changes string) string {
		return jwt(t, fmt.Sprintf(`{%s,"iat":%d%s}`, idp, time.Now().Add(-time.Minute).Unix(), changes))
	}
	for _, test := range []struct{ members, hit, other, shape string }{
		{`"jti":"1",` + idp, `,"jti":"1"`, `,"jti":"2"`, "jti"},
		{`"sid":"1",` + idp, `,"sid":"1"`, `,"sid":"2"`, "sid"},
		{`"sub":"1",` + idp, `,"sub":"1"`, `,"sub":"2"`, "sub"},
		{`"client_id":"1",` + idp, `,"client_id":"1"`, `,"client_id":"2"`, "client_id"},
		{`"sub":"3","client_id":"3",` + idp, `,"sub":"3","client_id":"3"`, `,"sub":"3","client_id":"4"`, "client_id+sub"},
		{`"grant":"1",` + idp, `,"origin_jti":"1"`, `,"origin_jti":"2"`, "grant"},
		{`"claims":{"tenant_id":"1"},` + idp, `,"tenant_id":"1"`, `,"tenant_id":"2"`, "tenant_id"},
		{`"jkt":"1"`, `,"cnf":{"jkt":"1"}`, `,"cnf":{"jkt":"2"}`, "jkt"},
		{`"x5t#S256":"1"`, `,"cnf":{"x5t#S256":"1"}`, `,"cnf":{"x5t#S256":"2"}`, "x5t#S256"},
		{`"issued_before":"now","sub":"5",` + idp, `,"sub":"5"`, `,"sub":"5","iat":` + fmt.Sprint(time.Now().Add(time.Hour).Unix()), "sub"},
		{`"authenticated_before":"now","sub":"6",` + idp, `,"sub":"6","auth_time":1`, `,"sub":"6","auth_time":` + fmt.Sprint(time.Now().Add(time.Hour).Unix()), "sub"},
	} {
		hit, other := token(test.hit), token(test.other)
		if strings.Contains(test.other, `"iat"`) {
			other = jwt(t, "{"+idp+test.other+"}")
		}
		wantStatus(t, bearer(t, c.URL("/"), hit), 200)
		made := c.revokeBy(t, test.members)
		if a := bearer(t, c.URL("/"), hit); a.status != 401 {
			t.Errorf("%s: the token passes", test.members)
		}
		if a := bearer(t, c.URL("/"), other); a.status != 200 {
			t.Errorf("%s: another token is rejected", test.members)
		}
		page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records?shape="+strings.ReplaceAll(test.shape, "#", "%23"), "")
		if !slices.ContainsFunc(page.Revocations, func(r revocationJSON) bool { return r.ID == made.Revocation.ID }) {
			t.Errorf("%s isn't found by its shape %s", test.members, test.shape)
		}
	}
	hit := token(`,"sub":"whole"`)
	made := c.revokeBy(t, idp)
	wantWarning(t, made.Warnings, "from now on")
	wantStatus(t, bearer(t, c.URL("/"), hit), 401)

	fingerprint := mustAdmin[checkResponse](t, c, 200, "POST", "check", `{"token":"named-by-fingerprint"}`).Fingerprint
	c.revokeBy(t, `"fingerprint":"`+fingerprint+`"`)
	wantStatus(t, bearer(t, c.URL("/"), "named-by-fingerprint"), 401)
}

func TestTheOnlyIssuerNeedNotBeNamed(t *testing.T) {
	i := startIssuer(t)
	c := startCaddy(t, verifying(i.asIssuer(""), ""))
	token := i.token(t, map[string]any{"sub": "bob"})
	made := c.revokeBy(t, `"sub":"bob","issued_before":"now"`)
	if got := made.Revocation.Records[0].Selector["iss"]; got != i.URL {
		t.Errorf("iss is %q", got)
	}
	wantStatus(t, bearer(t, c.urlOf("PORT1", "/"), token), 401)
}

func TestADryRunTellsEverythingAndDoesNothing(t *testing.T) {
	c := startCaddy(t, adminSite)
	for _, members := range []string{`"token":"a-token"`, `"sub":"alice","iss":"https://idp.example.com"`} {
		made := mustAdmin[revokeResponse](t, c, 200, "POST", "records", `{"dry_run":true,"reason":"r",`+members+`}`)
		if made.Outcome != "would_revoke" || made.Revocation == nil || made.Revocation.ID != "" || len(made.Revocation.Records) != 1 {
			t.Errorf("%s: %+v", members, made)
		}
	}
	if n := c.keys(t); n != 0 {
		t.Errorf("%d keys", n)
	}
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 200)
}

func TestMoreShapesThanThereCanBeAreRefused(t *testing.T) {
	var names []string
	for n := range revocation.MaxShapes + 1 {
		names = append(names, fmt.Sprintf("claim_%d", n))
	}
	c := startCaddy(t, strings.Replace(adminSite, "tenant_id", strings.Join(names, " "), 1))
	for _, name := range names[:revocation.MaxShapes] {
		c.revokeBy(t, `"iss":"https://idp.example.com","claims":{"`+name+`":"x"}`)
	}
	for _, dryRun := range []string{"true", "false"} {
		body := `{"reason":"r","iss":"https://idp.example.com","claims":{"` + names[revocation.MaxShapes] + `":"x"},"dry_run":` + dryRun + `}`
		refused(t, c.admin(t, "POST", "records", body), 409)
	}
	status := mustAdmin[statusResponse](t, c, 200, "GET", "status", "").List
	if status.Shapes != status.MaxShapes || status.Keys != revocation.MaxShapes {
		t.Errorf("%+v", status)
	}
}
