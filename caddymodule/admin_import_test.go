package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// importLines imports a body and insists on success.
func (c *testCaddy) importLines(t testing.TB, body, query string) importResponse {
	t.Helper()
	return mustAdmin[importResponse](t, c, 200, "POST", "import"+query, body, "Content-Type", ndjson)
}

// exported returns the lines of an export, sorted.
func (c *testCaddy) exported(t testing.TB) []string {
	t.Helper()
	a := c.admin(t, "GET", "export", "")
	if a.status != 200 || a.header.Get("Content-Type") != ndjson {
		t.Fatalf("%d %v %s", a.status, a.header, a.body)
	}
	all := strings.Split(strings.TrimSpace(a.body), "\n")
	slices.Sort(all)
	return all
}

func TestAnExportIsTheSameAfterItsImportIntoAnotherStore(t *testing.T) {
	const site = `
{
	token_revocation {
		store bolt DIR/%s.db
		match_claims tenant_id
	}
}
` + oneSite
	c := startCaddy(t, fmt.Sprintf(site, "first"))
	if got := c.exported(t); len(got) != 1 || got[0] != "" {
		t.Errorf("an empty list has %q", got)
	}
	mustRevoke(t, c.URL("/oauth2/revoke"), "by-the-endpoint")
	c.revokeBy(t, `"token":"a-token","actor":"Zoë <zoe@example.com>"`)
	c.revokeBy(t, `"sub":"alice","client_id":"app","iss":"https://idp.example.com","issued_before":"now"`)
	c.revokeBy(t, `"claims":{"tenant_id":"acme & sons"},"iss":"https://idp.example.com","authenticated_before":"now"`)
	c.revokeBy(t, `"iss":"https://retired.example.com","expires_in":"never"`)
	undone := c.revokeBy(t, `"jkt":"x"`).Revocation.ID
	mustAdmin[reinstateResponse](t, c, 200, "DELETE", "records/"+undone, `{"reason":"r"}`)
	want := c.exported(t)
	if len(want) != 6 { // those in force, and the reinstatement
		t.Errorf("%d lines: %s", len(want), want)
	}

	if err := c.tryLoad(`:PORT {
	respond served
}`); err != nil { // nothing is carried over
		t.Fatal(err)
	}
	c.load(t, fmt.Sprintf(site, "second"))
	wantStatus(t, bearer(t, c.URL("/"), "a-token"), 200)
	got := c.importLines(t, strings.Join(want, "\n"), "?strict=true")
	if got.Lines != 6 || got.Accepted != 6 || len(got.Errors)+len(got.Warnings) > 0 {
		t.Errorf("%+v", got)
	}
	for _, token := range []string{"a-token", "by-the-endpoint"} {
		wantStatus(t, bearer(t, c.URL("/"), token), 401)
	}
	if got := c.exported(t); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	again := c.importLines(t, strings.Join(want, "\n"), "")
	if again.Merged != 6 || again.Accepted != 0 {
		t.Errorf("%+v", again)
	}
	if got := c.exported(t); !slices.Equal(got, want) {
		t.Error("importing once more has changed something")
	}
}

func TestAnImportTellsWhatBecameOfEachLine(t *testing.T) {
	c := startCaddy(t, adminSite)
	token := jwt(t, `{"sub":"very-secret"}`)
	body := "\ufeff" + `{"kind":"block","selector":{"jkt":"1"}}` + "\r\n" + // 1
		"\r\n   \n" + // 2, 3
		`  {"kind":"block","selector":{"jkt":"1"}}  ` + "\n" + // 4: again
		`{"kind":"block","selector":{"jkt":"2"},"expires":"2001-01-01T00:00:00Z"}` + "\n" + // 5
		`{"kind":"ban","selector":{"jkt":"1"}}` + "\n" + // 6
		token + "\n" + // 7
		`{"kind":"block","selector":{"jti":"` + token + `","iss":"x"}}` + "\n" + // 8
		`{"kind":"block","selector":{"jkt":"3"},"reason":"token ` + token + `"}` + "\n" + // 9
		`{"kind":"block","Selector":{"jkt":"3"}}` + "\n" + // 10
		`{"kind":"block","selector":{"jkt":"3","jkt":"4"}}` + "\n" + // 11
		`{"kind":"block","selector":{"sub":"3"}}` + "\n" + // 12
		`{"kind":"block","selector":{"jkt":"` + strings.Repeat("3", maxLine) + `"}}` + "\n" + // 13
		`{"kind":"block","selector":{"department":"x","iss":"x"}}` + "\n" + // 14
		`{"kind":"block","selector":{"a \"b":"x","iss":"x"}}` + "\n" + // 15
		`{"kind":"block","selector":{"tenant_id":"` + strings.Repeat("x", 2000) + `","iss":"x"}}` + "\n" + // 16
		`{"kind":"block","selector":{"jkt":"5"},"actor":"frank","reason":"why"}` // 17, without a line break
	got := c.importLines(t, body, "?actor=grace&reason=from+the+old+server")
	if got.Lines != 15 || got.Accepted != 3 || got.Merged != 1 || got.Expired != 1 || got.Refused != 10 {
		t.Errorf("%+v", got)
	}
	for n, want := range []struct {
		line int
		say  string
	}{
		{6, "kind must be one of"}, {7, "is not one JSON object"}, {8, "a token itself"}, {9, "has a token in it"}, {10, "not known here"},
		{11, "has a member twice"}, {12, "needs the issuer"}, {13, "64 KiB"}, {15, "can't be one"}, {16, "the selector is not valid"},
	} {
		if n >= len(got.Errors) || got.Errors[n].Line != want.line || !strings.Contains(got.Errors[n].Error, want.say) {
			t.Errorf("error %d isn't that of line %d, %q: %+v", n, want.line, want.say, got.Errors)
			break
		}
	}
	wantWarning(t, got.Warnings, "1 record names claims that tokens aren't looked up by, the first in line 14")
	if text, _ := json.Marshal(got); strings.Contains(string(text), token) || strings.Contains(string(text), strings.Split(token, ".")[1]) {
		t.Errorf("a token is in the answer: %s", text)
	}
	page := mustAdmin[revocationsResponse](t, c, 200, "GET", "records?jkt=1", "")
	if len(page.Revocations) != 1 || page.Revocations[0].Source != "import" || page.Revocations[0].Actor != "grace" || page.Revocations[0].Reason != "from the old server" {
		t.Errorf("%+v", page)
	}
	if page = mustAdmin[revocationsResponse](t, c, 200, "GET", "records?jkt=5", ""); page.Revocations[0].Actor != "frank" {
		t.Errorf("%+v", page)
	}
}

func TestAStrictImportStopsAtTheFirstLineThatIsRefused(t *testing.T) {
	c := startCaddy(t, adminSite)
	body := lines(3, "a") + "nonsense\n" + lines(3, "b")
	said := refused(t, c.admin(t, "POST", "import?strict=true", body, "Content-Type", ndjson), 400)
	if !strings.Contains(said, "line 4") || !strings.Contains(said, "4 lines read, 3 accepted") {
		t.Error(said)
	}
	if n := c.keys(t); n != 3 {
		t.Errorf("%d keys", n)
	}
}

func TestOnlyTheFirstThousandErrorsOfAnImportAreTold(t *testing.T) {
	c := startCaddy(t, adminSite)
	got := c.importLines(t, strings.Repeat("nonsense\n", 1500), "")
	if got.Refused != 1500 || len(got.Errors) != 1000 {
		t.Errorf("%d refused, %d told", got.Refused, len(got.Errors))
	}
}

// Caddy's admin API gives a request ten seconds to arrive.
func TestAnImportMayTakeLongerThanTheAdminAPIsReadTimeout(t *testing.T) {
	c := startCaddy(t, adminSite)
	r, w := io.Pipe()
	request := c.adminRequest(t, "POST", "import", r, "Content-Type", ndjson)
	go func() {
		for _, part := range []string{"a", "b", "c"} {
			io.WriteString(w, lines(1, part))
			time.Sleep(4 * time.Second)
		}
		w.Close()
	}()
	began := time.Now()
	a := do(t, request)
	if time.Since(began) < 11*time.Second {
		t.Error("it didn't take long enough to show anything")
	}
	if wantStatus(t, a, 200); !strings.Contains(a.body, `"accepted":3`) {
		t.Error(a.body)
	}
}

// What a client sent before it went away is in force, and durable.
func TestAnImportThatBreaksOffKeepsWhatItHas(t *testing.T) {
	c := startCaddy(t, adminSite)
	r, w := io.Pipe()
	request := c.adminRequest(t, "POST", "import", r, "Content-Type", ndjson)
	go func() {
		io.WriteString(w, lines(5000, "a"))
		w.CloseWithError(io.ErrUnexpectedEOF)
	}()
	if resp, err := http.DefaultClient.Do(request); err == nil {
		resp.Body.Close()
		t.Error("the client didn't break off")
	}
	poll(t, "everything is there", func() bool { return c.keys(t) == 5000 })
	c.restart(t, adminSite)
	if n := c.keys(t); n != 5000 {
		t.Errorf("%d keys", n)
	}
}

func TestALargeImportAndItsExport(t *testing.T) {
	number := 200_000
	if testing.Short() {
		number = 20_000
	}
	c := startCaddy(t, adminSite)
	got := c.importLines(t, lines(number, "user-"), "")
	if got.Accepted != number || got.Refused != 0 {
		t.Errorf("%+v", got)
	}
	if all := c.exported(t); len(all) != number {
		t.Errorf("%d lines", len(all))
	}
	// One that stops reading doesn't keep the server from reloading.
	resp, err := http.Get(c.adminURL("export"))
	if err != nil {
		t.Fatal(err)
	}
	c.load(t, adminSite)
	resp.Body.Close()
	c.load(t, strings.Replace(adminSite, "match_claims", "store bolt DIR/other.db\nmatch_claims", 1))
	if n := c.keys(t); n != number {
		t.Errorf("%d keys", n)
	}
}

func TestAnExportThatFailsIsNotTakenForAWholeOne(t *testing.T) {
	c := startCaddy(t, `
{
	token_revocation {
		store switched DIR/records.db
	}
}
`+oneSite)
	c.importLines(t, lines(20_000, "a"), "")
	t.Cleanup(func() { loadFails.Store(0) })
	loadFails.Store(1) // before anything is sent
	if said := refused(t, c.admin(t, "GET", "export", ""), 503); !strings.Contains(said, errSwitched.Error()) {
		t.Error(said)
	}
	refused(t, c.admin(t, "GET", "records", ""), 503)
	loadFails.Store(4)
	resp, err := http.Get(c.adminURL("export"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	part, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || len(part) == 0 || err == nil {
		t.Errorf("%d, %d bytes, %v", resp.StatusCode, len(part), err)
	}
	loadFails.Store(0)
	if all := c.exported(t); len(all) != 20_000 {
		t.Errorf("%d lines", len(all))
	}
}
