package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRevokeIsDurableAndEnforced(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	c := newChecker(t, l, plainReader{})
	wantState(t, c, "a", Active)
	revoke(t, l, blockToken("a"))
	wantState(t, c, "a", Revoked)
	wantState(t, c, "b", Active)
	if len(store.stored()) != 1 {
		t.Errorf("%d records are stored", len(store.stored()))
	}
	l.Close()
	wantState(t, c, "a", Revoked) // requests that outlive the list

	again := openList(t, store)
	wantState(t, newChecker(t, again, plainReader{}), "a", Revoked)
	wantState(t, newChecker(t, again, plainReader{}), "b", Active)
}

func TestWhatTheStoreRefusesIsEnforcedAndRetried(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	c := newChecker(t, l, plainReader{})
	err := l.Revoke(t.Context(), blockToken("a"))
	if !errors.Is(err, ErrNotDurable) || !errors.Is(err, errBroken) {
		t.Fatalf("got %v", err)
	}
	wantState(t, c, "a", Revoked)
	if n := l.Stats().Pending; n != 1 {
		t.Errorf("%d records are pending", n)
	}
	store.set(func(s *memoryStore) { s.fail = nil })
	revoke(t, l, blockToken("b")) // behind a in the queue
	if n := l.Stats().Pending; n != 0 {
		t.Errorf("%d records are pending", n)
	}
	if len(store.stored()) != 2 {
		t.Errorf("%d records are stored", len(store.stored()))
	}
}

func TestAStoreThatHangsIsAnErrorInTime(t *testing.T) {
	gate := make(chan struct{})
	store := &memoryStore{gate: gate}
	l, err := Open(t.Context(), store, Options{CommitTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Revoke(t.Context(), blockToken("a")); !errors.Is(err, ErrNotDurable) {
		t.Errorf("got %v", err)
	}
	wantState(t, newChecker(t, l, plainReader{}), "a", Revoked)
	close(gate)
	l.Close()
	if len(store.stored()) != 1 {
		t.Errorf("%d records are stored", len(store.stored()))
	}
}

func TestACallerThatGoesAwayLosesNothing(t *testing.T) {
	gate := make(chan struct{})
	store := &memoryStore{gate: gate}
	l := openList(t, store)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Revoke(ctx, blockToken("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(gate)
	revoke(t, l, blockToken("b"))
	if len(store.stored()) != 2 {
		t.Errorf("%d records are stored", len(store.stored()))
	}
}

func TestConcurrentRevocationsShareAWrite(t *testing.T) {
	gate := make(chan struct{})
	store := &memoryStore{gate: gate}
	l := openList(t, store)
	const callers = 500
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if err := l.Revoke(t.Context(), blockToken(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	for l.Stats().Pending < callers {
		time.Sleep(time.Millisecond)
	}
	close(gate)
	wg.Wait()
	if store.appends > 3 {
		t.Errorf("%d writes for %d callers", store.appends, callers)
	}
}

func TestPendingRecordsAreBounded(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l, err := Open(t.Context(), store, Options{MaxPending: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newChecker(t, l, plainReader{})
	for i := range 15 {
		err := l.Revoke(t.Context(), blockToken(fmt.Sprint(i)))
		want, state := ErrNotDurable, Revoked
		if i >= 10 {
			want, state = ErrTooManyPending, Active
		}
		if !errors.Is(err, want) {
			t.Errorf("call %d: %v", i, err)
		}
		wantState(t, c, fmt.Sprint(i), state)
	}
	if n := l.Stats().Pending; n != 10 {
		t.Errorf("%d records are pending", n)
	}
}

func TestCloseWritesWhatIsPending(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	if err := l.Revoke(t.Context(), blockToken("a")); err == nil {
		t.Fatal("no error")
	}
	store.set(func(s *memoryStore) { s.fail = nil })
	l.Close()
	if len(store.stored()) != 1 || !store.closed {
		t.Errorf("%d records are stored, closed: %v", len(store.stored()), store.closed)
	}
	if err := l.Revoke(t.Context(), blockToken("b")); !errors.Is(err, ErrListClosed) {
		t.Errorf("got %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestInvalidRevocationsChangeNothing(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	a, b := blockToken("a"), blockToken("b")
	noExpiry := blockToken("a")
	noExpiry.Expires = time.Time{}
	for name, records := range map[string][]Record{
		"none": {}, "two revocations": {a, b}, "no expiry": {noExpiry},
		"a reinstatement": {{ID: NewID(), Kind: Reinstatement, Reinstates: []ID{NewID()}, Expires: a.Expires}},
	} {
		if err := l.Revoke(t.Context(), records...); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l.LiveTotal() != 0 || len(store.stored()) != 0 {
		t.Error("something was recorded")
	}
}

func TestShapesAreBounded(t *testing.T) {
	l := openList(t, new(memoryStore))
	many := make([]Record, 2*MaxShapes) // of one shape
	for i := range many {
		many[i] = blockToken(fmt.Sprint(i))
		many[i].ID = many[0].ID
	}
	revoke(t, l, many...)
	for i := range MaxShapes - 1 {
		role := Role(fmt.Sprint("claim", i))
		revoke(t, l, block(mustSelect(t, iss, Claim{role, "x"})))
		revoke(t, l, cutoffAt(IssuedBefore, mustSelect(t, iss, Claim{role, "y"}), time.Now()))
	}
	if err := l.Revoke(t.Context(), block(mustSelect(t, iss, Claim{"onemore", "x"}))); !errors.Is(err, ErrTooManyShapes) {
		t.Errorf("got %v", err)
	}
	revoke(t, l, block(mustSelect(t, iss, Claim{"claim0", "z"})))
}

func TestARevocationOfSeveralRecordsIsOne(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	people := people()
	c := newChecker(t, l, people)
	byToken := block(SelectToken(people["alice"].Fingerprint))
	byID := block(mustSelect(t, iss, Claim{RoleTokenID, "jti-2"}))
	byID.ID = byToken.ID
	revoke(t, l, byToken, byID)
	wantState(t, c, "alice", Revoked)
	wantState(t, c, "bob", Revoked)
	if _, err := l.Reinstate(t.Context(), Note{}, byToken.ID); err != nil {
		t.Fatal(err)
	}
	wantState(t, c, "alice", Active)
	wantState(t, c, "bob", Active)
}

func TestRecordsExpireOnTheRequestPathAndAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := new(memoryStore)
		l := openList(t, store)
		r := blockToken("a")
		r.Actor = "client:app"
		revoke(t, l, r)
		facts := plainReader{}.ReadFacts("a")
		time.Sleep(59 * time.Minute)
		if l.lookup(facts) == nil {
			t.Error("forgotten too early")
		}
		if l.Live("client:app") != 1 || l.LiveTotal() != 1 {
			t.Error("not counted")
		}
		time.Sleep(2 * time.Minute)
		if l.lookup(facts) != nil {
			t.Error("still in force after its expiry")
		}
		time.Sleep(15 * time.Minute)
		if l.Live("client:app") != 0 || l.LiveTotal() != 0 {
			t.Error("still counted")
		}
		l.Close()
	})
}

func TestReinstatement(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	c := newChecker(t, l, plainReader{})
	first, second, other := blockToken("a"), blockToken("a"), blockToken("b")
	for _, r := range []Record{first, second, other} {
		revoke(t, l, r)
	}
	reinstate := func(l *List, id ID) {
		t.Helper()
		before := l.Reinstatements()
		if _, err := l.Reinstate(t.Context(), Note{"test", "operator", "a mistake"}, id); err != nil {
			t.Fatal(err)
		}
		if l.Reinstatements() == before {
			t.Error("the number of reinstatements did not change")
		}
	}
	reinstate(l, first.ID)
	wantState(t, c, "a", Revoked) // by the second revocation
	reinstate(l, second.ID)
	wantState(t, c, "a", Active)
	wantState(t, c, "b", Revoked)

	// A record that was cancelled stays so, however often a feed repeats it.
	l.mu.Lock()
	l.apply(&first)
	l.mu.Unlock()
	wantState(t, c, "a", Active)
	// A new revocation is another matter.
	third := blockToken("a")
	revoke(t, l, third)
	wantState(t, c, "a", Revoked)

	l.Close()
	again := openList(t, store)
	c = newChecker(t, again, plainReader{})
	wantState(t, c, "a", Revoked)
	reinstate(again, third.ID)
	wantState(t, c, "a", Active)
	again.Close()
	wantState(t, newChecker(t, openList(t, store), plainReader{}), "a", Active)

	if _, err := l.Reinstate(t.Context(), Note{}, NewID()); !errors.Is(err, ErrListClosed) && !errors.Is(err, ErrUnknownRevocation) {
		t.Errorf("got %v", err)
	}
}

func TestAReinstatementMayStandBeforeWhatItCancels(t *testing.T) {
	r := blockToken("a")
	undo := Record{ID: NewID(), Kind: Reinstatement, Reinstates: []ID{r.ID}, Expires: r.Expires, RecordedAt: r.RecordedAt}
	for _, records := range [][]Record{{r, undo}, {undo, r}, {r, undo, r}} {
		l := openList(t, &memoryStore{records: records})
		wantState(t, newChecker(t, l, plainReader{}), "a", Active)
	}
}

func TestReinstatingTheUnknownChangesNothing(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	r := blockToken("a")
	revoke(t, l, r)
	if _, err := l.Reinstate(t.Context(), Note{}, r.ID, NewID()); !errors.Is(err, ErrUnknownRevocation) {
		t.Errorf("got %v", err)
	}
	wantState(t, newChecker(t, l, plainReader{}), "a", Revoked)
	if len(store.stored()) != 1 {
		t.Error("something was recorded")
	}
}

// While reinstatements recompute a key, what is revoked under the same key at
// that moment must not be lost.
func TestNoRevocationIsLostToAReinstatementOfTheSameKey(t *testing.T) {
	l := openList(t, new(memoryStore))
	c := newChecker(t, l, plainReader{})
	for round := range 300 {
		mistake, real := blockToken("a"), blockToken("a")
		revoke(t, l, mistake)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := l.Reinstate(t.Context(), Note{}, mistake.ID); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { revoke(t, l, real) })
		wg.Wait()
		if c.Check("a").State != Revoked {
			t.Fatalf("round %d: the revocation is lost", round)
		}
		if _, err := l.Reinstate(t.Context(), Note{}, real.ID); err != nil {
			t.Fatal(err)
		}
		if c.Check("a").State != Active {
			t.Fatalf("round %d: the reinstatement is lost", round)
		}
	}
}

func TestALoadErrorClosesTheStore(t *testing.T) {
	store := &brokenLoad{}
	if _, err := Open(t.Context(), store, Options{}); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
	if !store.closed {
		t.Error("the store is still open")
	}
}

type brokenLoad struct{ memoryStore }

func (*brokenLoad) Load(context.Context, func([]Record) error) (Position, error) {
	return "", errBroken
}

func TestARevocationThatIsGivenAgainWaitsWithTheFirst(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	r := blockToken("a")
	for range 5 {
		if err := l.Revoke(t.Context(), r); !errors.Is(err, ErrNotDurable) {
			t.Errorf("got %v", err)
		}
	}
	if n := l.Stats().Pending; n != 1 {
		t.Errorf("%d records are pending", n)
	}
	store.set(func(s *memoryStore) { s.fail = nil })
	revoke(t, l, r)
	if n := len(store.stored()); n > 2 {
		t.Errorf("%d records are stored", n)
	}
}

// Whoever waits when the list closes is told.
func TestNobodyWaitsForAClosedList(t *testing.T) {
	store := &memoryStore{fail: errBroken}
	l := openList(t, store)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() { l.append(t.Context(), []Record{blockToken(fmt.Sprint(i))}) })
	}
	l.Close()
	wg.Wait()
}

// A machine that starts with its clock ahead takes live records for expired.
// They are back as soon as the clock is right.
func TestRecordsThatWereTakenForExpiredComeBackWithTheRightTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		live, undone := blockToken("live"), blockToken("undone")
		undo := Record{ID: NewID(), Kind: Reinstatement, Reinstates: []ID{undone.ID}, Expires: undone.Expires, RecordedAt: undone.RecordedAt}
		right := time.Now()
		time.Sleep(24 * time.Hour) // the clock is a day ahead
		l := openList(t, &memoryStore{records: []Record{live, undone, undo}})
		c := newChecker(t, l, plainReader{})
		wantState(t, c, "live", Active)
		if !l.clock.tick(right) {
			t.Error("the step back went unnoticed")
		}
		l.recall(t.Context())
		wantState(t, c, "live", Revoked)
		wantState(t, c, "undone", Active)
		if n := l.Live("tester"); n != 1 {
			t.Errorf("%d live records are counted", n)
		}
		c.Close()
		l.Close()
	})
}
