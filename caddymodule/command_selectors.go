package caddymodule

// This file has the flags that say which tokens are meant. They are the same for
// revoking and for searching.

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// selectorFlags are the values of these flags.
type selectorFlags struct {
	named  revokeRequest // only what names tokens
	claims []string      // as name=value
}

// selectorFlag is a flag that names tokens by one of their values.
type selectorFlag struct {
	value               *string
	name, member, usage string // member is what the API calls it
}

func (s *selectorFlags) all() []selectorFlag {
	n := &s.named
	return []selectorFlag{
		{&n.Fingerprint, "fingerprint", "fingerprint", "The `fingerprint` of one token, as logs have it"},
		{&n.TokenID, "jti", "jti", "The `id` of one token (jti)"},
		{&n.Session, "session", "sid", "The `id` of a session (sid): all tokens of one login"},
		{&n.Subject, "subject", "sub", "The `id` of a user (sub), as it stands in tokens: often not a name"},
		{&n.ClientID, "client", "client_id", "The `id` of a client (client_id)"},
		{&n.Grant, "grant", "grant", "The `id` of a grant: all tokens of one authorization"},
		{&n.KeyID, "key", "kid", "The `id` of a signing key (kid): all tokens that it signed"},
		{&n.KeyBinding, "dpop-key", "jkt", "The `thumbprint` of a client's DPoP key (jkt)"},
		{&n.CertBinding, "certificate", "x5t#S256", "The `thumbprint` of a client's certificate (x5t#S256)"},
		{&n.Issuer, "issuer", "iss", "The issuer (iss), by its `name`. Alone: all of its tokens. Not needed if one is configured"},
	}
}

func (s *selectorFlags) flags(cmd *cobra.Command) {
	for _, f := range s.all() {
		cmd.Flags().StringVar(f.value, f.name, "", f.usage)
	}
	cmd.Flags().StringArrayVar(&s.claims, "claim", nil, "A claim that match_claims names, as `name=value`. May stand several times")
}

// read returns what was named. An empty value is an error: it is most likely a variable of
// a script that isn't set, and without it far more tokens would be meant. So is a whole
// token in place of a value: it would stand in the store in clear.
func (s *selectorFlags) read(cmd *cobra.Command) (revokeRequest, error) {
	named := s.named
	for _, f := range s.all() {
		switch {
		case *f.value == "" && cmd.Flags().Changed(f.name):
			return named, fmt.Errorf("--%s is empty", f.name)
		case token.IsJWT(*f.value):
			return named, fmt.Errorf("--%s has a whole token, not a value in it: %w", f.name, errNoArguments)
		}
	}
	for _, claim := range s.claims {
		name, value, _ := strings.Cut(claim, "=")
		switch {
		case token.IsJWT(name), token.IsJWT(value):
			return named, fmt.Errorf("--claim has a whole token, not a value in it: %w", errNoArguments)
		case name == "" || value == "":
			return named, errors.New("--claim takes a name and a value, as in --claim tenant_id=acme")
		case named.Claims[name] != "":
			return named, fmt.Errorf("--claim %s stands twice", name)
		}
		if named.Claims == nil {
			named.Claims = map[string]string{}
		}
		named.Claims[name] = value
	}
	return named, nil
}

// query adds what was named to a search.
func (s *selectorFlags) query(q url.Values) {
	for _, f := range s.all() {
		if *f.value != "" {
			q.Set(f.member, *f.value)
		}
	}
	for _, claim := range s.claims {
		q.Add("claim", claim)
	}
}
