package redis

// This file is the store's syntax in a Caddyfile.

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	redis [<url>] {
//		username <name>
//		password <secret>
//		database <number>
//		tls {
//			ca          <paths...>
//			cert        <path>
//			key         <path>
//			server_name <name>
//		}
//		sentinel <master> <addresses...> {
//			username <name>
//			password <secret>
//		}
//		cluster       <addresses...>
//		prefix        <name>
//		wait_replicas <number>
//		unsafe_durability
//		timeout       <duration>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		if s.URL = d.Val(); s.URL == "" {
			return d.Err("the url of the store is empty")
		}
	}
	if d.NextArg() {
		return d.Err("the store 'redis' takes one argument: its url")
	}
	return block(d, "username, password, database, tls, sentinel, cluster, prefix, wait_replicas, unsafe_durability, timeout",
		func(name string) (known bool, err error) {
			switch name {
			case "username":
				err = one(d, "a name", &s.Username)
			case "password":
				err = secret(d, &s.Password)
			case "database":
				err = number(d, maxDatabase, &s.Database)
			case "tls":
				s.TLS = new(TLS)
				err = s.TLS.unmarshal(d)
			case "sentinel":
				s.Sentinel = new(Sentinel)
				err = s.Sentinel.unmarshal(d)
			case "cluster":
				if s.Cluster = d.RemainingArgs(); len(s.Cluster) == 0 {
					err = d.Err("'cluster' needs addresses, such as redis-1:6379")
				}
			case "prefix":
				err = one(d, "a name", &s.Prefix)
			case "wait_replicas":
				err = number(d, maxReplicas, &s.WaitReplicas)
			case "unsafe_durability":
				s.UnsafeDurability = true
				err = none(d)
			case "timeout":
				err = s.unmarshalTimeout(d)
			default:
				return false, nil
			}
			return true, err
		})
}

func (t *TLS) unmarshal(d *caddyfile.Dispenser) error {
	if err := none(d); err != nil {
		return err
	}
	return block(d, "ca, cert, key, server_name", func(name string) (known bool, err error) {
		switch name {
		case "ca":
			if t.CA = d.RemainingArgs(); len(t.CA) == 0 {
				err = d.Err("'ca' needs files")
			}
		case "cert":
			err = one(d, "a file", &t.Cert)
		case "key":
			err = one(d, "a file", &t.Key)
		case "server_name":
			err = one(d, "a name", &t.ServerName)
		default:
			return false, nil
		}
		return true, err
	})
}

func (s *Sentinel) unmarshal(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("'sentinel' needs the master's name and the addresses of Sentinels")
	}
	s.Master, s.Addresses = args[0], args[1:]
	return block(d, "username, password", func(name string) (known bool, err error) {
		switch name {
		case "username":
			err = one(d, "a name", &s.Username)
		case "password":
			err = secret(d, &s.Password)
		default:
			return false, nil
		}
		return true, err
	})
}

func (s *Store) unmarshalTimeout(d *caddyfile.Dispenser) error {
	var text string
	if err := one(d, "a duration such as 5s", &text); err != nil {
		return err
	}
	timeout, err := caddy.ParseDuration(text)
	if err != nil || timeout < minTimeout || timeout > maxTimeout {
		return d.Errf("'timeout %s' is not possible, it takes a duration from %s to %s", text, minTimeout, maxTimeout)
	}
	s.Timeout = caddy.Duration(timeout)
	return nil
}

// block reads a block of subdirectives, each of which stands once.
func block(d *caddyfile.Dispenser, accepted string, read func(name string) (known bool, err error)) error {
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

func one(d *caddyfile.Dispenser, what string, to *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("'%s' takes one argument: %s", name, what)
	}
	*to = args[0]
	return nil
}

// secret is one for what no error quotes.
func secret(d *caddyfile.Dispenser, to *string) error {
	return one(d, "a secret, better as a placeholder such as {env.SECRET} or {file./path}", to)
}

func none(d *caddyfile.Dispenser) error {
	name := d.Val()
	if d.NextArg() {
		return d.Errf("'%s' takes no arguments", name)
	}
	return nil
}

func number(d *caddyfile.Dispenser, most int, to *int) error {
	name := d.Val()
	var text string
	if err := one(d, "a number", &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return d.Errf("'%s %s' is not possible, it takes a number from 0 to %d", name, text, most)
	}
	*to = n
	return nil
}
