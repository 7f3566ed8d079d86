package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
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
// Form bodies speak RFC 7009; JSON bodies speak the dialect of the Moov SDKs.
// Answers are the endpoint's own, also errors: they don't pass through
// `handle_errors`.
type RevocationEndpoint struct {
	// Who may revoke tokens. At least one.
	Clients []Client `json:"clients,omitempty"`

	// How the secrets of clients are hashed: a module in the namespace
	// `http.authentication.hashes`. Default: `bcrypt`. For generated secrets
	// `sha256` is as safe and costs next to nothing.
	HashRaw json.RawMessage `json:"hash,omitempty" caddy:"namespace=http.authentication.hashes inline_key=algorithm"`

	// The origins whose pages may use the endpoint (CORS), each exactly as
	// browsers write it: `https://app.example.com`. Default: none.
	AllowOrigins []string `json:"allow_origins,omitempty"`

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

	app    *App
	server *endpoint.Server
}

// Client may revoke tokens at a revocation endpoint.
type Client struct {
	// The `client_id`. Placeholders are possible.
	ID string `json:"id"`

	// The hashes of the client's secrets. Each secret is accepted, so that they
	// can be rotated. A client without one is public. Placeholders are possible.
	Hashes []string `json:"hashes,omitempty"`

	// The client is an operator's tool: it may revoke tokens of any client, and
	// may do so when `live_total` is almost reached. Default: false. (Without
	// issuers a token's client isn't known, so that every client may revoke any
	// token that it has.)
	AnyToken bool `json:"any_token,omitempty"`

	// What the client may record, where it differs from the limits of all.
	Quota Quota `json:"quota,omitzero"`
}

// Quota bounds what a client may record. Repeats cost nothing. In each number
// zero means the default and a negative number no limit.
type Quota struct {
	// Live records. Default: 1,000,000; of a public client 100,000.
	Live int `json:"live,omitempty"`

	// Records in a minute. Default: 6,000; of a public client 600.
	PerMinute int `json:"per_minute,omitempty"`

	// Records in a minute from one address. Default: no limit; of a public
	// client 60.
	PerMinutePerAddress int `json:"per_minute_per_address,omitempty"`
}

// Limits bound failed attempts and what clients may record. In each number zero
// means the default and, but for `concurrent_compares`, a negative number no
// limit.
type Limits struct {
	// How often authentication may fail in a minute with one `client_id` from one
	// address. Default: 20.
	FailuresPerMinute int `json:"failures_per_minute,omitempty"`

	// The same over all `client_id`s. Default: 100.
	FailuresPerMinutePerAddress int `json:"failures_per_minute_per_address,omitempty"`

	// How many secrets may be compared at one time; this is always limited.
	// Default: the number of cores, at most 16.
	ConcurrentCompares int `json:"concurrent_compares,omitempty"`

	// How many live records there may be before the endpoint takes no more; the
	// last tenth is for clients with `any_token`. Default: 10,000,000.
	LiveTotal int `json:"live_total,omitempty"`

	// What each confidential client may record.
	Confidential Quota `json:"confidential,omitzero"`

	// What each public client may record.
	Public Quota `json:"public,omitzero"`
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
	if h.app, err = appOf(ctx); err != nil {
		return err
	}
	if h.HashRaw == nil {
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
	opts := endpoint.Options{
		List: appList{h.app}, Facts: h.app.reader, Retention: h.app.retention(),
		Compare: comparer, FakeHash: fakeHash(comparer),
		AllowOrigins: h.AllowOrigins, Realm: h.Realm, RequireTLS: h.RequireTLS,
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
		ClientIP: clientIP, Logger: ctx.Slogger(),
		Observe: countEndpoint,
	}
	switch h.JSON {
	case "", "204":
	case "200":
		opts.JSONSuccessStatus = http.StatusOK
	case "off":
		opts.DisableJSON = true
	default:
		return fmt.Errorf("json is %q, possible are 204, 200 and off", h.JSON)
	}
	if opts.Clients, err = h.clients(comparer); err != nil {
		return err
	}
	if h.server, err = endpoint.New(opts); err != nil {
		return err
	}
	// A hash that is missing, because a variable is empty, makes a client public.
	for _, c := range opts.Clients {
		if len(c.Hashes) == 0 {
			opts.Logger.Info("a client has no hash and so is public: its id is all that it needs", "client_id", c.ID)
		}
	}
	return nil
}

// clients returns the clients with their placeholders replaced.
func (h *RevocationEndpoint) clients(comparer caddyauth.Comparer) ([]endpoint.Client, error) {
	repl := caddy.NewReplacer()
	clients := make([]endpoint.Client, len(h.Clients))
	for i, c := range h.Clients {
		id, err := repl.ReplaceOrErr(c.ID, true, true)
		if err != nil {
			return nil, fmt.Errorf("client %d: id: %v", i+1, err)
		}
		clients[i] = endpoint.Client{ID: id, AnyToken: c.AnyToken, Quota: endpoint.Quota(c.Quota)}
		for n, hash := range c.Hashes {
			hash, err := repl.ReplaceOrErr(hash, true, true)
			if err != nil {
				return nil, fmt.Errorf("client %s: hash %d: %v", id, n+1, err)
			}
			if err := checkHash(comparer, []byte(hash)); err != nil {
				return nil, fmt.Errorf("client %s: hash %d: %v", id, n+1, err)
			}
			clients[i].Hashes = append(clients[i].Hashes, []byte(hash))
		}
	}
	return clients, nil
}

// checkHash finds hashes that aren't of the algorithm, as far as that can be
// told without comparing: that would take a second each.
func checkHash(c caddyauth.Comparer, hash []byte) (err error) {
	switch c.(type) {
	case *caddyauth.BcryptHash:
		_, err = bcrypt.Cost(hash)
	case *SHA256Hash:
		_, err = decodeSHA256(hash)
	}
	return err
}

// fakeHash returns a hash for clients that don't exist.
func fakeHash(c caddyauth.Comparer) []byte {
	if hasher, ok := c.(caddyauth.Hasher); ok {
		return hasher.FakeHash()
	}
	return nil
}

// clientIP returns the address that Caddy takes for the client's, which knows
// about trusted proxies.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text)
	return addr
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *RevocationEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.server.ServeHTTP(w, r)
	return nil
}

// appList is the list of an app that may not have started yet.
type appList struct{ app *App }

// Revoke waits for the app and revokes.
func (l appList) Revoke(ctx context.Context, records ...revocation.Record) error {
	run, err := l.app.wait(ctx)
	if err != nil {
		return err
	}
	return run.list.Revoke(ctx, records...)
}

// Live returns how many live records the actor has.
func (l appList) Live(actor string) int {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.Live(actor)
}

// LiveTotal returns how many live records there are.
func (l appList) LiveTotal() int {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.LiveTotal()
}

// Now returns the time by which records expire.
func (l appList) Now() time.Time {
	if !l.app.started() {
		return time.Now()
	}
	return l.app.running.list.Now()
}

// Reinstatements returns a number that changes with every reinstatement.
func (l appList) Reinstatements() uint64 {
	if !l.app.started() {
		return 0
	}
	return l.app.running.list.Reinstatements()
}

// Interface guards
var (
	_ caddy.Provisioner           = (*RevocationEndpoint)(nil)
	_ caddyhttp.MiddlewareHandler = (*RevocationEndpoint)(nil)
	_ endpoint.List               = appList{}
)
