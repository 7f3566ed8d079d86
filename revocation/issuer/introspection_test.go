package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

const (
	ownID     = "proxy one"
	ownSecret = "p:a+s%s wörd"
	askedOf   = "opaque-tOkEn-1234"
)

// log is a logger's output.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// outcomes counts what Observe is told.
type outcomes struct {
	mu sync.Mutex
	of map[Outcome]int
}

func (o *outcomes) observe(c Call, outcome Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.of == nil {
		o.of = map[Outcome]int{}
	}
	if c == CallIntrospection {
		o.of[outcome]++
	}
}

func (o *outcomes) want(t *testing.T, want map[Outcome]int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !maps.Equal(o.of, want) {
		t.Errorf("outcomes %v, want %v", o.of, want)
	}
}

// asker is an introspector and what it tells.
type asker struct {
	*introspector
	log      *log
	outcomes *outcomes
}

// askerOptions are for an issuer with a name that is asked at that address.
func askerOptions(name, address string, change func(*Options)) (Options, *log, *outcomes) {
	l, seen := new(log), new(outcomes)
	o := Options{
		Name:    name,
		Logger:  slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: seen.observe,
		Introspection: &Introspection{
			URL: address, ClientID: ownID, ClientSecret: ownSecret,
		},
	}
	if change != nil {
		change(&o)
	}
	return o.withDefaults(), l, seen
}

// newAsker asks a real server.
func newAsker(t *testing.T, handler http.HandlerFunc, change func(*Options)) asker {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	o, l, seen := askerOptions(server.URL, server.URL+"/introspect", change)
	calls, err := newFetcher(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(calls.close)
	return asker{newIntrospector(calls, newDiscovery(calls, o), o), l, seen}
}

func (a asker) about(token string) (*answer, error) {
	return a.ask(context.Background(), revocation.Presented{Token: token, Facts: new(revocation.Facts)})
}

// says answers every question alike.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestAnswers(t *testing.T) {
	const name = "https://idp.example.com"
	big := `{"active":true,"padding":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, c := range []struct {
		name    string
		status  int
		body    string
		outcome Outcome
		err     error  // nil: active
		why     string // in the error
	}{
		{"active", 200, `{"active":true}`, OutcomeActive, nil, ""},
		{"active with claims", 200, `{"active":true,"sub":"u","client_id":"c","jti":"j","aud":["a","b"],"exp":1.5,"iat":1,"nbf":-1}`, OutcomeActive, nil, ""},
		{"active and its name", 200, `{"active":true,"iss":"` + name + `"}`, OutcomeActive, nil, ""},
		{"active and its alias", 200, `{"active":true,"iss":"https://alias.example.com"}`, OutcomeActive, nil, ""},
		{"active and expired is left to who looks at the clock", 200, `{"active":true,"exp":1,"nbf":99999999999}`, OutcomeActive, nil, ""},
		{"null is nothing", 200, `{"active":true,"iss":null,"sub":null,"exp":null,"aud":null}`, OutcomeActive, nil, ""},
		{"inactive", 200, `{"active":false}`, OutcomeInactive, revocation.ErrUnproven, "isn't active"},
		{"inactive and nonsense", 200, `{"active":false,"exp":"x","iss":5}`, OutcomeInactive, revocation.ErrUnproven, "isn't active"},

		{"no active", 200, `{"sub":"u"}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"active null", 200, `{"active":null}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"active text", 200, `{"active":"true"}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"inactive text", 200, `{"active":"false"}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"active 1", 200, `{"active":1}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"Active", 200, `{"Active":true}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "no active"},
		{"nothing", 200, ``, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"null", 200, `null`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"array", 200, `[{"active":true}]`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"cut off", 200, `{"active":true`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"two objects", 200, `{"active":true}{"active":false}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"HTML", 200, `<html>` + askedOf + `</html>`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"JWT", 200, `eyJhbGciOiJub25lIn0.eyJhY3RpdmUiOnRydWV9.`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"twice active", 200, `{"active":false,"active":true}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"twice the token", 200, `{"active":true,"` + askedOf + `":1,"` + askedOf + `":2}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"no UTF-8", 200, "{\"active\":true,\"sub\":\"\xff\"}", OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"1 MiB", 200, big, OutcomeInvalid, revocation.ErrIssuerUnavailable, "longer than"},

		{"iss list", 200, `{"active":true,"iss":["` + name + `"]}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "iss, which"},
		{"exp text", 200, `{"active":true,"exp":"1700000000"}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "exp, which is not a number"},
		{"nbf true", 200, `{"active":true,"nbf":true}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "nbf, which"},
		{"iat object", 200, `{"active":true,"iat":{}}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "iat, which"},
		{"exp without end", 200, `{"active":true,"exp":1e999}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "JSON object"},
		{"sub number", 200, `{"active":true,"sub":7}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "sub, which"},
		{"client_id list", 200, `{"active":true,"client_id":["a"]}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "client_id, which"},
		{"jti number", 200, `{"active":true,"jti":1}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "jti, which"},
		{"aud mixed", 200, `{"active":true,"aud":["a",1]}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "aud, which"},
		{"aud object", 200, `{"active":true,"aud":{}}`, OutcomeInvalid, revocation.ErrIssuerUnavailable, "aud, which"},

		{"201", 201, `{"active":true}`, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 201"},
		{"204", 204, ``, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 204"},
		{"302", 302, `{"active":true}`, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 302"},
		{"400", 400, `{"active":false}`, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 400"},
		{"401", 401, `{"active":false}`, OutcomeUnauthorized, revocation.ErrIssuerUnavailable, "status 401"},
		{"403", 403, `{"active":false}`, OutcomeUnauthorized, revocation.ErrIssuerUnavailable, "status 403"},
		{"404", 404, ``, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 404"},
		{"429", 429, ``, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 429"},
		{"500", 500, askedOf, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 500"},
		{"503", 503, ``, OutcomeFailed, revocation.ErrIssuerUnavailable, "status 503"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAsker(t, says(c.status, c.body), func(o *Options) {
				o.Name, o.Aliases = name, []string{"https://alias.example.com"}
			})
			got, err := a.about(askedOf)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v", err)
			}
			a.outcomes.want(t, map[Outcome]int{c.outcome: 1})
			if (a.status() == nil) != (c.outcome == OutcomeActive || c.outcome == OutcomeInactive) {
				t.Errorf("status %v", a.status())
			}
			if c.err == nil {
				if string(got.raw) != c.body || got.claims["active"] != true || got.again != nil || !got.holds(time.Now()) {
					t.Errorf("%+v", got)
				}
				return
			}
			if got != nil || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v with error %v", got, err)
			}
			a.wantSecrets(t, err)
		})
	}
}

// wantSecrets fails if the error, the log or the status tell a secret.
func (a asker) wantSecrets(t *testing.T, err error) {
	t.Helper()
	told := fmt.Sprint(err, a.log.String(), a.status())
	for _, secret := range []string{askedOf, ownSecret, "p%3Aa%2Bs"} {
		if strings.Contains(told, secret) {
			t.Errorf("%q is in %s", secret, told)
		}
	}
}

func TestQuestions(t *testing.T) {
	var got *http.Request
	var body string
	handler := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		io.WriteString(w, `{"active":true}`)
	}
	ask := func(post bool, hint string) {
		t.Helper()
		a := newAsker(t, handler, func(o *Options) { o.Introspection.Post = post })
		if _, err := a.ask(t.Context(), revocation.Presented{Token: "a+b&c", Hint: hint, Facts: new(revocation.Facts)}); err != nil {
			t.Fatal(err)
		}
	}
	ask(false, "")
	if got.Method != http.MethodPost || got.URL.Path != "/introspect" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
		got.Header.Get("Accept") != "application/json" {
		t.Errorf("%s %s %v", got.Method, got.URL, got.Header)
	}
	// RFC 6749 §2.3.1: both are form-urlencoded before they are joined.
	if id, secret, ok := got.BasicAuth(); !ok || id != "proxy+one" || secret != "p%3Aa%2Bs%25s+w%C3%B6rd" {
		t.Errorf("credentials %q %q", id, secret)
	}
	if body != "token=a%2Bb%26c" {
		t.Errorf("body %q", body)
	}
	ask(true, "")
	if got.Header.Get("Authorization") != "" || body != "client_id=proxy+one&client_secret=p%3Aa%2Bs%25s+w%C3%B6rd&token=a%2Bb%26c" {
		t.Errorf("credentials in the body: %v %q", got.Header, body)
	}
	for hint, want := range map[string]bool{"access_token": true, "refresh_token": true, "saml2": false, "Access_Token": false, "x&active=true": false} {
		ask(false, hint)
		if strings.Contains(body, "token_type_hint="+hint) != want || strings.Contains(body, "hint") != want {
			t.Errorf("hint %s: body %q", hint, body)
		}
	}
}

func TestTheEndpointIsDiscovered(t *testing.T) {
	var asked []string
	var endpoint string
	var server string
	handler := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			fmt.Fprintf(w, `{"issuer":%q,"introspection_endpoint":%q}`, server, endpoint)
			return
		}
		asked = append(asked, r.URL.Path)
		io.WriteString(w, `{"active":true}`)
	}
	newOne := func() asker {
		return newAsker(t, handler, func(o *Options) { server, o.Introspection.URL = o.Name, "" })
	}
	a := newOne()
	endpoint = server + "/found"
	if _, err := a.about(askedOf); err != nil || !slices.Equal(asked, []string{"/found"}) {
		t.Errorf("asked at %v: %v", asked, err)
	}
	a, endpoint = newOne(), ""
	if _, err := a.about(askedOf); !errors.Is(err, revocation.ErrIssuerUnavailable) || !strings.Contains(err.Error(), "introspection_endpoint") {
		t.Errorf("error %v", err)
	}
	a, endpoint = newOne(), "http://192.0.2.1/elsewhere" // plain HTTP
	if _, err := a.about(askedOf); !errors.Is(err, revocation.ErrIssuerUnavailable) || len(asked) != 1 {
		t.Errorf("asked at %v: %v", asked, err)
	}
}

func TestNoAnswer(t *testing.T) {
	t.Run("the issuer is silent", func(t *testing.T) {
		a := newAsker(t, func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // else the server doesn't notice
			<-r.Context().Done()
		}, func(o *Options) {
			o.Timeout = 20 * time.Millisecond
		})
		_, err := a.about(askedOf)
		if !errors.Is(err, revocation.ErrIssuerUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		a.outcomes.want(t, map[Outcome]int{OutcomeFailed: 1})
		a.wantSecrets(t, err)
	})
	t.Run("the issuer is gone", func(t *testing.T) {
		var server *httptest.Server
		a := newAsker(t, nil, func(o *Options) {
			server = httptest.NewServer(nil)
			o.Introspection.URL = server.URL
			server.Close()
		})
		_, err := a.about(askedOf)
		if !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Errorf("error %v", err)
		}
		a.wantSecrets(t, err)
	})
	t.Run("the answer breaks off", func(t *testing.T) {
		a := newAsker(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"active":true}`)
		}, nil)
		if _, err := a.about(askedOf); !errors.Is(err, revocation.ErrIssuerUnavailable) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("redirects aren't followed", func(t *testing.T) {
		var calls atomic.Int64
		a := newAsker(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		}, nil)
		if _, err := a.about(askedOf); !errors.Is(err, revocation.ErrIssuerUnavailable) || calls.Load() != 1 {
			t.Errorf("%d calls, error %v", calls.Load(), err)
		}
	})
}

func TestTokensOfAnyLengthAreNotAskedAbout(t *testing.T) {
	a := newAsker(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") }, nil)
	if _, err := a.about(strings.Repeat("x", token.MaxTokenBytes+1)); !errors.Is(err, revocation.ErrUnproven) {
		t.Errorf("error %v", err)
	}
}
