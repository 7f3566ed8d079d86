package revocation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// openStreamed opens a list that ends streams.
func openStreamed(t testing.TB, store Store, s *Streams) *List {
	t.Helper()
	l, err := Open(t.Context(), store, Options{CommitTimeout: 2 * time.Second, Streams: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// watched is a stream of a test.
type watched struct {
	*Stream
	verdicts chan Verdict
}

func watch(s *Streams, tokens ...*Facts) watched {
	verdicts := make(chan Verdict, 10)
	return watched{s.Open(func(v Verdict) { verdicts <- v }, tokens...), verdicts}
}

func (w watched) wantCut(t *testing.T, shape Shape, token *Facts) {
	t.Helper()
	select {
	case v := <-w.verdicts:
		if v.State != Revoked || v.Shape != shape || v.Facts != token {
			t.Errorf("cut by %+v, want %s of %+v", v, shape, token)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("it wasn't cut by %s", shape)
	}
}

func (w watched) wantOpen(t *testing.T) {
	t.Helper()
	select {
	case v := <-w.verdicts:
		t.Errorf("it was cut by %+v", v)
	default:
	}
}

func TestRecordsOfEveryShapeCutTheStreamsThatTheyHit(t *testing.T) {
	user := Claim{RoleSubject, "alice"}
	for shape, selector := range map[Shape]Selector{
		"token":         SelectToken(Fingerprint{1}),
		"jti":           mustSelect(t, iss, Claim{RoleTokenID, "1"}),
		"sub":           mustSelect(t, iss, user),
		"client_id+sub": mustSelect(t, iss, user, Claim{RoleClient, "app"}),
		"jkt":           mustSelect(t, "", Claim{RoleKeyBinding, "thumb"}),
		"iss":           mustSelect(t, iss),
	} {
		t.Run(string(shape), func(t *testing.T) {
			s := NewStreams()
			l := openStreamed(t, new(memoryStore), s)
			hit := &Facts{Fingerprint: Fingerprint{1}, Issuers: []string{"https://alias.example.com", iss}, Claims: []Claim{
				{RoleTokenID, "1"}, user, {RoleClient, "app"}, {RoleClient, "other"}, {RoleKeyBinding, "thumb"},
			}}
			other := &Facts{Fingerprint: Fingerprint{2}, Issuers: []string{"https://other.example.com"}, Claims: []Claim{
				{RoleTokenID, "1"}, user, {RoleClient, "app"},
			}}
			first, second, untouched := watch(s, hit), watch(s, other, hit), watch(s, other)
			revoke(t, l, block(selector))
			first.wantCut(t, shape, hit)
			second.wantCut(t, shape, hit)
			revoke(t, l, block(selector)) // nothing is cut twice
			for _, w := range []watched{first, second, untouched} {
				w.Close()
				w.Close()
				w.wantOpen(t)
			}
			if s.Len() != 0 || len(s.keys) != 0 || s.first != nil {
				t.Errorf("%d streams and %d keys are left", s.Len(), len(s.keys))
			}
		})
	}
}

func TestACutoffCutsWhatIsAsOldAsItOrOlder(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	sub := mustSelect(t, iss, Claim{RoleSubject, "alice"})
	token := func(issued, authenticated time.Time) *Facts {
		f := &Facts{Issuers: []string{iss}, Claims: sub.Claims, IssuedAt: issued.Unix()}
		if !authenticated.IsZero() {
			f.AuthTime = authenticated.Unix()
		}
		return f
	}
	s := NewStreams()
	l := openStreamed(t, new(memoryStore), s)
	old, fresh := token(now, time.Time{}), token(now.Add(time.Second), time.Time{})
	oldLogin := token(now.Add(time.Second), now)
	a, b, c := watch(s, old), watch(s, fresh), watch(s, oldLogin)
	revoke(t, l, cutoffAt(IssuedBefore, sub, now))
	a.wantCut(t, "sub", old)
	b.wantOpen(t)
	c.wantOpen(t)
	revoke(t, l, cutoffAt(AuthenticatedBefore, sub, now))
	c.wantCut(t, "sub", oldLogin)
	b.wantOpen(t)
}

// What only the issuer's answer says of a token counts for its streams.
func TestWhatAProofSaysCutsStreams(t *testing.T) {
	s := NewStreams()
	l := openStreamed(t, new(memoryStore), s)
	opaque := &Facts{Fingerprint: Fingerprint{1}}
	opaque.proof.Store(&Proof{Facts: &Facts{Issuers: []string{iss}, Claims: []Claim{{RoleSubject, "alice"}}}})
	w := watch(s, opaque)
	revoke(t, l, block(mustSelect(t, iss, Claim{RoleSubject, "alice"})))
	w.wantCut(t, "sub", opaque)
}

func TestAClosedStreamIsntCutAndHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewStreams()
		l := openStreamed(t, new(memoryStore), s)
		w := watch(s, plainReader{}.ReadFacts("a"))
		w.Close()
		revoke(t, l, blockToken("a"))
		synctest.Wait()
		w.wantOpen(t)
		l.Close()
	})
}

// A list that is opened beside open streams cuts what it knows to be revoked, and what
// it knows to be reinstated not even for a moment.
func TestOpeningAListCutsWhatItKnows(t *testing.T) {
	store := new(memoryStore)
	l := openList(t, store)
	mistake, meant := blockToken("mistaken"), blockToken("meant")
	revoke(t, l, mistake)
	revoke(t, l, meant)
	if _, err := l.Reinstate(t.Context(), Note{}, mistake.ID); err != nil {
		t.Fatal(err)
	}
	s := NewStreams()
	mistaken, bad := plainReader{}.ReadFacts("mistaken"), plainReader{}.ReadFacts("meant")
	a, b := watch(s, mistaken), watch(s, bad)
	openStreamed(t, &memoryStore{records: store.stored()}, s).EndStreams()
	b.wantCut(t, "token", bad)
	a.wantOpen(t)
}

// A list that takes over may know what the one before doesn't.
func TestTakingOverCutsWhatTheSuccessorKnows(t *testing.T) {
	s := NewStreams()
	before := openStreamed(t, new(memoryStore), s)
	next := openStreamed(t, &memoryStore{records: []Record{blockToken("a")}}, s)
	// It began after next was opened, under the list that is being replaced.
	facts := plainReader{}.ReadFacts("a")
	w := watch(s, facts)
	w.wantOpen(t)
	if err := before.HandOver(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	next.EndStreams()
	w.wantCut(t, "token", facts)
	other := plainReader{}.ReadFacts("b")
	w = watch(s, other)
	revoke(t, before, blockToken("b"))
	w.wantCut(t, "token", other)
}

// A store that was left for a while doesn't know what was reinstated since.
func TestGoingBackToAStoreCutsNothingThatWasReinstatedSince(t *testing.T) {
	s := NewStreams()
	mistake := blockToken("mistaken")
	first := openStreamed(t, new(memoryStore), s)
	revoke(t, first, mistake)
	second := openStreamed(t, new(memoryStore), s)
	if err := first.HandOver(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	stored := first.store.(*memoryStore).stored()
	first.Close()
	if _, err := second.Reinstate(t.Context(), Note{}, mistake.ID); err != nil {
		t.Fatal(err)
	}
	w := watch(s, plainReader{}.ReadFacts("mistaken"))
	again := openStreamed(t, &memoryStore{records: stored}, s)
	if err := second.HandOver(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	again.EndStreams()
	time.Sleep(10 * time.Millisecond)
	w.wantOpen(t)
}

func TestWhatIsReadAgainCutsStreams(t *testing.T) {
	s := NewStreams()
	store := new(memoryStore)
	l := openStreamed(t, store, s)
	facts := plainReader{}.ReadFacts("a")
	w := watch(s, facts)
	store.set(func(s *memoryStore) { s.records = append(s.records, blockToken("a")) })
	l.recall(t.Context())
	w.wantCut(t, "token", facts)
}

// Streams open and close under a few users' tokens while these are revoked by more and
// more shapes, and by two lists of which one takes over. No stream may stay open under a
// token whose revocation returned, and no other may be cut.
func TestNoStreamStaysOpenUnderARevokedToken(t *testing.T) {
	s := NewStreams()
	first := openStreamed(t, new(memoryStore), s)
	const users, sessions = 40, 10
	tokens := make([]*Facts, users*sessions)
	facts := factsReader{}
	for i := range tokens {
		tokens[i] = &Facts{Fingerprint: Fingerprint{byte(i), byte(i >> 8), 1}, Issuers: []string{iss}, Claims: []Claim{
			{RoleSubject, fmt.Sprint("user-", i/sessions)}, {RoleTokenID, fmt.Sprint("jti-", i)},
			{RoleSession, fmt.Sprint("sid-", i)}, {RoleClient, "app"}, {RoleGrant, fmt.Sprint("grant-", i)},
		}}
		facts[fmt.Sprint(i)] = tokens[i]
	}
	checker := newChecker(t, first, facts)
	var begun, done [users * sessions]atomic.Bool
	type opened struct {
		stream *Stream
		cut    *atomic.Bool
		a, b   int
	}
	var left sync.Map
	ctx, stop := context.WithCancel(t.Context())
	var opening, revoking sync.WaitGroup
	for n := range 4 {
		opening.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 7))
			var open []opened
			for ctx.Err() == nil {
				o := opened{a: r.IntN(len(tokens)), b: r.IntN(len(tokens)), cut: new(atomic.Bool)}
				o.stream = s.Open(func(v Verdict) {
					o.cut.Store(true)
					if !begun[o.a].Load() && !begun[o.b].Load() {
						t.Errorf("a stream was cut by %s and nobody revoked its tokens", v.Shape)
					}
				}, tokens[o.a], tokens[o.b])
				if checker.CheckAgain("", tokens[o.a]).State == Revoked || checker.CheckAgain("", tokens[o.b]).State == Revoked {
					o.stream.Close()
					continue
				}
				open = append(open, o)
				if len(open) > 200 {
					i := r.IntN(len(open))
					open[i].stream.Close()
					open[i] = open[len(open)-1]
					open = open[:len(open)-1]
				}
			}
			left.Store(n, open)
		})
	}
	list := first
	for step, shape := range []Role{RoleToken, RoleTokenID, RoleSession, RoleGrant, RoleSubject} {
		if step == 3 {
			list = openStreamed(t, new(memoryStore), s)
			if err := first.HandOver(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 2 {
			revoking.Go(func() {
				for i := step*sessions + n; i < (step+1)*sessions*5 && i < len(tokens); i += 7 {
					hit := []int{i}
					selector := SelectToken(tokens[i].Fingerprint)
					if shape == RoleSubject {
						hit = nil
						for k := range sessions {
							hit = append(hit, i/sessions*sessions+k)
						}
					}
					for _, c := range tokens[i].Claims {
						if c.Role == shape {
							selector = mustSelect(t, iss, c)
						}
					}
					for _, k := range hit {
						begun[k].Store(true)
					}
					if err := list.Revoke(t.Context(), block(selector)); err != nil {
						t.Error(err)
					}
					for _, k := range hit {
						done[k].Store(true)
					}
				}
			})
		}
		revoking.Wait()
	}
	stop()
	opening.Wait()
	checked := 0
	left.Range(func(_, value any) bool {
		for _, o := range value.([]opened) {
			if done[o.a].Load() || done[o.b].Load() {
				checked++
				for end := time.Now().Add(5 * time.Second); !o.cut.Load(); time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("a stream is open under a revoked token")
					}
				}
			}
			o.stream.Close()
		}
		return true
	})
	if checked == 0 {
		t.Error("no stream was open when its token was revoked")
	}
	if s.Len() != 0 || len(s.keys) != 0 {
		t.Errorf("%d streams and %d keys are left", s.Len(), len(s.keys))
	}
}
