package postgres

// This file reads the store's URL.

import (
	"errors"
	"net/url"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/guest"
	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

const defaultPort = "5432"

// errURL doesn't show the URL, which may have a password in it.
var errURL = errors.New("it is written as postgres://[user[:password]@][host[:port],…][/database][?parameters], and a socket as postgres:///database?host=/its/directory")

// locate fills in what the URL says. What is wrong with placeholders and files is told to r.
func locate(r *placeholder.Resolver, text string, o *pgstore.Options) error {
	if text == "" {
		return nil
	}
	u, err := guest.ParseURL(r, text, errURL)
	if err != nil || r.Err() != nil {
		return err
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" || strings.Contains(u.Path, "/") {
		return errURL
	}
	o.Username, o.Password, o.Database = u.Username, u.Password, u.Path
	if u.Host != "" {
		for host := range strings.SplitSeq(u.Host, ",") {
			if host, err = guest.Address(host, defaultPort); err != nil {
				return errURL
			}
			o.Hosts = append(o.Hosts, host)
		}
	}
	return parameters(r, u.Query, o)
}

// parameters fills in those that stand behind the question mark.
func parameters(r *placeholder.Resolver, query string, o *pgstore.Options) error {
	for part := range strings.SplitSeq(query, "&") {
		if part == "" {
			continue
		}
		name, text, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return errURL
		}
		value, err := url.QueryUnescape(text)
		switch {
		case strings.Contains(text, "{"):
			value = r.Secret("url: "+name, text)
		case err != nil:
			return errURL
		}
		switch name {
		case "host":
			if len(o.Hosts) > 0 {
				return errURL
			}
			o.Hosts = strings.Split(value, ",")
			continue
		case "sslcert", "sslkey", "sslrootcert":
			if value != "system" {
				r.File("url: "+name, value)
			}
		}
		if o.Parameters == nil {
			o.Parameters = map[string]string{}
		}
		if _, again := o.Parameters[name]; again {
			return errURL
		}
		o.Parameters[name] = value
	}
	return nil
}

// tlsParameter returns one of the parameters that say how TLS is used.
func tlsParameter(parameters map[string]string) string {
	for _, name := range []string{"sslmode", "sslcert", "sslkey", "sslrootcert", "sslpassword", "sslnegotiation", "sslsni"} {
		if _, ok := parameters[name]; ok {
			return name
		}
	}
	return ""
}
