package caddymodule

// This file says who may revoke at an endpoint, and how they prove who they are.

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/placeholder"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
)

// Client may revoke tokens at a revocation endpoint.
type Client struct {
	// The `client_id`. Placeholders are possible.
	ID string `json:"id"`

	// The hashes of the client's secrets. Each secret is accepted, so that they
	// can be rotated. A client with neither a hash nor keys is public. Placeholders
	// are possible.
	Hashes []string `json:"hashes,omitempty"`

	// Files with the client's public keys, JWK sets or PEM: it authenticates by
	// assertions that it signs (`private_key_jwt`, RFC 7523). It has no hashes then.
	// Placeholders are possible.
	PublicKeys []string `json:"public_keys,omitempty"`

	// Where the client's public keys are instead, as a JWK set. HTTPS, unless it is
	// on a loopback address. Placeholders are possible.
	JWKSURI string `json:"jwks_uri,omitempty"`

	// The names of the issuers whose tokens the client may revoke. Placeholders are
	// possible. Default: all that are configured.
	Issuers []string `json:"issuers,omitempty"`

	// The client is an operator's tool: it may revoke tokens of any client, and
	// may do so when `live_total` is almost reached. Default: false. (Where no issuer
	// says whose a token is, every client may revoke any token that it has.)
	AnyToken bool `json:"any_token,omitempty"`

	// What the client may record, where it differs from the limits of all.
	Quota Quota `json:"quota,omitzero"`
}

// Quota bounds what a client may record. Repeats cost nothing. In each number
// zero means the default and a negative number no limit.
type Quota struct {
	// Live records. Default: 1,000,000; of a public client 100,000.
	Live int `json:"live,omitempty"`

	// Records in a minute. Default: 6,000; of a public client 600.
	PerMinute int `json:"per_minute,omitempty"`

	// Records in a minute from one address. Default: no limit; of a public
	// client 60.
	PerMinutePerAddress int `json:"per_minute_per_address,omitempty"`
}

// Limits bound failed attempts and what clients may record. In each number zero
// means the default and, but for `concurrent_compares`, a negative number no
// limit.
type Limits struct {
	// How often authentication may fail in a minute with one `client_id` from one
	// address. Default: 20.
	FailuresPerMinute int `json:"failures_per_minute,omitempty"`

	// The same over all `client_id`s. Default: 100.
	FailuresPerMinutePerAddress int `json:"failures_per_minute_per_address,omitempty"`

	// How many secrets may be compared at one time; this is always limited.
	// Default: the number of cores, at most 16.
	ConcurrentCompares int `json:"concurrent_compares,omitempty"`

	// How many live records there may be before the endpoint takes no more; the
	// last tenth is for clients with `any_token`. Default: 10,000,000.
	LiveTotal int `json:"live_total,omitempty"`

	// What each confidential client may record.
	Confidential Quota `json:"confidential,omitzero"`

	// What each public client may record.
	Public Quota `json:"public,omitzero"`
}

// clients returns the clients as they are meant.
func (h *RevocationEndpoint) clients(comparer caddyauth.Comparer) ([]endpoint.Client, error) {
	clients := make([]endpoint.Client, len(h.Clients))
	for i, c := range h.Clients {
		r := placeholder.New()
		clients[i].ID = r.Text("id", c.ID)
		if r.Err() != nil {
			return nil, fmt.Errorf("client %d: %w", i+1, r.Err())
		}
		if err := h.resolve(c, r, comparer, &clients[i]); err != nil {
			return nil, fmt.Errorf("client %s: %w", clients[i].ID, err)
		}
	}
	return clients, nil
}

// resolve replaces placeholders and reads files.
func (h *RevocationEndpoint) resolve(c Client, r *placeholder.Resolver, comparer caddyauth.Comparer, to *endpoint.Client) error {
	to.AnyToken, to.Quota = c.AnyToken, endpoint.Quota(c.Quota)
	for n, hash := range c.Hashes {
		name := fmt.Sprintf("hash %d", n+1)
		hash := []byte(r.Text(name, hash))
		r.Fail(name, checkHash(comparer, hash))
		to.Hashes = append(to.Hashes, hash)
	}
	to.Issuers = r.Texts("issuer", c.Issuers)
	address, keys := r.Text("jwks_uri", c.JWKSURI), r.Files("public_keys", c.PublicKeys)
	if r.Err() != nil {
		return r.Err()
	}
	if err := h.app.checkIssuers(to.Issuers); err != nil {
		return err
	}
	if address == "" && len(keys) == 0 {
		return nil
	}
	var err error
	to.Keys, err = h.clientKeys(keys, address)
	return err
}

var errNoBcrypt = errors.New("it is not of the algorithm bcrypt: caddy hash-password makes one that is; those of caddy tokens secret need: hash_algorithm sha256")

// checkHash finds hashes that aren't of the algorithm, as far as that can be
// told without comparing: that would take a second each.
func checkHash(c caddyauth.Comparer, hash []byte) (err error) {
	switch c.(type) {
	case *caddyauth.BcryptHash:
		if _, err := bcrypt.Cost(hash); err != nil {
			return errNoBcrypt
		}
	case *SHA256Hash:
		_, err = decodeSHA256(hash)
	}
	return err
}

// fakeHash returns a hash for clients that don't exist.
func fakeHash(c caddyauth.Comparer) []byte {
	if hasher, ok := c.(caddyauth.Hasher); ok {
		return hasher.FakeHash()
	}
	return nil
}

// clientKeys returns the keys in files, or those at an address. It calls nobody.
func (h *RevocationEndpoint) clientKeys(files [][]byte, address string) (endpoint.Keys, error) {
	if address != "" {
		if len(files) > 0 {
			return nil, errors.New("its keys are either public_keys or at a jwks_uri, not both")
		}
		return issuer.NewRemoteKeys(issuer.RemoteKeysOptions{URL: address, Logger: h.logger})
	}
	options := issuer.KeysOptions{Logger: h.logger}
	for _, content := range files {
		if bytes.HasPrefix(bytes.TrimSpace(content), []byte("{")) {
			options.Static.JWKS = append(options.Static.JWKS, content)
		} else {
			options.Static.PEM = append(options.Static.PEM, content)
		}
	}
	return issuer.NewKeys(options)
}
