//go:build !race

// The race detector makes sync.Pool forget things, which costs allocations.

package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func TestTheCheckAddsAtMostOneAllocation(t *testing.T) {
	i := startIssuer(t)
	startCaddy(t, verifying(i.asIssuer(""), ""))
	app, err := caddy.ActiveContext().App(appID)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*RejectRevoked{
		"revoked":  {},
		"verified": {Verify: &Verify{Audience: []string{"api"}, Issuers: []string{i.URL}}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.ActiveContext())
			defer cancel()
			if err := h.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			h.app = app.(*App)
			r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
			r.Header.Set("Authorization", "Bearer "+i.token(t, nil))
			w := httptest.NewRecorder()
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
			serve := func() {
				if err := h.ServeHTTP(w, r, next); err != nil {
					t.Fatal(err)
				}
			}
			if n := testing.AllocsPerRun(1000, serve); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
