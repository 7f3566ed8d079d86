package issuer

// This file has what is known about products: which claims play which role in their
// tokens, and how they tell what a token is for. Each claim here was seen in tokens
// or in the product's source.

import (
	"maps"
	"slices"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// PresetNames returns the names of all presets, sorted.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

// LookUpPreset returns the preset of a product. Its parts are shared and must not be
// changed.
func LookUpPreset(name string) (Preset, bool) {
	p, known := presets[name]
	p.Name = name
	return p, known
}

var presets = map[string]Preset{
	"keycloak": {
		Profile: token.Profile{
			revocation.RoleTokenID: {"jti"},
			revocation.RoleSession: {"sid", "session_state"}, // the latter up to version 25
			revocation.RoleSubject: {"sub"},
			revocation.RoleClient:  {"azp", "client_id"},
		},
		// Its refresh tokens are signed with a key of its own, and only the client that
		// has one may ask about it. About a token that isn't valid it answers 200 with an
		// error in the body.
		EmptyAnswerProves: true,
		Kind:              keycloakKind,
	},
	"auth0": { // azp in its own profile of access tokens, client_id in that of RFC 9068
		Profile: token.Profile{
			revocation.RoleTokenID: {"jti"},
			revocation.RoleSession: {"sid"},
			revocation.RoleSubject: {"sub"},
			revocation.RoleClient:  {"azp", "client_id"},
		},
		Kind: auth0Kind,
	},
	"okta": {
		Profile: token.Profile{
			revocation.RoleTokenID: {"jti"},
			revocation.RoleSession: {"sid"},
			revocation.RoleSubject: {"uid", "sub"},       // sub is a login name, which can change
			revocation.RoleClient:  {"cid", "client_id"}, // the latter in answers about tokens
		},
		Kind: oktaKind,
	},
	"entra": {
		Profile: token.Profile{
			revocation.RoleTokenID: {"uti", "jti"},
			revocation.RoleSession: {"sid"},
			revocation.RoleSubject: {"oid", "sub"}, // sub differs from client to client
			revocation.RoleClient:  {"appid", "azp"},
		},
		Aliases: entraAliases,
		Kind:    entraKind,
	},
	"cognito": {
		Profile: token.Profile{
			revocation.RoleTokenID: {"jti"},
			revocation.RoleSession: {"event_id"},
			revocation.RoleGrant:   {"origin_jti"},
			revocation.RoleSubject: {"sub", "username"},
			revocation.RoleClient:  {"client_id"},
		},
		Kind: cognitoKind,
	},
	"hydra":   {Profile: standardProfile},
	"duende":  {Profile: standardProfile},
	"zitadel": {Profile: standardProfile},
	"oidc-provider": {
		Profile: standardProfile,
		Kind:    oidcProviderKind,
	},
}

// standardProfile is that of products that call everything as the standards do.
var standardProfile = token.Profile{
	revocation.RoleTokenID: {"jti"},
	revocation.RoleSession: {"sid"},
	revocation.RoleSubject: {"sub"},
	revocation.RoleClient:  {"client_id"},
}

// keycloakKind goes by the typ claim, which all tokens of Keycloak have: those that
// aren't listed here, such as Logout and those for links in mails, are no bearer's.
// Answers about tokens repeat it.
func keycloakKind(_ string, c Claims) revocation.TokenKind {
	switch c.Text("typ") {
	case "":
		return revocation.UnknownKind
	case "Bearer", "DPoP":
		return revocation.AccessToken
	case "Refresh", "Offline":
		return revocation.RefreshToken
	case "ID":
		return revocation.IDToken
	}
	return revocation.OtherToken
}

// auth0Kind goes by the client, which is in access tokens of both profiles and not in
// ID tokens.
func auth0Kind(_ string, c Claims) revocation.TokenKind {
	if !c.has("azp") && !c.has("client_id") && !c.has("events") {
		return revocation.IDToken
	}
	return revocation.UnknownKind
}

// oktaKind goes by the jti, which begins with the kind.
func oktaKind(_ string, c Claims) revocation.TokenKind {
	jti := c.Text("jti")
	switch {
	case strings.HasPrefix(jti, "AT."):
		return revocation.AccessToken
	case strings.HasPrefix(jti, "ID."):
		return revocation.IDToken
	}
	return revocation.UnknownKind
}

// entraKind goes by the claims about the client's authentication: those of access
// tokens of version 1 and 2.
func entraKind(_ string, c Claims) revocation.TokenKind {
	if c.has("appidacr") || c.has("azpacr") {
		return revocation.AccessToken
	}
	if c.has("ver") && !c.has("appid") && !c.has("azp") && !c.has("scp") {
		return revocation.IDToken
	}
	return revocation.UnknownKind
}

// entraAliases returns the name that a tenant has in tokens of the other version.
func entraAliases(issuer string) []string {
	const v1, v2, version = "https://sts.windows.net/", "https://login.microsoftonline.com/", "/v2.0"
	if tenant, ok := strings.CutPrefix(issuer, v1); ok {
		if tenant, ok = strings.CutSuffix(tenant, "/"); ok && isTenant(tenant) {
			return []string{v2 + tenant + version}
		}
	}
	if tenant, ok := strings.CutPrefix(issuer, v2); ok {
		if tenant, ok = strings.CutSuffix(tenant, version); ok && isTenant(tenant) {
			return []string{v1 + tenant + "/"}
		}
	}
	return nil
}

func isTenant(s string) bool { return s != "" && !strings.Contains(s, "/") }

// cognitoKind goes by token_use. Refresh tokens are encrypted.
func cognitoKind(_ string, c Claims) revocation.TokenKind {
	switch c.Text("token_use") {
	case "access":
		return revocation.AccessToken
	case "id":
		return revocation.IDToken
	}
	return revocation.UnknownKind
}

// oidcProviderKind goes by what an answer about a refresh token lacks, and ID tokens:
// its other tokens have a typ.
func oidcProviderKind(typ string, c Claims) revocation.TokenKind {
	switch {
	case typ != "" || c.has("token_type"):
		return revocation.UnknownKind
	case c.has("active"):
		return revocation.RefreshToken
	}
	return revocation.IDToken
}
