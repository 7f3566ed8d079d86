package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// adminSite is a Caddyfile with everything that the admin API is tested with: an API
// that answers "served", and a claim to match.
const adminSite = `
{
	token_revocation {
		match_claims tenant_id
	}
}
` + oneSite

// admin sends a request to the admin API. A body is JSON unless headers, given as name
// and value in turn, say otherwise.
func (c *testCaddy) admin(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	return do(t, c.adminRequest(t, method, path, strings.NewReader(body), headers...))
}

func (c *testCaddy) adminRequest(t testing.TB, method, path string, body io.Reader, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, c.adminURL(path), body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Body != nil && r.ContentLength != 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func (c *testCaddy) adminURL(path string) string { return c.urlOf("ADMIN", adminPath+path) }

// mustAdmin sends a request to the admin API, insists on a status, and decodes the
// answer.
func mustAdmin[T any](t testing.TB, c *testCaddy, status int, method, path, body string, headers ...string) (decoded T) {
	t.Helper()
	a := c.admin(t, method, path, body, headers...)
	if a.status != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &decoded); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, a.body)
	}
	return decoded
}

// revokeBy revokes by the members of a request, and a reason.
func (c *testCaddy) revokeBy(t testing.TB, members string) revokeResponse {
	t.Helper()
	return mustAdmin[revokeResponse](t, c, http.StatusCreated, "POST", "records", `{"reason":"a test",`+members+`}`)
}

// refused returns the message of an error, and insists on its status and form.
func refused(t testing.TB, a answer, status int) string {
	t.Helper()
	var e errorResponse
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status != status || e.Error == "" {
		t.Errorf("status %d, want %d with an error in JSON: %s", a.status, status, a.body)
	}
	return e.Error
}

func wantWarning(t testing.TB, warnings []string, part string) {
	t.Helper()
	if !strings.Contains(strings.Join(warnings, "\n"), part) {
		t.Errorf("the warnings %q don't have %q", warnings, part)
	}
}

func init() {
	caddy.RegisterModule(switchedStore{})
}

// switchedStore is the embedded store, with a switch that makes it fail and one that
// makes it slow to open. Its Caddyfile is bolt's.
type switchedStore struct{ BoltStore }

var (
	storeFails  atomic.Bool
	loadFails   atomic.Int64                  // reading fails at this batch; 0: it doesn't
	storeOpens  atomic.Pointer[chan struct{}] // it opens when this is closed
	errSwitched = errors.New("the disk is on fire")
)

// CaddyModule returns the Caddy module information.
func (switchedStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appID + ".stores.switched", New: func() caddy.Module { return new(switchedStore) }}
}

func (s *switchedStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return s.BoltStore.UnmarshalCaddyfile(d)
}

func (s *switchedStore) OpenStore(ctx context.Context, logger *slog.Logger) (revocation.Store, error) {
	if opens := storeOpens.Load(); opens != nil {
		<-*opens
	}
	store, err := s.BoltStore.OpenStore(ctx, logger)
	return &failingStore{store}, err
}

type failingStore struct{ revocation.Store }

func (s *failingStore) Append(ctx context.Context, records []revocation.Record) error {
	if storeFails.Load() {
		return errSwitched
	}
	return s.Store.Append(ctx, records)
}

func (s *failingStore) Load(ctx context.Context, apply func([]revocation.Record) error) (revocation.Position, error) {
	batches := int64(0)
	return s.Store.Load(ctx, func(records []revocation.Record) error {
		if batches++; batches == loadFails.Load() {
			return errSwitched
		}
		return apply(records)
	})
}

// failStore makes the switched store fail until the function that it returns is called.
func failStore(t testing.TB) (mend func()) {
	storeFails.Store(true)
	mend = func() { storeFails.Store(false) }
	t.Cleanup(mend)
	return mend
}

// records returns how many keys the list has.
func (c *testCaddy) keys(t testing.TB) int {
	t.Helper()
	return mustAdmin[statusResponse](t, c, 200, "GET", "status", "").List.Keys
}

// lines returns n lines of records for an import, of subjects with a prefix.
func lines(n int, prefix string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"kind":"block","selector":{"iss":"https://idp.example.com","sub":"%s%d"}}`+"\n", prefix, i)
	}
	return b.String()
}
