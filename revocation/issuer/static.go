package issuer

// This file reads keys that the operator has in files, where others are fetched.

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// minSecretBytes is the least length of an HMAC secret: RFC 7518 §3.2, for SHA-256.
const minSecretBytes = 32

// StaticKeys are keys that aren't fetched: the contents of files, not their names.
type StaticKeys struct {
	// JWKS are key sets: RFC 7517 §5. Keys in them that can't verify signatures are
	// left out. Symmetric ones are never used: what is published is no secret.
	JWKS [][]byte

	// PEM are public keys and certificates, each any number of them: RFC 7468 §5, §13.
	// They have no kid, and are tried for tokens with any.
	PEM [][]byte

	// Secret is for HMAC: at least 32 bytes, and as many as the hash of each algorithm
	// that is allowed has (RFC 7518 §3.2).
	Secret []byte
}

// given reports whether there are any.
func (s StaticKeys) given() bool { return len(s.JWKS)+len(s.PEM) > 0 || s.Secret != nil }

// read returns the keys. Every file must have one that can be used.
func (s StaticKeys) read() ([]*key, []remark, error) {
	var keys []*key
	var remarks []remark
	for n, b := range s.JWKS {
		more, about, err := parseJWKS(b)
		if err != nil {
			return nil, nil, fmt.Errorf("JWKS %d of %d: %w", n+1, len(s.JWKS), err)
		}
		keys, remarks = append(keys, more...), append(remarks, about...)
	}
	for n, b := range s.PEM {
		more, err := parsePEM(b)
		if err != nil {
			return nil, nil, fmt.Errorf("PEM %d of %d: %w", n+1, len(s.PEM), err)
		}
		keys = append(keys, more...)
	}
	if s.Secret != nil {
		secret, err := secretKey(s.Secret)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, secret)
	}
	if len(keys) > maxKeys {
		return nil, nil, fmt.Errorf("there are %d keys, at most %d are possible", len(keys), maxKeys)
	}
	return keys, remarks, nil
}

// parsePEM reads blocks of public keys and certificates. What stands between them is
// commentary: RFC 7468 §2.
func parsePEM(b []byte) ([]*key, error) {
	var keys []*key
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		public, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		k, err := newKey(public, "", "")
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no PEM block")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (public any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = certificate.PublicKey
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		err = errors.New("it is a private key, which belongs nowhere but to the issuer: write its public key (openssl pkey -pubout)")
	default:
		err = fmt.Errorf("a %.50q block is neither a public key nor a certificate", block.Type)
	}
	return public, err
}

// secretKey makes a key of a secret.
func secretKey(secret []byte) (*key, error) {
	if len(secret) < minSecretBytes {
		return nil, fmt.Errorf("the HMAC secret has %d bytes, at least %d are needed", len(secret), minSecretBytes)
	}
	if block, _ := pem.Decode(secret); block != nil {
		return nil, errors.New("the HMAC secret is a PEM block: whoever knows a public key could sign with it")
	}
	k := &key{verifier: bytes.Clone(secret)}
	for _, name := range hmacAlgorithms {
		if len(secret) >= hmacBytes[name] {
			k.algorithms = append(k.algorithms, name)
		}
	}
	return k, nil
}
