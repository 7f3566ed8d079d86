package issuer

// This file finds out where an issuer's keys and endpoints are: OpenID Connect
// Discovery 1.0 §4 and RFC 8414 §3.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/singleflight"
)

const metadataLifetime = time.Hour

// metadata are the addresses that an issuer publishes. Those that it doesn't publish,
// and those that may not be called, are empty.
type metadata struct {
	Issuer                string `json:"issuer"`
	JWKSURI               string `json:"jwks_uri"`
	IntrospectionEndpoint string `json:"introspection_endpoint"`
	RevocationEndpoint    string `json:"revocation_endpoint"`
}

// discovery is an issuer's metadata, fetched when it is needed. It is safe for
// concurrent use.
type discovery struct {
	issuer  string
	fetcher *fetcher
	logger  *slog.Logger
	observe func(Call, Outcome)
	now     func() time.Time

	found  atomic.Pointer[discovered]
	flight singleflight.Group
}

// discovered is what is known after a call. It doesn't change.
type discovered struct {
	metadata metadata
	at       time.Time // of the metadata; zero: there is none yet
	tried    time.Time
	err      error         // of the last try
	wait     time.Duration // before the next one, if it failed
}

// newDiscovery takes options that have their defaults.
func newDiscovery(f *fetcher, o Options) *discovery {
	d := &discovery{issuer: o.Name, fetcher: f, logger: o.Logger, observe: o.Observe, now: o.Now}
	d.found.Store(new(discovered))
	return d
}

// metadata returns what the issuer publishes. What was found once stays in use until
// something newer is found. The error wraps revocation.ErrIssuerUnavailable.
func (d *discovery) metadata(ctx context.Context) (metadata, error) {
	known := d.found.Load()
	if m, err, settled := known.settled(d.now()); settled {
		return m, err
	}
	// Whoever waits may give up; the call goes on for the others. The fetcher bounds
	// its time.
	flight := d.flight.DoChan("", func() (any, error) {
		d.discover(context.WithoutCancel(ctx))
		return nil, nil
	})
	if known.err != nil && !known.at.IsZero() {
		return known.result() // an issuer that hangs must not hold up everybody
	}
	select {
	case <-flight:
		found := d.found.Load()
		return found.result()
	case <-ctx.Done():
		return metadata{}, unavailable(context.Cause(ctx))
	}
}

// settled reports whether nothing need be fetched, and what is to be used then.
func (f *discovered) settled(now time.Time) (metadata, error, bool) {
	fresh := !f.at.IsZero() && age(now, f.at) < metadataLifetime
	failed := f.err != nil && age(now, f.tried) < f.wait
	m, err := f.result()
	return m, err, fresh || failed
}

func (f *discovered) result() (metadata, error) {
	if f.at.IsZero() {
		return metadata{}, unavailable(f.err)
	}
	return f.metadata, nil
}

// discover makes the call, unless the one before has only just ended.
func (d *discovery) discover(ctx context.Context) {
	before := *d.found.Load()
	if _, _, settled := before.settled(d.now()); settled {
		return
	}
	m, err := d.fetch(ctx)
	d.observe(CallMetadata, outcomeOf(err))
	after := discovered{metadata: before.metadata, at: before.at, tried: d.now(), err: err}
	after.wait = pause(before.at.IsZero(), err, before.wait)
	if err == nil {
		after.metadata, after.at = m, after.tried
	}
	d.found.Store(&after)
}

// fetch looks in both places. If neither has the right document the error is about a
// wrong one, rather than about a place without any.
func (d *discovery) fetch(ctx context.Context) (metadata, error) {
	var wrong, none []error
	for _, place := range metadataURLs(d.issuer) {
		body, err := d.fetcher.get(ctx, place)
		if err != nil {
			none = append(none, err)
			if outcomeOf(err) == OutcomeFailed {
				break // it is the same server
			}
			continue
		}
		m, err := d.read(place, body)
		if err == nil {
			return m, nil
		}
		wrong = append(wrong, senseless{err})
	}
	if wrong == nil {
		wrong = none
	}
	return metadata{}, fmt.Errorf("no metadata of the issuer: %w", errors.Join(wrong...))
}

// metadataURLs returns where metadata may be: OpenID Connect Discovery 1.0 §4.1, and
// RFC 8414 §3.1.
func metadataURLs(issuer string) []string {
	urls := []string{strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"}
	if u, err := url.Parse(issuer); err == nil {
		path := strings.TrimSuffix(u.EscapedPath(), "/")
		urls = append(urls, u.Scheme+"://"+u.Host+"/.well-known/oauth-authorization-server"+path)
	}
	return urls
}

// read takes from a document what is used of it. It must be about this issuer (OpenID
// Connect Discovery 1.0 §4.3, RFC 8414 §3.3): else one issuer of a server could speak
// for another.
func (d *discovery) read(place string, body []byte) (metadata, error) {
	var m metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("GET %s: the answer is not a metadata document: %w", place, err)
	}
	switch m.Issuer {
	case d.issuer:
	case "":
		return m, fmt.Errorf("GET %s: the answer is not a metadata document: it has no issuer", place)
	default:
		return m, fmt.Errorf("GET %s: the document says that the issuer is %.300q, but %q is configured; they must be "+
			"equal to the last byte: if it is the right server, configure the issuer as %.300q", place, m.Issuer, d.issuer, m.Issuer)
	}
	for name, address := range map[string]*string{
		"jwks_uri":               &m.JWKSURI,
		"introspection_endpoint": &m.IntrospectionEndpoint,
		"revocation_endpoint":    &m.RevocationEndpoint,
	} {
		if *address == "" {
			continue
		}
		if err := d.fetcher.allowed(*address); err != nil {
			d.logger.Warn("an address in the issuer's metadata can't be used", "issuer", d.issuer, "name", name, "error", err)
			*address = ""
		}
	}
	return m, nil
}

// age is how long ago something was. Where the clocks disagree the longer time counts:
// the monotonic one stands still while a machine sleeps, the other one may be set back.
func age(now, then time.Time) time.Duration {
	return max(now.Sub(then), now.Round(0).Sub(then.Round(0)))
}
