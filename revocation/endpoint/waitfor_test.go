package endpoint

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestWaitFor: success is answered when no node accepts the token any more, and a client that
// tries again waits for the same record.
func TestWaitFor(t *testing.T) {
	behind := true
	list := &stub{await: func(ctx context.Context) error {
		if !behind {
			return nil
		}
		<-ctx.Done()
		return fmt.Errorf("%w: waiting for node-2: %w", revocation.ErrNotEverywhere, ctx.Err())
	}}
	f := newFixture(t, func(o *Options) {
		o.List, o.WaitFor = list, 20*time.Millisecond
	})
	for range 3 {
		r := f.send(message{body: "token=T", basic: app})
		if r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
			t.Fatalf("answered %d: %s", r.StatusCode, r.body)
		}
	}
	behind = false
	f.sendToken("T")
	f.sendToken("T")
	if n := len(list.records); n != 1 {
		t.Errorf("%d records", n)
	}
	if got := f.observed(); !reflect.DeepEqual(got, []Outcome{NotEverywhere, NotEverywhere, NotEverywhere, Revoked, Repeated}) {
		t.Errorf("outcomes %v", got)
	}
}

// TestWaitForWaitsOnlyForWhatIsDurable: when the store fails nobody is waited for.
func TestWaitForWaitsOnlyForWhatIsDurable(t *testing.T) {
	waited := false
	list := &stub{
		revoke: func(context.Context) error { return revocation.ErrNotDurable },
		await:  func(context.Context) error { waited = true; return nil },
	}
	f := newFixture(t, func(o *Options) { o.List, o.WaitFor = list, time.Minute })
	f.expect(message{body: "token=T", basic: app}, refused(503, codeUnavailable))
	if waited {
		t.Error("other nodes were waited for")
	}
	list.revoke = nil
	f.sendToken("T")
	if !waited {
		t.Error("other nodes were not waited for")
	}
}
