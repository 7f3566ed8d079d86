// Package guest has what the stores of clusters share that are packages of their own: how
// their configuration is written, and how it names a server.
package guest

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Bounds of a store's timeout: what is beyond them is a slip of the pen.
const (
	MinTimeout = 10 * time.Millisecond
	MaxTimeout = 5 * time.Minute
)

// Block reads a block of subdirectives, each of which stands once. read is called with the
// name of each, and reports whether there is one of that name.
func Block(d *caddyfile.Dispenser, accepted string, read func(name string) (known bool, err error)) error {
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] {
			return d.Errf("'%s' is already specified", name)
		}
		seen[name] = true
		known, err := read(name)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("unrecognized subdirective '%s', accepted are: %s", name, accepted)
		}
	}
	return nil
}

// One takes the one argument of a subdirective.
func One(d *caddyfile.Dispenser, what string, to *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("'%s' takes one argument: %s", name, what)
	}
	*to = args[0]
	return nil
}

// Secret is One for what no error quotes.
func Secret(d *caddyfile.Dispenser, to *string) error {
	return One(d, "a secret, better as a placeholder such as {env.SECRET} or {file./path}", to)
}

// None insists that a subdirective has no arguments.
func None(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("'%s' takes no arguments", name)
	}
	return nil
}

// Number is One for a number from 0 on.
func Number(d *caddyfile.Dispenser, most int, to *int) error {
	name := d.Val()
	var text string
	if err := One(d, "a number", &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return d.Errf("'%s %s' is not possible, it takes a number from 0 to %d", name, text, most)
	}
	*to = n
	return nil
}

// Timeout is One for a store's timeout.
func Timeout(d *caddyfile.Dispenser, to *caddy.Duration) error {
	name := d.Val()
	var text string
	if err := One(d, "a duration such as 5s", &text); err != nil {
		return err
	}
	timeout, err := caddy.ParseDuration(text)
	if err != nil || timeout < MinTimeout || timeout > MaxTimeout {
		return d.Errf("'%s %s' is not possible, it takes a duration from %s to %s", name, text, MinTimeout, MaxTimeout)
	}
	*to = caddy.Duration(timeout)
	return nil
}
