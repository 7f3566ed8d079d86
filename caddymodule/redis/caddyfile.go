package redis

// This file is the store's syntax in a Caddyfile.

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
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
	return guest.Block(d, "username, password, database, tls, sentinel, cluster, prefix, wait_replicas, unsafe_durability, timeout",
		func(name string) (known bool, err error) {
			switch name {
			case "username":
				err = guest.One(d, "a name", &s.Username)
			case "password":
				err = guest.Secret(d, &s.Password)
			case "database":
				err = guest.Number(d, maxDatabase, &s.Database)
			case "tls":
				s.TLS = new(guest.TLS)
				err = s.TLS.Unmarshal(d)
			case "sentinel":
				s.Sentinel = new(Sentinel)
				err = s.Sentinel.unmarshal(d)
			case "cluster":
				if s.Cluster = d.RemainingArgs(); len(s.Cluster) == 0 {
					err = d.Err("'cluster' needs addresses, such as redis-1:6379")
				}
			case "prefix":
				err = guest.One(d, "a name", &s.Prefix)
			case "wait_replicas":
				err = guest.Number(d, maxReplicas, &s.WaitReplicas)
			case "unsafe_durability":
				s.UnsafeDurability = true
				err = guest.None(d)
			case "timeout":
				err = guest.Timeout(d, &s.Timeout)
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
	return guest.Block(d, "username, password", func(name string) (known bool, err error) {
		switch name {
		case "username":
			err = guest.One(d, "a name", &s.Username)
		case "password":
			err = guest.Secret(d, &s.Password)
		default:
			return false, nil
		}
		return true, err
	})
}
