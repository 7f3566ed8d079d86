package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// maxFormLimit bounds what one request may make the handler keep in memory.
const maxFormLimit = 16 << 20

func parseRejectRevoked(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	reject := new(RejectRevoked)
	return reject, reject.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from a Caddyfile. Syntax:
//
//	reject_revoked [<matcher>] {
//		token_from        header|query|form|cookie <name>
//		token_from        basic|websocket_protocol
//		realm             <text>
//		resource_metadata <url>
//		require_token
//		strict
//		malformed         reject|pass
//		form_limit        <size>
//		verify {
//			audience <values...>
//			issuer   <names...>
//		}
//		close_streams     streams|all|off
//		close_on_expiry
//		on_stale          deny|allow
//		dry_run
//	}
//
// `token_from` may stand several times; where it stands, the default sources
// don't count. `audience` and `issuer` may stand several times as well.
func (h *RejectRevoked) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name != "token_from" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch name {
		case "token_from":
			err = h.unmarshalTokenFrom(d)
		case "realm":
			err = oneArg(d, "the realm of challenges", set(&h.Realm))
		case "resource_metadata":
			err = oneArg(d, "the URL of the API's metadata document", set(&h.ResourceMetadata))
		case "require_token":
			h.RequireToken, err = true, noArgs(d)
		case "strict":
			h.Strict, err = true, noArgs(d)
		case "malformed":
			err = oneArg(d, "reject or pass", oneOf(&h.Malformed, "reject", "pass"))
		case "form_limit":
			err = oneArg(d, "a size such as 64KiB", size(&h.FormLimit, maxFormLimit))
		case "verify":
			h.Verify = new(Verify)
			err = h.Verify.unmarshal(d)
		case "close_streams":
			err = oneArg(d, "streams, all or off", oneOf(&h.CloseStreams, closeStreams, closeAll, closeOff))
		case "close_on_expiry":
			h.CloseOnExpiry, err = true, noArgs(d)
		case "on_stale":
			err = oneArg(d, "deny or allow", oneOf(&h.OnStale, staleDeny, staleAllow))
		case "dry_run":
			h.DryRun, err = true, noArgs(d)
		default:
			return unrecognized(d, "token_from, realm, resource_metadata, require_token, strict, malformed, form_limit, verify, close_streams, close_on_expiry, on_stale, dry_run")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *Verify) unmarshal(d *caddyfile.Dispenser) error {
	if err := noArgs(d); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "audience":
			err = someArgs(d, "values of the token's aud", &v.Audience)
		case "issuer":
			err = someArgs(d, "names of issuers", &v.Issuers)
		default:
			err = unrecognized(d, "audience, issuer")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *RejectRevoked) unmarshalTokenFrom(d *caddyfile.Dispenser) error {
	source, err := token.ParseSource(d.RemainingArgs())
	if err != nil {
		return d.Errf("token_from: %v", err)
	}
	h.TokenFrom = append(h.TokenFrom, TokenSource{string(source.Kind), source.Name})
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*RejectRevoked)(nil)
