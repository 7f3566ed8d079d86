package redis

// This file replaces placeholders, takes addresses apart, and reads files. No error has
// any of a secret in it.

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/keyfile"
)

// resolver replaces placeholders until one can't be replaced.
type resolver struct {
	repl     *caddy.Replacer
	err      error    // the first one
	contents [][]byte // of the files that were read
}

// errPlaceholder doesn't say which placeholder it is: a secret with braces in it looks
// like one.
var errPlaceholder = errors.New("a placeholder in it is unknown or empty")

func (r *resolver) text(name, text string) string { return r.replace(name, text, false) }

func (r *resolver) secret(name, text string) string { return r.replace(name, text, true) }

func (r *resolver) replace(name, text string, secret bool) string {
	replaced, err := r.repl.ReplaceOrErr(text, true, true)
	if err != nil && r.err == nil {
		if secret {
			err = errPlaceholder
		}
		r.err = fmt.Errorf("%s: %w", name, err)
	}
	return replaced
}

var errAddress = errors.New("an address is written as host or host:port")

// addresses replaces placeholders in addresses and gives those a port that have none.
func (r *resolver) addresses(name string, all []string, port string) (complete []string, err error) {
	for _, a := range all {
		a, err = address(r.text(name, a), port)
		if err != nil && r.err == nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		complete = append(complete, a)
	}
	return complete, nil
}

func address(text, port string) (string, error) {
	host, given, err := net.SplitHostPort(text)
	if err != nil {
		host, given = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"), port
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", errAddress
		}
	}
	if n, err := strconv.Atoi(given); err != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, "/@{}?# ") {
		return "", errAddress
	}
	return net.JoinHostPort(strings.ToLower(host), given), nil
}

// place is what a URL says.
type place struct {
	tls                bool
	username, password string
	address            string
	database           int
	hasDatabase        bool
}

// errURL doesn't show the URL, which may have a password in it.
var errURL = errors.New("it is written as redis://[user[:password]@]host[:port][/database], or rediss:// for TLS")

// parseURL takes a URL apart. It isn't left to net/url: a placeholder is no part of a URL,
// and what it stands for must be taken as it is, whatever characters it has.
func parseURL(r *resolver, text string) (p place, err error) {
	part := func(name, s string, secret bool) string {
		if strings.Contains(s, "{") {
			return r.replace("url: "+name, s, secret)
		}
		decoded, failed := url.PathUnescape(s)
		if failed != nil {
			err = errURL
		}
		return decoded
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.Contains(scheme, "{") {
		// All of it, or at least its beginning, is a placeholder.
		if text = r.replace("url", text, true); r.err != nil {
			return p, nil // it is told in the end
		}
		if scheme, rest, ok = strings.Cut(text, "://"); !ok {
			return p, errURL
		}
		part = func(_, s string, _ bool) string {
			decoded, failed := url.PathUnescape(s)
			if failed != nil {
				err = errURL
			}
			return decoded
		}
	}
	switch scheme {
	case "redis":
	case "rediss":
		p.tls = true
	default:
		return p, errURL
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password := cut(rest[:at], ':')
		p.username, p.password = part("user", user, false), part("password", password, true)
		rest = rest[at+1:]
	}
	host, database := cut(rest, '/')
	host, database = part("host", host, false), part("database", database, false)
	switch {
	case r.err != nil:
		return p, nil
	case err != nil:
		return p, err
	}
	if database != "" {
		p.hasDatabase = true
		if p.database, err = strconv.Atoi(database); err != nil || p.database < 0 || p.database > maxDatabase {
			return p, errURL
		}
	}
	if p.address, err = address(host, defaultPort); err != nil {
		return p, errURL
	}
	return p, nil
}

// cut is strings.Cut for what may have placeholders: what is in braces is none of it.
func cut(s string, separator byte) (before, after string) {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			depth--
		case separator:
			if depth == 0 {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func (r *resolver) file(name, path string) []byte {
	path = r.text(name, path)
	if r.err != nil {
		return nil
	}
	content, err := keyfile.Read(path)
	if err != nil {
		r.err = fmt.Errorf("tls: %s: %w", name, err)
	}
	r.contents = append(r.contents, content)
	return content
}

var (
	errHalfPair = errors.New("cert and key belong together")
	errKeyPair  = errors.New("cert and key aren't a certificate in PEM and its key")
)

// config reads the files.
func (t *TLS) config(r *resolver) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: r.text("tls: server_name", t.ServerName)}
	for _, path := range t.CA {
		content := r.file("ca", path)
		if r.err != nil {
			return nil, nil // it is told in the end
		}
		if c.RootCAs == nil {
			c.RootCAs = x509.NewCertPool()
		}
		if !c.RootCAs.AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("ca: %s has no certificate in PEM", path)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, errHalfPair
	}
	if t.Cert == "" {
		return c, nil
	}
	cert, key := r.file("cert", t.Cert), r.file("key", t.Key)
	if r.err != nil {
		return nil, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, errKeyPair
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
