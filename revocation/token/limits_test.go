package token

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// repeated joins n numbered copies of a format.
func repeated(n int, format, separator string) string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(s, separator)
}

// Whatever is in front of a revoked token, it is found or the request refused.
func TestJ22_NothingIsDroppedSilently(t *testing.T) {
	f := newFinder(t, append(DefaultSources(), Source{SourceCookie, "token"}, Source{Kind: SourceBasic}, Source{Kind: SourceWebSocket})...)
	header := func(name, value string) *http.Request { return request("", name, value) }
	basic := func(n int, format string) string {
		var s []string
		for i := range n {
			s = append(s, "Basic "+encode(fmt.Sprintf(format, i)))
		}
		return strings.Join(s, ", ")
	}
	for n := range 3 * MaxCandidates {
		for what, r := range map[string]*http.Request{
			"schemes":           header("Authorization", repeated(n, "Bearer t%d", ", ")+", Bearer REVOKED"),
			"schemes by spaces": header("Authorization", repeated(n, "Bearer t%d", " ")+" Bearer REVOKED"),
			"commas":            header("Authorization", "Bearer "+repeated(n, "t%d", ",")+",REVOKED"),
			"words":             header("Authorization", "Bearer "+repeated(n, "t%d", " ")+" REVOKED"),
			"parameters":        header("Authorization", "Token "+repeated(n, "x%d=y", ",")+",token=REVOKED"),
			"equals":            header("Authorization", "Bearer "+strings.Repeat("a=", n)+"REVOKED"),
			"runs":              header("Authorization", "Bearer "+repeated(n, "t%d", ";")+";REVOKED"),
			"signed runs":       header("Authorization", "Bearer "+repeated(n, "eyJ.t%d", "~")+"~eyJ.REVOKED"),
			"glued":             header("Authorization", "x"+strings.Repeat("Bearer", n+1)+"REVOKED"),
			"glued spellings":   header("Authorization", repeated(n, "xbEarer%d ", "")+"yBearerREVOKED"),
			"foreign words":     header("Authorization", "Basic "+repeated(n, "t%d", " ")+" REVOKED"),
			"foreign, token":    header("Authorization", "Basic "+repeated(n, "t%d", " ")+", Bearer REVOKED"),
			"basic passwords":   header("Authorization", basic(n, "u:t%d")+", Basic "+encode("u:REVOKED")),
			"basic users":       header("Authorization", basic(n, "t%d:p")+", Basic "+encode("REVOKED:p")),
			"query":             request(repeated(n, "access_token=t%d", "&") + "&access_token=REVOKED"),
			"query words":       request("access_token=Bearer+" + repeated(n, "t%d", "+") + "+REVOKED"),
			"cookies":           header("Cookie", repeated(n, "token=t%d", ";")+";token=REVOKED"),
			"cookie words":      header("Cookie", "token="+repeated(n, "t%d", ",")+",REVOKED"),
			"cookies by spaces": header("Cookie", repeated(n, "token=t%d", " ")+" token=REVOKED"),
			"websocket":         header("Sec-WebSocket-Protocol", repeated(n, "t%d", ",")+",REVOKED"),
		} {
			found, err := f.Find(nil, r, nil)
			if err != nil {
				checkFindError(t, what, err, 400)
				continue
			}
			if !slices.ContainsFunc(found, func(c Candidate) bool { return strings.TrimPrefix(c.Token, "eyJ.") == "REVOKED" }) {
				t.Errorf("%s behind %d others is lost", what, n)
			}
		}
	}
}

// Whoever repeats a claim a thousand times gets two values, one of which any
// library takes.
func TestClaimBomb(t *testing.T) {
	r := newReader(t, "tenant_id", "a.b")
	const claims = `"jti":"%[1]d","uti":"u%[1]d","iss":"%[1]d","azp":"%[1]d","tenant_id":"%[1]d","a":{"b":"%[1]d","b":"x%[1]d"},"cnf":{"jkt":"%[1]d"}`
	const kid = `"kid":"%d"`
	f := r.ReadFacts(jws("{"+repeated(1000, kid, ",")+"}", "{"+repeated(1000, claims, ",")+"}"))
	want := []string{"jti=0", "jti=u0", "client_id=0", "tenant_id=0", "a.b=0", "a.b=x999", "jkt=0", "jti=999", "jti=u999", "client_id=999", "tenant_id=999", "jkt=999", "kid=0", "kid=999"}
	got := pairs(f.Claims)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || !slices.Equal(f.Issuers, []string{"0", "999"}) || f.Malformed != MalformedHeader {
		t.Errorf("%q, %q, malformed %v", got, f.Issuers, f.Malformed)
	}
}
