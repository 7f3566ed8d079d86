package caddymodule

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

func init() {
	caddy.RegisterModule(RevocationEndpoint{})
}

// RevocationEndpoint is an OAuth 2.0 token revocation endpoint (RFC 7009). A
// client authenticates, names a token, and has the answer when the token is
// revoked for good: durable, and rejected by `reject_revoked` from the very next
// request on.
//
// With an `issuer` in the app `token_revocation`, whose a token is is known: a client
// revokes its own tokens only, and a refresh token revokes the access tokens of its
// session or grant.
//
// With `relay`, the authorization server behind this handler answers instead, and
// what it accepts is enforced here as well.
//
// Form bodies speak RFC 7009; JSON bodies speak the dialect of the Moov SDKs.
// Answers are the endpoint's own, also errors: they don't pass through
// `handle_errors`.
type RevocationEndpoint struct {
	// Who may revoke tokens. At least one, without `relay`.
	Clients []Client `json:"clients,omitempty"`

	// How the secrets of clients are hashed: a module in the namespace
	// `http.authentication.hashes`. Default: `bcrypt`. For generated secrets
	// `sha256` is as safe and costs next to nothing.
	HashRaw json.RawMessage `json:"hash,omitempty" caddy:"namespace=http.authentication.hashes inline_key=algorithm"`

	// Let the authorization server that is behind this handler answer, and enforce
	// what it accepts. Default: the requests are answered here.
	Relay *Relay `json:"relay,omitempty"`

	// What else is revoked with a refresh token: the access tokens of its `session`
	// or grant, those of the same user and client (`subject_client`), or none
	// (`off`). Default: `session`.
	Cascade string `json:"cascade,omitempty"`

	// `refuse` refuses refresh tokens (`unsupported_token_type`): for an authorization
	// server that would go on accepting them. Default: they are revoked.
	RefreshTokens string `json:"refresh_tokens,omitempty"`

	// `silent` answers success to a confidential client that presents another
	// client's token. Nothing is revoked either way. Default: it is told so.
	OwnershipMismatch string `json:"ownership_mismatch,omitempty"`

	// Let whoever presents a genuine token as the request's Bearer token revoke that
	// very token, without being a client. Default: false.
	SelfRevocation bool `json:"self_revocation,omitempty"`

	// The values of `aud` that assertions of clients may have. Placeholders are
	// possible. Default: the names of the configured issuers.
	AssertionAudience []string `json:"assertion_audience,omitempty"`

	// Accept assertions whose `aud` is the URL of this endpoint, or a list. Default:
	// false, as it lets other servers that a client talks to use its assertions here.
	LegacyAssertions bool `json:"legacy_assertions,omitempty"`

	// The origins whose pages may use the endpoint (CORS), each exactly as
	// browsers write it: `https://app.example.com`. Default: none.
	AllowOrigins []string `json:"allow_origins,omitempty"`

	// Answer success only when no node that shares the store accepts the token any more:
	// `cluster`. Default: when the revocation is durable, and in force on this node.
	WaitFor string `json:"wait_for,omitempty"`

	// How long `wait_for` waits. Then the answer is 503, and the revocation stays. Default:
	// 10s.
	WaitTimeout caddy.Duration `json:"wait_timeout,omitempty"`

	// The realm in `WWW-Authenticate`. Default: `token revocation`.
	Realm string `json:"realm,omitempty"`

	// Refuse requests that arrive over plain HTTP. Default: false, since TLS may
	// end in front of this server.
	RequireTLS bool `json:"require_tls,omitempty"`

	// Accept Basic credentials only in the encoding of RFC 6749 §2.3.1. Default:
	// false; most clients send them raw.
	StrictBasic bool `json:"strict_basic,omitempty"`

	// Refuse a request with the same credentials both in the header and in the
	// body (RFC 6749 §2.3). Default: false.
	StrictCredentials bool `json:"strict_credentials,omitempty"`

	// What requests with a JSON body are answered on success, `204` or `200`, or
	// `off` to refuse such bodies. Default: `204`.
	JSON string `json:"json,omitempty"`

	// Refuse unknown values of `token_type_hint` in JSON bodies. Default: false.
	MoovStrict bool `json:"moov_strict,omitempty"`

	// The longest body, in bytes. Default: 64 KiB.
	MaxBody int `json:"max_body,omitempty"`

	// Bounds on what clients, and those who pretend to be one, may do.
	Limits Limits `json:"limits,omitzero"`

	app     *App
	server  *endpoint.Server
	relay   *endpoint.Relay
	replays bool // they are in use
	logger  *slog.Logger
}

// CaddyModule returns the Caddy module information.
func (RevocationEndpoint) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.revocation_endpoint",
		New: func() caddy.Module { return new(RevocationEndpoint) },
	}
}

// Provision sets up the handler.
func (h *RevocationEndpoint) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Slogger()
	if h.app, err = appOf(ctx); err != nil {
		return err
	}
	opts, err := h.options()
	if err != nil {
		return err
	}
	if h.Relay != nil {
		if err := h.checkRelay(); err != nil {
			return err
		}
		h.relay, err = endpoint.NewRelay(opts, h.Relay.options())
		return err
	}
	if len(h.HashRaw) == 0 || string(h.HashRaw) == "null" {
		h.HashRaw = json.RawMessage(`{"algorithm":"bcrypt"}`)
	}
	mod, err := ctx.LoadModule(h, "HashRaw")
	if err != nil {
		return fmt.Errorf("loading the hash module: %v", err)
	}
	comparer, ok := mod.(caddyauth.Comparer)
	if !ok {
		return fmt.Errorf("hash module %T can't compare", mod)
	}
	opts.Compare, opts.FakeHash = comparer, fakeHash(comparer)
	if opts.Clients, err = h.clients(comparer); err != nil {
		return err
	}
	opts.Replays = h.takeReplays()
	if h.server, err = endpoint.New(opts); err != nil {
		return err
	}
	// A hash that is missing, because a variable is empty, makes a client public.
	for _, c := range opts.Clients {
		if len(c.Hashes) == 0 && c.Keys == nil {
			h.logger.Info("a client has no hash and so is public: its id is all that it needs", "client_id", c.ID)
		}
	}
	return nil
}

// options returns what an endpoint and a relay have in common.
func (h *RevocationEndpoint) options() (endpoint.Options, error) {
	opts := endpoint.Options{
		List: ledger{h.app}, Facts: h.app.reader, Prover: h.app.prover(), Retention: h.app.retention(),
		Cascade: endpoint.Cascade(h.Cascade), RefuseRefreshTokens: h.RefreshTokens == "refuse",
		SilentMismatch: h.OwnershipMismatch == "silent", SelfRevocation: h.SelfRevocation,
		LegacyAssertions: h.LegacyAssertions,
		AllowOrigins:     h.AllowOrigins, Realm: h.Realm, RequireTLS: h.RequireTLS,
		StrictBasic: h.StrictBasic, StrictCredentials: h.StrictCredentials,
		MoovStrict: h.MoovStrict, MaxBodyBytes: h.MaxBody,
		Limits: endpoint.Limits{
			FailuresPerMinute:           h.Limits.FailuresPerMinute,
			FailuresPerMinutePerAddress: h.Limits.FailuresPerMinutePerAddress,
			ConcurrentCompares:          h.Limits.ConcurrentCompares,
			LiveTotal:                   h.Limits.LiveTotal,
			Confidential:                endpoint.Quota(h.Limits.Confidential),
			Public:                      endpoint.Quota(h.Limits.Public),
		},
		ClientIP: clientIP, Logger: h.logger, Audit: h.app.audit,
		Observe: countEndpoint,
	}
	switch h.JSON {
	case "", "204":
	case "200":
		opts.JSONSuccessStatus = http.StatusOK
	case "off":
		opts.DisableJSON = true
	default:
		return opts, fmt.Errorf("json is %q, possible are 204, 200 and off", h.JSON)
	}
	if h.RefreshTokens != "" && h.RefreshTokens != "refuse" {
		return opts, fmt.Errorf("refresh_tokens is %q, possible is refuse", h.RefreshTokens)
	}
	if h.OwnershipMismatch != "" && h.OwnershipMismatch != "silent" {
		return opts, fmt.Errorf("ownership_mismatch is %q, possible is silent", h.OwnershipMismatch)
	}
	if err := h.waitFor(&opts); err != nil {
		return opts, err
	}
	r := placeholder.New()
	opts.AssertionAudience = r.Texts("assertion_audience", h.AssertionAudience)
	if len(opts.AssertionAudience) == 0 {
		opts.AssertionAudience = h.app.issuerNames()
	}
	return opts, r.Err()
}

// replays are the assertions that were used, at any endpoint of any configuration:
// none counts again after a reload.
var replays = caddy.NewUsagePool()

func (h *RevocationEndpoint) takeReplays() *endpoint.Replays {
	used, _ := replays.LoadOrStore("", new(endpoint.Replays))
	h.replays = true
	return used.(*endpoint.Replays)
}

// Cleanup releases what Provision acquired.
func (h *RevocationEndpoint) Cleanup() error {
	if !h.replays {
		return nil
	}
	h.replays = false
	_, err := replays.Delete("")
	return err
}

// clientIP returns the address that Caddy takes for the client's, which knows
// about trusted proxies.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text)
	return addr
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *RevocationEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if h.relay != nil {
		return h.relay.ServeHTTP(w, r, next.ServeHTTP)
	}
	h.server.ServeHTTP(w, r)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*RevocationEndpoint)(nil)
	_ caddy.CleanerUpper          = (*RevocationEndpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*RevocationEndpoint)(nil)
)
