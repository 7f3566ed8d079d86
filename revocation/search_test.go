package revocation

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// numbered makes records of different subjects, a second apart, the oldest first.
func numbered(t testing.TB, n int) []Record {
	var records []Record
	for i := range n {
		r := block(mustSelect(t, iss, Claim{RoleSubject, fmt.Sprint(i)}))
		r.RecordedAt = time.Now().Add(time.Duration(i-n) * time.Second).Truncate(time.Millisecond)
		records = append(records, r)
	}
	return records
}

// search follows all pages.
func search(t testing.TB, l *List, q Query) (all []Revocation) {
	t.Helper()
	for {
		page, err := l.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Revocations...)
		if page.Next.IsZero() {
			return all
		}
		if q.After, err = ParseCursor(page.Next.String()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPagesHaveEveryRevocationOnce: also while others are recorded, since a page
// continues where the one before has ended.
func TestPagesHaveEveryRevocationOnce(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	records := numbered(t, 57)
	for _, r := range records {
		revoke(t, l, r)
	}
	for _, limit := range []int{1, 10, 19, 56, 57, 58} {
		var got []ID
		q := Query{Limit: limit}
		for pages := 1; ; pages++ {
			page, err := l.Search(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Revocations) > limit {
				t.Fatalf("a page of %d has %d", limit, len(page.Revocations))
			}
			for _, r := range page.Revocations {
				got = append(got, r.ID)
			}
			revoke(t, l, block(mustSelect(t, iss, Claim{RoleSubject, "later"})))
			if q.After = page.Next; q.After.IsZero() {
				break
			}
		}
		later := 0
		for len(got) > later && got[later] != records[56].ID {
			later++
		}
		if got = got[later:]; len(got) != len(records) {
			t.Fatalf("pages of %d have %d revocations, want %d", limit, len(got), len(records))
		}
		for i, id := range got {
			if want := records[len(records)-1-i].ID; id != want {
				t.Fatalf("pages of %d: number %d is %s, want %s, the newest first", limit, i, id, want)
			}
		}
	}
}

func TestSearch(t *testing.T) {
	l := openList(t, new(memoryStore))
	two := []Record{block(SelectToken(Fingerprint{1})), block(mustSelect(t, iss, Claim{RoleTokenID, "a"}))}
	two[1].ID, two[1].RecordedAt = two[0].ID, two[0].RecordedAt
	revoke(t, l, two...)
	pair := cutoffAt(IssuedBefore, mustSelect(t, iss, Claim{RoleSubject, "alice"}, Claim{RoleClient, "app"}), time.Now())
	pair.Source, pair.Actor, pair.RecordedAt = "admin", "root", time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	revoke(t, l, pair)
	undone := block(mustSelect(t, iss, Claim{RoleSubject, "bob"}))
	revoke(t, l, undone)
	undo, err := l.Reinstate(t.Context(), Note{Reason: "a mistake"}, undone.ID)
	if err != nil {
		t.Fatal(err)
	}
	all := map[ID]string{two[0].ID: "two", pair.ID: "pair", undone.ID: "undone"}
	for name, c := range map[string]struct {
		q    Query
		want []ID
	}{
		"all in force":      {Query{}, []ID{two[0].ID, pair.ID}},
		"reinstated":        {Query{Reinstated: true}, []ID{undone.ID}},
		"both":              {Query{All: true}, []ID{undone.ID, two[0].ID, pair.ID}},
		"one claim":         {Query{Claims: []Claim{{RoleSubject, "alice"}}}, []ID{pair.ID}},
		"both claims":       {Query{Issuer: iss, Claims: []Claim{{RoleSubject, "alice"}, {RoleClient, "app"}}}, []ID{pair.ID}},
		"another client":    {Query{Claims: []Claim{{RoleSubject, "alice"}, {RoleClient, "spa"}}}, nil},
		"another issuer":    {Query{Issuer: "https://elsewhere.example.com"}, nil},
		"by either":         {Query{Claims: []Claim{{RoleToken, Fingerprint{1}.String()}}}, []ID{two[0].ID}},
		"or the other":      {Query{Claims: []Claim{{RoleTokenID, "a"}}}, []ID{two[0].ID}},
		"kind":              {Query{Kind: IssuedBefore}, []ID{pair.ID}},
		"shape":             {Query{Shape: "client_id+sub"}, []ID{pair.ID}},
		"source":            {Query{Source: "admin"}, []ID{pair.ID}},
		"actor":             {Query{Actor: "tester"}, []ID{two[0].ID}},
		"since":             {Query{Since: time.Now().Add(-time.Minute)}, []ID{two[0].ID}},
		"until":             {Query{Until: time.Now().Add(-time.Minute)}, []ID{pair.ID}},
		"until excludes":    {Query{Until: pair.RecordedAt}, nil},
		"since includes":    {Query{Since: pair.RecordedAt, Until: pair.RecordedAt.Add(1)}, []ID{pair.ID}},
		"something unknown": {Query{Claims: []Claim{{"tenant_id", "acme"}}}, nil},
	} {
		got := search(t, l, c.q)
		if len(got) != len(c.want) {
			t.Errorf("%s: %d revocations, want %d", name, len(got), len(c.want))
			continue
		}
		for i, r := range got {
			if r.ID != c.want[i] {
				t.Errorf("%s: number %d is %q, want %q", name, i, all[r.ID], all[c.want[i]])
			}
		}
	}

	found, err := l.Find(t.Context(), two[0].ID)
	if err != nil || len(found.Records) != 2 || found.Pending || !l.InForce(&found) || found.Reinstatement != nil {
		t.Errorf("found %+v, %v", found, err)
	}
	found, err = l.Find(t.Context(), undone.ID)
	if err != nil || found.Reinstatement == nil || found.Reinstatement.ID != undo.ID || l.InForce(&found) {
		t.Errorf("found %+v, %v", found, err)
	}
	for _, id := range []ID{NewID(), undo.ID} {
		if _, err := l.Find(t.Context(), id); !errors.Is(err, ErrUnknownRevocation) {
			t.Errorf("error %v", err)
		}
	}
}

// TestPendingRecordsAreFound: an operator sees what is enforced, whether or not the
// store has it.
func TestPendingRecordsAreFound(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	r := blockToken("leaked")
	if err := l.Revoke(t.Context(), r); !errors.Is(err, ErrNotDurable) {
		t.Fatal(err)
	}
	found := search(t, l, Query{})
	if len(found) != 1 || !found[0].Pending || found[0].ID != r.ID {
		t.Fatalf("found %+v", found)
	}
	exported := 0
	if err := l.Records(t.Context(), func(*Record) error { exported++; return nil }); err != nil || exported != 1 {
		t.Errorf("%d records, %v", exported, err)
	}
	stats := l.Stats()
	if !stats.Store.Failing || !errors.Is(stats.Store.Err, errBroken) || stats.Store.Since.IsZero() {
		t.Errorf("the store's health is %+v", stats.Store)
	}

	store.set(func(s *memoryStore) { s.fail = nil })
	if err := l.Revoke(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if found := search(t, l, Query{}); len(found) != 1 || found[0].Pending || len(found[0].Records) != 1 {
		t.Errorf("found %+v", found)
	}
	if stats := l.Stats(); stats.Store != (StoreHealth{}) {
		t.Errorf("the store's health is %+v", stats.Store)
	}
}

func TestRecordsStopsAtAnError(t *testing.T) {
	l := openList(t, new(memoryStore))
	for _, r := range numbered(t, 5) {
		revoke(t, l, r)
	}
	n := 0
	err := l.Records(t.Context(), func(*Record) error {
		n++
		return errBroken
	})
	if !errors.Is(err, errBroken) || n != 1 {
		t.Errorf("%d records, %v", n, err)
	}
}

func TestCursorsOfOthersAreRefused(t *testing.T) {
	for _, s := range []string{"x", "1", "1.", ".", "1.2", "9223372036854775808." + NewID().String(), NewID().String()} {
		if _, err := ParseCursor(s); err == nil {
			t.Errorf("%q is a cursor", s)
		}
	}
}
