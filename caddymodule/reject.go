package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func init() {
	caddy.RegisterModule(RejectRevoked{})
}

// RejectRevoked rejects every request that carries a revoked token, before it
// reaches anything behind this handler. A request may carry several tokens, in
// several places and spellings; one that is revoked is enough.
//
// Requests without a token pass, unless `require_token` is set. That a token is
// genuine, and made for this API, is for the upstream to check as before, unless
// `verify` is set.
//
// Mount it on a whole site rather than on paths: upstreams disagree with Caddy
// about paths (case, encoded slashes, dots), so a path that Caddy takes for an
// unprotected one may be a protected one to them.
//
// Rejections are errors of Caddy, which `handle_errors` can answer. They set
// these placeholders:
//
// Placeholder | Description
// ------------|---------------
// `{http.token_revocation.verdict}` | `revoked`, `malformed`, `absent`, `invalid_request`, `unverified`, `unavailable` or `stale`
// `{http.token_revocation.selector}` | The shape of the record that hit the token, such as `token` or `client_id+sub`
// `{http.token_revocation.source}` | Where the token was found, such as `header Authorization`
// `{http.token_revocation.reason}` | Why the request is rejected, in words
// `{http.token_revocation.fingerprint}` | The token's fingerprint
//
// WebSockets and event streams that are open when their token is revoked are ended,
// see `close_streams`.
//
// Status 401 comes with a challenge in `WWW-Authenticate` (RFC 6750 §3, or RFC
// 9449 §7.1 where the token was presented by DPoP).
type RejectRevoked struct {
	// Where tokens are looked for. Default: the header `Authorization` and the
	// query parameter `access_token`.
	TokenFrom []TokenSource `json:"token_from,omitempty"`

	// The `realm` in challenges. Placeholders are possible. Default: none.
	Realm string `json:"realm,omitempty"`

	// The `resource_metadata` in challenges: the URL of this API's metadata
	// document, RFC 9728 §5.1. Placeholders are possible. Default: none.
	ResourceMetadata string `json:"resource_metadata,omitempty"`

	// Reject requests without a token with status 401. CORS preflights pass.
	// Default: false.
	RequireToken bool `json:"require_token,omitempty"`

	// Reject requests with more than one token with status 400 (RFC 6750 §2).
	// Default: false.
	Strict bool `json:"strict,omitempty"`

	// Reject tokens that no configured issuer vouches for, or that weren't made for
	// this API. Default: they are only checked for revocation.
	Verify *Verify `json:"verify,omitempty"`

	// What becomes of tokens that look like JWTs but aren't spelled as one:
	// `reject` or `pass`. Revoked ones, and those in a JSON serialization, are
	// rejected in any case. With `verify` they can't pass. Default: `reject`.
	Malformed string `json:"malformed,omitempty"`

	// Which exchanges end, when a token is revoked under which they are open:
	// `streams` (WebSockets, and what requests with `text/event-stream` in `Accept`
	// are answered), `all`, or `off`. Default: `streams`.
	CloseStreams string `json:"close_streams,omitempty"`

	// End them also when a token expires. Default: false.
	CloseOnExpiry bool `json:"close_on_expiry,omitempty"`

	// What becomes of requests with a token that isn't known to be revoked, while this
	// node's view of the store is older than the app's `max_staleness`: `deny` (status
	// 503) or `allow`. Default: the app's `on_stale`.
	OnStale string `json:"on_stale,omitempty"`

	// Only log, count and set placeholders; let everything pass. Default: false.
	DryRun bool `json:"dry_run,omitempty"`

	// The largest form that is searched for tokens, in bytes, when `token_from`
	// has a `form`. Larger ones are rejected with status 413. Default: 64 KiB.
	FormLimit int64 `json:"form_limit,omitempty"`

	app       *App
	finder    *token.Finder
	logger    *zap.Logger
	denyStale bool
}

// TokenSource is a place where requests carry tokens.
type TokenSource struct {
	// One of `header`, `query`, `form`, `cookie`, `basic` and
	// `websocket_protocol`.
	In string `json:"in"`

	// The name of the header, parameter or cookie. None for `basic` (the
	// credentials of HTTP Basic authentication) and `websocket_protocol` (the
	// header `Sec-WebSocket-Protocol`).
	Name string `json:"name,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (RejectRevoked) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.reject_revoked",
		New: func() caddy.Module { return new(RejectRevoked) },
	}
}

// Provision sets up the handler.
func (h *RejectRevoked) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	if h.app, err = appOf(ctx); err != nil {
		return err
	}
	h.denyStale = cmp.Or(h.OnStale, h.app.OnStale, staleDeny) == staleDeny
	sources := token.DefaultSources()
	if len(h.TokenFrom) > 0 {
		sources = nil
	}
	for _, s := range h.TokenFrom {
		sources = append(sources, token.Source{Kind: token.SourceKind(s.In), Name: s.Name})
	}
	if h.finder, err = token.NewFinder(token.FinderOptions{Sources: sources, FormLimit: h.FormLimit}); err != nil {
		return err
	}
	if h.Verify == nil {
		return nil
	}
	if err := h.Verify.provision(h.app); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

// Validate checks the configuration.
func (h *RejectRevoked) Validate() error {
	if h.Malformed != "" && h.Malformed != "reject" && h.Malformed != "pass" {
		return fmt.Errorf("malformed is %q, possible are reject and pass", h.Malformed)
	}
	if err := validateOnStale(h.OnStale); err != nil {
		return err
	}
	switch h.CloseStreams {
	case "", closeStreams, closeAll, closeOff:
	default:
		return fmt.Errorf("close_streams is %q, possible are streams, all and off", h.CloseStreams)
	}
	if h.CloseOnExpiry && h.CloseStreams == closeOff {
		return errors.New("close_on_expiry can't stand beside close_streams off: no stream would be closed")
	}
	if h.FormLimit < 0 || h.FormLimit > maxFormLimit {
		return fmt.Errorf("form_limit is %d bytes, possible is up to %d", h.FormLimit, maxFormLimit)
	}
	if h.Verify != nil && h.Malformed == "pass" {
		return errors.New("malformed pass can't stand beside verify: no issuer vouches for a malformed token")
	}
	for name, value := range map[string]string{"realm": h.Realm, "resource_metadata": h.ResourceMetadata} {
		if strings.ContainsAny(value, "\"\\\r\n") {
			return fmt.Errorf("%s contains a quote, a backslash or a line break", name)
		}
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *RejectRevoked) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	var space [8]token.Candidate
	candidates, err := h.finder.Find(w, r, space[:0])
	if !h.DryRun {
		dropForeignUpgrades(r)
	}
	kind := h.streamKind(r)
	began := beginCheck()
	facts, rejected := h.check(r, candidates, err, kind != "")
	endCheck(began)
	var stream *exchange
	if rejected.verdict == "" && len(facts) > 0 {
		stream, rejected = h.open(w, r, kind, candidates, facts)
	}
	if rejected.verdict == "" {
		verdict := verdictActive
		if len(candidates) == 0 {
			verdict = verdictAbsent
		}
		countCheck(verdict)
		traceCheck(r.Context(), verdict, &rejected)
		if stream != nil {
			return stream.serve(r, next)
		}
		return next.ServeHTTP(w, r)
	}
	countCheck(rejected.verdict)
	traceCheck(r.Context(), rejected.verdict, &rejected)
	rejected.setPlaceholders(r)
	h.log(r, rejected)
	if h.DryRun {
		return next.ServeHTTP(w, r)
	}
	h.challenge(w, r, rejected)
	return caddyhttp.Error(rejected.status, errors.New(rejected.reason))
}

// dropForeignUpgrades makes the request one to go on with as it is, unless it
// asks for nothing but a WebSocket: a server may ignore Upgrade (RFC 9110 §7.8).
// Behind an upgrade to HTTP/2 there would be requests that nobody checks.
func dropForeignUpgrades(r *http.Request) {
	for _, value := range r.Header["Upgrade"] {
		if !strings.EqualFold(strings.TrimSpace(value), "websocket") {
			delete(r.Header, "Upgrade")
			return
		}
	}
}

// check finds the reason why the request must not pass, in this order: a
// revoked token, a request that can't be searched, a malformed token, one that isn't
// genuine or not for here and now, one of which that can't be told, one that may have been
// revoked, too many tokens, none. The zero rejection lets it pass. The facts of the candidates are returned where
// they are to be kept.
func (h *RejectRevoked) check(r *http.Request, candidates []token.Candidate, findErr error, keep bool) ([]*revocation.Facts, rejection) {
	// A request that is refused in any case isn't worth asking an issuer about it.
	verdicts, rejected := h.verdicts(r, candidates, h.Verify != nil && findErr == nil, keep)
	if rejected.verdict == "" {
		rejected = h.judge(r, &verdicts, findErr)
	}
	return verdicts.facts, rejected
}

// judge finds the reason why a request without a revoked token must not pass.
func (h *RejectRevoked) judge(r *http.Request, verdicts *verdicts, findErr error) rejection {
	if findErr != nil {
		return unsearchable(findErr)
	}
	if verdicts.malformed.verdict != "" {
		return verdicts.malformed
	}
	if verdicts.unverified.verdict != "" {
		return verdicts.unverified
	}
	if verdicts.unavailable.verdict != "" {
		return verdicts.unavailable
	}
	if verdicts.stale.verdict != "" {
		return verdicts.stale
	}
	if h.Strict && verdicts.several {
		return rejection{
			status: http.StatusBadRequest, verdict: verdictInvalidRequest, code: "invalid_request",
			reason: "The request carries more than one access token",
		}
	}
	if h.RequireToken && !verdicts.presented && !isPreflight(r) {
		return rejection{status: http.StatusUnauthorized, verdict: verdictAbsent, reason: "An access token is required"}
	}
	return rejection{}
}

// verdicts is what the tokens of one request amount to when none is revoked.
type verdicts struct {
	presented bool // there is a token
	several   bool // there are different ones

	// Because of the first token that is:
	malformed   rejection
	unverified  rejection
	unavailable rejection
	stale       rejection

	facts []*revocation.Facts // of each candidate
}

// verdicts looks up all candidates, and verifies them if it should. It returns a
// rejection when one is revoked or when that can't be known.
func (h *RejectRevoked) verdicts(r *http.Request, candidates []token.Candidate, verify, keep bool) (v verdicts, _ rejection) {
	if len(candidates) == 0 {
		return v, rejection{}
	}
	ctx, cancel := r.Context(), func() {}
	run, err := h.app.wait(ctx)
	if err != nil {
		return v, rejection{
			status: http.StatusServiceUnavailable, verdict: verdictUnavailable, reason: "The revocation list is not loaded yet",
			retryAfter: retryList,
		}
	}
	if verify && len(candidates) > 1 { // together they have no more time than one
		ctx, cancel = context.WithTimeout(ctx, proofTimeout)
	}
	defer cancel()
	var first *revocation.Facts
	for i := range candidates {
		c := &candidates[i]
		var verdict revocation.Verdict
		var unverified rejection
		// What only a sloppy upstream takes for a token could be a forged one beside a
		// genuine one. Others it can't read without asking, so that they may be anything.
		prove := verify && (!c.Probe || token.IsJWT(c.Token))
		if prove {
			tokensChecked.Add(1)
			var proof *revocation.Proof
			verdict, proof, err = run.checker.CheckProven(ctx, h.Verify.presented(c), run.prover)
			if verdict.State == revocation.Active {
				unverified = h.Verify.outcome(proof, err)
			}
		} else {
			verdict = look(run.checker, c)
		}
		if verdict.State == revocation.Revoked {
			return v, revoked(c, verdict)
		}
		if keep {
			v.facts = append(v.facts, verdict.Facts)
		}
		// As with verify, what only a sloppy upstream reads counts where it is surely a
		// token: to refuse passwords would take down what this handler isn't for.
		if verdict.Stale && h.denyStale && (!c.Probe || token.IsJWT(c.Token)) {
			v.stale.because(c, verdict.Facts, stale)
		}
		if c.Probe && !prove {
			continue
		}
		v.presented = v.presented || !c.Probe
		switch {
		case c.Probe:
		case first == nil:
			first = verdict.Facts
		case first.Fingerprint != verdict.Facts.Fingerprint:
			v.several = true
		}
		if verdict.State == revocation.Malformed && !h.mayPass(verdict.Facts.Malformed) {
			v.malformed.because(c, verdict.Facts, rejection{
				status: http.StatusUnauthorized, verdict: verdictMalformed, code: "invalid_token",
				reason: "The access token is malformed: " + verdict.Facts.Malformed.Error(),
			})
		}
		switch unverified.verdict {
		case verdictUnverified:
			v.unverified.because(c, verdict.Facts, unverified)
		case verdictUnavailable:
			v.unavailable.because(c, verdict.Facts, unverified)
		}
	}
	return v, rejection{}
}

// look looks a candidate up. Of one that may be a password nothing is kept.
func look(checker *revocation.Checker, c *token.Candidate) revocation.Verdict {
	if c.Secret {
		return checker.CheckOnce(c.Token)
	}
	tokensChecked.Add(1)
	return checker.Check(c.Token)
}

// mayPass reports whether a malformed token is let through. JSON serializations
// aren't in any case: one may have several signatures, and libraries differ in
// which of them makes the token.
func (h *RejectRevoked) mayPass(malformed error) bool {
	return h.Malformed == "pass" && malformed != token.MalformedSerialization
}

// isPreflight reports whether the request is a CORS preflight, which carries no
// credentials: Fetch standard, CORS-preflight request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && len(r.Header["Origin"]) > 0 && len(r.Header["Access-Control-Request-Method"]) > 0
}

// Interface guards
var (
	_ caddy.Provisioner           = (*RejectRevoked)(nil)
	_ caddy.Validator             = (*RejectRevoked)(nil)
	_ caddyhttp.MiddlewareHandler = (*RejectRevoked)(nil)
)
