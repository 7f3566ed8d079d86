package issuer

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func TestNewNamesEverythingThatIsWrong(t *testing.T) {
	secret := strings.Repeat("s", 32)
	all := Options{
		Name: "https://as.example.com", Aliases: []string{""}, JWKSURI: "ftp://x", Algorithms: []string{"RS257"}, Types: []string{""},
		Profile:          token.Profile{"tenant": {"tid"}},
		MaxTokenLifetime: -1, RefreshInterval: -1, Timeout: -1,
		Introspection: &Introspection{URL: "http://as.example.com/introspect", StaleIfError: -1, MaxInFlight: -1},
	}
	for name, c := range map[string]struct {
		options Options
		want    []string
	}{
		"everything": {all, []string{
			`issuer "https://as.example.com"`, "an alias is empty", "jwks_uri", "introspection endpoint", "RS257", "a type is empty", `"tenant"`,
			"longest lifetime", "interval", "timeout", "client_id", "client_secret", "can't be asked", "at one time",
		}},
		"nothing":                {Options{}, []string{"no name"}},
		"a name that is no URL":  {Options{Name: "as"}, []string{"https"}},
		"a name that isn't safe": {Options{Name: "http://as.example.com"}, []string{"plain HTTP"}},
		"a long name":            {Options{Name: "https://" + strings.Repeat("a", 2000), JWKSURI: "https://as/jwks"}, []string{"2008 bytes"}},
		"a name that isn't text": {Options{Name: "https://\xff", JWKSURI: "https://as/jwks"}, []string{"UTF-8"}},
		"a short secret":         {Options{Name: "as", Keys: StaticKeys{Secret: []byte("short")}}, []string{"5 bytes"}},
		"HMAC without a secret":  {Options{Name: "https://as", Algorithms: []string{"HS256"}}, []string{"HS256"}},
		"no keys in a file":      {Options{Name: "as", Keys: StaticKeys{PEM: [][]byte{[]byte("x")}}}, []string{"PEM"}},
	} {
		_, err := New(c.options)
		if err == nil {
			t.Errorf("%s is accepted", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: nothing about %q in: %v", name, want, err)
			}
		}
		if strings.Contains(err.Error(), secret) {
			t.Error("the error quotes a secret")
		}
	}
	// A name needs not be a URL where nothing is looked up by it.
	for name, o := range map[string]Options{
		"static keys":  {Name: "accounts.example.com", Keys: StaticKeys{Secret: []byte(secret)}},
		"a jwks_uri":   {Name: "accounts.example.com", JWKSURI: "https://example.com/jwks"},
		"plain HTTP":   {Name: "http://as.internal", AllowHTTP: true},
		"loopback":     {Name: "http://localhost:8080/realms/a"},
		"no leeway":    {Name: "https://as", Leeway: -1},
		"with HMAC":    {Name: "as", Keys: StaticKeys{Secret: []byte(secret)}, Algorithms: []string{"HS256"}},
		"an own typ":   {Name: "https://as", Types: []string{"x-access+jwt"}},
		"all defaults": {Name: "https://as", Introspection: &Introspection{ClientID: "a", ClientSecret: "b"}},
	} {
		if i, err := New(o); err != nil {
			t.Errorf("%s: %v", name, err)
		} else {
			i.Close()
		}
	}
}

func TestNothingIsChangedInTheOptions(t *testing.T) {
	asked := Introspection{ClientID: "a", ClientSecret: "b"}
	preset := mustPreset(t, "keycloak")
	mustIssuer(t, Options{Name: "https://as", Preset: preset, Profile: token.Profile{revocation.RoleSubject: {"email"}}, Introspection: &asked})
	wantEqual(t, "introspection", asked, Introspection{ClientID: "a", ClientSecret: "b"})
	wantEqual(t, "preset", preset.Profile[revocation.RoleSubject], []string{"sub"})
}

func TestAProfileOverridesThePresetRoleByRole(t *testing.T) {
	i := mustIssuer(t, Options{Name: "https://as", Preset: mustPreset(t, "keycloak"),
		Profile: token.Profile{revocation.RoleSubject: {"email"}, revocation.RoleSession: nil}})
	wantEqual(t, "profile", i.ReaderIssuer(), token.Issuer{Names: []string{"https://as"}, Profile: token.Profile{
		revocation.RoleTokenID: {"jti"}, revocation.RoleSession: nil, revocation.RoleSubject: {"email"}, revocation.RoleClient: {"azp", "client_id"},
	}})
	i = mustIssuer(t, Options{Name: "https://as"})
	wantEqual(t, "profile", i.ReaderIssuer().Profile, token.DefaultProfile())
}

func TestStartFetchesTheKeysAndNeverFails(t *testing.T) {
	key := newSigner(t, "ES256", "k")
	p := newProvider(t, key)
	called := make(chan Outcome, 10)
	i := mustIssuer(t, Options{Name: p.url, Observe: func(c Call, o Outcome) {
		if c == CallKeys {
			called <- o
		}
	}})
	if s := i.Status(); s.Keys != 0 || !s.KeysFrom.IsZero() || !s.Ready() {
		t.Errorf("before: %+v", s)
	}
	i.Start(t.Context())
	if o := <-called; o != OutcomeOK {
		t.Error(o)
	}
	i.running.Wait()
	if s := i.Status(); s.Keys != 1 || s.KeysFrom.IsZero() || !s.Ready() || s.Issuer != p.url {
		t.Errorf("after: %+v", s)
	}

	// One that accepts calls and doesn't answer: Close doesn't wait for it.
	i = mustIssuer(t, Options{Name: "http://127.0.0.1:1", JWKSURI: hang(t), Timeout: time.Minute})
	i.Start(context.Background())
	i.Close()
	i.Close()
}
