package issuer

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func mustFetcher(t *testing.T, o Options) *fetcher {
	t.Helper()
	f, err := newFetcher(o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.close)
	return f
}

// wantError checks that an error says all of this.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q doesn't say %q", err, part)
		}
	}
}

func TestOnlyAllowedAddressesAreCalled(t *testing.T) {
	strict := mustFetcher(t, Options{Name: "https://idp.example"})
	local := mustFetcher(t, Options{Name: "http://127.0.0.1:8080/realms/a"})
	lax := mustFetcher(t, Options{Name: "http://idp.example", AllowHTTP: true})
	for _, test := range []struct {
		address            string
		strict, local, lax bool
	}{
		{"https://idp.example/keys", true, true, true},
		{"https://other.example/keys?p=1", true, true, true},
		{"http://idp.example/keys", false, false, true},
		{"http://127.0.0.1/keys", false, true, true},
		{"http://[::1]:80/keys", false, true, true},
		{"http://[::ffff:127.0.0.1]/keys", false, true, true},
		{"http://LocalHost:1/keys", false, true, true},
		{"http://localhost.example/keys", false, false, true},
		{"http://127.0.0.1.example/keys", false, false, true},
		{"http://169.254.169.254/latest", false, false, true},
		{"https://user:hunter2@idp.example/keys", false, false, false},
		{"https://idp.example/keys#", false, false, false},
		{"https://idp.example/#k", false, false, false},
		{"https:///keys", false, false, false},
		{"https://:443/keys", false, false, false},
		{"//idp.example/keys", false, false, false},
		{"/keys", false, false, false},
		{"file:///etc/passwd", false, false, false},
		{"ftp://idp.example/keys", false, false, false},
		{"https://idp.example/%zz\n", false, false, false},
		{"", false, false, false},
	} {
		for _, as := range []struct {
			name string
			f    *fetcher
			want bool
		}{{"strict", strict, test.strict}, {"local", local, test.local}, {"lax", lax, test.lax}} {
			err := as.f.allowed(test.address)
			if (err == nil) != as.want {
				t.Errorf("%s fetcher, %q: %v", as.name, test.address, err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error has the password: %v", err)
			}
		}
	}
}

func TestAFetcherNeedsAddressesThatCanBeCalled(t *testing.T) {
	asked := func(url string) *Introspection { return &Introspection{URL: url} }
	secret := StaticKeys{Secret: make([]byte, 32)}
	for name, test := range map[string]struct {
		o    Options
		want string // "" is fine
	}{
		"discovered":                          {Options{Name: "https://idp.example/a"}, ""},
		"a name that is no URL":               {Options{Name: "idp"}, "the issuer's name"},
		"plain HTTP":                          {Options{Name: "http://idp.example"}, "plain HTTP"},
		"a name with a query":                 {Options{Name: "https://idp.example/?p=1"}, "query"},
		"a name that need not be called":      {Options{Name: "idp", JWKSURI: "https://idp.example/keys"}, ""},
		"keys on this machine":                {Options{Name: "https://idp.example", JWKSURI: "http://localhost:8080/keys"}, ""},
		"a key set over plain HTTP":           {Options{Name: "https://idp.example", JWKSURI: "http://idp.example/keys"}, "jwks_uri"},
		"static keys":                         {Options{Name: "idp", Keys: secret}, ""},
		"static keys, ignored jwks_uri":       {Options{Name: "idp", Keys: secret, JWKSURI: "gopher://x"}, ""},
		"static keys, discovered endpoint":    {Options{Name: "idp", Keys: secret, Introspection: asked("")}, "the issuer's name"},
		"static keys, configured endpoint":    {Options{Name: "idp", Keys: secret, Introspection: asked("https://idp.example/i")}, ""},
		"an introspection endpoint over HTTP": {Options{Name: "https://idp.example", Introspection: asked("http://idp.example/i")}, "the introspection endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newFetcher(test.o.withDefaults())
			if test.want != "" {
				wantError(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCallsAreBounded(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("another server was called") }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("fine")) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxAnswerBytes+1)) })
	mux.HandleFunc("/full", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, maxAnswerBytes)) })
	mux.HandleFunc("/404", http.NotFound)
	mux.HandleFunc("/500", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Write([]byte("x"))
	})
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL+"/x", http.StatusFound) })
	mux.HandleFunc("/userinfo", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://a:b@"+r.Host+"/ok", http.StatusFound)
	})
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/3", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/2", http.StatusTemporaryRedirect) })
	mux.HandleFunc("/2", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/1", http.StatusMovedPermanently) })
	mux.HandleFunc("/1", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusPermanentRedirect) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen["loop"]++
		mu.Unlock()
		http.Redirect(w, r, "/loop", http.StatusFound)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	f := mustFetcher(t, Options{Name: srv.URL})
	for path, want := range map[string]struct {
		outcome Outcome
		says    []string
	}{
		"/ok":        {OutcomeOK, nil},
		"/full":      {OutcomeOK, nil},
		"/3":         {OutcomeOK, nil},
		"/long":      {OutcomeInvalid, []string{"longer than 1048576 bytes"}},
		"/404":       {OutcomeInvalid, []string{"status 404"}},
		"/500":       {OutcomeFailed, []string{"status 500"}},
		"/cut":       {OutcomeFailed, []string{"reading the answer"}},
		"/elsewhere": {OutcomeInvalid, []string{"a redirect from " + srv.URL + " to another server, " + other.URL, "configure"}},
		"/userinfo":  {OutcomeInvalid, []string{"credentials"}},
		"/file":      {OutcomeInvalid, []string{"not an https URL"}},
		"/loop":      {OutcomeInvalid, []string{"more than 3 redirects"}},
	} {
		_, err := f.get(t.Context(), srv.URL+path)
		if got := outcomeOf(err); got != want.outcome {
			t.Errorf("%s: %s, %v", path, got, err)
		}
		if want.says != nil {
			wantError(t, err, want.says...)
		}
	}
	if seen["loop"] != 1+maxRedirects {
		t.Errorf("%d calls in a circle", seen["loop"])
	}
	if _, err := f.get(t.Context(), "http://idp.example/"); err == nil {
		t.Error("a forbidden address was called")
	}
	if _, _, err := f.post(t.Context(), "http://idp.example/", nil, nil); err == nil {
		t.Error("a forbidden address was called")
	}
}

func TestAFormIsSentOnce(t *testing.T) {
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		user, pass, _ := r.BasicAuth()
		if r.Method != "POST" || r.PostFormValue("token") != "T&=" || user != "me" || pass != "secret" {
			t.Errorf("%s %v %s", r.Method, r.PostForm, user)
		}
		http.Redirect(w, r, "/again", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	f := mustFetcher(t, Options{Name: srv.URL})
	status, _, err := f.post(t.Context(), srv.URL, url.Values{"token": {"T&="}}, func(r *http.Request) { r.SetBasicAuth("me", "secret") })
	if err != nil || status != http.StatusTemporaryRedirect || calls != 1 {
		t.Errorf("status %d, %v, %d calls", status, err, calls)
	}
}

func TestACallEnds(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-hang
	}))
	defer srv.Close()
	defer close(hang)
	f := mustFetcher(t, Options{Name: srv.URL, Timeout: 10 * time.Millisecond})
	if _, err := f.get(t.Context(), srv.URL); !errors.Is(err, context.DeadlineExceeded) || outcomeOf(err) != OutcomeFailed {
		t.Errorf("after the timeout: %v", err)
	}
}

func TestCertificatesAreChecked(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("fine")) }))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // of handshakes that fail
	srv.StartTLS()
	defer srv.Close()
	if _, err := mustFetcher(t, Options{Name: srv.URL}).get(t.Context(), srv.URL); err == nil {
		t.Error("an unknown authority was trusted")
	}
	pool := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if _, err := mustFetcher(t, Options{Name: srv.URL, RootCAs: pool}).get(t.Context(), srv.URL); err != nil {
		t.Error(err)
	}
}
