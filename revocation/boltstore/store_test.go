package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		path := filepath.Join(t.TempDir(), "records.db")
		return func(t testing.TB) revocation.Store { return openStore(t, path) }
	})
}

func openStore(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func newRecord(name string, ttl time.Duration) revocation.Record {
	return revocation.Record{
		ID:       revocation.NewID(),
		Kind:     revocation.Block,
		Selector: revocation.Selector{Issuer: "https://idp.example.com/realms/acme", Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: name}}},
		Expires:  time.Now().Add(ttl).Truncate(time.Second).UTC(),
		Source:   "endpoint", Actor: "client:web-app", Reason: "logout",
		RecordedAt: time.Now().Truncate(time.Millisecond).UTC(),
	}
}

// newBatch makes n records, prefix/0 and so on, of different times to live.
func newBatch(prefix string, n int) []revocation.Record {
	batch := make([]revocation.Record, n)
	for i := range batch {
		batch[i] = newRecord(fmt.Sprintf("%s/%d", prefix, i), time.Duration(1+i%40)*time.Hour)
	}
	return batch
}

func name(r *revocation.Record) string { return r.Selector.Claims[0].Value }

func appendTo(t testing.TB, s *Store, records ...revocation.Record) {
	t.Helper()
	if err := s.Append(context.Background(), records); err != nil {
		t.Fatal(err)
	}
}

func load(s *Store) (names []string, _ revocation.Position, _ error) {
	position, err := s.Load(context.Background(), func(batch []revocation.Record) error {
		for i := range batch {
			names = append(names, name(&batch[i]))
		}
		return nil
	})
	return names, position, err
}

func mustLoad(t testing.TB, s *Store) []string {
	t.Helper()
	names, _, err := load(s)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func wantErrorIs(t testing.TB, what string, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("%s: got error %v, want one that wraps %q", what, err, target)
		}
	}
}

// checkBolt lets bolt itself check a closed store's file.
func checkBolt(t testing.TB, path string) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		var all []error
		for err := range tx.Check() {
			all = append(all, err)
		}
		return errors.Join(all...)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPosition(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	position := func(want revocation.Position) {
		t.Helper()
		if _, got, err := load(s); got != want || err != nil {
			t.Fatalf("position %q (error %v), want %q", got, err, want)
		}
	}
	position("0")
	appendTo(t, s, newBatch("a", loadChunk)...)
	position("4096")
	appendTo(t, s, newRecord("expired", -time.Hour))
	position("4097")
	if _, err := s.Prune(context.Background(), time.Now()); err != nil {
		t.Fatal(err)
	}
	position("4097")
}

func TestClasses(t *testing.T) {
	now := time.Now().Truncate(time.Second).UTC()
	for _, test := range []struct {
		expires time.Time
		want    string
	}{
		{now.Add(-time.Hour), "10m"},
		{now.Add(10 * time.Minute), "10m"},
		{now.Add(10*time.Minute + time.Second), "1h"},
		{now.Add(24 * time.Hour), "1d"},
		{now.Add(30 * 24 * time.Hour), "30d"},
		{now.Add(366 * 24 * time.Hour), "1y"},
		{now.Add(367 * 24 * time.Hour), "longer"},
		{revocation.Never.Add(-time.Second), "longer"},
		{revocation.Never, "never"},
	} {
		if got := classes[classOf(test.expires, now)].name; got != test.want {
			t.Errorf("a record of %s is put into class %s, want %s", test.expires.Sub(now), got, test.want)
		}
	}
}

// TestPruneBound checks what classes promises: an expired record is gone when
// the longest time to live of its class has passed since it was appended.
func TestPruneBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	start := time.Now().Truncate(time.Second)
	now := start
	s.now = func() time.Time { return now }
	goneBy := map[string]time.Time{}
	for i := range 400 {
		now = start.Add(time.Duration(i) * time.Minute)
		ttl := time.Duration(1+i*7919%9000) * time.Minute
		r := newRecord(fmt.Sprint(i), 0)
		r.Expires = now.Add(ttl).UTC()
		goneBy[name(&r)] = now.Add(classes[classOf(r.Expires, now)].longest)
		appendTo(t, s, r)
	}
	for _, after := range []time.Duration{0, time.Hour, 5 * time.Hour, 24 * time.Hour, 90 * time.Hour, 200 * time.Hour} {
		prunedAt := now.Add(after)
		if _, err := s.Prune(context.Background(), prunedAt); err != nil {
			t.Fatal(err)
		}
		names := mustLoad(t, s)
		for _, n := range names {
			if goneBy[n].Before(prunedAt) {
				t.Errorf("record %s is still there at %s, want it gone by %s", n, prunedAt, goneBy[n])
			}
		}
		if got := s.Stats().Records; got != int64(len(names)) {
			t.Errorf("Stats says %d records, %d are there", got, len(names))
		}
	}
	if n := s.Stats().Records; n != 0 {
		t.Errorf("%d records are left at the end", n)
	}
	closeStore(t, s)
	checkBolt(t, path)
	openStore(t, path)
}

func TestPruneCount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	for i := range 3 {
		appendTo(t, s, newBatch(fmt.Sprint("live", i), 10)...)
		batch := newBatch(fmt.Sprint("expired", i), pruneChunk)
		for j := range batch {
			batch[j].Expires = time.Now().Add(-time.Hour).Truncate(time.Second)
		}
		appendTo(t, s, batch...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n, err := s.Prune(ctx, time.Now()); n != 0 || err != nil {
		t.Fatalf("Prune with a context that has ended: %d, %v", n, err)
	}
	if n, err := s.Prune(context.Background(), time.Now()); n != 3*pruneChunk || err != nil {
		t.Fatalf("Prune: %d, %v, want %d", n, err, 3*pruneChunk)
	}
	if n, err := s.Prune(context.Background(), time.Now()); n != 0 || err != nil {
		t.Fatalf("Prune again: %d, %v, want 0", n, err)
	}
	if n := len(mustLoad(t, s)); n != 30 {
		t.Fatalf("%d records are left, want 30", n)
	}
	closeStore(t, s)
	checkBolt(t, path)
	if s := openStore(t, path); s.Stats().Records != 30 {
		t.Fatalf("Stats says %d records, want 30", s.Stats().Records)
	}
}

// TestCurrentTransaction checks how update tells whether a transaction whose
// meta page wasn't written as a whole has become current all the same.
func TestCurrentTransaction(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	txid := 0
	if err := s.update(func(tx *bbolt.Tx) error { txid = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	if !s.at(txid) || s.at(txid-1) || s.at(txid+1) {
		t.Errorf("the current transaction isn't known to be %d", txid)
	}
}

func TestStats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 2000)...)
	first := s.Stats()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.ID == "" || first.Created.IsZero() || first.Records != 2000 || first.FileBytes != info.Size() || first.FreeBytes <= 0 || first.FreeBytes >= info.Size() {
		t.Errorf("Stats: %+v", first)
	}
	closeStore(t, s)
	if st := s.Stats(); st.FileBytes != 0 || st.ID != first.ID {
		t.Errorf("Stats after Close: %+v", st)
	}
	if st := openStore(t, path).Stats(); st.ID != first.ID || !st.Created.Equal(first.Created) || st.Records != 2000 {
		t.Errorf("Stats after opening again: %+v, want the same as before: %+v", st, first)
	}
}

// TestFaultWhileOpen cuts the file under an open store: reading it then is a
// fault, which must not end the process.
func TestFaultWhileOpen(t *testing.T) {
	for _, size := range []int64{0, 2 * 4096} {
		t.Run(fmt.Sprintf("cut to %d bytes", size), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "records.db")
			s := openStore(t, path)
			appendTo(t, s, newBatch("a", 2000)...)
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			_, _, err := load(s)
			wantErrorIs(t, "Load", err, revocation.ErrStoreCorrupt)
			wantErrorIs(t, "Append", s.Append(context.Background(), newBatch("b", 1)), revocation.ErrStoreCorrupt, revocation.ErrStoreFailed)
			_, err = s.Prune(context.Background(), time.Now())
			wantErrorIs(t, "Prune", err, revocation.ErrStoreCorrupt, revocation.ErrStoreFailed)
			s.Stats()
			closeStore(t, s)
			// Close has released the lock, though bolt still has the file mapped.
			s, err = Open(context.Background(), path, Options{LockTimeout: -1})
			if size == 0 {
				if err != nil {
					t.Fatal(err)
				}
				closeStore(t, s)
				return
			}
			wantErrorIs(t, "Open", err, revocation.ErrStoreCorrupt)
		})
	}
}

// TestFaultInAppend is the same for the write transaction, which panics with
// bolt's locks held.
func TestFaultInAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	s := openStore(t, path)
	appendTo(t, s, newBatch("a", 2000)...)
	if err := os.Truncate(path, 2*4096); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		wantErrorIs(t, "Append", s.Append(context.Background(), newBatch("b", 1)), revocation.ErrStoreCorrupt, revocation.ErrStoreFailed)
	}
	closeStore(t, s)
	_, err := Open(context.Background(), path, Options{LockTimeout: -1})
	wantErrorIs(t, "Open", err, revocation.ErrStoreCorrupt)
}

// TestFileDoesNotGrow appends and prunes for long: freed pages must be used
// again, so that the file keeps its size.
func TestFileDoesNotGrow(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "records.db"))
	start := time.Now()
	now := start
	s.now = func() time.Time { return now }
	var sizes []int64
	for i := range 60 {
		now = now.Add(time.Minute)
		batch := newBatch(fmt.Sprint(i), 300)
		for j := range batch {
			batch[j].Expires = now.Add(time.Duration(1+j%5) * time.Minute).Truncate(time.Second)
		}
		appendTo(t, s, batch...)
		if _, err := s.Prune(context.Background(), now); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, s.Stats().FileBytes)
	}
	if half := sizes[len(sizes)/2]; slices.Max(sizes) > half {
		t.Errorf("the file grows: %v", sizes)
	}
}
