package guest

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
)

var errAddress = errors.New("an address is written as host or host:port")

// Addresses replaces placeholders in addresses and gives those a port that have none. What
// is wrong is told to r.
func Addresses(r *placeholder.Resolver, name string, all []string, port string) (complete []string) {
	for _, a := range all {
		a, err := Address(r.Text(name, a), port)
		r.Fail(name, err)
		complete = append(complete, a)
	}
	return complete
}

// Address gives an address a port if it has none.
func Address(text, port string) (string, error) {
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

// URL is what the URL of a store says, with placeholders replaced and escapes decoded, but
// for the query.
type URL struct {
	Scheme             string
	Username, Password string
	Host               string // what is between @ and /
	Path               string // without the slash before it
	Query              string // as it is written
}

// ParseURL takes a URL apart. It isn't left to net/url: a placeholder is no part of a URL,
// and what it stands for must be taken as it is, whatever characters it has. The error is
// bad, since the URL may have a password in it; one about a placeholder is told to r.
func ParseURL(r *placeholder.Resolver, text string, bad error) (u URL, err error) {
	unescape := func(s string) string {
		decoded, failed := url.PathUnescape(s)
		if failed != nil {
			err = bad
		}
		return decoded
	}
	part := func(name, s string, replace func(name, text string) string) string {
		if strings.Contains(s, "{") {
			return replace("url: "+name, s)
		}
		return unescape(s)
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || strings.Contains(scheme, "{") {
		// All of it, or at least its beginning, is a placeholder.
		if text = r.Secret("url", text); r.Err() != nil {
			return u, nil
		}
		if scheme, rest, ok = strings.Cut(text, "://"); !ok {
			return u, bad
		}
		part = func(_, s string, _ func(name, text string) string) string { return unescape(s) }
	}
	u.Scheme = scheme
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		user, password := cut(rest[:at], ':')
		u.Username, u.Password = part("user", user, r.Text), part("password", password, r.Secret)
		rest = rest[at+1:]
	}
	rest, u.Query = cut(rest, '?')
	host, path := cut(rest, '/')
	u.Host, u.Path = part("host", host, r.Text), part("path", path, r.Text)
	if r.Err() != nil {
		return URL{}, nil
	}
	return u, err
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
