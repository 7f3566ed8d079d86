package revocation

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// export returns what Records gives.
func export(t testing.TB, l *List) (records []Record) {
	t.Helper()
	if err := l.Records(t.Context(), func(r *Record) error { records = append(records, *r); return nil }); err != nil {
		t.Fatal(err)
	}
	return records
}

// anySelector is the default retention, whatever is selected.
func anySelector(Selector) Retention { return Retention{} }

// importAll imports records and returns how many had each outcome.
func importAll(t testing.TB, l *List, records ...Record) map[Imported]int {
	t.Helper()
	im, err := l.Import(t.Context(), anySelector, Note{Source: "import", Actor: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[Imported]int{}
	for _, r := range records {
		outcome, err := im.Add(r)
		if err != nil {
			t.Fatal(err)
		}
		outcomes[outcome]++
	}
	if err := im.Finish(); err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// TestAnExportImportedElsewhereIsTheSameList: what was revoked there is revoked here,
// what was reinstated isn't, and doing it twice changes nothing.
func TestAnExportImportedElsewhereIsTheSameList(t *testing.T) {
	from := openList(t, new(memoryStore))
	people := people()
	revoke(t, from, block(mustSelect(t, iss, Claim{RoleSubject, "alice"})))
	undone := block(mustSelect(t, iss, Claim{RoleSubject, "bob"}))
	revoke(t, from, undone)
	if _, err := from.Reinstate(t.Context(), Note{}, undone.ID); err != nil {
		t.Fatal(err)
	}
	for i := range maxBatch + 10 {
		revoke(t, from, blockToken(fmt.Sprint("token ", i)))
	}
	records := export(t, from)

	store := new(memoryStore)
	to := openList(t, store)
	revoke(t, to, undone) // from before it was reinstated there
	checker := newChecker(t, to, people)
	wantState(t, checker, "bob", Revoked)
	if got := importAll(t, to, records...); got[ImportAccepted] != len(records) {
		t.Errorf("outcomes %v of %d records", got, len(records))
	}
	wantState(t, checker, "alice", Revoked)
	wantState(t, checker, "bob", Active)
	wantState(t, checker, "token 0", Revoked)
	wantState(t, checker, fmt.Sprint("token ", maxBatch+9), Revoked)

	written := len(store.stored())
	if got := importAll(t, to, records...); got[ImportMerged] != len(records) {
		t.Errorf("the second time: outcomes %v", got)
	}
	if again := len(store.stored()); again != written {
		t.Errorf("the second time %d records were written", again-written)
	}
	if got := importAll(t, to, undone); got[ImportMerged] != 1 {
		t.Errorf("a record that is cancelled here: %v", got)
	}
	wantState(t, checker, "bob", Active)

	restarted := openList(t, &memoryStore{records: store.stored()})
	checker = newChecker(t, restarted, people)
	wantState(t, checker, "alice", Revoked)
	wantState(t, checker, "bob", Active)
}

func TestImportOutcomes(t *testing.T) {
	l := openList(t, new(memoryStore))
	known := blockToken("known")
	revoke(t, l, known)
	longer, expired, later := known, blockToken("expired"), known
	longer.Expires = longer.Expires.Add(time.Hour)
	expired.Expires = time.Now().Add(-time.Second).Truncate(time.Second)
	cutoff := cutoffAt(IssuedBefore, mustSelect(t, iss, Claim{RoleSubject, "alice"}), time.Now().Add(-time.Hour))
	later = cutoff
	later.Cutoff = later.Cutoff.Add(time.Minute)

	im, err := l.Import(t.Context(), anySelector, Note{})
	if err != nil {
		t.Fatal(err)
	}
	add := func(name string, r Record, want Imported) {
		t.Helper()
		if got, err := im.Add(r); err != nil || got != want {
			t.Errorf("%s: outcome %d, %v, want %d", name, got, err, want)
		}
	}
	add("a known one", known, ImportMerged)
	add("one that is kept longer", longer, ImportAccepted)
	add("the same again", longer, ImportMerged)
	add("an expired one", expired, ImportExpired)
	add("a cutoff", cutoff, ImportAccepted)
	add("a later one of the same id", later, ImportAccepted)
	add("the earlier one again", cutoff, ImportMerged)
	if _, err := im.Add(Record{Kind: Block}); !errors.Is(err, ErrInvalidRecord) {
		t.Errorf("error %v", err)
	}
	add("the next after a refused one", blockToken("next"), ImportAccepted)
	if err := im.Finish(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordsWithoutIDAreTheSameEachTime: a file that somebody wrote by hand can be
// imported again.
func TestRecordsWithoutIDAreTheSameEachTime(t *testing.T) {
	l := openList(t, new(memoryStore))
	bare := Record{Kind: Block, Selector: mustSelect(t, iss, Claim{RoleSubject, "alice"})}
	cutoff := Record{Kind: IssuedBefore, Selector: bare.Selector, Cutoff: time.Now().Truncate(time.Second)}
	if got := importAll(t, l, bare, cutoff); got[ImportAccepted] != 2 {
		t.Errorf("outcomes %v", got)
	}
	if got := importAll(t, l, bare, cutoff); got[ImportMerged] != 2 {
		t.Errorf("the second time: outcomes %v", got)
	}
	found := search(t, l, Query{})
	if len(found) != 2 {
		t.Fatalf("found %+v", found)
	}
	for _, f := range found {
		r := f.Records[0]
		if r.Source != "import" || r.Actor != "tester" || r.RecordedAt.IsZero() {
			t.Errorf("recorded as %+v", r)
		}
		if want := (Retention{}).Cutoff(time.Now()); r.Expires.Sub(want).Abs() > time.Minute {
			t.Errorf("it expires at %s, want about %s", r.Expires, want)
		}
	}
}

// TestTooManyShapesRefuseARecordNotAnImport: one record of a shape too many doesn't
// take the others along.
func TestTooManyShapesRefuseARecordNotAnImport(t *testing.T) {
	l := openList(t, new(memoryStore))
	revoke(t, l, blockToken("first"))
	im, err := l.Import(t.Context(), anySelector, Note{})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i := range MaxShapes + 5 {
		role := Role(fmt.Sprint("claim_", i))
		_, err := im.Add(block(mustSelect(t, iss, Claim{role, "x"})))
		if errors.Is(err, ErrTooManyShapes) {
			refused++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := im.Add(blockToken("last")); err != nil {
		t.Fatal(err)
	}
	if err := im.Finish(); err != nil {
		t.Fatal(err)
	}
	if want := 6; refused != want {
		t.Errorf("%d refused, want %d", refused, want)
	}
	wantState(t, newChecker(t, l, plainReader{}), "last", Revoked)
}

// TestAnImportThatTheStoreRefusesIsEnforced and says that it isn't durable.
func TestAnImportThatTheStoreRefusesIsEnforced(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	im, err := l.Import(t.Context(), anySelector, Note{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := im.Add(blockToken("leaked")); err != nil {
		t.Fatal(err)
	}
	if err := im.Finish(); !errors.Is(err, ErrNotDurable) {
		t.Fatalf("error %v", err)
	}
	wantState(t, newChecker(t, l, plainReader{}), "leaked", Revoked)
	store.set(func(s *memoryStore) { s.fail = nil })
}

// TestABatchThatFindsNoRoomIsNotTakenForOneRecord: its records were accepted, and none of
// them is in force.
func TestABatchThatFindsNoRoomIsNotTakenForOneRecord(t *testing.T) {
	l := openList(t, new(memoryStore))
	for i := range MaxShapes - 2 {
		revoke(t, l, block(mustSelect(t, iss, Claim{Role(fmt.Sprint("claim_", i)), "x"})))
	}
	im, err := l.Import(t.Context(), anySelector, Note{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxBatch - 1 {
		r := blockToken(fmt.Sprint("token ", i))
		if i == 0 {
			r = block(mustSelect(t, iss, Claim{"claim_new", "x"}))
		}
		if _, err := im.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		revoke(t, l, block(mustSelect(t, iss, Claim{Role(fmt.Sprint("meanwhile_", i)), "x"})))
	}
	last := block(mustSelect(t, iss, Claim{"claim_0", "y"})) // of a shape that there is room for
	if _, err := im.Add(last); !errors.Is(err, ErrBatchRefused) || errors.Is(err, ErrTooManyShapes) || errors.Is(err, ErrNotDurable) {
		t.Fatalf("error %v", err)
	}
	wantState(t, newChecker(t, l, plainReader{}), "token 1", Active)
}

// TestARecordThatCannotBeWrittenIsRefused: it would make every export fail.
func TestARecordThatCannotBeWrittenIsRefused(t *testing.T) {
	l := openList(t, new(memoryStore))
	im, err := l.Import(t.Context(), anySelector, Note{})
	if err != nil {
		t.Fatal(err)
	}
	for _, written := range []string{"9999-12-31T23:59:59-23:59", "0000-01-01T00:00:00+23:59"} {
		var r Record
		if err := r.UnmarshalJSON([]byte(`{"kind":"block","selector":{"iss":"https://idp.example.com","sub":"a"},"recorded_at":"` + written + `"}`)); err != nil {
			t.Fatal(err)
		}
		if _, err := im.Add(r); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: error %v", written, err)
		}
	}
}
