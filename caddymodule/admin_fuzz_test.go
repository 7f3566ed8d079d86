package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// What is accepted means to other readers of JSON what it means here, and no error has
// anything of the body in it.
func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{
		`{"token":"a-token","reason":"it leaked"}`, `{"sub":"alice","iss":"https://idp.example.com","issued_before":"now","dry_run":true,"reason":"r"}`,
		`{"claims":{"tenant_id":"acme"},"x5t#S256":"c"}`, `{"sub":""}`, `{"sub":null}`, `{"Sub":"a"}`, `{"sub":"a","sub":"b"}`, `{"dry_run":1}`,
		`{"claims":{"a":{"b":"c"}}}`, `[]`, ``, `{} {}`, "{\"token\":\"\\u0062\"}", "{\"s\\u0075b\":\"a\"}", "{\"sub\":\"\xff\"}", `{"sub":"a",}`, `{"sub":"\ud800"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var q revokeRequest
		if err := decodeObject(body, &q); err != nil {
			const marker = "zqxj"
			marked := bytes.ReplaceAll(body, []byte("a"), []byte(marker))
			if err := decodeObject(marked, new(revokeRequest)); err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("%q: the error quotes it: %v", marked, err)
			}
			return
		}
		if !utf8.Valid(body) {
			t.Fatalf("%q is accepted", body)
		}
		strict := json.NewDecoder(bytes.NewReader(body))
		strict.DisallowUnknownFields()
		if err := strict.Decode(new(revokeRequest)); err != nil {
			t.Errorf("%q is accepted, and not by encoding/json: %v", body, err)
		}
		again, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatal(err)
		}
		var kept map[string]any
		if err := json.Unmarshal(again, &kept); err != nil {
			t.Fatal(err)
		}
		for name, value := range members {
			if _, ok := kept[name]; !ok && value != false {
				t.Errorf("%q: %s is lost", body, name)
			}
		}
	})
}

// The lines don't depend on the pieces in which the body arrives, and are those that a
// simple reader finds.
func FuzzImportLines(f *testing.F) {
	const most = 32
	for _, seed := range []string{
		"", "\n", "a", "a\n", "a\r\nb", "\ufeffa\n\ufeffb", " \t\n\n a \n", "a\n\r\n", "\x00\n", "{}\n{}",
		strings.Repeat("x", most) + "\n" + "b", strings.Repeat("x", most+3) + "\nb\n", strings.Repeat("x", 3*most), strings.Repeat("x", most+1) + "\r\nb",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		whole, broken := readLines(t, bytes.NewReader(body), most), readLines(t, iotest.HalfReader(bytes.NewReader(body)), most)
		if strings.Join(whole, "\n") != strings.Join(broken, "\n") {
			t.Fatalf("%q in pieces: %q", whole, broken)
		}
		var want []string
		for line := range strings.SplitSeq(strings.TrimPrefix(string(body), "\ufeff"), "\n") {
			if line = strings.TrimSpace(line); len(line) > 0 && len(line) <= most {
				want = append(want, line)
			}
		}
		var got []string
		for _, line := range whole {
			if line != errLineTooLong.Error() && len(line) <= most {
				got = append(got, line)
			}
		}
		if len(body) <= most && strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

func readLines(t *testing.T, r io.Reader, most int) (all []string) {
	lines := newLineReader(r, most)
	for before := 0; ; before = lines.number {
		line, err := lines.next()
		switch {
		case err == io.EOF:
			return all
		case errors.Is(err, errLineTooLong):
			all = append(all, err.Error())
		case err != nil:
			t.Fatal(err)
		case len(line) > 0:
			all = append(all, string(line))
		}
		if lines.number <= before {
			t.Fatal("the number of the line doesn't grow")
		}
	}
}

// A record that is accepted is written in the same way again, and no error has anything
// of the line in it.
func FuzzImportRecord(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"block","selector":{"iss":"https://idp.example.com","sub":"alice"},"reason":"r"}`, `{"kind":"issued_before","cutoff":"2026-01-31T12:00:00Z","selector":{"jkt":"x"}}`,
		`{"id":"01a20546-57a1-7910-8596-f16b3e068977","kind":"reinstatement","reinstates":["01a20546-57a0-7bad-89c6-6662c1a44f42"],"expires":"2026-12-22T22:10:26Z","source":"admin","actor":"a","recorded_at":"2026-11-22T22:00:25.761Z"}`,
		`{"kind":"block","selector":{"a":5}}`, `{"kind":"block","selector":{"jti":"e30.e30."}}`, `{"kind":"ban"}`, `{}`, `eyJhbGciOiJub25lIn0.e30.`, `{"Kind":"block"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRecord(line)
		if err != nil {
			const marker = "zqxj"
			marked := bytes.ReplaceAll(line, []byte("a"), []byte(marker))
			if _, err := parseRecord(marked); err != nil && strings.Contains(err.Error(), marker) {
				t.Errorf("%q: the error quotes it: %v", marked, err)
			}
			return
		}
		if err := r.Validate(); err != nil && strings.Contains(describeInvalid(&r, err).Error(), "zqxj") {
			t.Errorf("%q: the error quotes it: %v", line, err)
		}
		written, err := r.MarshalJSON()
		if err != nil {
			return // a time in the year 10000
		}
		again, err := parseRecord(written)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", line, written, err)
		}
		if twice, _ := again.MarshalJSON(); !bytes.Equal(twice, written) {
			t.Errorf("%q, and then %q", written, twice)
		}
	})
}
