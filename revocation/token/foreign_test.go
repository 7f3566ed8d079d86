package token

import (
	"fmt"
	"strings"
	"testing"
)

// An upstream that ignores the scheme takes what is behind it for a token.
func TestForeignSchemes(t *testing.T) {
	f := newFinder(t)
	words := func(s ...string) []string { return s }
	for _, c := range []struct {
		value          string
		tokens, probes []string
	}{
		{"Basic OPAQUE", nil, words("OPAQUE")},
		{"Basic a T", nil, words("a", "T", "a T")},
		{"Basic XT", nil, words("XT", "T")},
		{"Basic x, T", nil, words("x", "T", "x, T")},
		{`Basic "T"`, nil, words("T")},
		{`Digest token="T"`, nil, words("T")},
		{`Digest username="u", token='T', x=y`, nil, words("T", "u", "y")},
		{"Digest x;eyJhIjoiYg.eyJj.d", nil, words("eyJhIjoiYg.eyJj.d")},
		{"Hawk 12T", nil, words("T")},
		{"NTLM  token=T", nil, words("T")},
		{"Negotiate BearerT", nil, words("T")},
		{"AWS4-HMAC-SHA256 T", nil, words("T")},
		{"Basic pw, Bearer A", words("A"), words("pw")},
		{"Basic pw, Bearer A, B", words("A", "B"), words("pw")},
	} {
		found, err := f.Find(nil, request("", "Authorization", c.value), nil)
		if err != nil {
			t.Errorf("%q: %v", c.value, err)
		}
		checkFound(t, c.value, found, c.tokens, c.probes)
		for _, candidate := range found {
			if candidate.Secret && !candidate.Probe || !candidate.Secret && strings.Contains(candidate.Token, "pw") || candidate.Secret != candidate.Probe && len(c.tokens) == 0 {
				t.Errorf("%q: %+v", c.value, candidate)
			}
		}
	}
	for _, value := range []string{"Bearer a,b=c", `Token token="A"`, "eyBearerJ"} {
		found, err := f.Find(nil, request("", "Authorization", value), nil)
		for _, candidate := range found {
			if err != nil || candidate.Secret {
				t.Errorf("%q: %+v, %v", value, candidate, err)
			}
		}
	}
	// What isn't a token in Basic credentials is secret, what may be one isn't.
	found, err := newFinder(t, Source{Kind: SourceBasic}).Find(nil, request("access_token=A", "Authorization", "Basic "+encode("user:A")), nil)
	if err != nil || len(found) != 2 || found[0].Secret || !found[1].Secret {
		t.Errorf("%+v, %v", found, err)
	}
}

// Real credentials of foreign schemes pass, however many parameters they have.
func TestForeignSchemesPass(t *testing.T) {
	f := newFinder(t)
	ticket := strings.Repeat("YIIZ", MaxTokenBytes/3) + "+/=="
	var names, query []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("x-amz-header-%d", i))
		query = append(query, fmt.Sprintf("name%d=value%%2F%d", i, i))
	}
	for _, value := range []string{
		"Negotiate " + ticket,
		`Digest username="Mufasa", realm="http auth, all of it", uri="/dir/index.html?` + strings.Join(query, "&") + `", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",` +
			` nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS", userhash=false`,
		"AWS4-HMAC-SHA256 Credential=AKIA/20130524/us-east-1/s3/aws4_request, SignedHeaders=" + strings.Join(names, ";") + ", Signature=f",
	} {
		var query strings.Builder
		for i := range MaxCandidates {
			fmt.Fprintf(&query, "access_token=t%d&", i)
		}
		if found, err := f.Find(nil, request(query.String(), "Authorization", value), nil); err != nil {
			t.Errorf("%.40q: %d candidates, %v", value, len(found), err)
		}
	}
	for _, suffix := range []string{"x=T", ";T", ".T", "BearerT", `"`} {
		_, err := f.Find(nil, request("", "Authorization", "Negotiate "+ticket+suffix), nil)
		checkFindError(t, suffix, err, 400)
	}
}
