// The endpoint of an authorization server behind this one: the client has that
// server's answer, and what it accepted is enforced here before.

package endpoint

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// DefaultRelayTimeout is the default of RelayOptions.Timeout.
const DefaultRelayTimeout = 30 * time.Second

// relaySource is the Source of a relay's records.
const relaySource = "relay"

// RelayOptions are what a Relay has on top of Options.
type RelayOptions struct {
	// BestEffort passes the authorization server's success on although the list
	// couldn't make the revocation durable here; and revokes the token itself, with
	// nothing else, where it can't be told now whose it is. By default both are
	// answered with 503, and the client tries again.
	BestEffort bool

	// RevokeUnsupported revokes a token here that the authorization server answers
	// unsupported_token_type to (RFC 7009 §2.2.1), when it is proven to be the named
	// client's own, and answers success. It is for servers that don't revoke access
	// tokens which are JWTs. Such a server may have answered without having
	// authenticated the client: who has the token can then revoke it.
	RevokeUnsupported bool

	// Timeout is how long the authorization server may take for its answer. Default:
	// DefaultRelayTimeout.
	Timeout time.Duration

	// Unreachable reports whether an error of next means that the authorization server
	// didn't answer, which is 503 to the client. Any other one is ServeHTTP's own.
	// Default: each one does.
	Unreachable func(error) bool
}

// Relay stands in front of an authorization server's revocation endpoint. Its methods
// may be called concurrently.
type Relay struct {
	server *Server // reads, plans, admits, answers and logs as an endpoint of its own
	opts   RelayOptions

	// What was proven of a token that the authorization server may have revoked without
	// its being known here. It doesn't vouch for such a token any more, and yet the
	// client tries again.
	unsettled *pace.Generations[revocation.Fingerprint, unsettled]

	// Whose quota counts for tokens that aren't known to be the client's.
	anybody *client
}

// NewRelay returns a Relay. Of the options, those that are about authenticating clients
// have no meaning: that is the authorization server's business. AllowOrigins are for
// whose pages the Relay's own answers are readable. Of Limits it has LiveTotal, and
// the PerMinutePerAddress of Public for requests with tokens that can't be proven to be
// the client's own, whether or not the authorization server accepts them. The error joins everything that is wrong with the options.
func NewRelay(opts Options, relay RelayOptions) (*Relay, error) {
	opts, err := opts.withDefaults()
	problems := []error{err}
	for _, wrong := range []struct {
		bad     bool
		problem string
	}{
		{len(opts.Clients) > 0, "a relay has no clients of its own: the authorization server knows them"},
		{opts.RefuseRefreshTokens, "a relay can't refuse refresh tokens: the authorization server decides about them"},
		{opts.SelfRevocation, "a relay has no self-revocation: the authorization server decides who may revoke"},
		{relay.Timeout < 0, "a negative time for the authorization server to answer"},
	} {
		if wrong.bad {
			problems = append(problems, errors.New(wrong.problem))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	relay.Timeout = valueOr(relay.Timeout, DefaultRelayTimeout)
	if relay.Unreachable == nil {
		relay.Unreachable = func(error) bool { return true }
	}
	perAddress := Quota{Live: -1, PerMinute: -1, PerMinutePerAddress: opts.Limits.Public.PerMinutePerAddress}
	return &Relay{
		server:    newServer(opts, relaySource),
		opts:      relay,
		unsettled: pace.NewGenerations[revocation.Fingerprint, unsettled](rememberedUnsettled),
		anybody:   &client{actor: relaySource, anybody: true, quota: perAddress},
	}, nil
}

// relaySteps are what a request must pass before it is forwarded. What would be read
// here in another way than by the authorization server isn't: it could revoke a token
// that nobody sees here.
var relaySteps = [...]step{
	(*Server).checkMethod,
	(*Server).checkTransport,
	(*Server).checkQuery,
	(*Server).readBody,
	(*Server).readParameters,
	(*Server).checkClient,
}

// ServeHTTP has next, which is the authorization server, answer the request. Its answer
// passes as it is, but a success only when the token is dead here too: durable and
// enforced. So it isn't read off the answer whose token it was, since many servers
// answer success to garbage: that is proven before.
//
// Requests that can't be forwarded, and those that fail on the way, are answered here.
// An error is next's, which has answered itself or doesn't mean to.
func (s *Relay) ServeHTTP(w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) error) error {
	if r.Method == http.MethodOptions {
		return next(w, r)
	}
	x := &exchange{server: s.server, w: w, r: r}
	defer x.recoverPanic()
	for _, step := range relaySteps {
		if a := step(s.server, x); a != nil {
			x.finish(a)
			return nil
		}
	}
	s.server.notePlainHTTP(x)
	x.address = limitedAddress(s.server.opts.ClientIP(r))
	p := &passage{relay: s, exchange: x}
	if a := p.prepare(); a != nil {
		x.finish(a)
		return nil
	}
	defer p.release()
	return p.forward(next)
}
