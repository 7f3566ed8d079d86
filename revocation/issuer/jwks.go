package issuer

// This file reads key sets (RFC 7517), and says which keys may verify what.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of keys. An RSA key of 16,384 bits keeps a core busy for as long as dozens
// of others.
const (
	maxKeys       = 100
	minRSABits    = 2048 // RFC 7518 §3.3
	maxRSABits    = 8192
	maxMemberSize = 1400 // of a base64url member: n of the longest RSA key has 1366
)

// The algorithms of each type of key: RFC 7518 §3.1, RFC 8037 §3.1.
var (
	rsaAlgorithms  = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	hmacAlgorithms = []string{"HS256", "HS384", "HS512"}
	edAlgorithms   = []string{"EdDSA"}
	curves         = map[string][]string{"P-256": {"ES256"}, "P-384": {"ES384"}, "P-521": {"ES512"}}
	asymmetric     = slices.Concat(rsaAlgorithms, curves["P-256"], curves["P-384"], curves["P-521"], edAlgorithms)
	hmacBytes      = map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} // RFC 7518 §3.2
)

// key verifies signatures. It doesn't change, but that it can be withdrawn.
type key struct {
	id         string   // kid; may be empty
	algorithms []string // of the signatures that it may verify
	verifier   any      // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey; []byte for HMAC
	identity   string   // equal for the same key with the same kid and algorithms
	withdrawn  atomic.Bool
}

// newKey makes a key of a public key. An alg of a JWK restricts what it verifies. The
// error says why it can't be used.
func newKey(public any, kid, alg string) (*key, error) {
	k := &key{id: kid, verifier: public}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits: %d to %d are accepted", bits, minRSABits, maxRSABits)
		}
		if p.N.Bit(0) == 0 || p.E < 3 || p.E%2 == 0 || int64(p.E) > 1<<31-1 {
			return nil, errors.New("the numbers are not those of an RSA key")
		}
		k.algorithms = rsaAlgorithms
	case *ecdsa.PublicKey:
		k.algorithms = curves[p.Curve.Params().Name]
	case ed25519.PublicKey:
		k.algorithms = edAlgorithms
	}
	if k.algorithms == nil {
		return nil, errors.New("no algorithm is known for this type of key")
	}
	if alg != "" {
		if !slices.Contains(k.algorithms, alg) {
			return nil, fmt.Errorf("its alg, %.50q, is not one of this type of key", alg)
		}
		k.algorithms = []string{alg}
	}
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k.identity = string(thumbprint) + strings.Join(k.algorithms, " ") + " " + kid
	return k, nil
}

// remark is about a key of a set.
type remark struct {
	at      int    // its index
	kid     string // cut
	private bool   // it shouldn't have been published; its public part is used
	err     error  // why it is left out
}

// parseJWKS reads a key set. Keys that can't be used are left out, as RFC 7517 §5
// demands. It is an error if none remains.
func parseJWKS(b []byte) ([]*key, []remark, error) {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, nil, fmt.Errorf("it is not a key set: %w", err)
	}
	if len(set.Keys) == 0 {
		return nil, nil, errors.New("there are no keys in it")
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("there are %d keys in it, at most %d are possible", len(set.Keys), maxKeys)
	}
	var keys []*key
	var remarks []remark
	for n, raw := range set.Keys {
		k, about := parseJWK(raw)
		about.at = n
		if about.err == nil {
			keys = append(keys, k)
		}
		if about.err != nil || about.private {
			remarks = append(remarks, about)
		}
	}
	if len(keys) == 0 {
		return nil, remarks, fmt.Errorf("none of the keys in it can verify signatures; the first of %d: %w", len(set.Keys), remarks[0].err)
	}
	return keys, remarks, nil
}

// jwk is what is used of a JWK: RFC 7517 §4, RFC 7518 §6, RFC 8037 §2. Secret numbers
// aren't even read. Nor are certificates, which say nothing of the issuer's.
type jwk struct {
	Type       string         `json:"kty"`
	Curve      string         `json:"crv,omitzero"`
	N          string         `json:"n,omitzero"`
	E          string         `json:"e,omitzero"`
	X          string         `json:"x,omitzero"`
	Y          string         `json:"y,omitzero"`
	ID         string         `json:"kid,omitzero"`
	Algorithm  string         `json:"alg,omitzero"`
	Use        string         `json:"use,omitzero"`
	Operations []string       `json:"key_ops,omitzero"`
	Private    jsontext.Value `json:"d,omitzero"`
}

// parseJWK reads one key. The remark is empty if there is nothing to say.
func parseJWK(raw jsontext.Value) (*key, remark) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, remark{err: err}
	}
	about := remark{kid: fmt.Sprintf("%.100s", j.ID), private: j.Private != nil}
	public, err := j.public()
	if err != nil {
		about.err = err
		return nil, about
	}
	k, err := newKey(public, j.ID, j.Algorithm)
	about.err = err
	return k, about
}

// public returns the public key, checked as go-jose does. It gets to see nothing that
// takes long to check.
func (j *jwk) public() (any, error) {
	switch {
	case j.Type == "oct":
		return nil, errors.New("it is symmetric: what is published is no secret")
	case j.Use != "" && j.Use != "sig":
		return nil, fmt.Errorf("its use is %.50q, not sig", j.Use)
	case j.Operations != nil && !slices.Contains(j.Operations, "verify"):
		return nil, errors.New("its key_ops don't include verify")
	case max(len(j.N), len(j.X), len(j.Y)) > maxMemberSize, len(j.E) > 8:
		return nil, errors.New("its numbers are too long")
	case j.Type == "OKP" && len(j.X) != 43: // 32 bytes
		return nil, errors.New("its x doesn't have 32 bytes")
	}
	b, err := json.Marshal(jwk{Type: j.Type, Curve: j.Curve, N: j.N, E: j.E, X: j.X, Y: j.Y})
	if err != nil {
		return nil, err
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return parsed.Key, nil
}
