package natsstore

import (
	"reflect"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/internal/blocks"
)

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
