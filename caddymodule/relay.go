package caddymodule

// This file makes an endpoint of an authorization server's own.

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

// Relay lets the authorization server's own revocation endpoint, which is behind this
// handler, answer. What it accepts with success is enforced here before the client
// has its answer.
//
// Whose a token is is found out before the request goes on, since many servers answer
// success to anything: with an `issuer` in the app `token_revocation`. Where nobody
// knows, that one token is revoked.
type Relay struct {
	// Pass the authorization server's success on although the revocation isn't
	// durable here; and where an issuer can't be asked, go on without it. Default:
	// false; the client gets status 503 and tries again.
	BestEffort bool `json:"best_effort,omitempty"`

	// Revoke a token here that the authorization server answers
	// `unsupported_token_type` to, if it is proven to be the client's. Default: false.
	RevokeUnsupported bool `json:"revoke_unsupported,omitempty"`

	// How long the authorization server may take for its answer. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

func (r *Relay) options() endpoint.RelayOptions {
	return endpoint.RelayOptions{
		BestEffort: r.BestEffort, RevokeUnsupported: r.RevokeUnsupported, Timeout: time.Duration(r.Timeout),
		Unreachable: isUnreachable,
	}
}

// isUnreachable reports whether an error says that nobody has answered, as that of
// reverse_proxy does when no upstream has. Others are for handle_errors.
func isUnreachable(err error) bool {
	failed, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		return true
	}
	switch failed.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// checkRelay reports what is configured that a relay has no use for. To ignore it
// would let it look as if it counted.
func (h *RevocationEndpoint) checkRelay() error {
	const (
		clients  = "the authorization server knows its clients, and authenticates them"
		decision = "the authorization server decides which tokens it revokes"
	)
	for _, other := range []struct {
		name string
		set  bool
		why  string
	}{
		{"client", len(h.Clients) > 0, clients},
		{"hash_algorithm", h.HashRaw != nil, clients},
		{"strict_basic", h.StrictBasic, clients},
		{"strict_credentials", h.StrictCredentials, clients},
		{"realm", h.Realm != "", clients},
		{"limits failures_per_minute", h.Limits.FailuresPerMinute != 0, clients},
		{"limits failures_per_minute_per_address", h.Limits.FailuresPerMinutePerAddress != 0, clients},
		{"limits concurrent_compares", h.Limits.ConcurrentCompares != 0, clients},
		{"limits confidential", h.Limits.Confidential != Quota{}, clients},
		{"limits public live", h.Limits.Public.Live != 0, clients},
		{"limits public per_minute", h.Limits.Public.PerMinute != 0, clients},
		{"self_revocation", h.SelfRevocation, clients},
		{"assertion_audience", len(h.AssertionAudience) > 0, clients},
		{"legacy_assertions", h.LegacyAssertions, clients},
		{"refresh_tokens", h.RefreshTokens != "", decision},
		{"ownership_mismatch", h.OwnershipMismatch != "", decision},
	} {
		if other.set {
			return fmt.Errorf("%s can't stand beside relay: %s", other.name, other.why)
		}
	}
	return nil
}
