package natsstore

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

// TestForeignMessages has another program publish to the log, and damaged messages, and
// newer ones. What isn't ours is passed over; what is ours and can't be read never is.
func TestForeignMessages(t *testing.T) {
	whole := func(body string) []byte { return append(preface(kindWhole), body...) }
	for name, test := range map[string]struct {
		data  []byte
		kind  error // nil: it is passed over
		words []string
	}{
		"nothing":           {data: nil},
		"garbage":           {data: []byte("garbage")},
		"a newer message":   {data: []byte("tr2whatever"), kind: revocation.ErrStoreVersion, words: []string{`schema '2', this version writes '1'`, "update every node"}},
		"a damaged message": {data: whole("\x00\x05later"), kind: revocation.ErrStoreCorrupt, words: []string{"message 3 of the stream", "delete the stream"}},
		"an empty message":  {data: whole(""), kind: revocation.ErrStoreCorrupt},
		"a cut message":     {data: whole("\x00\xff"), kind: revocation.ErrStoreCorrupt},
		"an unknown kind":   {data: append(preface('z'), 1), kind: revocation.ErrStoreCorrupt},
		"a part in the log": {data: append(preface(kindPart), 0, 1, 0), kind: revocation.ErrStoreCorrupt},
		"a missing part":    {data: appendRef(preface(kindCommit), partRef{1 << 40, time.Now().Add(time.Hour).Unix()}), kind: revocation.ErrStoreCorrupt, words: []string{"message 1099511627776", "missing"}},
		"an expired part":   {data: appendRef(preface(kindCommit), partRef{1 << 40, time.Now().Unix() - 1})},
		"another's part":    {data: appendRef(preface(kindCommit), partRef{1, time.Now().Add(time.Hour).Unix()}), kind: revocation.ErrStoreCorrupt, words: []string{"message 1 of"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log lines
			sv := startServer(t)
			opts := sv.options()
			opts.Logger = log.logger()
			s := openStore(t, opts)
			appendTo(t, s, newBatch("a", 1)...)
			appendTo(t, s, newBatch("b", 1)...)
			_, p := mustLoad(t, s)
			waiting := follow(t, s, p)
			publish(t, sv, s.streams.logSubject, test.data)
			last := follow(t, s, p)
			if test.kind == nil {
				// It is the end of the log all the same.
				head, err := s.Beat(background, revocation.Beat{Node: "a", Applied: p})
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range []*follower{waiting, last} {
					eventually(t, "the end of the log is a place", func() bool { return s.Covers(f.position(), head.Position) })
				}
				appendTo(t, s, newBatch("c", 1)...)
				if names, _ := mustLoad(t, s); !slices.Equal(names, []string{"a/0", "b/0", "c/0"}) {
					t.Errorf("loaded %v", names)
				}
				eventually(t, "the rest is followed", func() bool { return slices.Equal(waiting.got(), []string{"c/0"}) })
				if says := strings.Contains(log.String(), "wasn't written by this module"); says != (name != "an expired part") {
					t.Errorf("the log says %s", log.String())
				}
				return
			}
			_, _, err := load(s)
			wantErrorIs(t, "Load", err, test.kind)
			wantWords(t, "Load", err, test.words...)
			wantErrorIs(t, "Follow", waiting.wait(t), test.kind)
			wantErrorIs(t, "Follow", last.wait(t), test.kind)
			if err := sv.admin(t).DeleteStream(background, s.streams.log); err != nil { // the remedy
				t.Fatal(err)
			}
			appendTo(t, s, newBatch("again", 1)...)
			mustLoad(t, s)
		})
	}
}

func publish(t *testing.T, sv *server, subject string, data []byte) uint64 {
	t.Helper()
	ack, err := sv.admin(t).Publish(background, subject, data)
	if err != nil {
		t.Fatal(err)
	}
	return ack.Sequence
}

// mixed returns records that go into several messages.
func mixed(name string) []revocation.Record {
	batch := newBatch(name, 30)
	batch[7].Expires = revocation.Never
	batch[20].Expires = time.Now().Add(100 * time.Hour).UTC().Truncate(time.Second)
	return batch
}

func namesOf(records []revocation.Record) (names []string) {
	for i := range records {
		names = append(names, nameOfRecord(&records[i]))
	}
	return names
}

// TestParts follows from every place between the messages of an Append, and looks at one
// that was never completed.
func TestParts(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	_, empty := mustLoad(t, s)
	batch := mixed("a")
	waiting := follow(t, s, empty)
	// What stands before the message that counts is nothing.
	var seqs []uint64
	parts, err := plan(blocks.Split(batch, time.Now()), maxMessage)
	if err != nil || len(parts) != 3 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for _, p := range parts {
		seqs = append(seqs, publish(t, sv, s.streams.parts, p.payload))
		if names, at := mustLoad(t, s); len(names) != 0 || at != empty {
			t.Fatalf("parts alone are %v at %s", names, at)
		}
	}
	head, err := s.Beat(background, revocation.Beat{Node: "a", Applied: empty})
	if err != nil || !s.Covers(empty, head.Position) {
		t.Errorf("parts alone move the head to %s: %v", head.Position, err)
	}
	// Parts that nobody will ever complete, and one Append between parts and their end.
	publish(t, sv, s.streams.parts, parts[0].payload)
	appendTo(t, s, newBatch("between", 1)...)
	_, between := mustLoad(t, s)
	late := follow(t, s, between) // it has not been told of the parts
	last, err := seal(parts, seqs, maxMessage)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, sv, s.streams.logSubject, last.payload)
	want := namesOf(batch)
	eventually(t, "a follower from the beginning has all", func() bool {
		return slices.Equal(waiting.got(), append([]string{"between/0"}, want...))
	})
	eventually(t, "a follower from between has all", func() bool { return slices.Equal(late.got(), want) })
	if names, _ := mustLoad(t, s); !slices.Equal(names, append([]string{"between/0"}, want...)) {
		t.Errorf("loaded %v", names)
	}
}

// TestWhatIsHeldIsBounded drops parts while they wait, which are fetched then.
func TestWhatIsHeldIsBounded(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	batch := mixed("a")
	appendTo(t, s, batch...)
	sess, err := s.session(background)
	if err != nil {
		t.Fatal(err)
	}
	for _, forget := range []bool{false, true} {
		r, err := s.read(background, sess, s.streams.log, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
		if err != nil {
			t.Fatal(err)
		}
		a := s.assemble(sess)
		for len(a.batch) == 0 {
			d, err := r.next(background)
			if err != nil {
				t.Fatal(err)
			}
			if forget {
				a.bytes = heldBytes
			}
			if err := a.add(background, d); err != nil {
				t.Fatal(err)
			}
			if d.subject == s.streams.parts && len(a.held) != 1 && forget {
				t.Errorf("%d parts are held", len(a.held))
			}
		}
		if !slices.Equal(namesOf(a.batch), namesOf(batch)) {
			t.Errorf("with parts forgotten (%v) it is %v", forget, namesOf(a.batch))
		}
		r.close()
	}
}

// TestExpiry has messages expire under followers, between the parts of Appends too, and
// looks at what becomes of places whose messages are gone.
func TestExpiry(t *testing.T) {
	sv := startServer(t)
	s := openStore(t, sv.options())
	s.margin, s.markerLife = 0, 4*time.Second
	_, empty := mustLoad(t, s)
	waiting := follow(t, s, empty)
	var want, live []string
	for i := range 3 {
		for j, batch := range [][]revocation.Record{
			{newRecord(fmt.Sprintf("gone %d", i), 3*time.Second)},
			{newRecord(fmt.Sprintf("live %d", i), time.Hour)},
			mixed(fmt.Sprintf("mixed %d", i)),
		} {
			if j == 2 {
				for k := range batch {
					if batch[k].Expires.Before(time.Now().Add(2 * time.Hour)) {
						batch[k].Expires = time.Now().Add(3 * time.Second).UTC().Truncate(time.Second)
					} else {
						live = append(live, nameOfRecord(&batch[k]))
					}
				}
			} else if j == 1 {
				live = append(live, nameOfRecord(&batch[0]))
			}
			appendTo(t, s, batch...)
			want = append(want, namesOf(batch)...)
		}
	}
	eventually(t, "everything is followed", func() bool { return slices.Equal(waiting.got(), want) })
	eventually(t, "what has expired is gone", func() bool {
		names, _ := mustLoad(t, s)
		return slices.Equal(names, live)
	})
	late := follow(t, s, empty)
	eventually(t, "what remains is followed from the beginning", func() bool { return slices.Equal(late.got(), live) })
	appendTo(t, s, newBatch("after", 1)...)
	eventually(t, "followers go on", func() bool {
		return slices.Contains(waiting.got(), "after/0") && slices.Contains(late.got(), "after/0")
	})

	// A place whose message expires is one as long as beats prove it.
	appendTo(t, s, newRecord("last", time.Second))
	eventually(t, "it is followed", func() bool { return slices.Contains(waiting.got(), "last") })
	p := waiting.position()
	number := uint64(0)
	beat := func() error {
		number++
		_, err := s.Beat(background, revocation.Beat{Node: "a", Number: number, Applied: p})
		return err
	}
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if err := beat(); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := mustLoad(t, s); slices.Contains(names, "last") {
		t.Fatal("the last message hasn't expired")
	}
	f := follow(t, s, p)
	appendTo(t, s, newBatch("then", 1)...)
	eventually(t, "it is followed from a message that is gone", func() bool { return slices.Equal(f.got(), []string{"then/0"}) })
	// Another store can't know, and so can't this one when its marker has expired.
	other := openStore(t, sv.options())
	_, err := other.Beat(background, revocation.Beat{Node: "b", Applied: p})
	wantErrorIs(t, "another store's Beat", err, revocation.ErrFeedBroken)
	time.Sleep(5500 * time.Millisecond)
	wantErrorIs(t, "Beat", beat(), revocation.ErrFeedBroken)
	wantErrorIs(t, "Follow", follow(t, s, p).wait(t), revocation.ErrFeedBroken)
}

// TestManyNodes has more nodes than the server answers for at once.
func TestManyNodes(t *testing.T) {
	const many = 1100
	sv := startServer(t)
	s := openStore(t, sv.options())
	appendTo(t, s, newBatch("a", 1)...)
	_, p := mustLoad(t, s)
	js := sv.admin(t)
	for i := range many {
		node := fmt.Sprintf("node %d", i)
		text, _ := json.Marshal(said{Node: node, Number: 7, Applied: p})
		if _, err := js.PublishMsgAsync(&nats.Msg{Subject: s.streams.subjectOf(node), Data: text}); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	head, err := s.Beat(background, revocation.Beat{Node: "a", Number: 1, Forget: map[string]uint64{"node 0": 7, "node 1": 6}})
	if err != nil || len(head.Nodes) != many {
		t.Fatalf("%d nodes, %v", len(head.Nodes), err)
	}
	for _, n := range head.Nodes {
		if n.Node != "a" && n.Applied != p {
			t.Fatalf("%+v", n)
		}
	}
	publish(t, sv, s.streams.nodePrefix+"0.x", []byte("garbage"))
	if head, err = s.Beat(background, revocation.Beat{Node: "a", Number: 2}); err != nil || len(head.Nodes) != many {
		t.Fatalf("%d nodes, %v", len(head.Nodes), err)
	}
}

// TestReplacedWhileRead has nodes beat while another one reads what all say: none is ever
// missing.
func TestReplacedWhileRead(t *testing.T) {
	sv := startServer(t)
	s, other := openStore(t, sv.options()), openStore(t, sv.options())
	sess, err := s.session(background)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	for i := range 3 {
		if _, err := other.Beat(background, revocation.Beat{Node: fmt.Sprint(i), Number: 1}); err != nil {
			t.Fatal(err)
		}
		js := sv.admin(t)
		go func() {
			for number := uint64(2); ctx.Err() == nil; number++ {
				text, _ := json.Marshal(said{Node: fmt.Sprint(i), Number: number})
				_, _ = js.Publish(ctx, s.streams.subjectOf(fmt.Sprint(i)), text)
			}
		}()
	}
	for range 300 {
		nodes, _, err := s.readNodes(background, sess, "0", 1)
		if err != nil || len(nodes) != 3 {
			t.Fatalf("%d nodes, %v", len(nodes), err)
		}
	}
}

// TestTimeToLive checks that a message is never kept for less than its records need.
func TestTimeToLive(t *testing.T) {
	s := openStore(t, Options{Servers: []string{"nats://127.0.0.1:1"}})
	now := time.Now()
	for left, want := range map[time.Duration]time.Duration{
		time.Hour:                 2 * time.Hour,
		1500 * time.Millisecond:   time.Hour + 2*time.Second,
		-time.Hour:                time.Hour,
		50 * 365 * 24 * time.Hour: 50*365*24*time.Hour + time.Hour,
	} {
		if got := s.timeToLive(now.Add(left), now); got != want {
			t.Errorf("with %s left it is kept for %s, want %s", left, got, want)
		}
	}
	if got := s.timeToLive(revocation.Never, now); got != 0 {
		t.Errorf("what never expires is kept for %s", got)
	}
	// The longest one is one that the server takes.
	real := openStore(t, startServer(t).options())
	r := newRecord("long", time.Hour)
	r.Expires = revocation.Never.Add(-time.Second)
	appendTo(t, real, r)
	if names, _ := mustLoad(t, real); len(names) != 1 {
		t.Error("the record that lives longest is gone")
	}
}

// TestPlan checks that all blocks are in the messages of an Append, and that few records
// beside a long-lived one share its message.
func TestPlan(t *testing.T) {
	now := time.Now()
	long := newRecord("long", 30*24*time.Hour)
	for name, test := range map[string]struct {
		records  []revocation.Record
		messages int
	}{
		"one":                     {newBatch("a", 1), 1},
		"of one class":            {newBatch("a", 200), 1},
		"a few with a long one":   {append(newBatch("a", 2), long), 1},
		"many with a long one":    {append(newBatch("a", 20), long), 2},
		"a long one and the rest": {append([]revocation.Record{long}, newBatch("a", 20)...), 2},
		"more than fits":          {newBatch("a", 2000), 4},
	} {
		parts, err := plan(blocks.Split(test.records, now), maxMessage)
		if err != nil || len(parts) != test.messages {
			t.Errorf("%s: %d messages, %v, want %d", name, len(parts), err, test.messages)
			continue
		}
		var pieces []piece
		for _, p := range parts {
			if len(p.payload) > maxMessage {
				t.Errorf("%s: a message of %d bytes", name, len(p.payload))
			}
			_, body, err := open(p.payload)
			if err == nil {
				pieces, err = parsePieces(pieces, body)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		records, err := decodePieces(nil, pieces)
		if err != nil || !reflect.DeepEqual(namesOf(records), namesOf(test.records)) {
			t.Errorf("%s: they are others, or in another order: %v", name, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add(string(position{epochOf(time.Unix(1, 2), time.Unix(3, 4)), mark{9, 12345}}.text()))
	f.Add("a-b.0.0")
	f.Add("a..")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(revocation.Position(text))
		if err == nil && p.text() != revocation.Position(text) {
			t.Fatalf("%q became %q", text, p.text())
		}
	})
}

func FuzzMessage(f *testing.F) {
	parts, _ := plan(blocks.Split(mixed("a"), time.Now()), maxMessage)
	last, _ := seal(parts, []uint64{1, 2, 3}, maxMessage)
	for _, m := range append(parts, last) {
		f.Add(m.payload)
	}
	f.Add([]byte("tr1w"))
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, err := open(data)
		if err != nil {
			return
		}
		switch kind {
		case kindWhole, kindPart:
			pieces, err := parsePieces(nil, body)
			if err != nil {
				return
			}
			again := preface(kind)
			for _, p := range pieces {
				again = appendPiece(again, int(p.ordinal), p.payload)
			}
			if _, body, err = open(again); err != nil {
				t.Fatal(err)
			}
			if twice, err := parsePieces(nil, body); err != nil || !reflect.DeepEqual(pieces, twice) {
				t.Fatalf("%v became %v, %v", pieces, twice, err)
			}
			_, _ = decodePieces(nil, pieces)
		case kindCommit:
			refs, err := parseRefs(body)
			if err != nil {
				return
			}
			var again []byte
			for _, r := range refs {
				again = appendRef(again, r)
			}
			if twice, err := parseRefs(again); err != nil || !reflect.DeepEqual(refs, twice) {
				t.Fatalf("%v became %v, %v", refs, twice, err)
			}
		}
	})
}

func FuzzNode(f *testing.F) {
	f.Add([]byte(`{"node":"a","number":18446744073709551615,"applied":"a-b.1.2","fresh":true}`))
	f.Add([]byte(`{"node":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, ok := parseNode(stored{mark{1, 1}, "s", data}); ok && (n.Node == "" || n.seq != 1) {
			t.Fatalf("%q became %+v", data, n)
		}
	})
}

func FuzzReply(f *testing.F) {
	f.Add("12", "2026-11-22T22:55:22.123456789Z", "token_revocation.log")
	f.Add("0", "", "")
	f.Fuzz(func(t *testing.T, seq, at, subject string) {
		m := &nats.Msg{Header: nats.Header{"Nats-Sequence": {seq}, "Nats-Time-Stamp": {at}, "Nats-Subject": {subject}}}
		if one, err := parseStored(m); err == nil && (one.mark.seq == 0 || one.subject != subject) {
			t.Fatalf("%q, %q became %+v", seq, at, one)
		}
	})
}
