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
	startCaddy(t, oneSite)
	app, err := caddy.ActiveContext().App(appID)
	if err != nil {
		t.Fatal(err)
	}
	h := &RejectRevoked{}
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	defer cancel()
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	h.app = app.(*App)
	r := httptest.NewRequest(http.MethodGet, "/a?b=c", nil)
	r.Header.Set("Authorization", "Bearer "+jwt(t, `{"jti":"1"}`))
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r, next) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
