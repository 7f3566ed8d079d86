package blocks

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func newRecord(name string, expires time.Time) revocation.Record {
	return revocation.Record{
		ID:         revocation.NewID(),
		Kind:       revocation.Block,
		Selector:   revocation.Selector{Issuer: "https://idp.example.com", Claims: []revocation.Claim{{Role: revocation.RoleTokenID, Value: name}}},
		Expires:    expires,
		Source:     "endpoint",
		RecordedAt: time.Now().UTC().Truncate(time.Millisecond),
	}
}

func newBatch(n int) []revocation.Record {
	var batch []revocation.Record
	for i := range n {
		batch = append(batch, newRecord(fmt.Sprint(i), time.Now().UTC().Add(time.Duration(1+i)*time.Hour).Truncate(time.Second)))
	}
	return batch
}

// TestSplit: every record comes back, in its order, from a block of its class.
func TestSplit(t *testing.T) {
	now := time.Now().UTC()
	records := newBatch(3000)
	for i := range records {
		switch i % 7 {
		case 0, 1, 2:
			records[i].Expires = now.Add(time.Hour).Truncate(time.Second)
		case 3:
			records[i].Expires = revocation.Never
		}
		if i%500 == 0 {
			records[i].Actor = string(bytes.Repeat([]byte("a"), 200))
		}
	}
	var back []revocation.Record
	for _, b := range Split(records, now) {
		before := len(back)
		var err error
		if back, err = Decode(back, b.Payload); err != nil {
			t.Fatal(err)
		}
		inside := back[before:]
		if len(inside) == 0 || len(inside) > MaxRecords || len(inside) > 1 && len(b.Payload) > MaxBytes {
			t.Fatalf("a block has %d records in %d bytes", len(inside), len(b.Payload))
		}
		var last time.Time
		for _, r := range inside {
			if ClassOf(r.Expires, now) != b.Class {
				t.Fatalf("a record that expires at %s is in class %s", r.Expires, Classes[b.Class].Name)
			}
			if r.Expires.After(last) {
				last = r.Expires
			}
		}
		if !b.Expires.Equal(last) {
			t.Fatalf("a block expires at %s, its last record at %s", b.Expires, last)
		}
	}
	if len(back) != len(records) {
		t.Fatalf("%d records came back, want %d", len(back), len(records))
	}
	for i := range back {
		if back[i].ID != records[i].ID {
			t.Fatalf("record %d came back in another place", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range Split(newBatch(3), time.Now()) {
		f.Add(b.Payload)
	}
	f.Add([]byte{})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		records, err := Decode(nil, payload)
		if err != nil {
			return
		}
		if len(records) == 0 {
			t.Fatal("no records and no error")
		}
		var again []byte
		for _, b := range Split(records, time.Now()) {
			again = append(again, b.Payload...)
		}
		back, err := Decode(nil, again)
		if err != nil || len(back) != len(records) {
			t.Fatalf("%d records became %d, %v", len(records), len(back), err)
		}
		for i := range back {
			if !bytes.Equal(revocation.AppendRecord(nil, &back[i]), revocation.AppendRecord(nil, &records[i])) {
				t.Fatal("a record has changed")
			}
		}
	})
}
