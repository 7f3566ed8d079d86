// What a store must keep: every field, every record, the order of a batch.

package storetest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func testEmpty(t *testing.T, open Opener) {
	s := openStore(t, open)
	_, err := s.Load(background, func(batch []revocation.Record) error {
		t.Errorf("apply was called with %d records", len(batch))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testNothing(t *testing.T, open Opener) {
	s := openStore(t, open)
	appendTo(t, s)
	wantSame(t, load(t, s), nil)
}

// everyKind returns records that reach the limits of every field.
func everyKind() []revocation.Record {
	in := func(d time.Duration) time.Time { return time.Now().UTC().Add(d).Truncate(time.Second) }
	long := strings.Repeat("é", revocation.MaxNoteBytes/2)
	issuer := strings.Repeat("i", revocation.MaxIssuerBytes)
	var widest []revocation.Claim
	for i := range revocation.MaxClaims {
		role := strings.Repeat(string(rune('a'+i)), revocation.MaxRoleBytes)
		widest = append(widest, revocation.Claim{Role: revocation.Role(role), Value: strings.Repeat("\U0001F512", revocation.MaxValueBytes/4)})
	}
	records := []revocation.Record{
		{Kind: revocation.Block, Selector: revocation.SelectToken(revocation.Fingerprint{1, 2, 3}), Expires: in(time.Hour), RecordedAt: time.Now().UTC().Truncate(time.Millisecond)},
		{Kind: revocation.Block, Selector: revocation.Selector{Issuer: issuer, Claims: widest}, Expires: revocation.Never, Source: long, Actor: long, Reason: long, RecordedAt: time.Unix(0, 0).UTC()},
		{Kind: revocation.Block, Selector: revocation.Selector{Issuer: "https://idp.example.com/ünï\x00cöde"}, Expires: in(24 * time.Hour), Reason: "\x00\n\"'\\;--", RecordedAt: time.UnixMilli(1).UTC()},
		{Kind: revocation.IssuedBefore, Selector: revocation.Selector{Issuer: "i", Claims: []revocation.Claim{{Role: revocation.RoleClient, Value: "c"}, {Role: revocation.RoleSubject, Value: "s"}}}, Cutoff: in(-time.Hour), Expires: in(30 * 24 * time.Hour)},
		{Kind: revocation.AuthenticatedBefore, Selector: revocation.Selector{Issuer: "i", Claims: []revocation.Claim{{Role: revocation.RoleSubject, Value: "s"}}}, Cutoff: time.Unix(1, 0).UTC(), Expires: in(time.Minute)},
		{Kind: revocation.IssuedBefore, Selector: revocation.Selector{Issuer: "i"}, Cutoff: revocation.Never, Expires: revocation.Never},
		{Kind: revocation.Reinstatement, Reinstates: []revocation.ID{revocation.NewID()}, Expires: in(2 * time.Hour)},
		{Kind: revocation.Reinstatement, Expires: in(400 * 24 * time.Hour), Actor: "admin"},
	}
	last := &records[len(records)-1]
	for range revocation.MaxReinstates {
		last.Reinstates = append(last.Reinstates, revocation.NewID())
	}
	for i := range records {
		records[i].ID = revocation.NewID()
		if records[i].RecordedAt.IsZero() {
			records[i].RecordedAt = time.UnixMilli(1_700_000_000_123).UTC()
		}
	}
	return records
}

func testRoundTrip(t *testing.T, open Opener) {
	s := openStore(t, open)
	want := map[revocation.ID]revocation.Record{}
	for _, r := range everyKind() {
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		want[r.ID] = r
		appendTo(t, s, r)
	}
	check := func(s revocation.Store) {
		got := map[revocation.ID]bool{}
		_, err := s.Load(background, func(batch []revocation.Record) error {
			for i := range batch {
				r, w := &batch[i], want[batch[i].ID]
				if !reflect.DeepEqual(*r, w) || !bytes.Equal(revocation.AppendRecord(nil, r), revocation.AppendRecord(nil, &w)) {
					t.Errorf("loaded\n%+v\nwant\n%+v", *r, w)
				}
				got[r.ID] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("loaded %d records, want %d", len(got), len(want))
		}
	}
	check(s)
	closeStore(t, s)
	check(openStore(t, open))
}

func testOrder(t *testing.T, open Opener) {
	s := openStore(t, open)
	want := newBatch("ordered", 500)
	appendTo(t, s, want...)
	if got := load(t, s); !slices.Equal(got, namesOf(want)) {
		t.Fatalf("%d records came back in another order, or not all (want %d)", len(got), len(want))
	}
}

func testReopen(t *testing.T, open Opener) {
	var want []string
	for round := range 3 {
		s := openStore(t, open)
		wantSame(t, load(t, s), want)
		batch := newBatch(fmt.Sprintf("round %d", round), 30)
		appendTo(t, s, batch...)
		want = append(want, namesOf(batch)...)
		closeStore(t, s)
	}
	wantSame(t, load(t, openStore(t, open)), want)
}

func testDuplicates(t *testing.T, open Opener) {
	s := openStore(t, open)
	batch := newBatch("twice", 20)
	appendTo(t, s, batch...)
	appendTo(t, s, batch...)
	appendTo(t, s, batch[0], batch[0])
	wantSame(t, load(t, s), namesOf(batch))
	closeStore(t, s)
	wantSame(t, load(t, openStore(t, open)), namesOf(batch))
}

func testLargeBatch(t *testing.T, open Opener) {
	s := openStore(t, open)
	batch := newBatch("large", 10_000)
	appendTo(t, s, batch...)
	closeStore(t, s)
	wantSame(t, load(t, openStore(t, open)), namesOf(batch))
}

func testBatchReuse(t *testing.T, open Opener) {
	s := openStore(t, open)
	batch := make([]revocation.Record, 1)
	var want []string
	for i := range 5 {
		batch[0] = newRecord(fmt.Sprintf("reused %d", i), time.Hour)
		want = append(want, name(&batch[0]))
		appendTo(t, s, batch...)
		batch[0] = revocation.Record{}
	}
	wantSame(t, load(t, s), want)
}

func testExpired(t *testing.T, open Opener) {
	s := openStore(t, open)
	var live, all []string
	for i := range 200 {
		ttl := time.Duration(1+i) * time.Hour
		if i%2 == 0 {
			ttl = -ttl
		}
		r := newRecord(fmt.Sprintf("%d lives %s", i, ttl), ttl)
		appendTo(t, s, r)
		all = append(all, name(&r))
		if ttl > 0 {
			live = append(live, name(&r))
		}
	}
	check := func(s revocation.Store) {
		got := load(t, s)
		wantAll(t, got, live)
		if n, extra := missing(all, got); extra {
			t.Fatalf("Load handed out %s, which was never appended", n)
		}
	}
	check(s)
	closeStore(t, s)
	check(openStore(t, open))
}
