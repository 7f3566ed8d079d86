// Who the client is: RFC 7009 §2.1, RFC 6749 §2.3.

package endpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"slices"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// client is a registered client.
type client struct {
	id       string
	actor    string // in records
	hashes   [][]byte
	digest   [sha256.Size]byte // of the hashes
	keys     Keys              // nil: it authenticates in another way
	issuers  []string          // whose tokens it may revoke; none: everybody's
	anyToken bool
	anybody  bool // not a client, but who says nothing that can be proven
	quota    Quota

	// Guarded by quotas.mu.
	inFlight int        // records that are on their way to the list
	pace     pace.Meter // of its records
}

// public reports whether the client's id is all that it has: RFC 6749 §2.1.
func (c *client) public() bool { return len(c.hashes) == 0 && c.keys == nil }

func registerClients(opts Options) map[string]*client {
	clients := make(map[string]*client, len(opts.Clients))
	for _, o := range opts.Clients {
		quota := opts.Limits.Confidential
		if len(o.Hashes) == 0 && o.Keys == nil {
			quota = opts.Limits.Public
		}
		clients[o.ID] = &client{
			id:       o.ID,
			actor:    "client:" + o.ID,
			hashes:   o.Hashes,
			digest:   digestOf(o.Hashes),
			keys:     o.Keys,
			issuers:  o.Issuers,
			anyToken: o.AnyToken,
			quota:    o.Quota.or(quota),
		}
	}
	return clients
}

func digestOf(hashes [][]byte) [sha256.Size]byte {
	var b []byte
	for _, hash := range hashes {
		b = binary.AppendUvarint(b, uint64(len(hash)))
		b = append(b, hash...)
	}
	return sha256.Sum256(b)
}

// authenticate finds out who the client is. No request gets past it that hasn't
// proven it, whatever else is right or wrong with the request.
func (s *Server) authenticate(x *exchange) *answer {
	x.address = limitedAddress(s.opts.ClientIP(x.r))
	if s.revokesItself(x) {
		x.self, x.authorization = true, true
		s.notePlainHTTP(x)
		return nil
	}
	basic, isBasic, refused := s.readAuthorization(x)
	if refused != nil {
		return refused
	}
	if x.params.get(paramClientAssertion) != "" || x.params.get(paramClientAssertionType) != "" {
		return s.authenticateByAssertion(x, isBasic)
	}
	readings, refused := s.readCredentials(x, basic, isBasic)
	if refused != nil {
		return refused
	}
	for _, c := range readings {
		x.claimed = valueOr(x.claimed, s.clients[c.id])
	}
	if readings[0].secret == "" { // then none has one
		for _, c := range readings {
			if known := s.clients[c.id]; known != nil && known.public() {
				x.client = known
				return nil
			}
		}
		return invalidClient()
	}
	var found verification
	x.client, found = s.secrets.verify(x.r.Context(), readings, x.address)
	switch found.outcome {
	case RateLimited:
		return tooMany(RateLimited, found.retryAfter, "too many failed attempts to authenticate")
	case Busy:
		return unavailable(Busy, found.retryAfter, "too many clients authenticate at once")
	case InvalidClient:
		return invalidClient()
	}
	return nil
}

// readAuthorization returns the Basic credentials of the request, if it has any.
func (s *Server) readAuthorization(x *exchange) (basic string, isBasic bool, refused *answer) {
	lines := x.r.Header["Authorization"]
	x.authorization = slices.ContainsFunc(lines, func(line string) bool { return line != "" })
	s.notePlainHTTP(x)
	if len(lines) > 1 {
		return "", false, invalidRequest("there are several Authorization headers")
	}
	if x.authorization {
		// Any other scheme isn't client authentication (a browser's Negotiate, an
		// SDK's Bearer): the body decides.
		basic, isBasic = basicCredentials(lines[0])
	}
	return basic, isBasic, nil
}

// readCredentials returns the ways in which the client's credentials can be read,
// at least one. A request has credentials in one place: Basic or the body. In both
// they must be the same.
func (s *Server) readCredentials(x *exchange, basic string, isBasic bool) ([]credentials, *answer) {
	id, secret := x.params.get(paramClientID), x.params.get(paramClientSecret)
	if isBasic {
		return s.readBasic(x, basic, id, secret)
	}
	if id == "" {
		return nil, refusal(InvalidClient, http.StatusUnauthorized, codeInvalidClient, "the request has no client authentication")
	}
	return []credentials{{id, secret}}, nil
}

// readBasic returns the readings of Basic credentials that agree with what the
// body says about the client.
func (s *Server) readBasic(x *exchange, encoded, id, secret string) ([]credentials, *answer) {
	if x.crossSite() {
		return nil, originRefused()
	}
	readings, ok := parseBasic(encoded, s.opts.StrictBasic)
	if !ok {
		return nil, invalidClient()
	}
	if secret != "" && s.opts.StrictCredentials {
		return nil, invalidRequest("the client authenticates in more than one way: RFC 6749 section 2.3")
	}
	if id != "" {
		readings = slices.DeleteFunc(readings, func(c credentials) bool { return c.id != id })
		if len(readings) == 0 {
			return nil, invalidRequest("client_id mismatch: the Authorization header and the body name different clients")
		}
	}
	if secret != "" {
		// Never "one of them is right": an attempt with two secrets is none.
		readings = slices.DeleteFunc(readings, func(c credentials) bool { return c.secret != secret })
		if len(readings) == 0 {
			return nil, invalidClient()
		}
	}
	return readings, nil
}

// notePlainHTTP tells the operator once that credentials arrive unencrypted.
func (s *Server) notePlainHTTP(x *exchange) {
	if x.r.TLS != nil || !x.authorization && x.params.get(paramToken) == "" && x.params.get(paramClientSecret) == "" {
		return
	}
	if s.plain.CompareAndSwap(false, true) {
		s.journal.plainHTTP()
	}
}
