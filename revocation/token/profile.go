package token

// This file says which claims play which role for which issuer.

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Profile says which claims of an issuer's tokens play a role, in the order of its
// preference: the first one that a token has is the one to record, and all of them
// are looked up. Dots in a name lead into nested objects, unless they are part of it.
type Profile map[revocation.Role][]string

// DefaultProfile returns the claims that play a role for one issuer or another. It
// is how tokens are read of whose issuer nothing is known.
func DefaultProfile() Profile {
	return Profile{
		revocation.RoleTokenID: {"jti", "uti"},                       // RFC 7519 §4.1.7; Entra
		revocation.RoleSession: {"sid", "session_state"},             // OpenID Connect Front-Channel Logout 1.0 §3; old Keycloak
		revocation.RoleSubject: {"sub", "oid", "uid"},                // RFC 7519 §4.1.2; Entra; Okta
		revocation.RoleClient:  {"client_id", "azp", "cid", "appid"}, // RFC 9068 §2.2; OpenID Connect Core 1.0 §2; Okta; Entra
		revocation.RoleGrant:   {"origin_jti"},                       // Cognito
	}
}

// bindings are the confirmation methods of RFC 9449 §6.1 and RFC 8705 §3.1, which
// mean the same for every issuer.
var bindings = Profile{
	revocation.RoleKeyBinding:  {"cnf.jkt"},
	revocation.RoleCertBinding: {"cnf.x5t#S256"},
}

// mappable are the roles for which a profile may name claims.
var mappable = slices.Sorted(maps.Keys(DefaultProfile()))

// Validate reports what is wrong with the profile, or nil.
func (p Profile) Validate() error {
	for role, names := range p {
		if !slices.Contains(mappable, role) {
			return fmt.Errorf("claims can't play the role %q, possible are %v", role, mappable)
		}
		for _, name := range names {
			if name == "" || name == string(revocation.RoleIssuer) {
				return fmt.Errorf("%q can't play the role %s", name, role)
			}
		}
	}
	return nil
}

// profiles is a set of profiles.
type profiles uint64

const (
	defaultProfiles profiles = 1
	allProfiles     profiles = 1<<64 - 1
	maxProfiles              = 64
)

// paths collects the claims that a Reader looks for.
type paths struct {
	paths []path
	known []Profile // what the bits of profiles stand for
}

func newPaths() *paths {
	p := &paths{}
	p.addClaims(bindings, allProfiles)
	if _, err := p.addProfile(DefaultProfile()); err != nil {
		panic(err) // there are no others yet
	}
	return p
}

// addProfile adds the claims of a profile. Issuers with equal profiles share one.
func (p *paths) addProfile(profile Profile) (profiles, error) {
	if err := profile.Validate(); err != nil {
		return 0, err
	}
	same := func(other Profile) bool { return maps.EqualFunc(profile, other, slices.Equal) }
	if i := slices.IndexFunc(p.known, same); i >= 0 {
		return 1 << i, nil
	}
	if len(p.known) == maxProfiles {
		return 0, errors.New("there are too many different profiles of claims")
	}
	bit := profiles(1) << len(p.known)
	p.known = append(p.known, profile)
	p.addClaims(profile, bit)
	return bit, nil
}

func (p *paths) addClaims(profile Profile, to profiles) {
	for _, role := range slices.Sorted(maps.Keys(profile)) {
		for _, name := range profile[role] {
			p.add(name, role, to)
		}
	}
}

// add adds a claim that plays a role.
func (p *paths) add(name string, role revocation.Role, to profiles) {
	for i := range p.paths {
		if known := &p.paths[i]; known.rest == name && known.role == role {
			known.profiles |= to
			return
		}
	}
	p.paths = append(p.paths, path{rest: name, role: role, profiles: to})
}
