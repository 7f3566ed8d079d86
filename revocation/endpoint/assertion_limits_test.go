// C41 for clients that sign, and keys that can't be had.

package endpoint

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestAssertionFailures(t *testing.T) {
	wrong := func(f *fixture, id string) message {
		return message{body: assertionBody(signers().other.sign(t, statement{"iss": id, "sub": id}.payload(f.clock.Now())))}
	}
	t.Run("C41 failures of one client from one address", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.wantStatuses(wrong(f, signingID), 25, map[int]int{401: 20, 429: 5})
		r := f.expect(message{body: assertionBody(f.good())}, expect{429, "temporarily_unavailable", false, false})
		if got := r.Header.Get("Retry-After"); got != "3" {
			t.Errorf("Retry-After: %q", got)
		}
		f.expect(message{body: assertionBody(f.good()), from: "192.0.2.9:1"}, ok)
		f.clock.advance(3 * time.Second)
		f.wantStatuses(message{body: assertionBody(f.good())}, 1, map[int]int{200: 1})
	})
	t.Run("C41 unknown clients are limited alike", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.wantStatuses(wrong(f, "nobody"), 25, map[int]int{401: 20, 429: 5})
	})
	t.Run("C41 what can't be read counts", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.wantStatuses(message{body: assertionBody("x")}, 25, map[int]int{401: 20, 429: 5})
	})
	t.Run("C41 assertions and secrets count together", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		f.wantStatuses(wrong(f, plainID), 20, map[int]int{401: 20})
		f.wantStatuses(message{body: "token=T", basic: app}, 1, map[int]int{429: 1})
		g := newSigningFixture(t, func(o *Options) { o.Limits.FailuresPerMinutePerAddress = 5 })
		g.wantStatuses(message{body: "token=T", basic: []string{plainID, "wrong"}}, 5, map[int]int{401: 5})
		g.wantStatuses(message{body: assertionBody(g.good())}, 1, map[int]int{429: 1})
	})
	t.Run("C41 a client that succeeded from there before", func(t *testing.T) {
		f := newSigningFixture(t, func(o *Options) { o.Limits.FailuresPerMinutePerAddress = 2 })
		for range 50 { // successes cost nothing
			f.wantStatuses(message{body: assertionBody(f.good())}, 1, map[int]int{200: 1})
		}
		f.wantStatuses(wrong(f, signingID), 2, map[int]int{401: 2})
		for range 50 {
			f.wantStatuses(message{body: assertionBody(f.good())}, 1, map[int]int{200: 1})
		}
		f.wantStatuses(wrong(f, signingID), 70, map[int]int{401: 64, 429: 6})
		f.wantStatuses(message{body: assertionBody(f.good())}, 1, map[int]int{429: 1})
	})
	t.Run("C41 many at once that are all right", func(t *testing.T) {
		f := newSigningFixture(t, func(o *Options) { o.Limits.FailuresPerMinute = 1 })
		statuses := make(chan int)
		for range 50 {
			m := message{body: assertionBody(f.good())}
			go func() { statuses <- f.send(m).StatusCode }()
		}
		for range 50 {
			if got := <-statuses; got != 200 {
				t.Errorf("answered %d", got)
			}
		}
	})
	t.Run("F3 the client's keys can't be had", func(t *testing.T) {
		keys := &keysDouble{err: fmt.Errorf("%w: no route to host", revocation.ErrIssuerUnavailable)}
		f := newSigningFixture(t, func(o *Options) { o.Clients[len(o.Clients)-1].Keys = keys })
		f.wantStatuses(message{body: assertionBody(f.good())}, 30, map[int]int{503: 30})
		f.expect(message{body: assertionBody(f.good())}, refused(503, "temporarily_unavailable"))
		if o := f.observed(); o[0] != IssuerUnavailable {
			t.Errorf("outcome %s", o[0])
		}
		keys.err = nil // nothing was counted, and no assertion used up
		f.expect(message{body: assertionBody(f.good())}, ok)
	})
	t.Run("C35 keys that verified something else", func(t *testing.T) {
		f := newSigningFixture(t, func(o *Options) {
			o.Clients[len(o.Clients)-1].Keys = &keysDouble{payload: statement(nil).payload(time.Now())}
		})
		f.expect(message{body: assertionBody(f.good())}, badClient)
	})
	t.Run("H2 the log says why and quotes nothing", func(t *testing.T) {
		f := newSigningFixture(t, nil)
		used := f.good()
		f.send(message{body: assertionBody(used)})
		f.send(message{body: assertionBody(used)})
		f.send(wrong(f, signingID))
		f.send(message{body: assertionBody(signers().es.sign(t, statement{"aud": "secret-audience"}.payload(f.clock.Now())))})
		f.send(message{body: assertionBody("secret-garbage")})
		log := f.log.String()
		for _, leak := range append(strings.Split(used, "."), "jti-", "secret-") {
			if strings.Contains(log, leak) {
				t.Errorf("the log has %q:\n%s", leak, log)
			}
		}
		for _, want := range []error{errAssertionReplayed, errAssertionSignature, errAssertionAudience, errAssertionForm} {
			if !strings.Contains(log, want.Error()) {
				t.Errorf("the log has no %q:\n%s", want, log)
			}
		}
		if !strings.Contains(log, `claimed_client_id="`+signingID+`"`) {
			t.Errorf("the log doesn't name the client:\n%s", log)
		}
	})
}

// keysDouble are Keys that say what they are told to.
type keysDouble struct {
	payload string
	err     error
}

func (k *keysDouble) VerifyAssertion(ctx context.Context, compact string) (string, []byte, error) {
	if k.err == nil && k.payload == "" {
		return clientKeys().VerifyAssertion(ctx, compact)
	}
	return "", []byte(k.payload), k.err
}
