package issuer

// This file makes an issuer of its options.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// Issuer is an authorization server that vouches for its tokens. All methods may be
// called concurrently.
type Issuer struct {
	name    string
	names   []string // and the aliases
	preset  Preset
	profile token.Profile
	types   []string // further ones of access tokens, as mediaType returns them

	leeway           time.Duration
	maxTokenLifetime time.Duration
	now              func() time.Time

	calls        *fetcher
	keys         *Keys
	introspector *introspector // nil: it isn't asked

	closing context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// New makes an issuer. It makes no call: keys are fetched when they are needed, or by
// Start. The error names everything that is wrong with the options.
func New(o Options) (*Issuer, error) {
	o = o.withDefaults()
	errs := o.validate()
	i := &Issuer{
		name:             o.Name,
		names:            o.names(),
		preset:           o.Preset,
		profile:          o.profile(),
		leeway:           max(o.Leeway, 0),
		maxTokenLifetime: o.MaxTokenLifetime,
		now:              o.Now,
	}
	for _, typ := range o.Types {
		i.types = append(i.types, mediaType(typ))
	}
	if err := i.profile.Validate(); err != nil {
		errs = append(errs, err)
	}
	var err error
	if i.calls, err = newFetcher(o); err != nil {
		errs = append(errs, err)
	}
	metadata := newDiscovery(i.calls, o)
	i.keys, err = NewKeys(KeysOptions{
		Static:          o.Keys,
		Locate:          o.locate(metadata),
		Get:             i.calls.get,
		Algorithms:      o.Algorithms,
		RefreshInterval: o.RefreshInterval,
		Logger:          o.Logger.With("issuer", o.Name),
		Observe:         o.Observe,
		Now:             o.Now,
	})
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("issuer %q: %w", o.Name, errors.Join(errs...))
	}
	if o.Introspection != nil {
		i.introspector = newIntrospector(i.calls, metadata, o)
	}
	i.closing, i.cancel = context.WithCancel(context.Background())
	return i, nil
}

// withDefaults fills in what is left out.
func (o Options) withDefaults() Options {
	if o.Leeway == 0 {
		o.Leeway = DefaultLeeway
	}
	if o.RefreshInterval == 0 {
		o.RefreshInterval = DefaultRefreshInterval
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(Call, Outcome) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Introspection != nil {
		asked := *o.Introspection
		if asked.TTL == 0 {
			asked.TTL = DefaultIntrospectionTTL
		}
		if asked.MaxInFlight == 0 {
			asked.MaxInFlight = DefaultMaxInFlight
		}
		if asked.UnknownPerMinute == 0 {
			asked.UnknownPerMinute = DefaultUnknownPerMinute
		}
		o.Introspection = &asked
	}
	return o
}

// Bounds of the options: what is beyond them is a slip of the pen.
const (
	maxRefreshInterval = 30 * 24 * time.Hour
	maxAnswerAge       = 30 * 24 * time.Hour
)

// validate returns what is wrong, other than with what is made of the options.
func (o Options) validate() (errs []error) {
	wrong := func(is bool, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(o.Name == "", "it has no name")
	for n, name := range o.names() {
		wrong(n > 0 && name == "", "an alias is empty")
		wrong(len(name) > revocation.MaxIssuerBytes, "a name has %d bytes, at most %d are possible", len(name), revocation.MaxIssuerBytes)
		wrong(!utf8.ValidString(name), "a name is not valid UTF-8")
	}
	wrong(slices.Contains(o.Types, ""), "a type is empty")
	wrong(o.MaxTokenLifetime < 0, "the longest lifetime of tokens is negative")
	wrong(o.RefreshInterval < 0, "the interval at which keys are fetched is negative")
	wrong(o.RefreshInterval > maxRefreshInterval, "the interval at which keys are fetched is %s, at most %s is possible", o.RefreshInterval, maxRefreshInterval)
	wrong(o.Timeout < 0, "the timeout is negative")
	wrong(o.Keys.given() && o.JWKSURI != "", "it has keys, and jwks_uri as well: only one can count")
	if asked := o.Introspection; asked != nil {
		wrong(asked.ClientID == "", "introspection needs this server's client_id at the issuer")
		wrong(asked.ClientSecret == "", "introspection needs this server's client_secret at the issuer")
		wrong(max(asked.TTL, asked.StaleIfError) > maxAnswerAge, "answers count for at most %s", maxAnswerAge)
		wrong(asked.StaleIfError < 0, "how long answers count when the issuer can't be asked is negative")
		wrong(asked.MaxInFlight < 0, "the number of questions at one time is negative")
	}
	return errs
}

// names returns the issuer's name and its aliases, each once.
func (o Options) names() []string {
	all := append([]string{o.Name}, o.Aliases...)
	if o.Preset.Aliases != nil {
		all = append(all, o.Preset.Aliases(o.Name)...)
	}
	var names []string
	for _, name := range all {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// profile returns which claims play a role.
func (o Options) profile() token.Profile {
	profile := o.Preset.Profile
	if profile == nil {
		profile = token.DefaultProfile()
	}
	profile = maps.Clone(profile)
	maps.Copy(profile, o.Profile)
	return profile
}

// locate returns how to find out where the issuer's keys are. Nil: they are static.
func (o Options) locate(d *discovery) func(context.Context) (string, error) {
	if o.Keys.given() {
		return nil
	}
	if o.JWKSURI != "" {
		return func(context.Context) (string, error) { return o.JWKSURI, nil }
	}
	return func(ctx context.Context) (string, error) {
		m, err := d.metadata(ctx)
		if err == nil && m.JWKSURI == "" {
			err = fmt.Errorf("%w: its metadata names no jwks_uri", revocation.ErrIssuerUnavailable)
		}
		return m.JWKSURI, err
	}
}

// Start fetches the issuer's keys in the background, so that the first token need not
// wait for them. It never fails: what fails is tried again when a token needs it. The
// call ends with ctx, or when the issuer is closed.
func (i *Issuer) Start(ctx context.Context) {
	i.running.Go(func() {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(i.closing, cancel)()
		// It is logged, and Status has the error.
		_ = i.keys.Refresh(ctx)
	})
}

// ReaderIssuer says how the issuer's tokens are read, for a token.Reader.
func (i *Issuer) ReaderIssuer() token.Issuer {
	return token.Issuer{Names: i.names, Profile: i.profile}
}

// Status returns the issuer's state.
func (i *Issuer) Status() Status {
	s := Status{Issuer: i.name}
	s.Keys, s.KeysFrom, s.Err = i.keys.Status()
	if i.introspector != nil {
		s.IntrospectionErr = i.introspector.status()
	}
	return s
}

// Close ends what Start began, and gives up connections that aren't in use. Tokens
// that come later are still proven.
func (i *Issuer) Close() {
	i.cancel()
	i.running.Wait()
	i.calls.close()
}
