package token

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// deadlines records the read deadlines that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func contextWithServer(r *http.Request, timeout time.Duration) context.Context {
	return context.WithValue(r.Context(), http.ServerContextKey, &http.Server{ReadTimeout: timeout})
}

// checkAmong wants a token to be among the candidates, with or without the
// scheme that it may begin with.
func checkAmong(t *testing.T, found []Candidate, want string) {
	t.Helper()
	if trimSpace(want) == "" {
		return
	}
	start, end, _ := nextWord(want, 0)
	scheme := isScheme(want[start:end]) && end < len(want) && isSpace(want[end])
	for _, c := range found {
		if c.Token == want || c.Token == trimSpace(want) || scheme && c.Token == trimSpace(want[end:]) {
			return
		}
	}
	if scheme && trimSpace(want[end:]) == "" {
		return
	}
	t.Errorf("%q is not among %+v", want, found)
}

func FuzzFindQuery(f *testing.F) {
	for _, s := range []string{"access_token=A", "a&access_token=%41+B&Access.Token[]=c", "access_token=%zz", "a;access_token=A", "access_token=Bearer+A", "access_token%00x=%"} {
		f.Add(s)
	}
	finder := newFinder(f)
	f.Fuzz(func(t *testing.T, query string) {
		found, err := finder.Find(nil, request(query), nil)
		if err != nil {
			checkFindError(t, query, err, 400)
			return
		}
		values, _ := url.ParseQuery(query)
		for _, want := range values["access_token"] {
			checkAmong(t, found, want)
		}
		for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
			name, value, _ := strings.Cut(pair, "=")
			name, errName := url.QueryUnescape(name)
			value, errValue := url.QueryUnescape(value)
			if errName == nil && errValue == nil && strings.EqualFold(name, "access_token") && isASCII(name) {
				checkAmong(t, found, value)
			}
		}
	})
}

func FuzzFindCookie(f *testing.F) {
	for _, s := range []string{"token=A", `a=b; token="A"; token=B`, `token="\145y"`, "token=%41,token=B", " token = A ;"} {
		f.Add(s)
	}
	finder := newFinder(f, Source{SourceCookie, "token"})
	f.Fuzz(func(t *testing.T, line string) {
		r := request("", "Cookie", line)
		found, err := finder.Find(nil, r, nil)
		if err != nil {
			checkFindError(t, line, err, 400)
			return
		}
		for _, c := range r.CookiesNamed("token") {
			checkAmong(t, found, c.Value)
		}
	})
}

func FuzzFindWebSocketAndBasic(f *testing.F) {
	for _, s := range []string{"bearer, A", "base64url.bearer.authorization.k8s.io.QUI", "access_token.A", "Basic dTpw", "Basic dTpw, Basic cDp1", "eyJx.y.z,b"} {
		f.Add(s)
	}
	finder := newFinder(f, Source{Kind: SourceWebSocket}, Source{Kind: SourceBasic})
	f.Fuzz(func(t *testing.T, line string) {
		r := request("", "Sec-WebSocket-Protocol", line, "Authorization", line)
		found, err := finder.Find(nil, r, nil)
		if err != nil {
			checkFindError(t, line, err, 400)
			return
		}
		if user, password, ok := r.BasicAuth(); ok && !strings.ContainsAny(line, ",\r\n") {
			for _, want := range []string{user, password} {
				if want != "" {
					checkAmong(t, found, want)
				}
			}
		}
	})
}
