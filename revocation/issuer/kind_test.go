package issuer

import (
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestWhatATokenIsFor(t *testing.T) {
	const (
		unknown = revocation.UnknownKind
		access  = revocation.AccessToken
		refresh = revocation.RefreshToken
		id      = revocation.IDToken
		other   = revocation.OtherToken
	)
	for _, c := range []struct {
		preset, typ, claims string
		want                revocation.TokenKind
	}{
		{"", "at+jwt", `{}`, access},
		{"", "AT+JWT", `{}`, access},
		{"", "application/at+jwt", `{}`, access},
		{"", "Application/AT+jwt", `{"nonce":"n","at_hash":"h"}`, access}, // the typ decides
		{"", "at", `{}`, other},
		{"", "at+jwt ", `{}`, other},
		{"", "jwt", `{"scope":"api"}`, unknown},
		{"", "JWT", `{}`, unknown},
		{"", "application/jwt", `{}`, unknown},
		{"", "", `{}`, unknown},
		{"", "", `{"nonce":"n"}`, id},
		{"", "JWT", `{"nonce":"n","scope":"api"}`, unknown},
		{"", "JWT", `{"nonce":"n","scp":["api"]}`, unknown},
		{"", "JWT", `{"at_hash":"h","scope":"api"}`, id},
		{"", "JWT", `{"c_hash":"h"}`, id},
		{"", "JWT", `{"events":{}}`, other},
		{"", "", `{"events":{},"nonce":"n","at_hash":"h"}`, other},
		{"", "logout+jwt", `{}`, other},
		{"", "secevent+jwt", `{}`, other},
		{"", "dpop+jwt", `{}`, other},
		{"", "oauth-authz-req+jwt", `{}`, other},
		{"", "token-introspection+jwt", `{"active":true}`, other},
		{"", "x-access", `{}`, unknown}, // in Options.Types
		{"", "application/X-Access", `{"at_hash":"h"}`, id},
		{"", "x-other", `{}`, other},

		{"keycloak", "JWT", `{"typ":"Bearer"}`, access},
		{"keycloak", "JWT", `{"typ":"Bearer","nonce":"n"}`, access},
		{"keycloak", "JWT", `{"typ":"DPoP"}`, access},
		{"keycloak", "JWT", `{"typ":"ID"}`, id},
		{"keycloak", "JWT", `{"typ":"Refresh"}`, refresh},
		{"keycloak", "JWT", `{"typ":"Offline"}`, refresh},
		{"keycloak", "JWT", `{"typ":"Logout"}`, other},
		{"keycloak", "logout+jwt", `{"typ":"Logout"}`, other},
		{"keycloak", "JWT", `{"typ":"execute-actions"}`, other},
		{"keycloak", "JWT", `{"typ":7}`, unknown},
		{"keycloak", "JWT", `{"events":{}}`, other},
		{"keycloak", "at+jwt", `{}`, access},
		{"okta", "", `{"jti":"AT.x"}`, access},
		{"okta", "", `{"jti":"ID.x"}`, id},
		{"okta", "", `{"jti":"x","at_hash":"h"}`, id},
		{"okta", "", `{"jti":"x"}`, unknown},
		{"entra", "JWT", `{"ver":"1.0","appid":"a","appidacr":"1"}`, access},
		{"entra", "JWT", `{"ver":"2.0","azp":"a","azpacr":"0"}`, access},
		{"entra", "JWT", `{"ver":"1.0","azp":"a","scp":"read"}`, unknown}, // B2C
		{"entra", "JWT", `{"ver":"2.0","sub":"s"}`, id},
		{"entra", "JWT", `{"sub":"s"}`, unknown},
		{"cognito", "", `{"token_use":"access"}`, access},
		{"cognito", "", `{"token_use":"id"}`, id},
		{"cognito", "", `{"token_use":true}`, unknown},
		{"oidc-provider", "at+jwt", `{"active":true}`, access},
		{"auth0", "JWT", `{"azp":"a","nonce":"n"}`, id},
		{"auth0", "JWT", `{"sid":"s"}`, id},
		{"auth0", "JWT", `{"sid":"s","azp":"a","scope":"api"}`, unknown}, // by an Action
		{"auth0", "logout+jwt", `{"sid":"s","events":{}}`, other},
		{"hydra", "JWT", `{}`, unknown},
	} {
		i := &Issuer{types: []string{mediaType("application/X-access")}}
		if c.preset != "" {
			i.preset = mustPreset(t, c.preset)
		}
		if got := i.kindOfToken(c.typ, mustParse(t, c.claims)); got != c.want {
			t.Errorf("%s typ %q %s is %s, want %s", c.preset, c.typ, c.claims, got, c.want)
		}
	}
	for _, c := range []struct {
		preset, answer string
		want           revocation.TokenKind
	}{
		{"", `{"active":true}`, unknown},
		{"", `{"active":true,"token_type":"Bearer"}`, access},
		{"", `{"active":true,"token_type":"DPoP"}`, access},
		{"", `{"active":true,"token_type":7}`, unknown},
		{"hydra", `{"active":true,"token_type":"Bearer","token_use":"refresh_token"}`, refresh},
		{"hydra", `{"active":true,"token_type":"Bearer","token_use":"access_token"}`, access},
		{"hydra", `{"active":true,"token_use":"access_token"}`, access},
		{"duende", `{"active":true,"token_type":"access_token"}`, access},
		{"duende", `{"active":true,"token_type":"refresh_token"}`, refresh},
		{"okta", `{"active":true,"token_type":"Bearer","client_id":"c"}`, access},
		{"", `{"active":true,"token_type":"id_token"}`, id},
		{"keycloak", `{"active":true,"typ":"Bearer","token_type":"Bearer"}`, access},
		{"keycloak", `{"active":true,"typ":"Refresh","token_type":"Refresh"}`, refresh},
		{"keycloak", `{"active":true,"typ":"Offline"}`, refresh},
		{"oidc-provider", `{"active":true}`, refresh},
		{"oidc-provider", `{"active":true,"token_type":"Bearer"}`, access},
		{"oidc-provider", `{"active":true,"token_type":"DPoP"}`, access},
	} {
		i := new(Issuer)
		if c.preset != "" {
			i.preset = mustPreset(t, c.preset)
		}
		if got := i.kindOfAnswer(mustParse(t, c.answer)); got != c.want {
			t.Errorf("%s %s is %s, want %s", c.preset, c.answer, got, c.want)
		}
	}
}

func mustPreset(t testing.TB, name string) Preset {
	t.Helper()
	p, known := LookUpPreset(name)
	if !known || p.Name != name {
		t.Fatalf("preset %q: %v, %q", name, known, p.Name)
	}
	return p
}
