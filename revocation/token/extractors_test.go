package token

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func trimAll(s []string) []string {
	for i := range s {
		s[i] = strings.TrimSpace(s[i])
	}
	return s
}

func matches(pattern string) func(string) []string {
	re := regexp.MustCompile(pattern)
	return func(v string) []string {
		var found []string
		for _, m := range re.FindAllStringSubmatch(v, -1) {
			found = append(found, m[1])
		}
		return found
	}
}

// extractors are what upstreams do with an Authorization header.
var extractors = map[string]func(v string) []string{
	"slice after prefix": func(v string) []string {
		if strings.HasPrefix(v, "Bearer ") {
			return []string{v[7:]}
		}
		return nil
	},
	"trimmed slice after any case": func(v string) []string {
		if len(v) > 6 && strings.EqualFold(v[:6], "bearer") {
			return []string{strings.TrimSpace(v[6:])}
		}
		return nil
	},
	"blind slice":        func(v string) []string { return []string{v[min(7, len(v)):]} },
	"split at space [1]": func(v string) []string { return strings.SplitN(v+"  ", " ", 3)[1:2] },
	"last field": func(v string) []string {
		f := strings.Fields(v)
		return f[max(0, len(f)-1):]
	},
	"first field": func(v string) []string {
		f := strings.Fields(v)
		return f[:min(1, len(f))]
	},
	"remove first Bearer":       func(v string) []string { return []string{strings.TrimSpace(strings.Replace(v, "Bearer", "", 1))} },
	"remove all Bearer":         func(v string) []string { return []string{strings.TrimSpace(strings.ReplaceAll(v, "Bearer", ""))} },
	"remove first Bearer space": func(v string) []string { return []string{strings.TrimSpace(strings.Replace(v, "Bearer ", "", 1))} },
	"remove all bearer space":   func(v string) []string { return []string{strings.TrimSpace(strings.ReplaceAll(v, "bearer ", ""))} },
	"split at Bearer":           func(v string) []string { return trimAll(strings.Split(v, "Bearer")) },
	"split at bearer space":     func(v string) []string { return trimAll(strings.Split(v, "bearer ")) },
	"split at comma": func(v string) []string {
		var found []string
		for _, part := range strings.Split(v, ",") {
			found = append(found, strings.TrimPrefix(strings.TrimSpace(part), "Bearer "))
		}
		return found
	},
	"anywhere":            matches(`[Bb]earer\s+(.+)`),
	"anywhere any case":   matches(`(?i)bearer\s+(\S+)`),
	"anchored any case":   matches(`(?i)^(?:bearer|token|dpop|jwt)\s+(\S+)$`),
	"b64token":            matches(`(?i)Bearer\s+([A-Za-z0-9\-._~+/]+=*)`),
	"b64token after junk": matches(`(?i)Bearer[^A-Za-z0-9\-._~+/]*([A-Za-z0-9\-._~+/]+=*)`),
	"parameter":           matches(`(?i)token="?([^",\s]+)"?`),
	"unquoted":            matches(`(?i)^bearer\s+"([^"]*)"$`),
	// What has no header is no JWT to whoever searches for one.
	"a JWT anywhere": func(v string) []string {
		return slices.DeleteFunc(matches(`(?:^|[^\w.-])(eyJ[\w-]+\.[\w-]+\.[\w-]*)`)(v), func(jwt string) bool {
			header, _, _ := strings.Cut(jwt, ".")
			decoded, err := base64.RawURLEncoding.DecodeString(header)
			return err != nil || !json.Valid(decoded)
		})
	},
}

// checkExtractors wants what any extractor makes of the lines to be among the
// candidates.
func checkExtractors(t *testing.T, f *Finder, lines ...string) {
	t.Helper()
	var header []string
	for _, line := range lines {
		header = append(header, "Authorization", line)
	}
	found, err := f.Find(nil, request("", header...), nil)
	if err != nil {
		return // refused in any case
	}
	r := newReader(t)
	have := map[revocation.Fingerprint]bool{}
	for _, c := range found {
		have[r.ReadFacts(c.Token).Fingerprint] = true
	}
	joined := []string{lines[0], lines[len(lines)-1], strings.Join(lines, ", "), strings.Join(lines, ",")}
	for name, extract := range extractors {
		for i, value := range joined {
			if i > 1 && name == "blind slice" {
				break // would cut off some of the second line for the first's sake
			}
			for _, token := range extract(value) {
				// No token has any of these, nor is one named like a scheme or
				// without any letter.
				if strings.Trim(strings.ReplaceAll(token, "\xa0", ""), "='\";#:~+/") == "" || isScheme(token) || foreignScheme(token) || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ',' }) {
					continue
				}
				if !have[r.ReadFacts(token).Fingerprint] {
					t.Fatalf("%q: %s takes %q for the token, which is not among %+v", lines, name, token, found)
				}
			}
		}
	}
}

func TestJ2ToJ4_Extractors(t *testing.T) {
	f := authorization(t)
	const a = "eyJhbGciOiJub25lIn0.eyJqdGkiOiJBIn0.c2ln"
	for _, format := range []string{
		"Bearer %s", "bearer %s", "BEARER  %s", "Bearer\t%s", "DPoP %s", "Token %s", "JWT %s", "%s", "x %s", "Bearer x, Bearer %s", "Bearer %s, Bearer x",
		"Bearer x Bearer %s", "xBearer %s", "Bearer%s", "Bearer:%s", "Bearer=%s", "Bearer\xa0%s", `Bearer "%s"`, `Token token="%s", a=b`, "Bearer token=%s",
		"1234567%s", "Bearer %s;x", "Bearer %s\"", "x,%s", "Bearer ~%s", "Bearer Bearer %s", "BearerBearer %s", "xBearer,Bearer%s",
		"Basic %s", "Basic a %s", "Basic X%s", `Digest token="%s"`, "Hawk 12%s", "NTLM  token=%s", "Negotiate x, %s", "Basic x, Bearer %s", "Bearer x, Basic %s",
	} {
		checkExtractors(t, f, fmt.Sprintf(format, a))
		checkExtractors(t, f, "Bearer other", fmt.Sprintf(format, a))
		checkExtractors(t, f, fmt.Sprintf(format, "op.aq~ue+/=="), "x")
	}
	// A scheme inside the token, for those who remove it.
	for i := range len(a) {
		for _, glue := range []string{"Bearer", "Bearer ", "bearer ", "BEARER"} {
			checkExtractors(t, f, a[:i]+glue+a[i:])
			checkExtractors(t, f, "Bearer "+a[:i]+glue+a[i:])
		}
	}
}

func TestExtractorsOnRandomValues(t *testing.T) {
	f := authorization(t)
	pieces := []string{"Bearer", "Bearer ", "bearer", "bEarer ", "DPoP", "dpop ", "Token ", "token=", "token", "JWT", " ", "  ", "\t", ",", ", ", "=", "==", `"`, "'", ";", ":", "\xa0",
		"A", "b.c", "eyJhIjoxfQ.eyJiIjoyfQ.c2ln", "+", "/", "~", "x", "#", "Basic ", "\x0b", "\u00a0", "\u2003", "\x85", "\xf0", "é"}
	random := rand.New(rand.NewPCG(1, 2))
	value := func() string {
		var b strings.Builder
		for range random.IntN(9) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		return b.String()
	}
	for range 10_000 {
		checkExtractors(t, f, value())
		checkExtractors(t, f, value(), value())
	}
}

func FuzzFindAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer A", "bearer\tA, DPoP B", "Basic x, Bearer A", `Token token="A", x=y`, "xBearer A", "Bearer\xa0A", "\u00a0\xf0", "Bearer\u0085\xf0\xa0x", "BearerBearer A", "aBearerb", "Bearer ~eyJx.y.z"} {
		f.Add(s, "")
		f.Add("Bearer B", s)
	}
	f.Add("eyJ0.0.+", "0")
	finder := authorization(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		checkExtractors(t, finder, a, b)
	})
}
