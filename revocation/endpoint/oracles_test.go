// What answers must not tell, and what a client must not reach by saying so.

package endpoint

import (
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// An authorization server that revokes a token doesn't vouch for it any more. When its
// answer was lost, the client tries again, as it was told to.
func TestPublicClientsCantTellAStrangersTokenFromAnUnknownOneByTheQuota(t *testing.T) {
	o := &oracle{proofs: map[string]*revocation.Proof{"foreign": accessTokenOf("stranger").proof}}
	f := newFixture(t, func(opts *Options) {
		opts.Prover = o
		opts.Limits.Public.PerMinutePerAddress = 2
	})
	ask := func(token string) int {
		return f.send(message{body: forToken(token, "client_id", spaID)}).StatusCode
	}
	ask("a")
	ask("b")
	if unknown, foreign := ask("c"), ask("foreign"); unknown != foreign {
		t.Errorf("past the quota an unknown token is answered %d, a stranger's %d", unknown, foreign)
	}
}

func TestPublicClientsCantTellAStrangersRefreshToken(t *testing.T) {
	o := &oracle{proofs: map[string]*revocation.Proof{"foreign": refreshTokenOf("stranger").proof}}
	for _, hint := range []string{"", "refresh_token", "access_token"} {
		f := newFixture(t, func(opts *Options) { opts.Prover, opts.RefuseRefreshTokens = o, true })
		ask := func(token string) int {
			return f.send(message{body: forToken(token, "client_id", spaID, "token_type_hint", hint)}).StatusCode
		}
		if unknown, foreign := ask("unknown"), ask("foreign"); unknown != foreign {
			t.Errorf("hint %q: an unknown token is answered %d, a stranger's refresh token %d", hint, unknown, foreign)
		}
	}
}

// Best effort records what can't be proven, and nothing of a stranger's or forged.

// Whoever sees an access token must not log its user out by calling it a refresh token.
func TestWrongHintDoesNoHarm(t *testing.T) {
	as := newIDP(t, "https://as.example.com")
	access := as.sign("JWT", claims{"sub": "alice", "client_id": spaID, "jti": "1", "scope": "api", "aud": "https://api.example.com", "exp": 9999999999, "iat": 1})
	f := trust(t, func(o *Options) { o.Cascade = CascadeSubjectClient }, as.options(t))
	f.send(message{body: forToken(access, "client_id", spaID, "token_type_hint", "refresh_token")})
	for _, r := range f.store.all() {
		if r.Kind != revocation.Block {
			t.Errorf("%s %v", r.Kind, r.Selector)
		}
	}
}
