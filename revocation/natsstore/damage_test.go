package natsstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/feedtest"
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
			opts.Logger = log.Logger()
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
				for _, f := range []*feedtest.Follower{waiting, last} {
					eventually(t, "the end of the log is a place", func() bool { return s.Covers(f.Position(), head.Position) })
				}
				appendTo(t, s, newBatch("c", 1)...)
				if names, _ := mustLoad(t, s); !slices.Equal(names, []string{"a/0", "b/0", "c/0"}) {
					t.Errorf("loaded %v", names)
				}
				eventually(t, "the rest is followed", func() bool { return slices.Equal(waiting.Got(), []string{"c/0"}) })
				if says := strings.Contains(log.String(), "wasn't written by this module"); says != (name != "an expired part") {
					t.Errorf("the log says %s", log.String())
				}
				return
			}
			_, _, err := load(s)
			wantErrorIs(t, "Load", err, test.kind)
			wantWords(t, "Load", err, test.words...)
			wantErrorIs(t, "Follow", waiting.Wait(t), test.kind)
			wantErrorIs(t, "Follow", last.Wait(t), test.kind)
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
		return slices.Equal(waiting.Got(), append([]string{"between/0"}, want...))
	})
	eventually(t, "a follower from between has all", func() bool { return slices.Equal(late.Got(), want) })
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

// TestGap loses a message between server and reader.
func TestGap(t *testing.T) {
	s := openStore(t, startServer(t).options())
	appendTo(t, s, newBatch("a", 1)...)
	appendTo(t, s, newBatch("b", 1)...)
	sess, err := s.session(background)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.read(background, sess, s.streams.log, jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverLastPolicy})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if d, err := r.next(background); err != nil || d.mark.seq != 2 {
		t.Fatalf("message %d, %v", d.mark.seq, err)
	}
	r.received.Add(1)
	appendTo(t, s, newBatch("c", 1)...)
	_, err = r.next(background)
	wantErrorIs(t, "next", err, errGap)
}
