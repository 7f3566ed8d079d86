package caddymodule

import (
	"strings"
	"testing"
)

// What a sloppy upstream takes for a token must be as genuine as any other.
func TestVerifyAForgedTokenDoesNotHideInASloppySpelling(t *testing.T) {
	i, stranger := startIssuer(t), startIssuer(t)
	block := verifying(i.asIssuer(""), "audience api")
	c := startCaddy(t, strings.Replace(block, "verify {", "require_token\nverify {", 1))
	forged := stranger.token(t, map[string]any{"iss": i.URL, "sub": "admin"})
	own := i.token(t, map[string]any{"sub": "mallory"})
	for name, request := range map[string][3]string{
		// header[7:], whatever the scheme is.
		"cut off blindly": {"/?access_token=" + own, "Authorization", "Digest " + forged},
		"basic":           {"/?access_token=" + own, "Authorization", "Basic " + forged},
		// Frameworks that separate pairs by semicolons.
		"semicolon": {"/?access_token=" + own + "&a=1;access_token=" + forged, "X", "y"},
		// A parameter after a comma.
		"parameter": {"/", "Authorization", "Bearer " + own + `, token="` + forged + `"`},
	} {
		a := get(t, c.URL(request[0]), request[1], request[2])
		if a.status != 401 {
			t.Errorf("%s: status %d", name, a.status)
		}
	}
	for name, request := range map[string][3]string{
		"bearer": {"/", "Authorization", "Bearer " + own},
		"digest": {"/?access_token=" + own, "Authorization", `Digest username="a.b", response="eyJhbGciOiJ4.y"`},
		"basic":  {"/?access_token=" + own, "Authorization", "Basic dXNlcjpwYXNzd29yZA=="},
		"dpop":   {"/", "Authorization", "DPoP " + own},
		"query":  {"/?a=1;access_token=" + own + "&access_token=" + own, "X", "y"},
	} {
		a := get(t, c.URL(request[0]), request[1], request[2])
		if a.status != 200 {
			t.Errorf("honest %s: status %d", name, a.status)
		}
	}
}
