package pgstore

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// TestIdleFollower checks that a follower notices a loss while its connection stays and
// nothing comes, and that the store works again without anybody's help.
func TestIdleFollower(t *testing.T) {
	sv := startServer(t)
	for name, sql := range map[string]string{
		"dropped":              "DROP SCHEMA idle CASCADE",
		"records dropped":      "DROP TABLE idle.records",
		"sequence dropped":     "DROP SEQUENCE idle.numbers",
		"meta dropped":         "DROP TABLE idle.meta",
		"meta emptied":         "TRUNCATE idle.meta",
		"records emptied":      "TRUNCATE idle.records",
		"all emptied":          "TRUNCATE idle.records, idle.meta, idle.nodes",
		"the last one deleted": "DELETE FROM idle.records WHERE number = (SELECT max(number) FROM idle.records)",
		"the last ones differ": "UPDATE idle.records SET tag = tag + 1",
		"another epoch":        "UPDATE idle.meta SET epoch = gen_random_uuid()",
	} {
		t.Run(name, func(t *testing.T) {
			schema := "idle " + strings.ReplaceAll(name, " ", "_")
			opts := sv.options()
			opts.Schema = schema
			s := open(t, opts)
			s.poll = 100 * time.Millisecond
			appendTo(t, s, newBatch("a", 3)...)
			appendTo(t, s, newBatch("b", 3)...)
			_, p := mustLoad(t, s)
			f := follow(t, s, p)
			time.Sleep(50 * time.Millisecond)
			sv.do(t, replaceSchema(sql, schema))
			if name == "sequence dropped" { // which nobody sees who reads
				appendTo(t, s, newBatch("seen", 1)...)
			}
			wantErrorIs(t, "Follow", f.Wait(t), revocation.ErrFeedBroken)
			_, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p})
			wantErrorIs(t, "Beat", err, revocation.ErrFeedBroken)
			if !s.Covers(p, p) {
				t.Error("a position doesn't cover itself")
			}
			appendTo(t, s, newBatch("c", 3)...)
			names, q := mustLoad(t, s)
			if !slices.Contains(names, "c/2") || s.Covers(q, p) && name != "records emptied" && !strings.HasPrefix(name, "the last") {
				t.Errorf("loaded %v; %s covers %s", names, q, p)
			}
			f = follow(t, s, q)
			appendTo(t, s, newBatch("d", 3)...)
			eventually(t, "what comes is followed", func() bool { return len(f.Got()) == 3 })
		})
	}
}

func replaceSchema(sql, schema string) string {
	name := pgx.Identifier{schema}.Sanitize()
	return strings.ReplaceAll(strings.ReplaceAll(sql, "idle.", name+"."), " idle ", " "+name+" ")
}

// TestDamage changes the store's own rows, or adds others. That is never passed over.
func TestDamage(t *testing.T) {
	sv := startServer(t)
	for name, test := range map[string]struct{ sql, row string }{
		"cut short":             {"UPDATE {schema}.records SET payload = substr(payload, 1, 20) WHERE number = 5", "number 5"},
		"empty":                 {"UPDATE {schema}.records SET payload = '' WHERE number = 4", "number 4"},
		"of another program":    {"INSERT INTO {schema}.records VALUES (nextval('{schema}.numbers'), 1, 'infinity', 'garbage')", "number 7"},
		"of a later version":    {"INSERT INTO {schema}.records VALUES (nextval('{schema}.numbers'), 1, now(), '\\x05ffff')", "number 7"},
		"ahead of the sequence": {"INSERT INTO {schema}.records VALUES (1000000, 1, 'infinity', 'garbage')", "number 1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			opts := sv.options()
			opts.Schema = "damage_" + strings.ReplaceAll(name, " ", "_")
			s := open(t, opts)
			appendTo(t, s, newBatch("a", 3)...)
			_, p := mustLoad(t, s)
			appendTo(t, s, newBatch("b", 3)...)
			sv.do(t, expand(opts.Schema, test.sql))
			_, _, err := load(s)
			wantErrorIs(t, "Load", err, revocation.ErrStoreCorrupt)
			wantWords(t, "Load", err, test.row+" in "+opts.Schema+".records", "DELETE it")
			wantErrorIs(t, "Follow", follow(t, s, p).Wait(t), revocation.ErrStoreCorrupt)
			if name == "ahead of the sequence" {
				wantWords(t, "Append", s.Append(background, newBatch("c", 1)), "set back", "SELECT setval")
			}
			// The remedy.
			sv.do(t, expand(opts.Schema, "DELETE FROM {schema}.records WHERE number = "+strings.TrimPrefix(test.row, "number ")))
			appendTo(t, s, newBatch("d", 1)...)
			mustLoad(t, s)
		})
	}
}

// TestSequenceSetBack gives numbers out a second time, as a copy does that left the sequence
// behind. Nodes would miss what has them.
func TestSequenceSetBack(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	appendTo(t, s, newBatch("a", 10)...)
	for _, pruned := range []bool{false, true} {
		sv.do(t, "SELECT setval('token_revocation.numbers', 1, false)")
		err := s.Append(background, newBatch("b", 3))
		wantWords(t, "Append", err, "set back", "SELECT setval('token_revocation.numbers', max(number))")
		sv.do(t, "SELECT setval('token_revocation.numbers', max(number)) FROM token_revocation.records")
		if !pruned {
			appendTo(t, s, newBatch("c", 3)...)
		}
	}
}

// TestIdleTransaction has a transaction open elsewhere while several nodes append, one that
// has written, and so holds back what the server may forget. Nothing is missed, and nothing
// waits for it.
func TestIdleTransaction(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	_, p := mustLoad(t, s)
	sv.do(t, "CREATE TABLE elsewhere (a int)")
	idle := sv.session(t)
	if _, err := idle.Exec(background, "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO elsewhere VALUES (1); SELECT * FROM token_revocation.meta", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	f := follow(t, s, p)
	var mu sync.Mutex
	var want []string
	var writers sync.WaitGroup
	const nodes, appends = 6, 80
	for w := range nodes {
		node := open(t, sv.options())
		writers.Go(func() {
			for i := range appends {
				batch := newBatch(fmt.Sprintf("%d/%d", w, i), 2)
				if err := node.Append(background, batch); err != nil {
					t.Errorf("Append: %v", err)
					return
				}
				mu.Lock()
				for j := range batch {
					want = append(want, batch[j].Selector.Claims[0].Value)
				}
				mu.Unlock()
				if i%20 == 0 {
					if _, err := node.Beat(background, revocation.Beat{Node: fmt.Sprint(w), Number: uint64(i)}); err != nil {
						t.Errorf("Beat: %v", err)
					}
				}
			}
		})
	}
	writers.Wait()
	head := beatAs(t, s, "s", p)
	eventually(t, "the head is reached", func() bool { return s.Covers(f.Position(), head.Position) })
	got := map[string]int{}
	for _, n := range f.Got() {
		got[n]++
	}
	for _, n := range want {
		if got[n] != 1 {
			t.Fatalf("record %s was handed out %d times", n, got[n])
		}
	}
	if len(got) != nodes*appends*2 {
		t.Errorf("%d records were handed out", len(got))
	}
	// What is read is found by its number, whatever else is there.
	plan := explainRead(t, sv, s, 10)
	if strings.Contains(plan, "Seq Scan on records") || strings.Count(plan, "Index Cond: (number") < 3 {
		t.Errorf("Follow reads by\n%s", plan)
	}
}

// explainRead returns how the server reads what Follow asks for.
func explainRead(t *testing.T, sv *server, s *Store, after int64) string {
	t.Helper()
	sv.do(t, "ANALYZE token_revocation.records")
	rows, err := sv.session(t).Query(background, "EXPLAIN "+s.sql.read, pgx.QueryExecModeExec, after, int64(pageRecords))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(plan, "\n")
}

// TestOrderOfNumbers checks what the feed rests on: whoever sees a number sees all smaller
// ones that will ever be, also when transactions take long to commit.
func TestOrderOfNumbers(t *testing.T) {
	sv := startServer(t, "commit_delay=3000", "commit_siblings=0")
	s := open(t, sv.options())
	_, p := mustLoad(t, s)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 8 {
		node := open(t, sv.options())
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Some are given up on the way, and leave holes.
				ctx, cancel := context.WithTimeout(background, time.Duration(1+i%40)*time.Millisecond)
				_ = node.Append(ctx, newBatch(fmt.Sprintf("%d/%d", w, i), 1+i%3))
				cancel()
			}
		})
	}
	seen := map[int64]bool{}
	last := int64(0)
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); {
		page, err := s.read(background, last)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.numbers {
			seen[n] = true
			last = n
		}
	}
	close(stop)
	writers.Wait()
	f := follow(t, s, p)
	head := beatAs(t, s, "s", p)
	eventually(t, "the head is reached", func() bool { return s.Covers(f.Position(), head.Position) })
	page, missed := page{}, 0
	for at := int64(0); ; at = page.numbers[len(page.numbers)-1] {
		var err error
		if page, err = s.read(background, at); err != nil {
			t.Fatal(err)
		}
		for _, n := range page.numbers {
			if n <= last && !seen[n] {
				missed++
			}
		}
		if !page.full() {
			break
		}
	}
	t.Logf("%d records were seen while they came", len(seen))
	if missed > 0 || len(seen) == 0 {
		t.Errorf("%d records became visible behind a greater number", missed)
	}
}

// TestPrunedWhileLoading removes expired records between two pages of a Load, the last one
// of the first page among them.
func TestPrunedWhileLoading(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	expired := newBatch("expired", 2*pageRecords)
	for i := range expired {
		expired[i].Expires = time.Now().Add(-time.Minute).Truncate(time.Second)
	}
	appendTo(t, s, expired...)
	appendTo(t, s, newBatch("live", 3)...)
	var live int
	pruned := false
	p, err := s.Load(background, func(batch []revocation.Record) error {
		if !pruned {
			pruned = true
			if n, err := s.Prune(background, time.Now()); n != len(expired) || err != nil {
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

// TestRemovedUnseen removes all that came after a position. Who is at it goes on where
// something live follows, and else has to load, so as to come to the head.
func TestRemovedUnseen(t *testing.T) {
	sv := startServer(t)
	s := open(t, sv.options())
	appendTo(t, s, newBatch("first", 3)...)
	_, p := mustLoad(t, s)
	expired := newBatch("expired", 10)
	for i := range expired {
		expired[i].Expires = time.Now().Add(-time.Minute).Truncate(time.Second)
	}
	appendTo(t, s, expired...)
	if n, err := s.Prune(background, time.Now()); n != len(expired) || err != nil {
		t.Fatalf("Prune: %d, %v", n, err)
	}
	wantErrorIs(t, "Follow", follow(t, s, p).Wait(t), revocation.ErrFeedBroken)
	head := beatAs(t, s, "a", p)
	if _, q := mustLoad(t, s); !s.Covers(q, head.Position) || s.Covers(p, head.Position) {
		t.Errorf("loaded up to %s, and the head is %s", q, head.Position)
	}
	appendTo(t, s, newBatch("live", 3)...)
	f := follow(t, s, p)
	eventually(t, "what is live is followed", func() bool { return len(f.Got()) == 3 })
	if head = beatAs(t, s, "a", f.Position()); !s.Covers(f.Position(), head.Position) {
		t.Errorf("followed up to %s, and the head is %s", f.Position(), head.Position)
	}
}

// TestListener ends the connection on which Follow is told, and keeps it away. Records come
// all the same, and when it is back they come at once.
func TestListener(t *testing.T) {
	sv := startServer(t)
	opts := sv.options()
	opts.Parameters["application_name"] = "listener"
	s, writer := open(t, opts), open(t, sv.options())
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	const listening = "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'listener' AND query LIKE 'LISTEN%'"
	eventually(t, "it listens", func() bool { return ask[int](t, sv, listening) == 1 })
	for i := range 3 {
		sv.do(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener' AND query LIKE 'LISTEN%'")
		appendTo(t, writer, newBatch(fmt.Sprint(i), 1)...)
		eventually(t, "the record came", func() bool { return len(f.Got()) == i+1 })
		eventually(t, "it listens again", func() bool { return ask[int](t, sv, listening) == 1 })
	}
	f.Stop()
	f.Wait(t)
	eventually(t, "it listens no more", func() bool { return ask[int](t, sv, listening) == 0 })
}

// TestPooler uses a pooler that gives each transaction another connection. Nothing is told
// through it, so Follow looks by itself.
func TestPooler(t *testing.T) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		missing(t, "pgbouncer")
	}
	sv := startServer(t)
	port := freePort(t)
	config := filepath.Join(sv.dir, "pgbouncer.ini")
	writeFor(t, sv, config, fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%s\nunix_socket_dir=\nauth_type=any\npool_mode=transaction\ndefault_pool_size=3\n", sv.port, port))
	pooler := sv.command("pgbouncer", config)
	pooler.Path, pooler.Err = path, nil
	if err := pooler.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pooler.Process.Kill(); _ = pooler.Wait() })
	opts := sv.options()
	opts.Hosts = []string{"127.0.0.1:" + port}
	s := open(t, opts)
	s.poll = 50 * time.Millisecond
	eventually(t, "the store works", func() bool { return s.Append(background, newBatch("first", 1)) == nil })
	_, p := mustLoad(t, s)
	f := follow(t, s, p)
	for i := range 50 {
		appendTo(t, s, newBatch(fmt.Sprint(i), 1+i%5)...)
		if i%10 == 0 {
			beatAs(t, s, "a", f.Position())
		}
	}
	head := beatAs(t, s, "a", p)
	eventually(t, "the head is reached", func() bool { return s.Covers(f.Position(), head.Position) })
	if n, err := s.Prune(background, time.Now().Add(2*time.Hour)); err != nil || n != 151 {
		t.Errorf("Prune: %d, %v", n, err)
	}
}
