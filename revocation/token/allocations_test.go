//go:build !race

// The race detector makes sync.Pool forget things, which costs allocations.

package token

import (
	"net/http"
	"testing"
)

func TestFindAllocatesNothing(t *testing.T) {
	all := newFinder(t, append(DefaultSources(), Source{SourceHeader, "X-Api-Token"}, Source{SourceCookie, "token"}, Source{SourceForm, "access_token"}, Source{Kind: SourceWebSocket}, Source{Kind: SourceBasic})...)
	usual := newFinder(t)
	jwt := tokenOfSize(t, 840)
	for what, r := range map[string]*http.Request{
		"nothing":       request("a=b&c=d", "Accept", "*/*", "User-Agent", "x"),
		"bearer":        request("", "Authorization", "Bearer "+jwt),
		"dpop":          request("", "Authorization", "DPoP "+jwt),
		"two":           request("", "Authorization", "Bearer "+jwt+", Bearer B"),
		"other header":  request("", "X-Api-Token", jwt),
		"query":         request("a=b&access_token=" + jwt + "&c=d"),
		"cookie":        request("", "Cookie", "a=b; token="+jwt),
		"websocket":     request("", webSocketHeader, "bearer, "+jwt),
		"basic":         request("", "Authorization", "Basic dXNlcjpwYXNz+/=="),
		"negotiate":     request("", "Authorization", "Negotiate YII="),
		"base64 opaque": request("", "Authorization", "Bearer abc+/def=="),
	} {
		f := all
		if what == "basic" {
			f = usual // the source basic decodes it
		}
		if n := testing.AllocsPerRun(100, func() {
			var room [8]Candidate
			if _, err := f.Find(nil, r, room[:0]); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}
