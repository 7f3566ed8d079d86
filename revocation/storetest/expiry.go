// What a store may forget, and histories in which it must forget nothing else.

package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// prune calls Prune and checks that no more was removed than had expired.
func prune(t *testing.T, s revocation.Store, before time.Time, expired int) int {
	t.Helper()
	removed, err := s.(revocation.Pruner).Prune(background, before)
	if err != nil {
		t.Fatalf("Prune: %v", err)
	}
	if removed < 0 || removed > expired {
		t.Fatalf("Prune says that it removed %d records, but only %d had expired", removed, expired)
	}
	return removed
}

func needPruner(t *testing.T, s revocation.Store) {
	t.Helper()
	if _, ok := s.(revocation.Pruner); !ok {
		t.Skip("this store expires records by itself, or keeps them")
	}
}

// testPrune prunes as of moments in the future, so that it can be seen what is
// left: Load doesn't hide records that haven't expired yet.
func testPrune(t *testing.T, open Opener) {
	s := openStore(t, open)
	needPruner(t, s)
	random := newRandom(t, 1)
	now := time.Now()
	expires := map[string]time.Time{}
	var all []string
	for range 20 {
		batch := newBatch("", 50)
		for i := range batch {
			ttl := time.Duration(1+random.IntN(1000)) * time.Hour
			batch[i] = newRecord(fmt.Sprintf("%d lives %s", len(all), ttl), ttl)
			expires[name(&batch[i])] = batch[i].Expires
			all = append(all, name(&batch[i]))
		}
		appendTo(t, s, batch...)
	}
	for hours := 0; hours <= 1010; hours += 101 {
		before := now.Add(time.Duration(hours) * time.Hour)
		var keep []string
		for _, n := range all {
			if !expires[n].Before(before) {
				keep = append(keep, n)
			}
		}
		prune(t, s, before, len(all)-len(keep))
		wantAll(t, load(t, s), keep)
		if hours%2 == 0 {
			closeStore(t, s)
			s = openStore(t, open)
			wantAll(t, load(t, s), keep)
		}
	}
}

func testPruneDuringAppend(t *testing.T, open Opener) {
	s := openStore(t, open)
	needPruner(t, s)
	var expired []revocation.Record
	for i := range 3000 {
		expired = append(expired, newRecord(fmt.Sprintf("expired %d", i), -time.Duration(1+i)*time.Minute))
	}
	appendTo(t, s, expired...)
	a := startAppender(s)
	left := len(expired)
	for range 10 {
		a.waitFor(t, a.acked.Load()+1)
		left -= prune(t, s, time.Now(), left)
	}
	a.end(t)
	wantAll(t, load(t, s), a.acknowledged())
	closeStore(t, s)
	wantAll(t, load(t, openStore(t, open)), a.acknowledged())
}

// testHistory runs random histories against a model: a map of everything that
// was appended.
func testHistory(t *testing.T, open Opener) {
	random := newRandom(t, 2)
	s := openStore(t, open)
	pruner, _ := s.(revocation.Pruner)
	type entry struct {
		record revocation.Record
		gone   bool // it may have been pruned
	}
	model := map[string]*entry{}
	check := func() {
		got := load(t, s)
		var live []string
		now := time.Now()
		for n, e := range model {
			if !e.gone && e.record.Expires.After(now) {
				live = append(live, n)
			}
		}
		wantAll(t, got, live)
		for _, n := range got {
			if model[n] == nil {
				t.Fatalf("Load handed out %s, which was never appended", n)
			}
		}
	}
	for step := range 120 {
		switch op := random.IntN(10); {
		case op < 6:
			batch := make([]revocation.Record, random.IntN(40))
			for i := range batch {
				ttl := time.Duration(random.IntN(400)-100) * time.Hour
				if ttl == 0 {
					ttl = time.Hour // not while the test runs
				}
				batch[i] = newRecord(fmt.Sprintf("%d/%d", step, i), ttl)
				if random.IntN(50) == 0 {
					batch[i].Expires = revocation.Never
				}
				model[name(&batch[i])] = &entry{record: batch[i]}
			}
			appendTo(t, s, batch...)
		case op == 6:
			for _, e := range model { // any
				appendTo(t, s, e.record)
				e.gone = false
				break
			}
		case op == 7 && pruner != nil:
			before := time.Now().Add(time.Duration(random.IntN(200)-100) * time.Hour)
			for _, e := range model {
				e.gone = e.gone || e.record.Expires.Before(before)
			}
			if _, err := s.(revocation.Pruner).Prune(background, before); err != nil {
				t.Fatalf("Prune: %v", err)
			}
		case op == 8:
			closeStore(t, s)
			s = openStore(t, open)
		default:
			check()
		}
	}
	check()
}
