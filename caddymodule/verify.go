package caddymodule

// This file rejects tokens that no issuer vouches for, and those that were made for
// something else or another time.

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// Verify says which tokens are genuine, and made for this API. It needs an `issuer`
// in the app `token_revocation`.
//
// A token passes if a configured issuer signed it, or says that it is active (RFC
// 7662); if it is an access token, as far as the issuer tells its tokens apart; and
// if it has its time: a JWT needs an `exp`. The signature is verified once for each
// token that is cached, all else at every request. Scopes are for the upstream to
// check.
type Verify struct {
	// The token's `aud` must have one of these. Placeholders are possible. Default:
	// it may be made for anybody.
	Audience []string `json:"audience,omitempty"`

	// The names of the issuers that count. Placeholders are possible. Default: all
	// that are configured.
	Issuers []string `json:"issuers,omitempty"`

	audience, issuers []string // with placeholders replaced
}

// provision checks the names against the issuers that there are.
func (v *Verify) provision(app *App) (err error) {
	r := placeholder.New()
	v.audience, v.issuers = r.Texts("audience", v.Audience), r.Texts("issuer", v.Issuers)
	if r.Err() != nil {
		return r.Err()
	}
	if slices.Contains(v.audience, "") {
		return errors.New("an audience is empty")
	}
	if len(app.issuerNames()) == 0 {
		return errors.New("there is no issuer who could vouch for tokens: add one to the global option token_revocation")
	}
	return app.checkIssuers(v.issuers)
}

// checkIssuers reports the first name that no issuer has.
func (a *App) checkIssuers(names []string) error {
	for _, name := range names {
		configured := a.issuerNames()
		if slices.Contains(configured, name) {
			continue
		}
		if len(configured) == 0 {
			configured = []string{"none is configured"}
		}
		return fmt.Errorf("unknown issuer '%s', accepted are: %s", name, strings.Join(configured, ", "))
	}
	return nil
}

// The reasons why a token isn't accepted, for people.
const (
	reasonForged       = "The access token is not genuine"
	reasonUntrusted    = "The access token is not from an issuer that is trusted here"
	reasonRefreshToken = "The token is a refresh token and not an access token"
	reasonIDToken      = "The token is an ID token and not an access token"
	reasonOtherToken   = "The token is not an access token"
	reasonNoExpiry     = "The access token does not say when it expires"
	reasonExpired      = "The access token has expired"
	reasonNotYetValid  = "The access token is not valid yet"
	reasonAudience     = "The access token was not issued for this API"
	reasonUnavailable  = "Whether the access token is genuine can't be told now"
)

// refuse returns why a token that is proven must not pass; empty if it may.
func (v *Verify) refuse(proof *revocation.Proof, now time.Time) string {
	if len(v.issuers) > 0 && !slices.Contains(v.issuers, proof.Issuer) {
		return reasonUntrusted // it was proven on another route
	}
	switch proof.Kind {
	case revocation.RefreshToken:
		return reasonRefreshToken
	case revocation.IDToken:
		return reasonIDToken
	case revocation.OtherToken:
		return reasonOtherToken
	}
	if proof.Expires == 0 && !proof.Introspected {
		return reasonNoExpiry
	}
	switch err := proof.CheckTime(now); {
	case errors.Is(err, revocation.ErrTokenExpired):
		return reasonExpired
	case err != nil:
		return reasonNotYetValid
	}
	if len(v.audience) > 0 && !slices.ContainsFunc(proof.Audience, func(aud string) bool { return slices.Contains(v.audience, aud) }) {
		return reasonAudience
	}
	return ""
}

// presented returns what issuers are told about a candidate.
func (v *Verify) presented(c *token.Candidate) revocation.Presented {
	return revocation.Presented{Token: c.Token, Issuers: v.issuers, Hint: "access_token"}
}

// outcome returns the rejection of a token after it was asked for a proof; nil if there
// is nothing to be said against the token.
func (v *Verify) outcome(proof *revocation.Proof, err error) *rejection {
	reason := ""
	switch {
	case err == nil:
		reason = v.refuse(proof, time.Now())
	case errors.Is(err, revocation.ErrForged):
		reason = reasonForged
	case errors.Is(err, revocation.ErrUnproven):
		reason = reasonUntrusted
	default:
		return &rejection{
			status: http.StatusServiceUnavailable, verdict: verdictUnavailable, reason: reasonUnavailable, cause: err,
			retryAfter: retryIssuer,
		}
	}
	if reason == "" {
		return nil
	}
	return &rejection{status: http.StatusUnauthorized, verdict: verdictUnverified, code: "invalid_token", reason: reason, cause: err}
}

// proofTimeout bounds how long a request waits for issuers.
const proofTimeout = 10 * time.Second

// requestProver asks issuers on behalf of the request that the context belongs to.
// What takes time or memory is done here, since a token that is cached needs none of
// it.
type requestProver struct{ issuers *issuer.Set }

// Prove implements revocation.Prover.
func (p requestProver) Prove(ctx context.Context, presented revocation.Presented) (*revocation.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	presented.From = network(ctx)
	return p.issuers.Prove(ctx, presented)
}

// network returns where the context's request comes from: an IPv4 address, or the
// IPv6 /64 that every subscriber has. It is invalid when that isn't known.
func network(ctx context.Context) netip.Prefix {
	text, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits)
	return prefix
}

// appProver is the issuers of an app that may not have started yet.
type appProver struct{ app *App }

// Prove waits for the app and asks its issuers.
func (p appProver) Prove(ctx context.Context, presented revocation.Presented) (*revocation.Proof, error) {
	run, err := p.app.wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrIssuerUnavailable, err)
	}
	return run.issuers.Prove(ctx, presented)
}

// ProofByAnswer implements endpoint.AnswerProver. It isn't asked before Prove has
// waited for the app.
func (p appProver) ProofByAnswer(presented revocation.Presented) *revocation.Proof {
	if !p.app.started() {
		return nil
	}
	return p.app.running.issuers.ProofByAnswer(presented)
}

// prover returns the app's issuers, nil if there are none.
func (a *App) prover() revocation.Prover {
	if len(a.issuers) == 0 {
		return nil
	}
	return appProver{a}
}

// Interface guards
var (
	_ revocation.Prover = requestProver{}
	_ revocation.Prover = appProver{}

	_ endpoint.AnswerProver = appProver{}
)
