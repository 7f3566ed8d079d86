package revocation

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// jsonRecords has one record of each kind.
func jsonRecords(t testing.TB) map[string]Record {
	id := func(s string) ID {
		id, err := ParseID(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	note := Record{ID: id("0198a000-0000-7000-8000-000000000001"), Expires: at.Add(time.Hour), RecordedAt: at.Add(123 * time.Millisecond)}
	block, cutoff, undo := note, note, note
	block.Kind, block.Selector, block.Source, block.Actor = Block, SelectToken(Fingerprint{1}), "endpoint", "client:app"
	cutoff.Kind, cutoff.Selector, cutoff.Cutoff = IssuedBefore, mustSelect(t, iss, Claim{RoleSubject, `al"ice`}, Claim{RoleClient, "app"}), at
	undo.Kind, undo.Reinstates, undo.Reason = Reinstatement, []ID{id("0198a000-0000-7000-8000-000000000002")}, "a mistake"
	return map[string]Record{
		`{"id":"0198a000-0000-7000-8000-000000000001","kind":"block","selector":{"token":"` + Fingerprint{1}.String() + `"},"expires":"2026-01-31T13:00:00Z","source":"endpoint","actor":"client:app","recorded_at":"2026-01-31T12:00:00.123Z"}`:            block,
		`{"id":"0198a000-0000-7000-8000-000000000001","kind":"issued_before","selector":{"client_id":"app","iss":"` + iss + `","sub":"al\"ice"},"cutoff":"2026-01-31T12:00:00Z","expires":"2026-01-31T13:00:00Z","recorded_at":"2026-01-31T12:00:00.123Z"}`: cutoff,
		`{"id":"0198a000-0000-7000-8000-000000000001","kind":"reinstatement","reinstates":["0198a000-0000-7000-8000-000000000002"],"expires":"2026-01-31T13:00:00Z","reason":"a mistake","recorded_at":"2026-01-31T12:00:00.123Z"}`:                         undo,
	}
}

func TestRecordsInJSON(t *testing.T) {
	for text, want := range jsonRecords(t) {
		got, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("written as\n%s, want\n%s", got, text)
		}
		var back Record
		if err := json.Unmarshal([]byte(text), &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("read as\n%+v, want\n%+v", back, want)
		}
	}
}

// TestWrongRecordsInJSON: the error says what is wrong, and quotes nothing, since
// somebody may have put a token there.
func TestWrongRecordsInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"kind":"s3cret"}`:                         "kind must be one of block, issued_before, authenticated_before and reinstatement",
		`{"kind":"block","s3cret":1}`:               "a member that records don't have",
		`{"kind":"block","token":"s3cret"}`:         "a member that records don't have",
		`{"kind":["s3cret"]}`:                       "kind is not of the right type",
		`{"kind":"block","selector":"s3cret"}`:      "selector is not of the right type",
		`{"kind":"block","selector":{"sub":12345}}`: "selector is not of the right type",
		`{"kind":"block","expires":"s3cret"}`:       "a time must be written as in 2026-01-31T12:00:00Z",
		`{"kind":"block","expires":4102444800}`:     "a time must be written as in 2026-01-31T12:00:00Z",
		`{"kind":"block","id":"s3cret"}`:            "id is not a UUID",
		`{"kind":"block","reinstates":["s3cret"]}`:  "reinstates has something that is not a UUID",
		`"s3cret"`:                  "a record is a JSON object",
		`[{"kind":"s3cret"}]`:       "a record is a JSON object",
		`{"kind":"block"} "s3cret"`: "something follows the record",
		`{"kind":"s3cret`:           "ends too early",
		`s3cret`:                    "not JSON, from byte 1 on",
	} {
		err := new(Record).UnmarshalJSON([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "12345")) {
			t.Errorf("%s: the error quotes what was read: %v", text, err)
		}
	}
}

// FuzzRecordJSON: what is read is written in a form that reads as the same.
func FuzzRecordJSON(f *testing.F) {
	for text := range jsonRecords(f) {
		f.Add(text)
	}
	f.Add(`{"kind":"block","selector":{"iss":"a","":"b"},"expires":"9999-12-31T23:59:60Z"}`)
	f.Add(`{"kind":"block","cutoff":"0001-01-01T00:00:00Z"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var r Record
		if err := r.UnmarshalJSON([]byte(text)); err != nil || r.Validate() != nil {
			return
		}
		written, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Record
		if err := json.Unmarshal(written, &back); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if !reflect.DeepEqual(r, back) {
			t.Errorf("%+v was written and read as %+v", r, back)
		}
	})
}
