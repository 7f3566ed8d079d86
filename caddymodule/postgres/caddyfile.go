package postgres

// This file is the store's syntax in a Caddyfile.

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
)

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	postgres [<url>] {
//		username <name>
//		password <secret>
//		database <name>
//		tls {
//			ca          <paths...>
//			cert        <path>
//			key         <path>
//			server_name <name>
//		}
//		schema          <name>
//		create_schema   on|off
//		max_connections <number>
//		unsafe_durability
//		timeout         <duration>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() {
		if s.URL = d.Val(); s.URL == "" {
			return d.Err("the url of the store is empty")
		}
	}
	if d.NextArg() {
		return d.Err("the store 'postgres' takes one argument: its url")
	}
	return guest.Block(d, "username, password, database, tls, schema, create_schema, max_connections, unsafe_durability, timeout",
		func(name string) (known bool, err error) {
			switch name {
			case "username":
				err = guest.One(d, "a name", &s.Username)
			case "password":
				err = guest.Secret(d, &s.Password)
			case "database":
				err = guest.One(d, "a name", &s.Database)
			case "tls":
				s.TLS = new(guest.TLS)
				err = s.TLS.Unmarshal(d)
			case "schema":
				err = guest.One(d, "a name", &s.Schema)
			case "create_schema":
				if err = guest.One(d, "on or off", &s.CreateSchema); err == nil && s.checkCreateSchema() != nil {
					err = d.Errf("'create_schema %s' is not possible, it takes on or off", s.CreateSchema)
				}
			case "max_connections":
				err = guest.Number(d, maxConnections, &s.MaxConnections)
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
