package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseRevocationEndpoint reads the directive. Its path is required: an endpoint
// that answers every request of a site is never what was meant.
func parseRevocationEndpoint(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	matcher, found, err := h.MatcherToken()
	if err != nil {
		return nil, err
	}
	if !found || matcher == nil { // a matcher of everything has no matchers
		return nil, h.Err("the endpoint needs its path, as in: revocation_endpoint /oauth2/revoke")
	}
	h.Reset()
	e := new(RevocationEndpoint)
	if err := e.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, e), nil
}

// UnmarshalCaddyfile sets up the handler from a Caddyfile. Syntax:
//
//	revocation_endpoint <path> {
//		relay [{
//			best_effort
//			revoke_unsupported
//			timeout <duration>
//		}]
//		client <id> [<hashes...>] {
//			public_keys <paths...>
//			jwks_uri    <url>
//			issuer      <names...>
//			any_token
//			quota <name> <number>|unlimited
//		}
//		hash_algorithm     <name>
//		cascade            session|subject_client|off
//		refresh_tokens     refuse
//		ownership_mismatch silent
//		self_revocation
//		assertion_audience <values...>
//		legacy_assertions
//		allow_origin       <origins...>
//		wait_for           cluster [<timeout>]
//		realm              <text>
//		require_tls
//		strict_basic
//		strict_credentials
//		json               204|200|off
//		moov_strict
//		max_body           <size>
//		limits {
//			failures_per_minute             <number>|unlimited
//			failures_per_minute_per_address <number>|unlimited
//			concurrent_compares             <number>
//			live_total                      <number>|unlimited
//			confidential <name> <number>|unlimited
//			public       <name> <number>|unlimited
//		}
//	}
//
// `client` and `allow_origin` may stand several times. The names of a quota are
// live, per_minute and per_minute_per_address. Beside `relay` there are no clients
// and nothing that is about them.
func (h *RevocationEndpoint) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if args := d.RemainingArgs(); len(args) > 1 {
		return d.Errf("the endpoint takes one path, not %q", args)
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name != "client" && name != "allow_origin" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch name {
		case "client":
			err = h.unmarshalClient(d)
		case "hash_algorithm":
			err = oneArg(d, "one of "+strings.Join(moduleNames(hashNamespace), ", "), func(s string) error {
				info, err := caddy.GetModule(hashNamespace + "." + s)
				if err != nil {
					return errUnknownWord
				}
				h.HashRaw = caddyconfig.JSONModuleObject(info.New(), "algorithm", s, nil)
				return nil
			})
		case "relay":
			h.Relay = new(Relay)
			err = h.Relay.unmarshal(d)
		case "cascade":
			err = oneArg(d, "session, subject_client or off", oneOf(&h.Cascade, "session", "subject_client", "off"))
		case "refresh_tokens":
			err = oneArg(d, "refuse", oneOf(&h.RefreshTokens, "refuse"))
		case "ownership_mismatch":
			err = oneArg(d, "silent", oneOf(&h.OwnershipMismatch, "silent"))
		case "self_revocation":
			h.SelfRevocation, err = true, noArgs(d)
		case "assertion_audience":
			err = someArgs(d, "values of aud", &h.AssertionAudience)
		case "legacy_assertions":
			h.LegacyAssertions, err = true, noArgs(d)
		case "allow_origin":
			err = someArgs(d, "origins such as https://app.example.com", &h.AllowOrigins)
		case "wait_for":
			err = h.unmarshalWaitFor(d)
		case "realm":
			err = oneArg(d, "the realm of challenges", set(&h.Realm))
		case "require_tls":
			h.RequireTLS, err = true, noArgs(d)
		case "strict_basic":
			h.StrictBasic, err = true, noArgs(d)
		case "strict_credentials":
			h.StrictCredentials, err = true, noArgs(d)
		case "json":
			err = oneArg(d, "204, 200 or off", oneOf(&h.JSON, "204", "200", "off"))
		case "moov_strict":
			h.MoovStrict, err = true, noArgs(d)
		case "max_body":
			err = oneArg(d, "a size such as 64KiB", size(&h.MaxBody, maxFormLimit))
		case "limits":
			err = h.Limits.unmarshal(d)
		default:
			return unrecognized(d, "client, hash_algorithm, relay, cascade, refresh_tokens, ownership_mismatch, self_revocation, assertion_audience, legacy_assertions, allow_origin, wait_for, realm, require_tls, strict_basic, strict_credentials, json, moov_strict, max_body, limits")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *RevocationEndpoint) unmarshalWaitFor(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 || args[0] != waitCluster {
		return d.Errf("'wait_for' takes %s and, if need be, %s", waitCluster, waitBoundsWords)
	}
	h.WaitFor = waitCluster
	if len(args) == 2 {
		timeout, err := parseWait(args[1])
		if err != nil {
			return d.Errf("'wait_for': %v", err)
		}
		h.WaitTimeout = caddy.Duration(timeout)
	}
	return nil
}

func (h *RevocationEndpoint) unmarshalClient(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("'client' needs an id, and the hashes of its secrets unless it is a public client")
	}
	c := Client{ID: args[0], Hashes: args[1:]}
	for _, other := range h.Clients {
		if other.ID == c.ID {
			return d.Errf("client '%s' is already specified: list the hashes of all its secrets in one place", c.ID)
		}
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name == "any_token" || name == "jwks_uri" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch d.Val() {
		case "public_keys":
			err = someArgs(d, "files with JWK sets or PEM", &c.PublicKeys)
		case "jwks_uri":
			err = oneArg(d, "the URL of the client's keys", set(&c.JWKSURI))
		case "issuer":
			err = someArgs(d, "names of issuers", &c.Issuers)
		case "any_token":
			c.AnyToken, err = true, noArgs(d)
		case "quota":
			err = c.Quota.unmarshal(d)
		default:
			return unrecognized(d, "public_keys, jwks_uri, issuer, any_token, quota")
		}
		if err != nil {
			return err
		}
	}
	h.Clients = append(h.Clients, c)
	return nil
}

func (r *Relay) unmarshal(d *caddyfile.Dispenser) error {
	if err := noArgs(d); err != nil {
		return err
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once.check(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "best_effort":
			r.BestEffort, err = true, noArgs(d)
		case "revoke_unsupported":
			r.RevokeUnsupported, err = true, noArgs(d)
		case "timeout":
			err = oneArg(d, "a duration such as 30s", positive(&r.Timeout))
		default:
			err = unrecognized(d, "best_effort, revoke_unsupported, timeout")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (q *Quota) unmarshal(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("'%s' needs the name of a limit: live, per_minute or per_minute_per_address", d.Val())
	}
	switch d.Val() {
	case "live":
		return limit(d, &q.Live)
	case "per_minute":
		return limit(d, &q.PerMinute)
	case "per_minute_per_address":
		return limit(d, &q.PerMinutePerAddress)
	}
	return d.Errf("unknown limit '%s', accepted are: live, per_minute, per_minute_per_address", d.Val())
}

func (l *Limits) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "confidential" && name != "public" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch d.Val() {
		case "failures_per_minute":
			err = limit(d, &l.FailuresPerMinute)
		case "failures_per_minute_per_address":
			err = limit(d, &l.FailuresPerMinutePerAddress)
		case "concurrent_compares":
			err = oneArg(d, "a number from 1 on", number(&l.ConcurrentCompares))
		case "live_total":
			err = limit(d, &l.LiveTotal)
		case "confidential":
			err = l.Confidential.unmarshal(d)
		case "public":
			err = l.Public.unmarshal(d)
		default:
			return unrecognized(d, "failures_per_minute, failures_per_minute_per_address, concurrent_compares, live_total, confidential, public")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// limit reads the number behind a limit's name; unlimited is -1.
func limit(d *caddyfile.Dispenser, to *int) error {
	return oneArg(d, "a number from 1 on, or unlimited", func(s string) error {
		if s == "unlimited" {
			*to = -1
			return nil
		}
		return number(to)(s)
	})
}

// number returns a setter for oneArg that takes a number from 1 on.
func number(to *int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return errNoNumber
		}
		*to = n
		return nil
	}
}

// Interface guards
var _ caddyfile.Unmarshaler = (*RevocationEndpoint)(nil)
