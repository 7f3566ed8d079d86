package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

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
	if !h.denyStale && !h.DryRun {
		h.app.lenient = true
	}
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
	var kind streamKind
	if len(candidates) > 0 {
		kind = h.streamKind(r)
	}
	began := beginCheck()
	facts, rejected := h.check(r, candidates, err, kind != "")
	endCheck(began)
	var stream *exchange
	if rejected == nil && len(facts) > 0 {
		stream, rejected = h.open(w, r, kind, candidates, facts)
	}
	if rejected == nil {
		verdict := verdictActive
		if len(candidates) == 0 {
			verdict = verdictAbsent
		}
		countCheck(verdict)
		traceCheck(r.Context(), verdict, nil)
		if stream != nil {
			return stream.serve(r, next)
		}
		return next.ServeHTTP(w, r)
	}
	countCheck(rejected.verdict)
	traceCheck(r.Context(), rejected.verdict, rejected)
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

// Interface guards
var (
	_ caddy.Provisioner           = (*RejectRevoked)(nil)
	_ caddy.Validator             = (*RejectRevoked)(nil)
	_ caddyhttp.MiddlewareHandler = (*RejectRevoked)(nil)
)
