package token

import (
	"net/http"
	"testing"
)

func BenchmarkFind(b *testing.B) {
	jwt := tokenOfSize(b, 840)
	f := newFinder(b)
	all := newFinder(b, append(DefaultSources(), Source{SourceHeader, "X-Api-Token"}, Source{SourceCookie, "token"}, Source{SourceForm, "access_token"}, Source{Kind: SourceWebSocket})...)
	headers := []string{"Accept", "*/*", "User-Agent", "x", "Accept-Encoding", "gzip", "Accept-Language", "de", "Cookie", "a=b; c=d; e=f", "Origin", "o", "Referer", "r"}
	for _, c := range []struct {
		name   string
		finder *Finder
		r      *http.Request
	}{
		{"none", f, request("a=b&c=d", headers...)},
		{"none/all sources", all, request("a=b&c=d", headers...)},
		{"bearer840", f, request("", append(headers, "Authorization", "Bearer "+jwt)...)},
		{"bearer40", f, request("", append(headers, "Authorization", "Bearer "+jwt[:40])...)},
		{"dpop840", f, request("", append(headers, "Authorization", "DPoP "+jwt)...)},
		{"query840", f, request("a=b&access_token="+jwt, headers...)},
		{"bearer840/all sources", all, request("a=b&c=d", append(headers, "Authorization", "Bearer "+jwt)...)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var room [8]Candidate
				if _, err := c.finder.Find(nil, c.r, room[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
