package caddymodule

import (
	"net/http"
	"strings"
	"testing"
)

// A token that is sent to the admin API, in the right place or in any wrong one, is in
// no answer, log or metric, nor in the store. (What stands in a URL is in Caddy's own
// log: the API takes no token there.)
func TestTheAdminAPIWritesNoTokenAnywhere(t *testing.T) {
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
	}
	token_revocation {
		match_claims tenant_id
	}
}
`+oneSite)
	claims := jwt(t, `{"jti":"shown-in-a-check","iss":"https://idp.example.com"}`)
	odd := claims[:len(claims)-1] + "B"
	opaque := "a-very-secret-opaque-token"
	shown := new(strings.Builder) // answers and metrics
	show := func(a answer) answer {
		shown.WriteString(a.body)
		a.header.Write(shown)
		return a
	}
	id := mustAdmin[revokeResponse](t, p.testCaddy, 201, "POST", "records", `{"reason":"r","token":"another"}`).Revocation.ID
	const idp = `"iss":"https://idp.example.com"`
	for _, token := range []string{claims, odd, opaque} {
		bodies := []string{
			token, `"` + token + `"`, `{` + token + `}`, `{"reason":"r","` + token + `":"x"}`, `{"reason":"r","token":["` + token + `"]}`,
			`{"reason":"r","token":"` + token, `{"reason":"r","token":"` + token + `","token":"` + token + `"}`, `{"token":"` + token + `"}`,
			`{"reason":"the token ` + token + ` leaked","token":"` + token + `"}`, `{"reason":"r","actor":"` + token + `","token":"` + token + `"}`,
			`{"reason":"r","token":"` + token + `","sub":"` + token + `"}`, `{"reason":"r","fingerprint":"` + token + `"}`,
			`{"reason":"r",` + idp + `,"claims":{"` + token + `":"x"}}`, `{"reason":"r",` + idp + `,"claims":"` + token + `"}`,
			`{"reason":"r",` + idp + `,"issued_before":"` + token + `"}`, `{"reason":"r",` + idp + `,"expires_in":"` + token + `"}`,
			`{"reason":"r","token":"x","cascade":"` + token + `"}`, `{"reason":"r","token":"x","dry_run":"` + token + `"}`,
			`{"reason":"r","token":"` + token + `","dry_run":true}`, `{"kind":"` + token + `"}`, `{"id":"` + token + `","kind":"block"}`,
			`{"kind":"block","selector":"` + token + `"}`, `{"kind":"block","selector":{"token":"` + token + `"}}`,
			`{"kind":"block","selector":{"jkt":"x"},"expires":"` + token + `"}`, `{"kind":"reinstatement","reinstates":["` + token + `"]}`,
			`{"kind":"block","selector":{"` + token + ` ":"x"}}`, `{"kind":"block","selector":{"` + token + `":"x"}}`,
		}
		if token != opaque { // what isn't a JWT may be a value like any other
			bodies = append(bodies,
				`{"reason":"r",`+idp+`,"jti":"`+token+`"}`, `{"reason":"r",`+idp+`,"claims":{"tenant_id":"`+token+`"}}`, `{"reason":"r","sub":"a","iss":"`+token+`"}`,
				`{"reason":"it was Bearer `+token+`.","sub":"a",`+idp+`}`, `{"reason":"Bearer:`+token+`","sub":"a",`+idp+`}`,
				`{"reason":"https://app.example.com/cb/`+token+`/x","sub":"a",`+idp+`}`, `{"kind":"block","selector":{"jkt":"x"},"reason":"token-`+token+`"}`, `{"reason":"r","actor":"`+token+`"}`,
				`{"kind":"block","selector":{"jti":"`+token+`","iss":"x"}}`, `{"kind":"block","selector":{"jkt":"x"},"actor":"`+token+`"}`)
		}
		for _, body := range bodies {
			for _, path := range []string{"records", "check", "import", "import?strict=true", "status", "nowhere"} {
				show(p.admin(t, "POST", path, body))
				show(p.admin(t, "POST", path, body, "Content-Type", "text/plain"))
			}
			show(p.admin(t, "DELETE", "records/"+id, body))
		}
		if a := show(p.admin(t, "POST", "records", `{"reason":"r","token":"`+token+`"}`)); a.status != http.StatusCreated {
			t.Errorf("%d %s", a.status, a.body)
		}
		for range 2 {
			show(p.admin(t, "POST", "check", `{"token":"`+token+`"}`))
		}
	}
	show(p.admin(t, "GET", "records?state=all&limit=1000", ""))
	show(p.admin(t, "GET", "export", ""))
	show(p.admin(t, "GET", "status", ""))
	shown.WriteString(get(t, p.urlOf("ADMIN", "/metrics")).body)
	p.kill()
	p.searchEverywhere(t, shown.String(), claims, odd, opaque, strings.Split(claims, ".")[1], "very-secret")

	// Nor does it quote what stands in a URL.
	c := startCaddy(t, oneSite)
	for _, path := range []string{
		"records/" + opaque, "records?sub=a&" + opaque + "=x", "records?after=" + opaque, "records?state=" + opaque, "records?since=" + opaque, "export?x",
		"records?claim=" + opaque, opaque, "records?kind=" + opaque, "records?limit=" + opaque,
	} {
		for _, method := range []string{"GET", "DELETE", "POST"} {
			if a := c.admin(t, method, path, `{"reason":"r"}`); strings.Contains(a.body, opaque) {
				t.Errorf("%s %s: %s", method, path, a.body)
			}
		}
	}
}
