package caddymodule

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(SHA256Hash{})
}

// SHA256Hash hashes secrets with SHA-256. It is for secrets that a machine
// generated, with at least 128 bits of chance in them, such as those of
// `caddy tokens secret`: nobody can guess such a secret, and so nothing is
// gained by a hash that is slow. Never use it for what a person made up.
type SHA256Hash struct{}

// CaddyModule returns the Caddy module information.
func (SHA256Hash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.hashes.sha256",
		New: func() caddy.Module { return new(SHA256Hash) },
	}
}

// sha256Prefix begins every hash. Caddy's basic_auth takes what begins with $
// as it stands.
const sha256Prefix = "$sha256$"

var errNotSHA256 = errors.New("not a hash of the algorithm sha256: it begins with " + sha256Prefix + ", as `caddy tokens secret` prints it")

// Compare reports whether the hash is the secret's.
func (SHA256Hash) Compare(hashed, plaintext []byte) (bool, error) {
	digest, err := decodeSHA256(hashed)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(plaintext)
	return subtle.ConstantTimeCompare(digest, sum[:]) == 1, nil
}

// Hash returns the secret's hash.
func (SHA256Hash) Hash(plaintext []byte) ([]byte, error) {
	sum := sha256.Sum256(plaintext)
	return []byte(sha256Prefix + base64.RawURLEncoding.EncodeToString(sum[:])), nil
}

// FakeHash returns a hash that no secret has.
func (SHA256Hash) FakeHash() []byte {
	return []byte(sha256Prefix + base64.RawURLEncoding.EncodeToString(make([]byte, sha256.Size)))
}

func decodeSHA256(hashed []byte) ([]byte, error) {
	text, ok := bytes.CutPrefix(hashed, []byte(sha256Prefix))
	if !ok {
		return nil, errNotSHA256
	}
	digest, err := base64.RawURLEncoding.DecodeString(string(text))
	if err != nil || len(digest) != sha256.Size {
		return nil, errNotSHA256
	}
	return digest, nil
}

// newSecret returns a client secret of 256 bits and its hash. The secret
// consists of characters that mean the same in every spelling of Basic
// credentials.
func newSecret() (secret, hash string, err error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", "", fmt.Errorf("reading random bytes: %w", err)
	}
	secret = base64.RawURLEncoding.EncodeToString(b)
	h, err := SHA256Hash{}.Hash([]byte(secret))
	return secret, string(h), err
}

// Interface guards
var (
	_ caddyauth.Comparer = SHA256Hash{}
	_ caddyauth.Hasher   = SHA256Hash{}
)
