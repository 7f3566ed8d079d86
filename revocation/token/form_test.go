package token

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const formMediaType = "application/x-www-form-urlencoded"

func formRequest(body io.Reader, length int64, contentType ...string) *http.Request {
	r := request("")
	r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(body), length
	r.Header["Content-Type"] = contentType
	return r
}

func TestJ5_Form(t *testing.T) {
	f, err := NewFinder(FinderOptions{Sources: []Source{{SourceForm, "access_token"}}, FormLimit: 64})
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	pad := strings.Repeat("x", 64-len("access_token=A&b="))
	for _, c := range []struct {
		what, body     string
		types          []string
		readError      error
		status         int
		tokens, probes []string
	}{
		{what: "a form", body: "a=b&access_token=A+B%2B", types: []string{formMediaType}, tokens: []string{"A B+"}},
		{what: "with charset", body: "access_token=A", types: []string{"Application/X-WWW-Form-Urlencoded; charset=utf-8"}, tokens: []string{"A"}},
		{what: "other charsets", body: "access_token=A", types: []string{formMediaType + `; CharSet = "ISO-8859-1"; charset=us-ascii;charset='Windows-1252'`, "text/plain;charset"}, tokens: []string{"A"}},
		{what: "EBCDIC", body: "access_token=A", types: []string{formMediaType + ";charset=ibm037"}, status: 400},
		{what: "UTF-16, quoted", body: "access_token=A", types: []string{formMediaType + `; x=y; CHARSET = "UTF-16BE"`}, status: 400},
		{what: "a second charset", body: "access_token=A", types: []string{formMediaType + "; charset=utf-8; charset=utf-7"}, status: 400},
		{what: "charset on another line", body: "access_token=A", types: []string{formMediaType, "text/plain;charset=ibm037"}, status: 400},
		{what: "extended charset", body: "access_token=A", types: []string{formMediaType + "; charset*=''ibm037"}, status: 400},
		{what: "charset of another type", body: "access_token=A", types: []string{"text/plain;charset=ibm037"}},
		{what: "commas and controls", body: "access_token=abc%2Cdef&access_token=a%20b&access_token=a%00b", types: []string{formMediaType},
			tokens: []string{"abc,def", "a b", "a\x00b"}},
		{what: "second line", body: "access_token=A", types: []string{"text/plain", formMediaType}, tokens: []string{"A"}},
		{what: "joined", body: "access_token=A", types: []string{"text/plain, " + formMediaType}, tokens: []string{"A"}},
		{what: "other type", body: "access_token=A", types: []string{"text/plain"}},
		{what: "JSON", body: `{"access_token":"A"}`, types: []string{"application/json"}},
		{what: "no type", body: "access_token=A"},
		{what: "just fits", body: "access_token=A&b=" + pad, types: []string{formMediaType}, tokens: []string{"A"}},
		{what: "too long", body: "access_token=A&b=" + pad + "x&access_token=B", types: []string{formMediaType}, status: 413, tokens: []string{"A"}},
		{what: "too long in the token", body: "access_token=A&access_token=" + pad + pad, types: []string{formMediaType}, status: 413, tokens: []string{"A"},
			probes: []string{(pad + pad)[:65-len("access_token=A&access_token=")]}},
		{what: "broken", body: "access_token=A&access_token=B", types: []string{formMediaType}, readError: broken, status: 400, tokens: []string{"A"}, probes: []string{"B"}},
		{what: "badly encoded", body: "access_token=%zz&access_token=A", types: []string{formMediaType}, status: 400, tokens: []string{"A"}, probes: []string{"%zz"}},
	} {
		var body io.Reader = strings.NewReader(c.body)
		if c.readError != nil {
			body = io.MultiReader(body, iotest.ErrReader(c.readError))
		}
		r := formRequest(body, int64(len(c.body)), c.types...)
		found, err := f.Find(httptest.NewRecorder(), r, nil)
		if c.status != 0 {
			checkFindError(t, c.what, err, c.status)
		} else if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		checkFound(t, c.what, found, c.tokens, c.probes)
		replayed, err := io.ReadAll(r.Body)
		if string(replayed) != c.body || err != c.readError || r.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: the next handler reads %q, %v", c.what, replayed, err)
		}
	}
	r := formRequest(strings.NewReader("access_token=A"), 14, formMediaType)
	r.Header.Set("Content-Encoding", "gzip")
	found, err := f.Find(nil, r, nil)
	checkFindError(t, "gzip", err, 400)
	if body, _ := io.ReadAll(r.Body); found != nil || string(body) != "access_token=A" {
		t.Errorf("gzip: %v, %q", found, body)
	}
	r = formRequest(strings.NewReader("access_token=A"), 14, formMediaType)
	r.Header.Set("Content-Encoding", "Identity")
	if found, err := f.Find(nil, r, nil); err != nil || len(found) != 1 {
		t.Errorf("identity: %v, %v", found, err)
	}
}

// A body that isn't a form isn't touched, not even by a wrapper.
func TestOtherBodiesAreNotTouched(t *testing.T) {
	f := newFinder(t, Source{SourceForm, "access_token"})
	body := io.NopCloser(strings.NewReader("access_token=A"))
	r := formRequest(nil, 14, "application/json")
	r.Body = body
	if found, err := f.Find(nil, r, nil); err != nil || found != nil || r.Body != body {
		t.Errorf("%v, %v", found, err)
	}
}

// serve runs a server whose handler looks for tokens and tells what it found,
// sends raw to it and returns what was told.
func serve(t *testing.T, f *Finder, timeout time.Duration, raw string, finish bool) (found []Candidate, rest string, trailer http.Header, err error) {
	t.Helper()
	done := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		found, err = f.Find(w, r, nil)
		body, _ := io.ReadAll(r.Body)
		rest, trailer = string(body), r.Trailer
	}))
	server.Config.ReadTimeout = timeout
	server.Start()
	defer server.Close()
	conn, e := net.Dial("tcp", server.Listener.Addr().String())
	if e != nil {
		t.Fatal(e)
	}
	defer conn.Close()
	if _, e := io.WriteString(conn, raw); e != nil {
		t.Fatal(e)
	}
	if finish {
		if _, e := http.ReadResponse(bufio.NewReader(conn), nil); e != nil {
			t.Error(e)
		}
	}
	<-done
	return found, rest, trailer, err
}

func TestSlowForm(t *testing.T) {
	f, err := NewFinder(FinderOptions{Sources: []Source{{SourceForm, "access_token"}}, FormTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	raw := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: " + formMediaType + "\r\nContent-Length: 100\r\n\r\naccess_token=A&b"
	found, rest, _, err := serve(t, f, 0, raw, false)
	checkFindError(t, "a form that doesn't come", err, 400)
	checkFound(t, "a form that doesn't come", found, []string{"A"}, nil)
	if rest != "access_token=A&b" {
		t.Errorf("the next handler reads %q", rest)
	}
}

// The deadline must be taken back: the server reads ahead once the body is read,
// and would cancel the request when it passes.
func TestDeadlineIsTakenBack(t *testing.T) {
	f, err := NewFinder(FinderOptions{Sources: []Source{{SourceForm, "access_token"}}, FormTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, timeout := range []time.Duration{0, time.Hour, time.Second} {
		recorder := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		r := formRequest(strings.NewReader("access_token=A"), 14, formMediaType)
		if timeout > 0 {
			r = r.WithContext(contextWithServer(r, timeout))
		}
		if _, err := f.Find(recorder, r, nil); err != nil {
			t.Fatal(err)
		}
		if len(recorder.set) != 2 || recorder.set[0].IsZero() || recorder.set[1].IsZero() != (timeout == 0) {
			t.Errorf("read timeout %v: deadlines %v", timeout, recorder.set)
		}
		if timeout == time.Second && recorder.set[0].After(recorder.set[1]) {
			t.Errorf("the server's own deadline was put off: %v", recorder.set)
		}
	}
}

func TestJ21_Trailers(t *testing.T) {
	chunked := "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: " + formMediaType + "\r\n%s\r\ne\r\naccess_token=A\r\n0\r\n%s\r\n"
	form := newFinder(t, Source{SourceForm, "access_token"}, Source{SourceHeader, "X-Api-Token"}, Source{SourceCookie, "token"})
	plain := newFinder(t)
	for _, c := range []struct {
		what, announced, trailer string
		finder                   *Finder
		refused                  bool
	}{
		{"none", "", "", form, false},
		{"harmless", "Trailer: X-Checksum\r\n", "X-Checksum: 1\r\n", form, false},
		{"announced Authorization", "Trailer: Authorization\r\n", "Authorization: Bearer A\r\n", plain, true},
		{"announced X-Api-Token", "Trailer: X_Api.Token\r\n", "X_Api.Token: A\r\n", form, true},
		{"announced Cookie", "Trailer: Cookie\r\n", "Cookie: token=A\r\n", form, true},
		{"announced X-Api-Token, not declared", "Trailer: X-Api-Token\r\n", "X-Api-Token: A\r\n", plain, false},
		// Whoever reads the body of a form sees the trailers before they are sent on.
		{"unannounced behind a form", "Trailer: X-Checksum\r\n", "Authorization: Bearer A\r\n", form, true},
	} {
		_, rest, trailer, err := serve(t, c.finder, 0, fmt.Sprintf(chunked, c.announced, c.trailer), true)
		if c.refused {
			checkFindError(t, c.what, err, 400)
		} else if err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if rest != "access_token=A" {
			t.Errorf("%s: the next handler reads %q", c.what, rest)
		}
		if c.what == "harmless" && trailer.Get("X-Checksum") != "1" {
			t.Errorf("the trailer got lost: %v", trailer)
		}
	}
}

func FuzzFindForm(f *testing.F) {
	for _, s := range []string{"", "access_token=A", "a=b&access_token=A%2", "access_token=%zz;access_token=B", "access_token[]=A+B&&&="} {
		f.Add([]byte(s), 20, false)
		f.Add([]byte(s), 5, true)
	}
	f.Fuzz(func(t *testing.T, body []byte, limit int, breaks bool) {
		finder, err := NewFinder(FinderOptions{Sources: []Source{{SourceForm, "access_token"}}, FormLimit: int64(limit)})
		if err != nil {
			t.Fatal(err)
		}
		var reader io.Reader = iotest.OneByteReader(bytes.NewReader(body))
		broken := errors.New("broken")
		if breaks {
			reader = io.MultiReader(reader, iotest.ErrReader(broken))
		}
		r := formRequest(reader, -1, formMediaType)
		found, err := finder.Find(nil, r, nil)
		replayed, readErr := io.ReadAll(r.Body)
		if !bytes.Equal(replayed, body) || breaks != (readErr == broken) {
			t.Errorf("%q was replayed as %q, %v", body, replayed, readErr)
		}
		// What net/http finds must have been found.
		values, parseErr := url.ParseQuery(string(body))
		if err != nil || parseErr != nil {
			return
		}
		for _, want := range values["access_token"] {
			checkAmong(t, found, want)
		}
	})
}
