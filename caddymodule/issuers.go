package caddymodule

// This file makes issuers of what is configured about them, and keeps them over
// reloads.

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// Issuer is an authorization server whose tokens can be told from others. With it
// the claims of its tokens count: a refresh token revokes the access tokens of its
// session, a client revokes its own tokens only, and a route can reject what no
// issuer vouches for.
//
// Its keys are found as it publishes them (OpenID Connect Discovery, RFC 8414), and
// fetched while Caddy runs. An issuer that is down never keeps Caddy from starting,
// and what is known of it outlives reloads.
//
// Placeholders are possible in names, addresses, paths and secrets, such as
// `{env.SECRET}` and `{file./run/secrets/issuer}`.
type Issuer struct {
	// The `iss` of its tokens, byte by byte, and where its metadata is found.
	Name string `json:"name"`

	// Further `iss` that its tokens may have. A revocation under one of its names
	// hits tokens under all of them. Default: the preset's.
	Aliases []string `json:"aliases,omitempty"`

	// What product it is, which says what its claims mean: `auth0`, `cognito`,
	// `duende`, `entra`, `hydra`, `keycloak`, `oidc-provider`, `okta` or `zitadel`.
	// Default: nothing but the standards is known.
	Preset string `json:"preset,omitempty"`

	// Which claims play a role, in the order of preference, where it differs from
	// the preset's. The roles are `jti`, `sid`, `sub`, `client_id` and `grant`. A
	// nested claim is named by its path, with dots.
	Claims map[string][]string `json:"claims,omitempty"`

	// Where its keys are. Default: its metadata says so.
	JWKSURI string `json:"jwks_uri,omitempty"`

	// Files with its keys, JWK sets. Nothing is fetched then.
	JWKSFiles []string `json:"jwks_files,omitempty"`

	// Files with its public keys or certificates in PEM. Nothing is fetched then.
	PublicKeyFiles []string `json:"public_key_files,omitempty"`

	// The secret of an issuer that signs with HMAC, at least 32 bytes. Nothing is
	// fetched then.
	HMACSecret string `json:"hmac_secret,omitempty"`

	// Which signatures count, such as `RS256`. Default: all asymmetric ones; all
	// of HMAC's for a secret.
	Algorithms []string `json:"algorithms,omitempty"`

	// Values of the header's `typ` that access tokens may have besides those of the
	// standards.
	Types []string `json:"types,omitempty"`

	// By how much its clock may differ. Default: 1m; negative: not at all.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// How long its tokens live at most. Default: as those of any other.
	MaxTokenLifetime Lifetime `json:"max_token_lifetime,omitempty"`

	// How old its keys get before they are fetched again. Default: 10m.
	RefreshInterval caddy.Duration `json:"refresh_interval,omitempty"`

	// How long one call to it may take. Default: 5s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Files with the authorities, in PEM, that its certificate must come from.
	// Default: the system's.
	TrustedCA []string `json:"trusted_ca,omitempty"`

	// Let calls to it go out over plain HTTP. Default: false, unless it is on a
	// loopback address.
	AllowHTTP bool `json:"allow_http,omitempty"`

	// How to ask it about tokens (RFC 7662). Default: it isn't asked.
	Introspection *Introspection `json:"introspection,omitempty"`
}

// Introspection says how to ask an issuer about tokens: RFC 7662.
type Introspection struct {
	// Where to ask. Default: the issuer's metadata says so.
	URL string `json:"url,omitempty"`

	// This server's own `client_id` at the issuer.
	ClientID string `json:"client_id"`

	// This server's own secret at the issuer.
	ClientSecret string `json:"client_secret"`

	// How it authenticates: `basic` or `post`. Default: `basic`.
	AuthMethod string `json:"auth_method,omitempty"`

	// How long an answer counts, and at most until the token's `exp`. Default: 30s;
	// negative: not at all.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// How much longer an answer counts while the issuer can't be asked. Default:
	// no longer.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// How many questions there may be at one time. Default: 32.
	MaxInFlight int `json:"max_in_flight,omitempty"`

	// About how many tokens that the issuer doesn't know it is asked about in a
	// minute for one address. Default: 60; negative: no limit.
	UnknownPerMinute int `json:"unknown_per_minute,omitempty"`
}

// issuers holds the issuers in use by the hash of their configuration, so that
// their keys outlive the configuration that fetched them.
var issuers = caddy.NewUsagePool()

// issuerClock is what issuers tell the age of keys and answers by. Tests set it.
var issuerClock = time.Now

// sharedIssuer is an issuer in the pool.
type sharedIssuer struct {
	*issuer.Issuer
	log *currentLog
}

// Destruct closes the issuer when no configuration uses it any more.
func (i sharedIssuer) Destruct() error {
	i.Close()
	return nil
}

// preparedIssuer is an issuer that is configured and not yet in use.
type preparedIssuer struct {
	key     [sha256.Size]byte // in the pool
	options issuer.Options
}

// prepareIssuers makes the reader of tokens, and what the issuers are made from. It
// calls nobody.
func (a *App) prepareIssuers() error {
	options := token.ReaderOptions{MatchClaims: a.MatchClaims}
	if _, err := token.NewReader(options); err != nil {
		return fmt.Errorf("match_claims: %v", err)
	}
	var all []*issuer.Issuer
	for n := range a.Issuers {
		prepared, err := a.Issuers[n].prepare(a.logger)
		if err != nil {
			return err
		}
		if most := cmp.Or(time.Duration(a.Leeway), revocation.DefaultLeeway); prepared.options.Leeway > most {
			return fmt.Errorf("issuer %s: leeway is %s, and that of token_revocation only %s: a revocation could be forgotten before its token is refused",
				prepared.options.Name, prepared.options.Leeway, most)
		}
		made, err := issuer.New(prepared.options)
		if err != nil {
			return err
		}
		defer made.Close() // those in use are the pool's
		all = append(all, made)
		a.issuers = append(a.issuers, prepared)
		options.Issuers = append(options.Issuers, made.ReaderIssuer())
	}
	var err error
	if a.reader, err = token.NewReader(options); err != nil {
		return err
	}
	_, err = issuer.NewSet(a.reader, all...)
	return err
}

// startIssuers takes the issuers from the pool and lets them fetch their keys. It
// waits for none of them.
func (a *App) startIssuers() (*issuer.Set, error) {
	var all []*issuer.Issuer
	for _, prepared := range a.issuers {
		value, _, err := issuers.LoadOrNew(prepared.key, func() (caddy.Destructor, error) {
			log := newCurrentLog(a.logger)
			options := prepared.options
			options.Logger = log.logger()
			made, err := issuer.New(options)
			return sharedIssuer{made, log}, err
		})
		if err != nil {
			return nil, err
		}
		shared := value.(sharedIssuer)
		shared.log.use(a.logger)
		a.release = append(a.release, func() error {
			shared.log.leave(a.logger)
			_, err := issuers.Delete(prepared.key)
			return err
		})
		shared.Start(context.Background())
		all = append(all, shared.Issuer)
	}
	return issuer.NewSet(a.reader, all...)
}

// issuerNames returns the names of the configured issuers.
func (a *App) issuerNames() (names []string) {
	for _, prepared := range a.issuers {
		names = append(names, prepared.options.Name)
	}
	return names
}

// prepare replaces placeholders and reads files.
func (i Issuer) prepare(logger *slog.Logger) (preparedIssuer, error) {
	r := placeholder.New()
	i.Name = r.Text("name", i.Name)
	what := fmt.Sprintf("issuer %s: ", i.Name)
	if i.Name == "" && r.Err() == nil {
		return preparedIssuer{}, errors.New("an issuer has no name: it is the iss of its tokens")
	}
	i.Aliases = r.Texts("alias", i.Aliases)
	i.JWKSURI = r.Text("jwks_uri", i.JWKSURI)
	i.HMACSecret = r.Secret("hmac_secret", i.HMACSecret)
	keys := issuer.StaticKeys{
		JWKS: r.Files("jwks_file", i.JWKSFiles),
		PEM:  r.Files("public_key_file", i.PublicKeyFiles),
	}
	if i.HMACSecret != "" {
		keys.Secret = []byte(i.HMACSecret)
	}
	authorities := r.Files("trusted_ca", i.TrustedCA)
	if i.Introspection != nil {
		resolved := *i.Introspection
		resolved.URL = r.Text("introspection", resolved.URL)
		resolved.ClientID = r.Text("client_id", resolved.ClientID)
		resolved.ClientSecret = r.Secret("client_secret", resolved.ClientSecret)
		i.Introspection = &resolved
	}
	if r.Err() != nil {
		return preparedIssuer{}, fmt.Errorf("%s%w", what, r.Err())
	}
	options, err := i.options(keys)
	if err != nil {
		return preparedIssuer{}, fmt.Errorf("%s%w", what, err)
	}
	if options.RootCAs, err = certPool(authorities); err != nil {
		return preparedIssuer{}, fmt.Errorf("%strusted_ca: %w", what, err)
	}
	options.Logger = logger
	options.Observe = observeIssuer(i.Name)
	options.Now = issuerClock

	// Everything that the issuer is made from, and nothing of it in clear. The secrets
	// come once more as bytes: as text, those that aren't UTF-8 look alike.
	secrets := [][]byte{keys.Secret}
	if options.Introspection != nil {
		secrets = append(secrets, []byte(options.Introspection.ClientSecret))
	}
	canonical, err := json.Marshal([]any{i, keys.JWKS, keys.PEM, secrets, authorities})
	if err != nil {
		return preparedIssuer{}, fmt.Errorf("%s%w", what, err)
	}
	return preparedIssuer{sha256.Sum256(canonical), options}, nil
}

// options translates an issuer whose placeholders are replaced.
func (i *Issuer) options(keys issuer.StaticKeys) (issuer.Options, error) {
	o := issuer.Options{
		Name: i.Name, Aliases: i.Aliases, JWKSURI: i.JWKSURI, Keys: keys,
		Algorithms: i.Algorithms, Types: i.Types, AllowHTTP: i.AllowHTTP,
		Leeway: time.Duration(i.Leeway), MaxTokenLifetime: time.Duration(i.MaxTokenLifetime),
		RefreshInterval: time.Duration(i.RefreshInterval), Timeout: time.Duration(i.Timeout),
	}
	if i.Preset != "" {
		var known bool
		if o.Preset, known = issuer.LookUpPreset(i.Preset); !known {
			return o, fmt.Errorf("preset is %q, possible are %v", i.Preset, issuer.PresetNames())
		}
	}
	if len(i.Claims) > 0 {
		o.Profile = token.Profile{}
		for role, claims := range i.Claims {
			if len(claims) == 0 {
				return o, fmt.Errorf("claims: none is named for the role %s", role)
			}
			o.Profile[revocation.Role(role)] = claims
		}
	}
	if in := i.Introspection; in != nil {
		if in.AuthMethod != "" && in.AuthMethod != "basic" && in.AuthMethod != "post" {
			return o, fmt.Errorf("auth_method is %q, possible are basic and post", in.AuthMethod)
		}
		o.Introspection = &issuer.Introspection{
			URL: in.URL, ClientID: in.ClientID, ClientSecret: in.ClientSecret, Post: in.AuthMethod == "post",
			TTL: time.Duration(in.TTL), StaleIfError: time.Duration(in.StaleIfError),
			MaxInFlight: in.MaxInFlight, UnknownPerMinute: in.UnknownPerMinute,
		}
	}
	return o, nil
}

// certPool returns the certificates of PEM files, nil of none.
func certPool(files [][]byte) (*x509.CertPool, error) {
	if len(files) == 0 {
		return nil, nil
	}
	pool := x509.NewCertPool()
	for n, content := range files {
		if !pool.AppendCertsFromPEM(bytes.TrimSpace(content)) {
			return nil, fmt.Errorf("file %d has no certificate in PEM", n+1)
		}
	}
	return pool, nil
}
