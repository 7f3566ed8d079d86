package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/feedtest"
)

const hourLog = "{token_revocation}:log:2h"

// TestForeignEntries lets another program add entries to a stream, with ids far ahead of
// the store's and right behind its last one. Nothing is lost by it, appending goes on, and
// the log names what was removed.
func TestForeignEntries(t *testing.T) {
	for _, id := range []string{"*", "4-0", "3-1", "18446744073709551615-18446744073709551615"} {
		for _, when := range []string{"append", "load", "follow", "removed"} {
			t.Run(id+" "+when, func(t *testing.T) {
				t.Parallel()
				var log lines
				sv := startServer(t)
				opts := sv.options()
				opts.Logger = log.Logger()
				s := open(t, opts)
				want := []string{"0/0", "1/0", "2/0"}
				for i := range want {
					appendTo(t, s, newBatch(fmt.Sprint(i), 1)...)
				}
				_, p := mustLoad(t, s)
				var f *feedtest.Follower
				if when == "follow" {
					f = follow(t, s, p)
					time.Sleep(20 * time.Millisecond)
				}
				added := sv.do(t, "XADD", hourLog, id, "v", "garbage").(string)
				switch when {
				case "load":
					mustLoad(t, s)
				case "removed": // by the other program itself, which leaves the stream's last id
					sv.do(t, "XDEL", hourLog, added)
				case "follow":
					eventually(t, "the follower has removed it", func() bool { return strings.Contains(log.String(), added) })
				}
				for i := 3; i < 6; i++ {
					want = append(want, fmt.Sprintf("%d/0", i))
					appendTo(t, s, newBatch(fmt.Sprint(i), 1)...)
				}
				if names, _ := mustLoad(t, s); !slices.Equal(names, want) {
					t.Errorf("loaded %v, want %v", names, want)
				}
				if f == nil {
					f = follow(t, s, p)
				}
				eventually(t, "the rest is followed", func() bool { return slices.Equal(f.Got(), want[3:]) })
				if when != "removed" && !strings.Contains(log.String(), hourLog+" "+added) {
					t.Errorf("the log doesn't name the entry %s: %s", added, log.String())
				}
			})
		}
	}
}

// TestDamage changes the store's own entries. That is never passed over.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, sv *server, s *Store) (entry string){
		"an entry in the middle is gone": func(t *testing.T, sv *server, _ *Store) string {
			sv.do(t, "XDEL", hourLog, "3-0")
			return "4-0"
		},
		"the last entries are gone": func(t *testing.T, sv *server, _ *Store) string {
			sv.do(t, "XDEL", hourLog, "4-0", "5-0")
			return "5-0"
		},
		"the stream is gone": func(t *testing.T, sv *server, _ *Store) string {
			sv.do(t, "DEL", hourLog)
			return "5-0"
		},
		"an entry is another": func(t *testing.T, sv *server, _ *Store) string {
			e := sv.do(t, "XRANGE", hourLog, "5-0", "5-0").([]any)[0].([]any)[1].([]any)
			sv.do(t, "XDEL", hourLog, "5-0")
			sv.do(t, "XSETID", hourLog, "4-0")
			sv.do(t, "XADD", hourLog, "5-0", "v", e[1].(string)+"x", "c", e[3])
			return "5-0"
		},
		"an entry can't be read": func(t *testing.T, sv *server, s *Store) string {
			c := s.client
			if err := appendScript.Run(background, c, s.keys.all, "epoch", 1, "\x05later").Err(); err != nil {
				t.Fatal(err)
			}
			return "6-0"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sv := startServer(t)
			s := open(t, sv.options())
			_, p := mustLoad(t, s)
			for i := range 5 {
				appendTo(t, s, newBatch(fmt.Sprint(i), 1)...)
			}
			entry := damage(t, sv, s)
			_, _, err := load(s)
			wantErrorIs(t, "Load", err, revocation.ErrStoreCorrupt)
			wantWords(t, "Load", err, "entry "+entry+" of "+hourLog, "delete all keys")
			wantErrorIs(t, "Follow", follow(t, s, p).Wait(t), revocation.ErrStoreCorrupt)
			// The remedy.
			for _, key := range s.keys.all {
				sv.do(t, "DEL", key)
			}
			appendTo(t, s, newBatch("again", 1)...)
			mustLoad(t, s)
		})
	}
}

// TestTrimmedWhileLoading removes expired entries between two pages of a Load.
func TestTrimmedWhileLoading(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	for i := range 2 * pageEntries {
		r := newRecord(fmt.Sprintf("expired %d", i), -time.Minute)
		appendTo(t, s, r)
	}
	appendTo(t, s, newBatch("live", 3)...)
	var live int
	pruned := false
	p, err := s.Load(background, func(batch []revocation.Record) error {
		if !pruned {
			pruned = true
			if n, err := s.Prune(background, time.Now()); n != 2*pageEntries || err != nil {
				t.Errorf("Prune: %d, %v", n, err)
			}
		}
		for i := range batch {
			if strings.HasPrefix(batch[i].Selector.Claims[0].Value, "live") {
				live++
			}
		}
		return nil
	})
	if err != nil || live != 3 {
		t.Fatalf("Load: %v, with %d live records, want 3", err, live)
	}
	f := follow(t, s, p)
	appendTo(t, s, newBatch("more", 3)...)
	eventually(t, "what comes is followed", func() bool { return len(f.Got()) == 3 })
}

// TestPruneByClass checks that a record that lives long holds back only its like.
func TestPruneByClass(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	var expired []revocation.Record
	for i := range 200 {
		expired = append(expired, newRecord(fmt.Sprint("hour", i), time.Hour))
		appendTo(t, s, newRecord(fmt.Sprint("month", i), 30*24*time.Hour), expired[i])
	}
	n, err := s.Prune(background, time.Now().Add(3*time.Hour))
	if n != 200 || err != nil {
		t.Errorf("Prune: %d, %v, want 200", n, err)
	}
	if names, _ := mustLoad(t, s); len(names) != 200 {
		t.Errorf("%d records are left, want 200", len(names))
	}
}

func FuzzPosition(f *testing.F) {
	p := position{epoch: "e", seq: 9}
	p.marks[0] = mark{9, "0123456789abcdef"}
	f.Add(string(p.text()))
	f.Add("")
	f.Add("a.1.0.0.0.0.0.0")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(revocation.Position(text))
		if err != nil {
			return
		}
		if q, err := parsePosition(p.text()); err != nil || q != p {
			t.Fatalf("%q became %q, %v", text, p.text(), err)
		}
	})
}
