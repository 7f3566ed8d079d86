package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// unmarshalIssuer reads an issuer of the global option. Syntax:
//
//	issuer <name> {
//		preset             <product>
//		alias              <issuers...>
//		claim              <role> <claims...>
//		jwks_uri           <url>
//		jwks_file          <paths...>
//		public_key_file    <paths...>
//		hmac_secret        <secret>
//		algorithms         <names...>
//		types              <names...>
//		leeway             <duration>
//		max_token_lifetime <duration>|never
//		refresh_interval   <duration>
//		timeout            <duration>
//		trusted_ca         <paths...>
//		allow_http
//		introspection [<url>] {
//			client_id          <id>
//			client_secret      <secret>
//			auth_method        basic|post
//			ttl                <duration>
//			stale_if_error     <duration>
//			max_in_flight      <number>
//			unknown_per_minute <number>|unlimited
//		}
//	}
//
// `alias` and `claim` may stand several times.
func (a *App) unmarshalIssuer(d *caddyfile.Dispenser) error {
	if !d.NextArg() || d.Val() == "" {
		return d.Err("'issuer' needs its name, the iss of its tokens, as in: issuer https://idp.example.com")
	}
	i := Issuer{Name: d.Val()}
	if d.NextArg() {
		return d.Err("'issuer' takes one name; its other ones are given by: alias")
	}
	for _, other := range a.Issuers {
		if other.Name == i.Name {
			return d.Errf("issuer '%s' is already specified", i.Name)
		}
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if name := d.Val(); name != "alias" && name != "claim" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		if err := i.unmarshalSubdirective(d); err != nil {
			return err
		}
	}
	a.Issuers = append(a.Issuers, i)
	return nil
}

func (i *Issuer) unmarshalSubdirective(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "preset":
		names := issuer.PresetNames()
		return oneArg(d, "one of "+strings.Join(names, ", "), oneOf(&i.Preset, names...))
	case "alias":
		return someArgs(d, "other iss that the issuer's tokens have", &i.Aliases)
	case "claim":
		return i.unmarshalClaim(d)
	case "jwks_uri":
		return oneArg(d, "the URL of the issuer's keys", set(&i.JWKSURI))
	case "jwks_file":
		return someArgs(d, "files with JWK sets", &i.JWKSFiles)
	case "public_key_file":
		return someArgs(d, "files with public keys in PEM", &i.PublicKeyFiles)
	case "hmac_secret":
		return secretArg(d, &i.HMACSecret)
	case "algorithms":
		return someArgs(d, "names of algorithms, such as RS256", &i.Algorithms)
	case "types":
		return someArgs(d, "values of the header's typ", &i.Types)
	case "leeway":
		return oneArg(d, "a duration such as 1m", duration(&i.Leeway))
	case "max_token_lifetime":
		return oneArg(d, "a duration such as 1h, or never", func(s string) (err error) {
			i.MaxTokenLifetime, err = parseLifetime(s)
			return err
		})
	case "refresh_interval":
		return oneArg(d, "a duration such as 10m", positive(&i.RefreshInterval))
	case "timeout":
		return oneArg(d, "a duration such as 5s", positive(&i.Timeout))
	case "trusted_ca":
		return someArgs(d, "files with certificates in PEM", &i.TrustedCA)
	case "allow_http":
		i.AllowHTTP = true
		return noArgs(d)
	case "introspection":
		i.Introspection = new(Introspection)
		return i.Introspection.unmarshal(d)
	}
	return unrecognized(d, "preset, alias, claim, jwks_uri, jwks_file, public_key_file, hmac_secret, algorithms, types, leeway, max_token_lifetime, refresh_interval, timeout, trusted_ca, allow_http, introspection")
}

func (i *Issuer) unmarshalClaim(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("'claim' needs a role and the claims that play it, as in: claim client_id azp")
	}
	role, claims := args[0], args[1:]
	if err := (token.Profile{revocation.Role(role): claims}).Validate(); err != nil {
		return d.Errf("claim: %v", err)
	}
	if i.Claims[role] != nil {
		return d.Errf("the claims of '%s' are already specified", role)
	}
	if i.Claims == nil {
		i.Claims = map[string][]string{}
	}
	i.Claims[role] = claims
	return nil
}

func (i *Introspection) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		i.URL = d.Val()
	}
	if d.NextArg() {
		return d.Err("'introspection' takes one URL, or none where the issuer's metadata has it")
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := once.check(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "client_id":
			err = oneArg(d, "the client_id of this server", set(&i.ClientID))
		case "client_secret":
			err = secretArg(d, &i.ClientSecret)
		case "auth_method":
			err = oneArg(d, "basic or post", oneOf(&i.AuthMethod, "basic", "post"))
		case "ttl":
			err = oneArg(d, "a duration such as 30s", duration(&i.TTL))
		case "stale_if_error":
			err = oneArg(d, "a duration such as 5m", positive(&i.StaleIfError))
		case "max_in_flight":
			err = oneArg(d, "a number from 1 on", number(&i.MaxInFlight))
		case "unknown_per_minute":
			err = limit(d, &i.UnknownPerMinute)
		default:
			err = unrecognized(d, "client_id, client_secret, auth_method, ttl, stale_if_error, max_in_flight, unknown_per_minute")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
