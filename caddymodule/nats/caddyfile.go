package nats

// This file is the store's syntax in a Caddyfile.

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
)

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	nats [<urls...>] {
//		username    <name>
//		password    <secret>
//		token       <secret>
//		credentials <path>
//		nkey        <path>
//		tls {
//			ca          <paths...>
//			cert        <path>
//			key         <path>
//			server_name <name>
//		}
//		prefix      <name>
//		replicas    <number>
//		create      off
//		sync_always
//		unsafe_durability
//		timeout     <duration>
//	}
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	s.URLs = d.RemainingArgs()
	return guest.Block(d, "username, password, token, credentials, nkey, tls, prefix, replicas, create, sync_always, unsafe_durability, timeout",
		func(name string) (known bool, err error) {
			switch name {
			case "username":
				err = guest.One(d, "a name", &s.Username)
			case "password":
				err = guest.Secret(d, &s.Password)
			case "token":
				err = guest.Secret(d, &s.Token)
			case "credentials":
				err = guest.One(d, "a file", &s.Credentials)
			case "nkey":
				err = guest.One(d, "a file", &s.NKey)
			case "tls":
				s.TLS = new(guest.TLS)
				err = s.TLS.Unmarshal(d)
			case "prefix":
				err = guest.One(d, "a name", &s.Prefix)
			case "replicas":
				err = guest.Number(d, maxReplicas, &s.Replicas)
			case "create":
				err = s.unmarshalCreate(d)
			case "sync_always":
				s.SyncAlways = true
				err = guest.None(d)
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

func (s *Store) unmarshalCreate(d *caddyfile.Dispenser) error {
	var text string
	if err := guest.One(d, "on or off", &text); err != nil {
		return err
	}
	switch text {
	case "on", "off":
		s.NoCreate = text == "off"
		return nil
	}
	return d.Errf("'create %s' is not possible, it takes on or off", text)
}
