package caddymodule

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// span is one as the SDK's console exporter writes it.
type span struct {
	Name        string
	SpanContext struct{ SpanID string }
	Parent      struct{ SpanID string }
	Attributes  []struct {
		Key   string
		Value struct{ Value any }
	}
	Status struct{ Code string }

	InstrumentationScope struct{ Name string }
}

func (s *span) attribute(key string) any {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.Value
		}
	}
	return nil
}

// traced runs a Caddyfile with the directive tracing in a process of its own, and
// returns the spans that the SDK writes to its standard output.
func traced(t *testing.T, caddyfile string, requests func(*testCaddy)) (spans []span) {
	t.Helper()
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	p := newProcess(t, t.TempDir())
	p.start(t, caddyfile)
	requests(p.testCaddy)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil { // by then everything is exported
		t.Fatalf("%v: %s", err, p.log)
	}
	p.cmd = nil
	for line := range strings.Lines(p.log.String()) {
		var s span
		if json.Unmarshal([]byte(line), &s) == nil && s.SpanContext.SpanID != "" && s.Name != "/" { // the log is there, too
			spans = append(spans, s)
		}
	}
	return spans
}

func TestTracing(t *testing.T) {
	const site = `
:PORT {
	tracing {
		span {http.request.uri.path}
	}
	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client app ` + appHash + `
	}
	reject_revoked
	respond served
}
`
	spans := traced(t, site, func(c *testCaddy) {
		get(t, c.URL("/absent"))
		bearer(t, c.URL("/active"), "token")
		mustRevoke(t, c.URL("/oauth2/revoke"), "token")
		wantStatus(t, bearer(t, c.URL("/revoked"), "token"), 401)
		mustRevoke(t, c.URL("/oauth2/revoke"), "token") // needs no store
	})
	of := func(name string) (found []span) {
		return slices.DeleteFunc(slices.Clone(spans), func(s span) bool { return s.Name != name })
	}
	for path, want := range map[string][3]any{
		"/absent":  {"absent", nil, nil},
		"/active":  {"active", nil, nil},
		"/revoked": {"revoked", "header Authorization", "token"},
	} {
		s := of(path)
		if len(s) != 1 {
			t.Fatalf("%s has %d spans of %+v", path, len(s), spans)
		}
		got := [3]any{s[0].attribute("token_revocation.verdict"), s[0].attribute("token_revocation.source"), s[0].attribute("token_revocation.selector")}
		if got != want {
			t.Errorf("%s: verdict, source and selector are %v, want %v", path, got, want)
		}
	}
	revoked, stored := of("/oauth2/revoke"), of("token_revocation.store")
	if len(revoked) != 2 || len(stored) != 1 || len(spans) != 6 {
		t.Fatalf("the spans are %+v", spans)
	}
	s := stored[0]
	if !slices.ContainsFunc(revoked, func(r span) bool { return r.SpanContext.SpanID == s.Parent.SpanID }) {
		t.Errorf("its parent is not a request's span: %+v", s)
	}
	if s.attribute("token_revocation.source") != "endpoint" || s.attribute("token_revocation.records") != 1.0 ||
		s.Status.Code == "Error" || s.InstrumentationScope.Name != tracerName {
		t.Errorf("the span is %+v", s)
	}
}
