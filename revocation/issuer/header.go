package issuer

// This file reads the header of a JWS.

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// header is what is used of a JOSE header: RFC 7515 §4.1. Where a token says itself
// what its key is (jku, jwk, x5u, x5c) nobody listens.
type header struct {
	Algorithm string         `json:"alg"`
	KeyID     string         `json:"kid"`
	Type      string         `json:"typ"`
	Critical  jsontext.Value `json:"crit"`
	Base64    jsontext.Value `json:"b64"`
	Key       jsontext.Value `json:"jwk"`
}

// readHeader reads the header before go-jose does, which would take a private key of
// any size in it for worth checking. The error doesn't quote it.
func readHeader(compact string) (*header, error) {
	segment, _, _ := strings.Cut(compact, ".")
	b, err := base64.RawURLEncoding.DecodeString(segment)
	var h header
	if err != nil || json.Unmarshal(b, &h) != nil {
		return nil, fmt.Errorf("%w: its header can't be read", revocation.ErrUnproven)
	}
	switch {
	case h.Algorithm == "" || strings.EqualFold(h.Algorithm, "none"):
		return nil, fmt.Errorf("%w: it isn't signed", revocation.ErrForged)
	case h.Critical != nil || h.Base64 != nil:
		return nil, fmt.Errorf("%w: its header has extensions that are not supported", revocation.ErrUnproven)
	case h.Key != nil:
		return nil, fmt.Errorf("%w: it brings its own key", revocation.ErrUnproven)
	}
	return &h, nil
}
