// Package storetest is the conformance suite of revocation.Store: what every
// engine must do, in tests that know no engine.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Opener opens one and the same store: the first time an empty one, later what
// Close has left. It calls t.Fatal when it can't. The suite closes what it
// opened before it opens anew.
type Opener func(t testing.TB) revocation.Store

// Run runs the suite. fresh makes an Opener of a store that no other has, and
// that goes away with the test.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"an empty store loads nothing", testEmpty},
		{"every kind of record comes back as it was", testRoundTrip},
		{"one Append keeps its order", testOrder},
		{"an Append without records does nothing", testNothing},
		{"records survive Close", testReopen},
		{"a record may be appended twice", testDuplicates},
		{"an Append of 10,000 records is possible", testLargeBatch},
		{"a batch may be used again after Append", testBatchReuse},
		{"live records are loaded, expired ones maybe", testExpired},
		{"Load sees what was appended before it began", testLoadDuringAppend},
		{"an Append is loaded as a whole or not at all", testAllOrNone},
		{"Loads run at the same time as Append", testConcurrentLoads},
		{"apply may append", testAppendFromApply},
		{"Load returns the error of apply", testApplyError},
		{"Load ends when its context does", testLoadCancelled},
		{"Append with a cancelled context appends all or none", testAppendCancelled},
		{"Close can be repeated and ends everything else", testClose},
		{"Close during Load and Append", testCloseBusy},
		{"Prune removes only what expired before", testPrune},
		{"Prune during Append loses nothing", testPruneDuringAppend},
		{"any history keeps what it must", testHistory},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

var background = context.Background()

// openStore opens the store and closes it with the test.
func openStore(t *testing.T, open Opener) revocation.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func appendTo(t *testing.T, s revocation.Store, records ...revocation.Record) {
	t.Helper()
	if err := s.Append(background, records); err != nil {
		t.Fatalf("Append of %d records: %v", len(records), err)
	}
}

func closeStore(t *testing.T, s revocation.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// load returns the names of the records in the store, in the order in which
// each was first handed out.
func load(t *testing.T, s revocation.Store) []string {
	t.Helper()
	names, err := loadNames(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return names
}

func loadNames(s revocation.Store) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	_, err := s.Load(background, func(batch []revocation.Record) error {
		for i := range batch {
			if err := batch[i].Validate(); err != nil {
				return fmt.Errorf("an invalid record was handed out: %w", err)
			}
			if n := name(&batch[i]); !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
		return nil
	})
	return names, err
}

// name identifies a record that newRecord made.
func name(r *revocation.Record) string {
	if len(r.Selector.Claims) == 0 {
		return r.ID.String()
	}
	return r.Selector.Claims[0].Value
}

// newRecord makes a record that expires so long from now.
func newRecord(name string, ttl time.Duration) revocation.Record {
	now := time.Now().UTC()
	return revocation.Record{
		ID:         revocation.NewID(),
		Kind:       revocation.Block,
		Selector:   revocation.Selector{Issuer: "https://idp.example.com", Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: name}}},
		Expires:    now.Add(ttl).Truncate(time.Second),
		Source:     "endpoint",
		Actor:      "client:web-app",
		RecordedAt: now.Truncate(time.Millisecond),
	}
}

// newBatch makes n records named prefix/0, prefix/1, … that live for 1 to 2,000
// hours: stores may keep them in different places.
func newBatch(prefix string, n int) []revocation.Record {
	records := make([]revocation.Record, n)
	for i := range records {
		records[i] = newRecord(fmt.Sprintf("%s/%d", prefix, i), time.Duration(1+i*i%2000)*time.Hour)
	}
	return records
}

func namesOf(records []revocation.Record) []string {
	names := make([]string, len(records))
	for i := range records {
		names[i] = name(&records[i])
	}
	return names
}

// missing returns an element of want that isn't in got.
func missing(got, want []string) (string, bool) {
	have := map[string]bool{}
	for _, n := range got {
		have[n] = true
	}
	i := slices.IndexFunc(want, func(n string) bool { return !have[n] })
	if i < 0 {
		return "", false
	}
	return want[i], true
}

// wantAll fails the test unless got has every name in want.
func wantAll(t *testing.T, got, want []string) {
	t.Helper()
	if n, lost := missing(got, want); lost {
		t.Fatalf("record %s is lost (%d of %d are there)", n, len(got), len(want))
	}
}

// wantSame fails the test unless got and want have the same names in any order.
func wantSame(t *testing.T, got, want []string) {
	t.Helper()
	wantAll(t, got, want)
	if n, extra := missing(want, got); extra {
		t.Fatalf("Load handed out %s, which was never appended", n)
	}
}

func wantErrorIs(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("%s: got error %v, want one that wraps %q", what, err, target)
	}
}

// newRandom returns a source of which every failure can be repeated.
func newRandom(t *testing.T, seed uint64) *rand.Rand {
	t.Helper()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}
