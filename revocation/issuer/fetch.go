package issuer

// This file makes the outgoing calls of an issuer, and bounds them: where they may
// go, how long they may take and how long an answer may be.

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	maxAnswerBytes = 1 << 20
	maxRedirects   = 3
)

// fetcher makes the calls of one issuer. It is safe for concurrent use.
type fetcher struct {
	client    *http.Client
	timeout   time.Duration
	allowHTTP bool // to anywhere
	loopback  bool // plain HTTP to loopback addresses
}

// newFetcher makes a fetcher for options that have their defaults. The error says
// which of the addresses in them can't be called.
func newFetcher(o Options) (*fetcher, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
	}
	if o.Introspection != nil {
		transport.MaxIdleConnsPerHost = o.Introspection.MaxInFlight
	}
	f := &fetcher{timeout: o.Timeout, allowHTTP: o.AllowHTTP}
	f.client = &http.Client{Transport: transport, CheckRedirect: f.checkRedirect}

	type call struct{ what, address string }
	var calls []call
	if o.needsMetadata() {
		calls = append(calls, call{"the issuer's name, where its metadata is found,", o.Name})
	}
	if o.JWKSURI != "" && !o.Keys.given() {
		calls = append(calls, call{"jwks_uri", o.JWKSURI})
	}
	if o.Introspection != nil && o.Introspection.URL != "" {
		calls = append(calls, call{"the introspection endpoint", o.Introspection.URL})
	}
	for _, c := range calls {
		if u, err := url.Parse(c.address); err == nil && u.Scheme == "http" && isLoopback(u.Hostname()) {
			f.loopback = true
		}
	}
	var errs []error
	for _, c := range calls {
		if err := f.allowed(c.address); err != nil {
			errs = append(errs, fmt.Errorf("%s can't be called: %w", c.what, err))
		}
	}
	// RFC 8414 §2. What is appended would become part of the query.
	if o.needsMetadata() && strings.Contains(o.Name, "?") {
		errs = append(errs, errors.New("metadata can't be found by a name with a query: configure jwks_uri"))
	}
	return f, errors.Join(errs...)
}

// needsMetadata reports whether an address must be found in the issuer's metadata.
func (o Options) needsMetadata() bool {
	return o.JWKSURI == "" && !o.Keys.given() || o.Introspection != nil && o.Introspection.URL == ""
}

// isLoopback reports whether a host is this machine, as far as its name tells.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// allowed reports why an address must not be called, or nil. It must be HTTPS. Plain
// HTTP to this machine is allowed if the operator wrote down such an address, so that
// no document leads from elsewhere to a service that only listens here.
func (f *fetcher) allowed(rawURL string) error {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return errors.New("it is not a URL")
	case u.User != nil:
		// It isn't quoted: there may be a password in it.
		return errors.New("there are credentials in it")
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return fmt.Errorf("%.200q is not an https URL", rawURL)
	case strings.Contains(rawURL, "#"):
		return fmt.Errorf("%.200q has a fragment", rawURL)
	case u.Scheme == "https", f.allowHTTP, f.loopback && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%.200q is plain HTTP: unless that is allowed, calls go over HTTPS, or to a loopback address", rawURL)
}

// get returns the body of an answer with status 200.
func (f *fetcher) get(ctx context.Context, rawURL string) ([]byte, error) {
	if err := f.allowed(rawURL); err != nil {
		return nil, err
	}
	status, body, err := f.call(ctx, f.client, http.MethodGet, rawURL, "", nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		err := fmt.Errorf("GET %s: answered with status %d", rawURL, status)
		if status < http.StatusInternalServerError {
			err = senseless{err}
		}
		return nil, err
	}
	return body, nil
}

// post sends a form and returns the answer, whatever its status. Nothing is sent
// anywhere else: redirects aren't followed.
func (f *fetcher) post(ctx context.Context, rawURL string, form url.Values, auth func(*http.Request)) (status int, body []byte, err error) {
	if err := f.allowed(rawURL); err != nil {
		return 0, nil, err
	}
	client := *f.client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return f.call(ctx, &client, http.MethodPost, rawURL, form.Encode(), auth)
}

func (f *fetcher) call(ctx context.Context, client *http.Client, method, rawURL, form string, auth func(*http.Request)) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, rawURL, strings.NewReader(form))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "caddy-revocation")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if auth != nil {
		auth(r)
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return 0, nil, fmt.Errorf("%s %s: reading the answer: %w", method, rawURL, err)
	}
	if len(body) > maxAnswerBytes {
		return 0, nil, senseless{fmt.Errorf("%s %s: the answer is longer than %d bytes", method, rawURL, maxAnswerBytes)}
	}
	return response.StatusCode, body, nil
}

// checkRedirect lets an answer lead to another path of the same server only.
func (f *fetcher) checkRedirect(r *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return senseless{fmt.Errorf("more than %d redirects", maxRedirects)}
	}
	if err := f.allowed(r.URL.String()); err != nil {
		return senseless{fmt.Errorf("a redirect can't be followed: %w", err)}
	}
	if origin(r.URL) != origin(via[0].URL) {
		return senseless{fmt.Errorf("a redirect from %s to another server, %.200s, is not followed: "+
			"configure the address that it leads to if it is right", origin(via[0].URL), origin(r.URL))}
	}
	return nil
}

// origin returns the server that a URL is of: RFC 6454 §4.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// close gives up connections that aren't in use.
func (f *fetcher) close() { f.client.CloseIdleConnections() }

// senseless is about an answer that makes no sense, where other errors mean that there was
// none.
type senseless struct{ error }

func (s senseless) Unwrap() error { return s.error }

// outcomeOf says what became of a call, other than a question about a token.
func outcomeOf(err error) Outcome {
	switch _, answered := errors.AsType[senseless](err); {
	case err == nil:
		return OutcomeOK
	case answered:
		return OutcomeInvalid
	}
	return OutcomeFailed
}

// unavailable makes an error say that the issuer can't be asked now.
func unavailable(err error) error {
	if err == nil || errors.Is(err, revocation.ErrIssuerUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", revocation.ErrIssuerUnavailable, err)
}
