package issuer

// Tests with tokens as real products issue them: names and values are made up, the
// claims and their spelling aren't.

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// roles are what a token can be revoked by.
type roles map[revocation.Role]string

// realToken is a token of a product.
type realToken struct {
	name, preset, iss, alg, typ, claims string

	kind   revocation.TokenKind
	roles  roles
	owners []string
}

const (
	keycloak = "https://sso.example.com/realms/acme"
	auth0    = "https://acme.eu.auth0.com/"
	okta     = "https://acme.okta.com/oauth2/default"
	entraV1  = "https://sts.windows.net/7f1c1b3e-0000-4000-8000-5a1f6c0d2e3f/"
	entraV2  = "https://login.microsoftonline.com/7f1c1b3e-0000-4000-8000-5a1f6c0d2e3f/v2.0"
	cognito  = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI"
)

var realTokens = []realToken{
	{
		name: "keycloak 26", preset: "keycloak", iss: keycloak, alg: "RS256", typ: "JWT",
		claims: `{"auth_time":1790000000,"jti":"onrtac:0d4b1a9e-6a2f-4b0e-8a53-91a2f1b1c0de","aud":["api","account"],
			"sub":"f3c1b2a0-6c1e-4b62-9d0c-5b7d6a1e2f30","typ":"Bearer","azp":"web-app","sid":"5e6f7a8b-1c2d-4e3f-9a0b-c1d2e3f4a5b6","acr":"1",
			"allowed-origins":["https://app.example.com"],"realm_access":{"roles":["offline_access"]},
			"resource_access":{"account":{"roles":["view-profile"]}},"scope":"openid email","email_verified":true,"preferred_username":"alice"}`,
		kind: revocation.AccessToken,
		roles: roles{"jti": "onrtac:0d4b1a9e-6a2f-4b0e-8a53-91a2f1b1c0de", "sid": "5e6f7a8b-1c2d-4e3f-9a0b-c1d2e3f4a5b6",
			"sub": "f3c1b2a0-6c1e-4b62-9d0c-5b7d6a1e2f30", "client_id": "web-app"},
		owners: []string{"web-app"},
	}, {
		name: "keycloak 18, with session_state", preset: "keycloak", iss: keycloak, alg: "RS256", typ: "JWT",
		claims: `{"jti":"j-1","aud":"account","sub":"u-1","typ":"Bearer","azp":"web-app","nonce":"n","session_state":"s-1","acr":"1","scope":"openid"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "j-1", "sid": "s-1", "sub": "u-1", "client_id": "web-app"},
		owners: []string{"web-app"},
	}, {
		name: "keycloak lightweight", preset: "keycloak", iss: keycloak, alg: "ES256", typ: "JWT",
		claims: `{"jti":"onltac:0d4b1a9e","typ":"Bearer","azp":"web-app","sid":"s-1","scope":"openid"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "onltac:0d4b1a9e", "sid": "s-1", "client_id": "web-app"},
		owners: []string{"web-app"},
	}, {
		name: "keycloak client credentials", preset: "keycloak", iss: keycloak, alg: "RS256", typ: "JWT",
		claims: `{"jti":"trrtcc:0d4b1a9e","aud":"account","sub":"service-1","typ":"Bearer","azp":"batch","acr":"1","scope":"email",
			"clientHost":"10.0.0.1","clientAddress":"10.0.0.1","client_id":"batch","preferred_username":"service-account-batch"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "trrtcc:0d4b1a9e", "sub": "service-1", "client_id": "batch"},
		owners: []string{"batch"},
	}, {
		name: "keycloak DPoP", preset: "keycloak", iss: keycloak, alg: "EdDSA", typ: "at+jwt",
		claims: `{"jti":"j-1","sub":"u-1","typ":"DPoP","azp":"spa","sid":"s-1","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "j-1", "sub": "u-1", "client_id": "spa", "sid": "s-1", "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
		owners: []string{"spa"},
	}, {
		name: "keycloak ID token", preset: "keycloak", iss: keycloak, alg: "RS256", typ: "JWT",
		claims: `{"jti":"j-2","aud":"web-app","sub":"u-1","typ":"ID","azp":"web-app","nonce":"n","sid":"s-1","at_hash":"h","acr":"1"}`,
		kind:   revocation.IDToken,
		roles:  roles{"jti": "j-2", "sid": "s-1", "sub": "u-1", "client_id": "web-app"},
		owners: []string{"web-app"},
	}, {
		name: "auth0", preset: "auth0", iss: auth0, alg: "RS256", typ: "JWT",
		claims: `{"sub":"auth0|6553da60a54af58e29493993","aud":["https://api.example.com","https://acme.eu.auth0.com/userinfo"],
			"azp":"K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja","scope":"openid profile read:things","permissions":["read:things"]}`,
		kind:   revocation.UnknownKind,
		roles:  roles{"sub": "auth0|6553da60a54af58e29493993", "client_id": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"},
		owners: []string{"K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"},
	}, {
		name: "auth0 with the profile of RFC 9068", preset: "auth0", iss: auth0, alg: "RS256", typ: "at+jwt",
		claims: `{"sub":"auth0|6553da60a54af58e29493993","aud":"https://api.example.com","client_id":"K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja",
			"jti":"73WakrfVbNJBaAmhQtEeDv","scope":"read:things"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "73WakrfVbNJBaAmhQtEeDv", "sub": "auth0|6553da60a54af58e29493993", "client_id": "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"},
		owners: []string{"K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"},
	}, {
		name: "auth0 ID token", preset: "auth0", iss: auth0, alg: "RS256", typ: "JWT",
		claims: `{"nickname":"alice","sub":"auth0|1","aud":"K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja","sid":"s-1","nonce":"n","updated_at":"2026-11-22T10:00:00.000Z"}`,
		kind:   revocation.IDToken,
		roles:  roles{"sub": "auth0|1", "sid": "s-1"},
	}, {
		name: "okta, custom authorization server", preset: "okta", iss: okta, alg: "RS256",
		claims: `{"ver":1,"jti":"AT.MNAoEQ_jbKqoinrQo1D0XKjMX28U5d7ZszBceot7-Ts","aud":"api://default","cid":"0oa1b2c3d4","uid":"00u5e6f7g8",
			"scp":["openid","profile"],"auth_time":1790000000,"sub":"alice@example.com"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "AT.MNAoEQ_jbKqoinrQo1D0XKjMX28U5d7ZszBceot7-Ts", "sub": "00u5e6f7g8", "client_id": "0oa1b2c3d4"},
		owners: []string{"0oa1b2c3d4"},
	}, {
		name: "okta client credentials", preset: "okta", iss: okta, alg: "RS256",
		claims: `{"ver":1,"jti":"AT.x","aud":"api://default","cid":"0oa1b2c3d4","scp":["read"],"sub":"0oa1b2c3d4"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "AT.x", "sub": "0oa1b2c3d4", "client_id": "0oa1b2c3d4"},
		owners: []string{"0oa1b2c3d4"},
	}, {
		name: "okta ID token", preset: "okta", iss: okta, alg: "RS256",
		claims: `{"ver":1,"sub":"00u5e6f7g8","aud":"0oa1b2c3d4","jti":"ID.radCQM","amr":["pwd"],"idp":"00o1","auth_time":1790000000}`,
		kind:   revocation.IDToken,
		roles:  roles{"jti": "ID.radCQM", "sub": "00u5e6f7g8"},
	}, {
		name: "entra v1", preset: "entra", iss: entraV1, alg: "RS256", typ: "JWT",
		claims: `{"aud":"api://6e74172b","nbf":1790000000,"acr":"1","aio":"AXQAi/8IAAAA","amr":["pwd"],"appid":"6e74172b-be56-4843-9ff4-e66a39bb12e3",
			"appidacr":"0","oid":"690222be-ff1a-4d56-abd1-7e4f7d38e474","rh":"0.ATEAz5c","scp":"access_as_user","sid":"0045f2c1","sub":"HKZpfaHyWadeOouYlitjrI",
			"tid":"7f1c1b3e-0000-4000-8000-5a1f6c0d2e3f","unique_name":"alice@example.com","uti":"fqiBqXLPj0eQa82S-IYFAA","ver":"1.0"}`,
		kind: revocation.AccessToken,
		roles: roles{"jti": "fqiBqXLPj0eQa82S-IYFAA", "sid": "0045f2c1", "sub": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
			"client_id": "6e74172b-be56-4843-9ff4-e66a39bb12e3"},
		owners: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3"},
	}, {
		name: "entra v2", preset: "entra", iss: entraV2, alg: "RS256", typ: "JWT",
		claims: `{"aud":"6e74172b-be56-4843-9ff4-e66a39bb12e3","nbf":1790000000,"aio":"AXQAi/8IAAAA","azp":"9a8b7c6d","azpacr":"1","name":"Alice",
			"oid":"690222be-ff1a-4d56-abd1-7e4f7d38e474","rh":"0.ATEAz5c","scp":"access_as_user","sub":"HKZpfaHyWadeOouYlitjrI",
			"tid":"7f1c1b3e-0000-4000-8000-5a1f6c0d2e3f","uti":"fqiBqXLPj0eQa82S-IYFAA","ver":"2.0"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "fqiBqXLPj0eQa82S-IYFAA", "sub": "690222be-ff1a-4d56-abd1-7e4f7d38e474", "client_id": "9a8b7c6d"},
		owners: []string{"9a8b7c6d"},
	}, {
		name: "entra ID token without nonce", preset: "entra", iss: entraV2, alg: "RS256", typ: "JWT",
		claims: `{"aud":"9a8b7c6d","aio":"AXQAi","name":"Alice","oid":"690222be","preferred_username":"alice@example.com","rh":"0.A","sub":"HKZ","tid":"7f1c","uti":"u-2","ver":"2.0"}`,
		kind:   revocation.IDToken,
		roles:  roles{"jti": "u-2", "sub": "690222be"},
	}, {
		name: "cognito access token", preset: "cognito", iss: cognito, alg: "RS256",
		claims: `{"sub":"248289dc-01","device_key":"d-1","cognito:groups":["admin"],"event_id":"e-1","token_use":"access","scope":"aws.cognito.signin.user.admin",
			"auth_time":1790000000,"version":2,"jti":"j-1","origin_jti":"o-1","client_id":"57cbishk4j24pabc1234567890","username":"alice"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "j-1", "grant": "o-1", "sid": "e-1", "sub": "248289dc-01", "client_id": "57cbishk4j24pabc1234567890"},
		owners: []string{"57cbishk4j24pabc1234567890"},
	}, {
		name: "cognito ID token", preset: "cognito", iss: cognito, alg: "RS256",
		claims: `{"sub":"248289dc-01","aud":"57cbishk4j24pabc1234567890","email_verified":true,"event_id":"e-1","token_use":"id","auth_time":1790000000,
			"cognito:username":"alice","jti":"j-2","origin_jti":"o-1"}`,
		kind:  revocation.IDToken,
		roles: roles{"jti": "j-2", "grant": "o-1", "sid": "e-1", "sub": "248289dc-01"},
	}, {
		name: "duende", preset: "duende", iss: "https://id.example.com", alg: "RS256", typ: "at+jwt",
		claims: `{"nbf":1790000000,"client_id":"web","sub":"u-1","auth_time":1790000000,"idp":"local","sid":"B0","jti":"44FD2DE9","scope":["openid","api1"],"amr":["pwd"]}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "44FD2DE9", "sid": "B0", "sub": "u-1", "client_id": "web"},
		owners: []string{"web"},
	}, {
		name: "hydra", preset: "hydra", iss: "https://hydra.example.com", alg: "RS256", typ: "JWT",
		claims: `{"aud":[],"client_id":"c-1","ext":{},"jti":"j-1","nbf":1790000000,"scp":["offline"],"sub":"u-1"}`,
		kind:   revocation.UnknownKind,
		roles:  roles{"jti": "j-1", "sub": "u-1", "client_id": "c-1"},
		owners: []string{"c-1"},
	}, {
		name: "oidc-provider", preset: "oidc-provider", iss: "https://op.example.com", alg: "ES256", typ: "at+jwt",
		claims: `{"jti":"n4n0id","sub":"u-1","scope":"api","client_id":"c-1","aud":"urn:api"}`,
		kind:   revocation.AccessToken,
		roles:  roles{"jti": "n4n0id", "sub": "u-1", "client_id": "c-1"},
		owners: []string{"c-1"},
	}, {
		name: "zitadel", preset: "zitadel", iss: "https://zitadel.example.com", alg: "RS256", typ: "JWT",
		claims: `{"sub":"u-1","aud":["p-1"],"nbf":1790000000,"client_id":"c-1@project","jti":"V2_1-at_2"}`,
		kind:   revocation.UnknownKind,
		roles:  roles{"jti": "V2_1-at_2", "sub": "u-1", "client_id": "c-1@project"},
		owners: []string{"c-1@project"},
	}, {
		name: "no preset", iss: "https://as.example.com", alg: "PS256", typ: "at+jwt",
		claims: `{"jti":"j-1","sub":"u-1","client_id":"c-1","sid":"s-1","cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},"tenant_id":"t-1","realm_access":{"level":"gold"}}`,
		kind:   revocation.AccessToken,
		roles: roles{"jti": "j-1", "sub": "u-1", "client_id": "c-1", "sid": "s-1", "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2",
			"tenant_id": "t-1", "realm_access.level": "gold"},
		owners: []string{"c-1"},
	},
}

func (r realToken) options(t testing.TB, p *provider) Options {
	o := Options{Name: r.iss, JWKSURI: p.url + "/jwks"}
	if r.preset != "" {
		o.Preset = mustPreset(t, r.preset)
	}
	return o
}

// rolesOf returns what a proof says to record. The header's kid is no claim.
func rolesOf(p *revocation.Proof) roles {
	all := roles{}
	for _, c := range p.Claims {
		if c.Role != revocation.RoleKeyID {
			all[c.Role] = p.Claim(c.Role)
		}
	}
	return all
}

func TestRealTokensAreUnderstood(t *testing.T) {
	keys := map[string]*signer{}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		keys[alg] = newSigner(t, alg, "key-"+alg)
	}
	p := newProvider(t, slices.Collect(maps.Values(keys))...)
	for _, real := range realTokens {
		t.Run(real.name, func(t *testing.T) {
			w := newWorld(t, real.options(t, p))
			claims := claimsOf(t, real.iss, real.claims)
			compact := keys[real.alg].sign(t, claims, real.typ)
			proof := w.prove(compact)
			wantEqual(t, "issuer", proof.Issuer, real.iss)
			wantEqual(t, "kind", proof.Kind, real.kind)
			wantEqual(t, "roles", rolesOf(proof), real.roles)
			wantEqual(t, "owners", proof.Owners, real.owners)
			wantEqual(t, "kid", proof.Claim(revocation.RoleKeyID), "key-"+real.alg)
			wantEqual(t, "iat", float64(proof.IssuedAt), toFloat(claims["iat"]))
			wantEqual(t, "exp", float64(proof.Expires), toFloat(claims["exp"]))
			for role, value := range real.roles {
				w := newWorld(t, real.options(t, p))
				sibling := keys[real.alg].sign(t, with(claims, `{"another":"token"}`), real.typ)
				stranger := keys[real.alg].sign(t, othersIn(claims, w.set.issuers[0].profile, role), real.typ)
				for _, token := range []string{compact, sibling, stranger} {
					w.prove(token)
				}
				issuer := real.iss
				if role == revocation.RoleKeyBinding || role == revocation.RoleCertBinding {
					issuer = ""
				}
				w.revoke(issuer, revocation.Claim{Role: role, Value: value})
				w.wantState(compact, revocation.Revoked)
				w.wantState(sibling, revocation.Revoked)
				w.wantState(stranger, revocation.Active)
			}
		})
	}
}

func toFloat(v any) float64 {
	if n, ok := v.(int64); ok {
		return float64(n)
	}
	return v.(float64)
}

// othersIn returns the claims of a token that differs in a role and in nothing else.
func othersIn(claims map[string]any, profile token.Profile, role revocation.Role) map[string]any {
	claims = maps.Clone(claims)
	for _, name := range slices.Concat(profile[role], []string{string(role)}) {
		if text, ok := claims[name].(string); ok {
			claims[name] = text + "-other"
		}
	}
	for _, outer := range []string{"cnf", "realm_access"} {
		if inner, ok := claims[outer].(map[string]any); ok {
			inner = maps.Clone(inner)
			for name, value := range inner {
				if text, ok := value.(string); ok && (name == string(role) || outer+"."+name == string(role)) {
					inner[name] = text + "-other"
				}
			}
			claims[outer] = inner
		}
	}
	return claims
}

// Keycloak signs refresh tokens with a key that is only its own.
func TestAKeycloakRefreshTokenNeedsKeycloak(t *testing.T) {
	key := newSigner(t, "RS256", "k")
	p := newProvider(t, key)
	claims := claimsOf(t, keycloak, `{"jti":"onrtrt:1","aud":"`+keycloak+`","sub":"u-1","typ":"Refresh","azp":"web-app","sid":"s-1","scope":"openid"}`)
	refresh := newSigner(t, "HS512", "hs").sign(t, claims, "JWT")
	o := Options{Name: keycloak, Preset: mustPreset(t, "keycloak"), JWKSURI: p.url + "/jwks"}
	newWorld(t, o).wantError(refresh, revocation.ErrUnproven)

	o.Introspection = p.asked()
	w := newWorld(t, o)
	w.wantError(refresh, revocation.ErrUnproven)
	p.knows(refresh, with(claims, `{"client_id":"web-app","username":"alice"}`))
	w = newWorld(t, o)
	proof := w.prove(refresh)
	if proof.Kind != revocation.RefreshToken || !proof.Introspected || proof.Claim(revocation.RoleSession) != "s-1" {
		t.Errorf("%+v", proof)
	}
	wantEqual(t, "owners", proof.Owners, []string{"web-app"})
}

// A record about a tenant of Entra hits tokens of both versions.
func TestEntraHasTwoNames(t *testing.T) {
	key := newSigner(t, "RS256", "k")
	p := newProvider(t, key)
	for _, configured := range []string{entraV1, entraV2} {
		o := Options{Name: configured, Preset: mustPreset(t, "entra"), JWKSURI: p.url + "/jwks"}
		for _, named := range []string{entraV1, entraV2} {
			w := newWorld(t, o)
			v1 := key.sign(t, claimsOf(t, entraV1, `{"uti":"1","oid":"alice","appid":"a"}`), "JWT")
			v2 := key.sign(t, claimsOf(t, entraV2, `{"uti":"2","oid":"alice","azp":"a"}`), "JWT")
			bob := key.sign(t, claimsOf(t, entraV2, `{"uti":"3","oid":"bob","sub":"alice","azp":"a"}`), "JWT")
			for _, compact := range []string{v1, v2, bob} {
				if got := w.prove(compact).Issuer; got != configured {
					t.Errorf("the issuer is %s, want %s", got, configured)
				}
			}
			w.revoke(named, revocation.Claim{Role: revocation.RoleSubject, Value: "alice"})
			w.wantState(v1, revocation.Revoked)
			w.wantState(v2, revocation.Revoked)
			// Whose sub, which is another's oid, is looked up as well.
			w.wantState(bob, revocation.Revoked)
		}
	}
	for _, name := range []string{
		"", "https://sts.windows.net/", "https://sts.windows.net/x", "https://sts.windows.net/x/y/", "https://login.microsoftonline.com//v2.0",
		"https://login.microsoftonline.com/x/v2.0/", "https://login.microsoftonline.com/x/y/v2.0", "https://evil.example/https://sts.windows.net/x/",
	} {
		if got := entraAliases(name); got != nil {
			t.Errorf("%q has the aliases %q", name, got)
		}
	}
}

func TestPresetsAreValid(t *testing.T) {
	if got := strings.Join(PresetNames(), " "); got != "auth0 cognito duende entra hydra keycloak oidc-provider okta zitadel" {
		t.Error(got)
	}
	for _, name := range PresetNames() {
		if err := mustPreset(t, name).Profile.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, known := LookUpPreset("keyclock"); known {
		t.Error("keyclock is known")
	}
}

// Keycloak signs refresh tokens with a key that nobody else has. That it revoked one
// proves what it says.
func TestKeycloaksEmptyAnswerProvesARefreshToken(t *testing.T) {
	key, own := newSigner(t, "RS256", "k"), newSigner(t, "HS512", "own")
	p := newProvider(t, key)
	keycloak, _ := LookUpPreset("keycloak")
	w := newWorld(t, Options{Name: p.url + "/realms/acme", Preset: keycloak}, Options{Name: p.url + "/other"})
	refresh := own.sign(t, claimsOf(t, p.url+"/realms/acme", `{"typ":"Refresh","azp":"web-app","sub":"alice","sid":"s1","jti":"r1"}`), "JWT")
	w.wantError(refresh, revocation.ErrUnproven)
	ask := func(token string, issuers ...string) *revocation.Proof {
		return w.set.ProofByAnswer(revocation.Presented{Token: token, Facts: w.reader.ReadFacts(token), Issuers: issuers})
	}
	proof := ask(refresh)
	if proof == nil || proof.Kind != revocation.RefreshToken || proof.Issuer != p.url+"/realms/acme" ||
		!slices.Equal(proof.Owners, []string{"web-app"}) || proof.Claim(revocation.RoleSession) != "s1" || proof.IssuedAt == 0 {
		t.Errorf("%+v", proof)
	}
	for name, token := range map[string]string{
		"another issuer's": own.sign(t, claimsOf(t, p.url+"/other", `{"typ":"Refresh","azp":"web-app"}`), "JWT"),
		"nobody's":         own.sign(t, claimsOf(t, "https://elsewhere.example.com", `{"typ":"Refresh","azp":"web-app"}`), "JWT"),
		"opaque":           "opaque",
		"malformed":        refresh + ".x",
		"unsigned":         "eyJhbGciOiJub25lIn0." + strings.Split(refresh, ".")[1] + ".", // {"alg":"none"}
	} {
		if proof := ask(token); proof != nil {
			t.Errorf("%s: %+v", name, proof)
		}
	}
	if proof := ask(refresh, p.url+"/other"); proof != nil {
		t.Errorf("of an issuer that isn't accepted: %+v", proof)
	}
}
