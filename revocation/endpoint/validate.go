// Options are checked as a whole, so that one look at the error mends all.

package endpoint

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// withDefaults returns the options with every zero field set, or all that is
// wrong with them.
func (o Options) withDefaults() (Options, error) {
	o.Realm = valueOr(o.Realm, DefaultRealm)
	o.JSONSuccessStatus = valueOr(o.JSONSuccessStatus, http.StatusNoContent)
	o.MaxBodyBytes = valueOr(o.MaxBodyBytes, DefaultMaxBodyBytes)
	o.MaxTokenBytes = valueOr(o.MaxTokenBytes, min(DefaultMaxTokenBytes, o.MaxBodyBytes))
	o.BodyTimeout = valueOr(o.BodyTimeout, DefaultBodyTimeout)
	o.RevokeTimeout = valueOr(o.RevokeTimeout, DefaultRevokeTimeout)
	o.Cascade = valueOr(o.Cascade, CascadeSession)
	o.Limits = o.Limits.withDefaults()
	if o.ClientIP == nil {
		o.ClientIP = remoteAddr
	}
	if o.Replays == nil {
		o.Replays = new(Replays)
	}
	if o.Observe == nil {
		o.Observe = func(Outcome) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, o.validate()
}

func (l Limits) withDefaults() Limits {
	l.FailuresPerMinute = valueOr(l.FailuresPerMinute, DefaultFailuresPerMinute)
	l.FailuresPerMinutePerAddress = valueOr(l.FailuresPerMinutePerAddress, DefaultFailuresPerMinutePerAddress)
	l.ConcurrentCompares = valueOr(l.ConcurrentCompares, min(runtime.GOMAXPROCS(0), 16))
	l.CompareWait = valueOr(l.CompareWait, DefaultCompareWait)
	l.LiveTotal = valueOr(l.LiveTotal, DefaultLiveTotal)
	l.Confidential = l.Confidential.or(DefaultConfidentialQuota)
	l.Public = l.Public.or(DefaultPublicQuota)
	return l
}

func (o *Options) validate() error {
	var problems []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	add(o.List == nil, "the revocation endpoint has no list")
	add(o.Facts == nil, "the revocation endpoint has nothing that reads tokens")
	add(!visible(o.Realm), "realm %q has characters other than visible ASCII and spaces", o.Realm)
	add(o.JSONSuccessStatus != http.StatusOK && o.JSONSuccessStatus != http.StatusNoContent,
		"the JSON dialect can't answer success with %d: 200 or 204", o.JSONSuccessStatus)
	add(o.MaxBodyBytes < 0, "bodies of at most %d bytes are none", o.MaxBodyBytes)
	add(o.MaxTokenBytes < 0, "tokens of at most %d bytes are none", o.MaxTokenBytes)
	add(o.MaxTokenBytes > o.MaxBodyBytes, "tokens of %d bytes don't fit into bodies of %d", o.MaxTokenBytes, o.MaxBodyBytes)
	add(o.RevokeTimeout < 0, "a negative time for the list to revoke: %s", o.RevokeTimeout)
	add(!slices.Contains([]Cascade{CascadeSession, CascadeSubjectClient, CascadeOff}, o.Cascade),
		"cascade %q is unknown: there are %s, %s and %s", o.Cascade, CascadeSession, CascadeSubjectClient, CascadeOff)
	add(o.SelfRevocation && o.Prover == nil, "tokens can't revoke themselves: nothing tells whether they are genuine")
	add(o.Limits.ConcurrentCompares < 0, "the number of concurrent comparisons of secrets must be limited")
	add(o.Limits.CompareWait < 0, "a negative time to wait for a comparison of secrets: %s", o.Limits.CompareWait)

	seen, hashed, signing := map[string]bool{}, false, false
	for _, c := range o.Clients {
		problems = append(problems, c.validate())
		add(seen[c.ID], "client %q is given twice: list the hashes of all its secrets in one place", c.ID)
		add(len(c.Issuers) > 0 && o.Prover == nil, "client %q has issuers, but nothing tells whose a token is", c.ID)
		seen[c.ID] = true
		hashed = hashed || len(c.Hashes) > 0
		signing = signing || c.Keys != nil
	}
	add(signing && len(o.AssertionAudience) == 0, "clients authenticate by assertions, but it isn't known which audience these are for")
	add(slices.Contains(o.AssertionAudience, ""), "an audience of assertions is empty")
	add(hashed && o.Compare == nil, "clients have secrets, but nothing compares them")
	add(hashed && len(o.FakeHash) == 0, "clients have secrets, but there is no fake hash to compare for unknown clients")

	origins := map[string]bool{}
	for _, origin := range o.AllowOrigins {
		problems = append(problems, validateOrigin(origin))
		add(origins[origin], "origin %q is given twice", origin)
		origins[origin] = true
	}
	return errors.Join(problems...)
}

func (c *Client) validate() error {
	switch {
	case c.ID == "":
		return errors.New("a client has an empty id")
	case len(c.ID) > MaxClientIDBytes:
		return fmt.Errorf("client id %.20q… has %d bytes, at most %d are possible", c.ID, len(c.ID), MaxClientIDBytes)
	case !utf8.ValidString(c.ID):
		return fmt.Errorf("client id %q is not valid UTF-8", c.ID)
	case strings.ContainsFunc(c.ID, unicode.IsControl):
		return fmt.Errorf("client id %q has a control character", c.ID)
	case len(c.Hashes) > MaxHashes:
		return fmt.Errorf("client %q has %d hashes, at most %d are possible: each is compared with a wrong secret", c.ID, len(c.Hashes), MaxHashes)
	}
	if len(c.Hashes) > 0 && c.Keys != nil {
		return fmt.Errorf("client %q has hashes and keys: it authenticates either by a secret or by assertions", c.ID)
	}
	for i, issuer := range c.Issuers {
		if issuer == "" || slices.Contains(c.Issuers[:i], issuer) {
			return fmt.Errorf("client %q: issuer %q is empty or given twice", c.ID, issuer)
		}
	}
	for i, hash := range c.Hashes {
		if len(hash) == 0 {
			return fmt.Errorf("client %q: hash %d is empty", c.ID, i+1)
		}
	}
	return nil
}

// validateOrigin accepts what a browser sends as an origin (RFC 6454 §6.2), since
// it is compared byte by byte.
func validateOrigin(origin string) error {
	if origin == "*" || origin == "null" {
		return fmt.Errorf("origin %q would let every page use the endpoint: name the origins", origin)
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Hostname() == "" || !visible(origin) || strings.ContainsAny(origin, " *") {
		return fmt.Errorf("origin %q is not of the form https://app.example.com", origin)
	}
	exact := u.Scheme + "://" + withoutDefaultPort(u.Scheme, strings.ToLower(u.Host))
	if origin != exact {
		return fmt.Errorf("origin %q is not what a browser sends: that is %q", origin, exact)
	}
	return nil
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
