// Whatever is sent, the answer is one of a few, and nothing is revoked without
// success.

package endpoint

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"", "token=T", "token=a&token=b", "token=%zz", "token=a;b=c", "&&token=a&", "t%6Fken=a+b%20c", "token", "=",
		"client_id=&client_secret=&token=t%2B%2F%3D%26x+y&token_type_hint=", "token=%", "token=%2", "token==", "token=\xff\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parseForm(body)
		values, reference := url.ParseQuery(string(body))
		if err != nil {
			return
		}
		if reference != nil {
			t.Fatalf("accepted what url.ParseQuery doesn't: %v", reference)
		}
		for i, name := range parameterNames {
			if p.given[i] != values.Has(name) || p.values[i] != values.Get(name) || len(values[name]) > 1 {
				t.Errorf("%s: %q, url.ParseQuery has %q", name, p.values[i], values[name])
			}
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"token":"T"}`, `{"token":"a","token":"b"}`, `{"token":"a","TOKEN":"b"}`, `{"token":null}`, `{"token":1}`, `[]`, `{"x":{"y":[1]}}`,
		"\ufeff{}", `{} {}`, `{"\u0074oken":"\ud83d\ude00"}`, `{"token":"\ud800"}`, "{\"token\":\"\xff\"}", `{"x":[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}`, ``, `{"token"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parseJSON(body)
		if err != nil {
			return
		}
		var reference map[string]any
		if err := json.Unmarshal(body, &reference); err != nil || reference == nil {
			t.Fatalf("accepted what encoding/json doesn't: %v", err)
		}
		for i, name := range parameterNames {
			value, given := reference[name]
			s, _ := value.(string)
			if p.given[i] != given || p.values[i] != s || value != nil && s == "" && value != "" {
				t.Errorf("%s: %q, encoding/json has %v", name, p.values[i], value)
			}
		}
	})
}

func FuzzBasic(f *testing.F) {
	for _, s := range []string{"", ":", "a:b", "my+client%3A1:s3cr%2Bt%2F%25%26%C3%A9", "pub:s3cr+t/%&é", "pub:\xe9", "%zz:%zz", "a%ff:b", "a:b:c", "\x00:"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(s)), true)
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(s)), false)
	}
	f.Fuzz(func(t *testing.T, encoded string, strict bool) {
		readings, ok := parseBasic(encoded, strict)
		if ok != (len(readings) > 0) || len(readings) > 2 || strict && len(readings) > 1 {
			t.Fatalf("%t with %d readings", ok, len(readings))
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if ok && (err != nil || !bytes.Contains(raw, []byte(":"))) {
			t.Fatalf("%q has readings", raw)
		}
		for i, c := range readings {
			if c.id == "" || !utf8.ValidString(c.id) || !utf8.ValidString(c.secret) || slices.Contains(readings[:i], c) {
				t.Errorf("reading %q", c)
			}
		}
		// The raw reading is net/http's, where that has one.
		r := http.Request{Header: http.Header{"Authorization": {"Basic " + encoded}}}
		if id, secret, has := r.BasicAuth(); has && ok && !strict && utf8.ValidString(id+secret) && !slices.Contains(readings, credentials{id, secret}) {
			t.Errorf("%q, net/http reads %q", readings, credentials{id, secret})
		}
	})
}

func FuzzServeHTTP(f *testing.F) {
	good := basic(plainID, plainPass)
	for _, body := range []string{
		"token=T", "token=T&client_id=spa", "token=" + jwt(`{"exp":1}`), "token=a&token=b", "token=%00", "client_id=spa",
		"token=T&client_assertion=a.b.c&client_assertion_type=" + jwtBearer,
		`{"token":"T"}`, `{"token":""}`, `{"token":"T","client_id":"web-app","client_secret":"correct-horse"}`, "",
	} {
		for _, authorization := range []string{good, "", "Bearer x", "Basic x"} {
			f.Add("POST", form, authorization, "", []byte(body))
			f.Add("POST", jsonType, authorization, "https://evil.example", []byte(body))
		}
	}
	f.Add("OPTIONS", "", "", page, []byte(""))
	f.Add("GET", form, good, "", []byte("token=T"))
	list := new(stub)
	o := options()
	o.List, o.Compare = list, new(hash)
	unlimited := Quota{-1, -1, -1}
	o.Limits = Limits{FailuresPerMinute: -1, FailuresPerMinutePerAddress: -1, LiveTotal: -1, Confidential: unlimited, Public: unlimited}
	o.AllowOrigins, o.MoovStrict = []string{page}, true
	var outcome Outcome
	o.Observe = func(o Outcome) { outcome = o }
	s, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	statuses := []int{200, 204, 400, 401, 403, 405, 413, 415, 422}
	f.Fuzz(func(t *testing.T, method, contentType, authorization, origin string, body []byte) {
		r := httptest.NewRequest("POST", "/revoke?token=Q&client_id=spa", bytes.NewReader(body))
		r.Method = method
		for name, value := range map[string]string{"Content-Type": contentType, "Authorization": authorization, "Origin": origin} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		list.records = list.records[:0]
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		checkReply(t, reply{w.Result(), w.Body.String()})
		if !slices.Contains(statuses, w.Code) {
			t.Errorf("answered %d", w.Code)
		}
		if !slices.Contains(Outcomes(), outcome) {
			t.Errorf("outcome %q", outcome)
		}
		if n := len(list.records); n > 1 || n == 1 && (outcome != Revoked || w.Code != 200 && w.Code != 204) {
			t.Errorf("%d records with %d %s", n, w.Code, outcome)
		}
		if outcome == Revoked && len(list.records) == 0 {
			t.Error("a hollow success")
		}
		if strings.Contains(w.Body.String(), "token=") {
			t.Errorf("echo: %s", w.Body)
		}
	})
}
