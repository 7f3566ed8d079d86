package caddymodule

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(appID, parseAppOption)
	httpcaddyfile.RegisterDirective("revocation_endpoint", parseRevocationEndpoint)
	httpcaddyfile.RegisterHandlerDirective("reject_revoked", parseRejectRevoked)
	// Before everything that could let a request through on the strength of a
	// token; the endpoint first, since what is sent to it is checked there.
	httpcaddyfile.RegisterDirectiveOrder("revocation_endpoint", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("reject_revoked", httpcaddyfile.Before, "basic_auth")
}

// parseAppOption reads the global option.
func parseAppOption(d *caddyfile.Dispenser, prev any) (any, error) {
	if prev != nil {
		d.Next()
		return nil, d.Err("the global option 'token_revocation' is already specified")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from a Caddyfile. Syntax:
//
//	token_revocation {
//		store              <name> [<args...>]
//		max_token_lifetime <duration>|never
//		leeway             <duration>
//		cache_size         <size>
//		match_claims       <claims...>
//		max_staleness      <duration>
//		on_stale           deny|allow
//		warm_start         on|off
//		issuer             <name> {
//			...
//		}
//	}
//
// `match_claims` and `issuer` may stand several times.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	once := onlyOnce{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name != "match_claims" && name != "issuer" {
			if err := once.check(d); err != nil {
				return err
			}
		}
		var err error
		switch name {
		case "store":
			err = a.unmarshalStore(d)
		case "max_token_lifetime":
			err = oneArg(d, "a duration such as 30d, or never", func(s string) (err error) {
				a.MaxTokenLifetime, err = parseLifetime(s)
				return err
			})
		case "leeway":
			err = oneArg(d, "a duration such as 5m", func(s string) error {
				v, err := caddy.ParseDuration(s)
				if err == nil && (v <= 0 || v > maxLeeway) {
					err = fmt.Errorf("it is between 1ns and %s", maxLeeway)
				}
				a.Leeway = caddy.Duration(v)
				return err
			})
		case "cache_size":
			err = oneArg(d, "a size such as 64MiB", size(&a.CacheSize, maxCacheSize))
		case "match_claims":
			err = someArgs(d, "names of claims", &a.MatchClaims)
		case "max_staleness":
			err = oneArg(d, "a duration such as 5m", maxStaleness(&a.MaxStaleness))
		case "on_stale":
			err = oneArg(d, "deny or allow", oneOf(&a.OnStale, staleDeny, staleAllow))
		case "warm_start":
			err = oneArg(d, "on or off", oneOf(&a.WarmStart, warmOn, warmOff))
		case "issuer":
			err = a.unmarshalIssuer(d)
		default:
			return unrecognized(d, "store, max_token_lifetime, leeway, cache_size, match_claims, max_staleness, on_stale, warm_start, issuer")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	id := appID + ".stores." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("unknown store '%s': built in are %v; others are built in with xcaddy", name, moduleNames(appID+".stores"))
	}
	store, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(store, "module", name, nil)
	return nil
}

// hashNamespace is where Caddy's hashes are.
const hashNamespace = "http.authentication.hashes"

// moduleNames returns the names of the modules in a namespace, sorted.
func moduleNames(namespace string) (names []string) {
	for _, info := range caddy.GetModules(namespace) {
		names = append(names, info.ID.Name())
	}
	slices.Sort(names)
	return names
}

// onlyOnce finds subdirectives that stand twice in one block.
type onlyOnce map[string]bool

func (o onlyOnce) check(d *caddyfile.Dispenser) error {
	if o[d.Val()] {
		return d.Errf("'%s' is already specified", d.Val())
	}
	o[d.Val()] = true
	return nil
}

// oneArg reads a subdirective's only argument with set, which says whether it
// will do.
func oneArg(d *caddyfile.Dispenser, accepted string, set func(string) error) error {
	name := d.Val()
	if !d.NextArg() {
		return d.Errf("'%s' needs %s", name, accepted)
	}
	if err := set(d.Val()); err != nil {
		return d.Errf("'%s %s' is not possible, it takes %s: %v", name, d.Val(), accepted, err)
	}
	if d.NextArg() {
		return d.Errf("'%s' takes one argument: %s", name, accepted)
	}
	return nil
}

// noArgs makes sure that a subdirective has no arguments.
func noArgs(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("'%s' takes no arguments", name)
	}
	return nil
}

// someArgs reads a subdirective's arguments, at least one, and adds them to a list.
func someArgs(d *caddyfile.Dispenser, accepted string, to *[]string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("'%s' needs %s", name, accepted)
	}
	*to = append(*to, args...)
	return nil
}

// secretArg reads a subdirective's only argument, which no error quotes.
func secretArg(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("'%s' takes one argument: a secret, better as a placeholder such as {env.SECRET} or {file./path}", name)
	}
	*to = args[0]
	return nil
}

func unrecognized(d *caddyfile.Dispenser, accepted string) error {
	return d.Errf("unrecognized subdirective '%s', accepted are: %s", d.Val(), accepted)
}

// set returns a setter for oneArg that takes any text but the empty one.
func set(to *string) func(string) error {
	return func(s string) error {
		if s == "" {
			return errEmpty
		}
		*to = s
		return nil
	}
}

// size returns a setter for oneArg that takes a number of bytes.
func size[N int | int64](to *N, most uint64) func(string) error {
	return func(s string) error {
		n, err := humanize.ParseBytes(s)
		if err != nil {
			return errNoSize
		}
		if n == 0 || n > most {
			return fmt.Errorf("it is between 1 and %d bytes", most)
		}
		*to = N(n)
		return nil
	}
}

// positive returns a setter for oneArg that takes a duration longer than zero.
func positive(to *caddy.Duration) func(string) error {
	return func(s string) error {
		v, err := caddy.ParseDuration(s)
		if err == nil && v <= 0 {
			err = errNoTime
		}
		*to = caddy.Duration(v)
		return err
	}
}

// duration returns a setter for oneArg that takes a duration. None at all is one of
// less than zero, since zero stands for the default.
func duration(to *caddy.Duration) func(string) error {
	return func(s string) error {
		v, err := caddy.ParseDuration(s)
		switch {
		case err == nil && (v < 0 || v > maxLeeway):
			err = fmt.Errorf("it is between 0 and %s", maxLeeway)
		case v == 0:
			v = -1
		}
		*to = caddy.Duration(v)
		return err
	}
}

// oneOf returns a setter for oneArg that takes one of some words.
func oneOf(to *string, words ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(words, s) {
			return errUnknownWord
		}
		*to = s
		return nil
	}
}

var (
	errEmpty       = errors.New("it is empty")
	errUnknownWord = errors.New("unknown word")
	errNoNumber    = errors.New("it is no number from 1 on")
	errNoTime      = errors.New("it is no longer than zero")
	errNoSize      = errors.New("it is no size")
)
