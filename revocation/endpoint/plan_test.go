// What a revocation is made of, and what becomes of it when it is repeated or the
// client doesn't wait.

package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// owned is the proof of a token of web-app's.
func owned(kind revocation.TokenKind, claims ...revocation.Claim) *revocation.Proof {
	return &revocation.Proof{Issuer: acme, Kind: kind, Owners: []string{plainID}, Claims: claims}
}

var (
	tokenID = revocation.Claim{Role: revocation.RoleTokenID, Value: "1"}
	session = revocation.Claim{Role: revocation.RoleSession, Value: "s"}
)

// TestRetention: how long the records of a token are kept that its issuer knows.
func TestRetention(t *testing.T) {
	const lifetime = 4 * time.Hour // of any token
	now := newClock().Now().Truncate(time.Second)
	withExp := func(in time.Duration) string { return jwt(fmt.Sprintf(`{"exp":%d}`, now.Add(in).Unix())) }
	for _, c := range []struct {
		name     string
		token    string
		kind     revocation.TokenKind
		asked    bool
		expires  time.Duration // as the issuer says
		lifetime time.Duration // of the issuer's tokens
		want     time.Duration
	}{
		{"exp in the token", withExp(time.Hour), revocation.AccessToken, false, time.Hour, 0, time.Hour},
		{"exp beyond the issuer's own lifetime", withExp(9 * time.Hour), revocation.AccessToken, false, 9 * time.Hour, time.Hour, 9 * time.Hour},
		{"exp in the token, another answer", withExp(time.Hour), revocation.AccessToken, true, 2 * time.Hour, 0, time.Hour},
		{"no exp", "T", revocation.AccessToken, true, 0, 0, lifetime},
		{"no exp, the issuer's lifetime", "T", revocation.AccessToken, true, 0, time.Hour, time.Hour},
		{"an earlier exp is only answered", "T", revocation.AccessToken, true, time.Minute, time.Hour, time.Hour},
		{"a later exp is answered", "T", revocation.AccessToken, true, 9 * time.Hour, time.Hour, 9 * time.Hour},
		{"refresh token without exp", "T", revocation.RefreshToken, true, 0, time.Hour, lifetime},
		{"of unknown kind without exp", "T", revocation.UnknownKind, true, 0, time.Hour, lifetime},
		{"of unknown kind, a longer lifetime", "T", revocation.UnknownKind, true, 0, 9 * time.Hour, 9 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			proof := owned(c.kind, tokenID, session)
			proof.Introspected, proof.MaxTokenLifetime = c.asked, c.lifetime
			if c.expires != 0 {
				proof.Expires = now.Add(c.expires).Unix()
			}
			clock := newClock()
			clock.now.Store(now.UnixNano())
			f := newFixture(t, func(o *Options) {
				o.Now, o.Retention = clock.Now, revocation.Retention{Leeway: time.Minute, MaxTokenLifetime: lifetime}
				o.Prover = &oracle{proofs: map[string]*revocation.Proof{c.token: proof}}
			})
			f.wantAnswer(handIn(c.token, "", app), 200, "", Revoked)
			margin := time.Minute + revocation.Grace
			for _, r := range f.store.all() {
				want := c.want
				if r.Kind == revocation.IssuedBefore {
					want = valueOr(c.lifetime, lifetime)
				}
				if got := r.Expires.Sub(now) - margin; got != want {
					t.Errorf("a %s of %s is kept for %s, want %s", r.Kind, r.Selector.Shape(), got, want)
				}
			}
		})
	}
}

// TestRetriesOfProvenTokens: the same records wait for the store, whatever they are.
func TestRetriesOfProvenTokens(t *testing.T) {
	for name, c := range map[string]struct {
		proof *revocation.Proof
		count int
	}{
		"access token":  {owned(revocation.AccessToken, tokenID), 2},
		"refresh token": {owned(revocation.RefreshToken, tokenID, session), 3},
	} {
		t.Run(name, func(t *testing.T) {
			list := new(failing)
			f := newFixture(t, func(o *Options) {
				o.List, o.Prover = list, &oracle{proofs: map[string]*revocation.Proof{"T": c.proof}}
				o.Limits.Confidential = Quota{Live: -1, PerMinute: 1, PerMinutePerAddress: 1}
			})
			for range 20 {
				f.wantAnswer(handIn("T", "", app), 503, "temporarily_unavailable", NotDurable)
			}
			list.mended = true
			f.wantAnswer(handIn("T", "", app), 200, "", Revoked)
			f.wantAnswer(handIn("T", "", app), 200, "", Repeated)
			if n := len(list.asked); n != 21*c.count || list.ids() != 1 {
				t.Fatalf("asked for %d records of %d revocations", n, list.ids())
			}
			for i, r := range list.asked {
				if !reflect.DeepEqual(r, list.asked[i%c.count]) {
					t.Errorf("record %+v is not %+v", r, list.asked[i%c.count])
				}
			}
			if f.quotas.inFlight != 0 {
				t.Errorf("%d records in flight", f.quotas.inFlight)
			}
		})
	}
	t.Run("refresh token, later", func(t *testing.T) {
		list := new(failing)
		proof := owned(revocation.RefreshToken, session)
		f := newFixture(t, func(o *Options) {
			o.List, o.Prover = list, &oracle{proofs: map[string]*revocation.Proof{"T": proof}}
		})
		f.wantAnswer(handIn("T", "", app), 503, "temporarily_unavailable", NotDurable)
		f.clock.advance(time.Minute)
		f.wantAnswer(handIn("T", "", app), 503, "temporarily_unavailable", NotDurable)
		if a := list.asked; list.ids() != 2 || a[3].Cutoff.Sub(a[1].Cutoff) != time.Minute {
			t.Errorf("asked for %v", a)
		}
	})
}

// TestProofChanges: what is known of a token by now counts, not what was then.
func TestProofChanges(t *testing.T) {
	o := &oracle{proofs: map[string]*revocation.Proof{}}
	f := newFixture(t, func(opts *Options) { opts.Prover = o })
	f.wantAnswer(handIn("T", "", app), 200, "", Revoked) // by its fingerprint
	o.proofs["T"] = owned(revocation.UnknownKind, tokenID, session)
	f.wantAnswer(handIn("T", "", app), 200, "", Revoked)
	o.proofs["T"] = owned(revocation.RefreshToken, tokenID, session)
	f.wantAnswer(handIn("T", "", app), 200, "", Revoked)
	delete(o.proofs, "T") // its issuer doesn't know it any more, since it is revoked there
	f.wantAnswer(handIn("T", "", app), 200, "", Repeated)
	o.errs = map[string]error{"T": revocation.ErrForged}
	f.wantAnswer(handIn("T", "", app), 200, "", Forged)
	if n := len(f.store.all()); n != 1+2+3 {
		t.Errorf("%d records", n)
	}
}

// TestQuotaCountsRecords: one revocation may be several.
func TestQuotaCountsRecords(t *testing.T) {
	o := &oracle{proofs: map[string]*revocation.Proof{}}
	for i := range 3 {
		claim := revocation.Claim{Role: revocation.RoleTokenID, Value: fmt.Sprint(i)}
		o.proofs[fmt.Sprint("t", i)] = owned(revocation.AccessToken, claim)
	}
	for name, change := range map[string]func(*Options){
		"of a client": func(o *Options) { o.Limits.Confidential.Live = 5 },
		"of all":      func(o *Options) { o.Limits.LiveTotal = 5 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(opts *Options) { opts.Prover = o; change(opts) })
			f.wantAnswer(handIn("t0", "", app), 200, "", Revoked)
			f.wantAnswer(handIn("t1", "", app), 200, "", Revoked)
			f.wantAnswer(handIn("t2", "", app), 429, "temporarily_unavailable", QuotaExceeded)
			f.wantAnswer(handIn("unknown", "", app), 200, "", Revoked) // there is room for one
			f.wantAnswer(handIn("more", "", app), 429, "temporarily_unavailable", QuotaExceeded)
		})
	}
}

// TestClientGoes: the client wanted the token dead, so its going ends nothing. That the
// issuer doesn't answer does.
func TestClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := new(stub)
		var slow time.Duration
		prover := &oracle{proofs: map[string]*revocation.Proof{"T": owned(revocation.AccessToken, tokenID)}}
		var ended error
		prover.during = func(ctx context.Context) {
			select {
			case <-time.After(slow):
			case <-ctx.Done():
				ended = ctx.Err()
			}
		}
		o := options()
		o.List, o.Prover, o.RevokeTimeout = list, prover, time.Minute
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		slow = 59 * time.Second
		s.ServeHTTP(httptest.NewRecorder(), handIn("T", "", app).request().WithContext(gone))
		if len(list.records) != 2 || ended != nil {
			t.Errorf("%d records, the prover's time ended: %v", len(list.records), ended)
		}
		slow = time.Hour
		s.ServeHTTP(httptest.NewRecorder(), handIn("T", "", app).request())
		if !errors.Is(ended, context.DeadlineExceeded) {
			t.Errorf("the prover had more time than there is: %v", ended)
		}
	})
}

// TestUnprovenIsLogged: an operator can see why there was no cascade.
func TestUnprovenIsLogged(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Prover = new(oracle) })
	f.wantAnswer(handIn("T", "", app), 200, "", Revoked)
	if log := f.log.String(); !strings.Contains(log, "it isn't known") {
		t.Errorf("log: %s", log)
	}
}

func TestIssuerOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		wrong  string
	}{
		"cascade":             {func(o *Options) { o.Cascade = "everything" }, `cascade "everything" is unknown`},
		"self-revocation":     {func(o *Options) { o.SelfRevocation = true }, "can't revoke themselves"},
		"issuers of a client": {func(o *Options) { o.Clients[0].Issuers = []string{acme} }, "has issuers"},
		"an issuer twice":     {func(o *Options) { o.Clients[0].Issuers = []string{acme, acme} }, "twice"},
		"an empty issuer":     {func(o *Options) { o.Clients[0].Issuers = []string{""} }, "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.List = new(stub)
			c.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("error %v, want one about %s", err, c.wrong)
			}
		})
	}
}

// FuzzPlan has anything handed in by anybody, proven or not: a plan is carried out
// as it is, so its records must be valid, and there are none without a reason.
func FuzzPlan(f *testing.F) {
	f.Add("T", "refresh_token", acme, "id", "s", "alice", plainID, byte(2), int64(1), true)
	f.Add(jwt(`{"exp":1}`), "", "", "", "", "", "", byte(0), int64(-1), false)
	f.Add("T", "", acme, strings.Repeat("x", 1025), "\xff", "", "another", byte(2), int64(1<<62), true)
	f.Fuzz(func(t *testing.T, presented, hint, iss, id, sid, sub, client string, kind byte, at int64, proven bool) {
		reader, err := token.NewReader(token.ReaderOptions{})
		if err != nil {
			t.Fatal(err)
		}
		proof := &revocation.Proof{
			Issuer: iss, Kind: revocation.TokenKind(kind % 5), IssuedAt: at, Expires: max(at, 0),
			Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: id}, {Role: revocation.RoleSession, Value: sid}, {Role: revocation.RoleSubject, Value: sub}, {Role: revocation.RoleClient, Value: client}},
		}
		if client != "" {
			proof.Owners = []string{client}
		}
		prover := &oracle{proofs: map[string]*revocation.Proof{}}
		if proven {
			prover.proofs[presented] = proof
		}
		for _, cascade := range []Cascade{CascadeSession, CascadeSubjectClient, CascadeOff} {
			p := &planner{facts: reader, prover: prover, list: new(stub), cascade: cascade, timeout: time.Second, now: time.Now, source: endpointSource}
			h := holder{id: plainID, actor: "client:" + plainID}
			pl := p.plan(t.Context(), h, revocation.Presented{Token: presented, Hint: hint})
			records := pl.records(time.Now())
			if (pl.outcome == Revoked) != (len(records) > 0) || len(records) != pl.count() {
				t.Errorf("%d records, announced %d: %s", len(records), pl.count(), pl.outcome)
			}
			for i := range records {
				if err := records[i].Validate(); err != nil {
					t.Errorf("%+v: %v", records[i], err)
				}
			}
			if pl.proof != nil && client != "" && client != plainID && len(records) > 0 {
				t.Errorf("records of a stranger's token: %v", records)
			}
		}
	})
}
