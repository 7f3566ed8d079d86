// What a client says of itself in a JWT that it signed, private_key_jwt: RFC 7523
// §2.2 and §3, OpenID Connect Core 1.0 §9.

package endpoint

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// jwtBearer is the client_assertion_type of such a JWT.
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	maxAssertionBytes   = 16 << 10
	maxAssertionIDBytes = 256 // length of jti

	// assertionLeeway is by how much the client's clock may differ from this one.
	assertionLeeway = 30 * time.Second

	// maxAssertionTime is how far away exp may be: so long every assertion that was
	// accepted must be remembered.
	maxAssertionTime = 5 * time.Minute
)

// assertionError is why an assertion proves nothing. It is told to the operator,
// never to the client, and has nothing of the assertion in it.
type assertionError string

func (e assertionError) Error() string { return string(e) }

const (
	errAssertionForm      = assertionError("the client assertion is not a JWS in the compact serialization, or too long")
	errAssertionClaims    = assertionError("the client assertion's header or claims are not one JSON object with different names, or a claim is of the wrong type")
	errAssertionNoIssuer  = assertionError("the client assertion has no iss, or one that is no client_id")
	errAssertionSubject   = assertionError("the client assertion's iss, its sub and client_id are not all the same")
	errAssertionAudience  = assertionError("the client assertion's aud is not this server")
	errAssertionExpiry    = assertionError("the client assertion has no exp, has expired, or is good for too long")
	errAssertionEarly     = assertionError("the client assertion is from the future: do the clocks agree?")
	errAssertionID        = assertionError("the client assertion has no jti, or one that is too long")
	errAssertionClient    = assertionError("no client with keys has the client assertion's iss")
	errAssertionSignature = assertionError("no key of the client has made the client assertion's signature")
	errAssertionType      = assertionError("the client assertion's typ is that of another kind of JWT")
	errAssertionReplayed  = assertionError("the client assertion was used before")
)

// assertion is what a JWT says that matters here: RFC 7519 §4.1.
type assertion struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"`
	Audience  jsontext.Value `json:"aud"`
	Expires   *float64       `json:"exp"`
	NotBefore *float64       `json:"nbf"`
	IssuedAt  *float64       `json:"iat"`
	ID        string         `json:"jti"`

	compact string
	payload []byte // what was read
}

// readAssertion reads what a JWT says. Nothing of it is proven, but its iss tells
// whose keys could prove it.
func readAssertion(compact string) (*assertion, error) {
	if len(compact) > maxAssertionBytes || strings.Count(compact, ".") != 2 || strings.ContainsAny(compact, "\r\n") {
		return nil, errAssertionForm // Go's base64 overlooks line breaks
	}
	parts := strings.Split(compact, ".")
	header, err := base64.RawURLEncoding.Strict().DecodeString(parts[0])
	if err != nil {
		return nil, errAssertionForm
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, errAssertionForm
	}
	a := &assertion{compact: compact, payload: payload}
	if !isObject(header) || !isObject(payload) || json.Unmarshal(payload, a) != nil {
		return nil, errAssertionClaims
	}
	if a.Issuer == "" || len(a.Issuer) > MaxClientIDBytes {
		return nil, errAssertionNoIssuer
	}
	return a, nil
}

// isObject reports whether b is one JSON object in UTF-8, without duplicate names
// at any depth.
func isObject(b []byte) bool {
	v := jsontext.Value(b)
	return v.Kind() == '{' && v.IsValid()
}

// expectation is what an assertion must say here and now.
type expectation struct {
	clientID  string // as the body has it, or empty
	audiences []string
	list      bool // aud may be an array
	now       time.Time
}

// expect returns what the request's assertion must say. An aud that is an array, or
// the URL under which the server was asked, lets another authorization server that
// the client talks to as well pass the client's assertion on to this one: it must be
// asked for.
func (s *Server) expect(x *exchange) expectation {
	e := expectation{
		clientID:  x.params.get(paramClientID),
		audiences: s.opts.AssertionAudience,
		list:      s.opts.LegacyAssertions,
		now:       s.opts.Now(),
	}
	if s.opts.LegacyAssertions {
		e.audiences = append(slices.Clip(e.audiences), requestedURL(x.r))
	}
	return e
}

// requestedURL is the URL of this endpoint as the client knows it, unless TLS ends
// in front of this server.
func requestedURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + withoutDefaultPort(scheme, strings.ToLower(r.Host)) + r.URL.EscapedPath()
}

// check reports whether the assertion says what it must: RFC 7523 §3.
func (a *assertion) check(e expectation) error {
	now, leeway := float64(e.now.UnixMilli())/1e3, assertionLeeway.Seconds()
	switch {
	case a.Subject != a.Issuer || e.clientID != "" && e.clientID != a.Issuer:
		return errAssertionSubject
	case !a.isFor(e):
		return errAssertionAudience
	case a.Expires == nil || *a.Expires <= now-leeway || *a.Expires > now+maxAssertionTime.Seconds()+leeway:
		return errAssertionExpiry
	case a.NotBefore != nil && *a.NotBefore > now+leeway || a.IssuedAt != nil && *a.IssuedAt > now+leeway:
		return errAssertionEarly
	case a.ID == "" || len(a.ID) > maxAssertionIDBytes:
		return errAssertionID
	}
	return nil
}

// isFor reports whether one of the audiences is meant.
func (a *assertion) isFor(e expectation) bool {
	var values []string
	switch {
	case a.Audience.Kind() == '"':
		values = make([]string, 1)
		if json.Unmarshal(a.Audience, &values[0]) != nil {
			return false
		}
	case e.list:
		if json.Unmarshal(a.Audience, &values) != nil {
			return false
		}
	}
	return slices.ContainsFunc(values, func(v string) bool { return v != "" && slices.Contains(e.audiences, v) })
}

// remaining is how long the assertion could be accepted. It has passed check.
func (a *assertion) remaining(now time.Time) time.Duration {
	seconds := *a.Expires - float64(now.UnixMilli())/1e3
	return time.Duration(seconds*float64(time.Second)) + assertionLeeway
}

// assertionType reports whether a header's typ is one that assertions have. It is a
// media type, maybe without its first part: RFC 7515 §4.1.9.
func assertionType(typ string) bool {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "", "jwt", "client-authentication+jwt":
		return true
	}
	return false
}

// assertions verifies them.
//
// It limits failures like those of secrets, but goes about it differently. Nobody can
// guess a signature, so there is no harm in many attempts at once that are counted
// only when they have failed; counted before, a client that starts with many requests
// while its keys are fetched would limit itself. Nor is there a slot to wait for: a
// signature costs 0.1 ms at most, less than the connection over which it came, while
// fetching keys may take seconds, in which nobody should have to wait whose secret
// could be compared.
type assertions struct {
	*attempts
	clients map[string]*client
	replays *Replays
	origins *pace.Generations[clientAddress, struct{}] // where clients authenticated
}

func newAssertions(opts Options, clients map[string]*client, a *attempts) *assertions {
	return &assertions{
		attempts: a,
		clients:  clients,
		replays:  opts.Replays,
		origins:  pace.NewGenerations[clientAddress, struct{}](rememberedProofs),
	}
}

// authenticateByAssertion finds out who the client is by its assertion.
func (s *Server) authenticateByAssertion(x *exchange, isBasic bool) *answer {
	compact := x.params.get(paramClientAssertion)
	switch {
	case isBasic || x.params.get(paramClientSecret) != "":
		return invalidRequest("the client authenticates in more than one way: RFC 6749 section 2.3")
	case compact == "":
		return invalidRequest("client_assertion is missing: RFC 7521 section 4.2")
	case x.params.get(paramClientAssertionType) != jwtBearer:
		return invalidRequest("client_assertion_type must be " + jwtBearer)
	}
	c, found, err := s.assertions.verify(x, compact, s.expect(x))
	x.err = err
	switch found.outcome {
	case RateLimited:
		return tooMany(RateLimited, found.retryAfter, "too many attempts to authenticate")
	case IssuerUnavailable:
		return unavailable(IssuerUnavailable, found.retryAfter, "the client's keys can't be had now: try again")
	case InvalidClient:
		return invalidClient()
	}
	x.client = c
	return nil
}

// verify returns the client who made the assertion. The error says for the operator
// why there is none.
func (v *assertions) verify(x *exchange, compact string, e expectation) (*client, verification, error) {
	a, err := readAssertion(compact)
	var id string // of what can't be read, nobody's
	if err == nil {
		id = a.Issuer
		x.claimed = v.clients[id]
	}
	if wait := v.limited(id, x.address); wait > 0 {
		return nil, verification{RateLimited, wait}, err
	}
	if err == nil {
		err = a.check(e)
	}
	var c *client
	if err == nil {
		c, err = v.prove(x.r.Context(), a)
	}
	if err == nil {
		err = v.replays.accept(c.id, a.ID, a.remaining(e.now), e.now)
	}
	switch {
	case err == nil:
		v.origins.Put(clientAddress{id, x.address}, struct{}{})
		return c, verification{}, nil
	case errors.Is(err, errTooManyAssertions):
		return nil, verification{RateLimited, liveRetry}, err
	case errors.Is(err, revocation.ErrIssuerUnavailable):
		return nil, verification{IssuerUnavailable, failureRetry}, err
	}
	v.fail(id, x.address)
	return nil, verification{outcome: InvalidClient}, err
}

// prove returns the client whose key made the assertion's signature. That a client
// doesn't exist is answered the same as a wrong signature, though sooner: a client_id
// is no secret (RFC 6749 §2.2).
func (v *assertions) prove(ctx context.Context, a *assertion) (*client, error) {
	c := v.clients[a.Issuer]
	if c == nil || c.keys == nil {
		return nil, errAssertionClient
	}
	typ, payload, err := c.keys.VerifyAssertion(ctx, a.compact)
	switch {
	case errors.Is(err, revocation.ErrIssuerUnavailable):
		return nil, err
	case err != nil, !bytes.Equal(payload, a.payload): // what was checked is what was signed
		return nil, errAssertionSignature
	case !assertionType(typ):
		return nil, errAssertionType
	}
	return c, nil
}

// limited says how long to wait until there may be another attempt. A client that
// authenticated from the same address lately is excepted until as much has failed
// there as only an attack makes, so that nobody behind that address can keep it out
// by failing in its name.
func (v *assertions) limited(id string, from netip.Prefix) time.Duration {
	wait := v.attempts.limited([]credentials{{id: id}}, from)
	if wait == 0 {
		return 0
	}
	if _, ok := v.origins.Get(clientAddress{id, from}); ok && v.looks.Wait(pace.Key(from), v.elapsed()) == 0 {
		return 0
	}
	return wait
}

// fail counts a failed attempt.
func (v *assertions) fail(id string, from netip.Prefix) {
	if _, wait := v.begin([]credentials{{id: id}}, from); wait > 0 {
		v.looks.Take(pace.Key(from), v.elapsed())
	}
}
