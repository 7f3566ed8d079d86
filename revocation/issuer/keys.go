package issuer

// This file verifies signatures with keys that are fetched when they are needed, and
// in such a way that who presents tokens can't have them fetched often.

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	minRefresh     = 10 * time.Second // between two calls
	firstRetry     = time.Second      // after the first failure when there are no keys yet; twice as long after each next
	refreshTimeout = time.Minute      // in case that Locate and Get have no bound of their own
	maxCandidates  = 20               // keys that are tried for one signature
)

// errUnknownKey is about a signature of which nothing can be said.
var errUnknownKey = fmt.Errorf("%w: its key is not known", revocation.ErrUnproven)

// KeysOptions say where keys come from: either Static, or Locate and Get.
type KeysOptions struct {
	// Static are keys that don't change.
	Static StaticKeys

	// Locate returns the address of the key set.
	Locate func(context.Context) (url string, err error)

	// Get fetches the key set: the body of a successful answer. It bounds the time that
	// this takes, the length of the body, and where calls may go.
	Get func(ctx context.Context, url string) ([]byte, error)

	// Algorithms are those that signatures may have: names from RFC 7518 §3.1 and RFC
	// 8037 §3.1. Default: all asymmetric ones; those of HMAC for which a static secret
	// is long enough.
	Algorithms []string

	// RefreshInterval is how old keys may get before they are fetched again. Default:
	// DefaultRefreshInterval.
	RefreshInterval time.Duration

	// Logger receives what an operator should know. Default: none.
	Logger *slog.Logger

	// Observe is called after each call to Get. Default: none.
	Observe func(Call, Outcome)

	// Now is the wall clock. Default: time.Now.
	Now func() time.Time
}

// Keys are somebody's keys: an issuer's, or those of a client that authenticates by
// signing. All methods may be called concurrently.
type Keys struct {
	locate     func(context.Context) (string, error) // nil: the keys are static
	get        func(context.Context, string) ([]byte, error)
	algorithms []string
	interval   time.Duration
	logger     *slog.Logger
	observe    func(Call, Outcome)
	now        func() time.Time

	known    atomic.Pointer[keySet]
	flight   singleflight.Group
	renewing atomic.Bool // in the background
}

// keySet is what is known after a call. It doesn't change.
type keySet struct {
	keys   []*key
	at     time.Time // of the keys; zero: there are none yet
	tried  time.Time
	err    error             // of the last try
	wait   time.Duration     // before the next try
	digest [sha256.Size]byte // of what the keys were read from
}

// NewKeys makes Keys. It makes no call. The error says which of the options won't do.
func NewKeys(o KeysOptions) (*Keys, error) {
	k := &Keys{
		locate:     o.Locate,
		get:        o.Get,
		algorithms: o.Algorithms,
		interval:   o.RefreshInterval,
		logger:     o.Logger,
		observe:    o.Observe,
		now:        o.Now,
	}
	if k.interval <= 0 {
		k.interval = DefaultRefreshInterval
	}
	if k.logger == nil {
		k.logger = slog.New(slog.DiscardHandler)
	}
	if k.observe == nil {
		k.observe = func(Call, Outcome) {}
	}
	if k.now == nil {
		k.now = time.Now
	}
	static, remarks, err := o.Static.read()
	switch {
	case err != nil:
		return nil, err
	case o.Static.given() && o.Locate != nil:
		return nil, errors.New("keys are either static or fetched, not both")
	case !o.Static.given() && (o.Locate == nil || o.Get == nil):
		return nil, errors.New("there are no keys, and no way to fetch them")
	}
	if err := k.allow(o.Algorithms, o.Static.Secret); err != nil {
		return nil, err
	}
	usable := func(c *key) bool {
		return slices.ContainsFunc(c.algorithms, func(name string) bool { return slices.Contains(k.algorithms, name) })
	}
	if o.Static.given() && !slices.ContainsFunc(static, usable) {
		return nil, fmt.Errorf("none of the keys is for one of the algorithms %v", k.algorithms)
	}
	k.known.Store(&keySet{keys: static})
	k.tell(remarks)
	return k, nil
}

// allow sets the algorithms. HMAC's are for a secret only.
func (k *Keys) allow(names []string, secret []byte) error {
	if len(names) == 0 {
		k.algorithms = slices.Clone(asymmetric)
		for _, name := range hmacAlgorithms {
			if secret != nil && len(secret) >= hmacBytes[name] {
				k.algorithms = append(k.algorithms, name)
			}
		}
		return nil
	}
	for _, name := range names {
		bytes, hmac := hmacBytes[name]
		switch {
		case !hmac && !slices.Contains(asymmetric, name):
			return fmt.Errorf("%q is not one of the algorithms %v and %v", name, asymmetric, hmacAlgorithms)
		case hmac && len(secret) < bytes:
			return fmt.Errorf("the algorithm %s needs an HMAC secret of at least %d bytes", name, bytes)
		}
	}
	k.algorithms = slices.Clone(names)
	return nil
}

// Signed is what was signed with a key.
type Signed struct {
	// Type is typ of the header, KeyID its kid: RFC 7515 §4.1. Empty if there is none.
	Type, KeyID string
	// Algorithm is the signature's.
	Algorithm string
	// Payload is what was signed, not looked at.
	Payload []byte

	key *key
}

// Holds reports whether the key is still among those that verify signatures. A key
// that was withdrawn doesn't come back, even if it is published again.
func (s *Signed) Holds() bool { return !s.key.withdrawn.Load() }

// Verify verifies a JWS in the compact serialization: RFC 7515 §5.2. Keys are fetched
// first where there are none that may be right, but not more often than every 10 s.
// The error wraps revocation.ErrForged, revocation.ErrUnproven or
// revocation.ErrIssuerUnavailable.
func (k *Keys) Verify(ctx context.Context, compact string) (*Signed, error) {
	header, err := readHeader(compact)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(k.algorithms, header.Algorithm) {
		return nil, fmt.Errorf("%w: its algorithm is not one that is allowed", revocation.ErrUnproven)
	}
	jws, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(header.Algorithm)})
	if err != nil {
		// What go-jose has to say would quote the token.
		return nil, fmt.Errorf("%w: it can't be read as a JWS", revocation.ErrUnproven)
	}
	set := k.current(ctx)
	signed, final, err := set.verify(header, jws)
	if final || k.locate == nil {
		return signed, err
	}
	if err := k.Refresh(ctx); err != nil {
		return nil, err
	}
	if fresh := k.known.Load(); fresh != set {
		signed, _, err = fresh.verify(header, jws)
	}
	return signed, err
}

// VerifyAssertion is Verify for who doesn't care with which key it was signed.
func (k *Keys) VerifyAssertion(ctx context.Context, compact string) (typ string, payload []byte, err error) {
	signed, err := k.Verify(ctx, compact)
	if err != nil {
		return "", nil, err
	}
	return signed.Type, signed.Payload, nil
}

// verify looks for the key of a signature. The result isn't final if newer keys might
// change it.
func (s *keySet) verify(h *header, jws *jose.JSONWebSignature) (signed *Signed, final bool, err error) {
	candidates, named := s.candidates(h)
	for _, c := range candidates[:min(len(candidates), maxCandidates)] {
		if payload, err := jws.Verify(c.verifier); err == nil {
			return &Signed{Type: h.Type, KeyID: h.KeyID, Algorithm: h.Algorithm, Payload: payload, key: c}, true, nil
		}
	}
	switch {
	case len(candidates) > maxCandidates:
		return nil, false, fmt.Errorf("%w: too many keys might have signed it", revocation.ErrUnproven)
	case named:
		// There are issuers that give a new key the name of the old one.
		return nil, false, fmt.Errorf("%w: its signature was not made with the key that it names", revocation.ErrForged)
	case h.KeyID == "" && len(candidates) > 0:
		return nil, false, fmt.Errorf("%w: its signature was made with none of the keys", revocation.ErrForged)
	}
	return nil, false, errUnknownKey
}

// candidates returns the keys that may have made a signature: those with its kid, or
// else those without any; all, if it has no kid itself.
func (s *keySet) candidates(h *header) (candidates []*key, named bool) {
	var nameless []*key
	for _, c := range s.keys {
		switch {
		case !slices.Contains(c.algorithms, h.Algorithm):
		case h.KeyID == "" || c.id == h.KeyID:
			candidates = append(candidates, c)
		case c.id == "":
			nameless = append(nameless, c)
		}
	}
	if len(candidates) == 0 {
		return nameless, false
	}
	return candidates, h.KeyID != ""
}

// RemoteKeysOptions say where a key set is published.
type RemoteKeysOptions struct {
	// URL is the address of the key set (RFC 7591 §2, jwks_uri). HTTPS, or plain HTTP
	// to a loopback address. Required.
	URL string

	// AllowHTTP lets it be plain HTTP to any address.
	AllowHTTP bool

	// RootCAs are the authorities that the server's certificate must come from.
	// Default: the system's.
	RootCAs *x509.CertPool

	// Timeout is how long one call may take. Default: DefaultTimeout.
	Timeout time.Duration

	// These are as in KeysOptions.
	Algorithms      []string
	RefreshInterval time.Duration
	Logger          *slog.Logger
}

// NewRemoteKeys makes the keys of somebody who publishes them, but is no issuer: of a
// client. It makes no call.
func NewRemoteKeys(o RemoteKeysOptions) (*Keys, error) {
	if o.URL == "" {
		return nil, errors.New("the key set has no URL")
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	calls, err := newFetcher(Options{JWKSURI: o.URL, AllowHTTP: o.AllowHTTP, RootCAs: o.RootCAs, Timeout: o.Timeout})
	if err != nil {
		return nil, err
	}
	return NewKeys(KeysOptions{
		Locate:          func(context.Context) (string, error) { return o.URL, nil },
		Get:             calls.get,
		Algorithms:      o.Algorithms,
		RefreshInterval: o.RefreshInterval,
		Logger:          o.Logger,
	})
}
