// The house that the tests live in: the real list over a store in memory, the real
// reader of tokens, and a request check to see whether a token is dead.

package endpoint

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// The clients of every fixture.
const (
	webID, webSecret   = "my client:1", "s3cr+t/%&é" // the one in servers-and-clients.md
	plainID, plainPass = "web-app", "correct-horse"
	spaID              = "spa"
	opsID, opsSecret   = "ops", "operator"
	oldSecret          = "rotated-out-soon"
)

func clients() []Client {
	return []Client{
		{ID: webID, Hashes: [][]byte{hashOf(webSecret)}},
		{ID: plainID, Hashes: [][]byte{hashOf(plainPass), hashOf(oldSecret)}},
		{ID: spaID},
		{ID: opsID, Hashes: [][]byte{hashOf(opsSecret)}, AnyToken: true},
	}
}

type fixture struct {
	*Server
	t        *testing.T
	store    *store
	list     *revocation.List
	checker  *revocation.Checker
	hash     *hash
	clock    *clock
	log      *lockedBuffer
	mu       sync.Mutex
	outcomes []Outcome
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func options() Options {
	reader, err := token.NewReader(token.ReaderOptions{})
	if err != nil {
		panic(err)
	}
	return Options{
		Facts: reader, Clients: clients(), Compare: new(hash), FakeHash: hashOf("nobody's"), Realm: `to "ken\`,
	}
}

func newFixture(t *testing.T, change func(*Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, store: new(store), hash: new(hash), clock: newClock(), log: new(lockedBuffer)}
	list, err := revocation.Open(t.Context(), f.store, revocation.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { list.Close() })
	f.list = list
	o := options()
	f.checker, err = revocation.NewChecker(list, o.Facts, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.checker.Close)
	o.List, o.Compare, o.Now = list, f.hash, f.clock.Now
	o.Logger = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.Audit = o.Logger
	o.Observe = func(o Outcome) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.outcomes = append(f.outcomes, o)
	}
	if change != nil {
		change(&o)
	}
	f.Server, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) dead(token string) bool { return f.checker.Check(token).State == revocation.Revoked }

func (f *fixture) observed() []Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.outcomes)
}

const (
	form     = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// message is a request, and by default a POST of a form over TLS.
type message struct {
	method, target, media, body string
	header                      []string // name, value, …
	basic                       []string // id and secret, raw
	plain                       bool     // without TLS
	from                        string   // remote address
}

func (m message) request() *http.Request {
	target := "/oauth2/revoke"
	if m.target != "" {
		target = m.target
	}
	method := http.MethodPost
	if m.method != "" {
		method = m.method
	}
	r := httptest.NewRequest(method, "https://auth.example.com"+target, strings.NewReader(m.body))
	if m.plain {
		r.TLS = nil
	} else {
		r.TLS = new(tls.ConnectionState)
	}
	switch m.media {
	case "":
		r.Header.Set("Content-Type", form)
	case "none":
	default:
		r.Header.Set("Content-Type", m.media)
	}
	for i := 0; i < len(m.header); i += 2 {
		r.Header.Add(m.header[i], m.header[i+1])
	}
	if m.basic != nil {
		r.Header.Set("Authorization", basic(m.basic[0], m.basic[1]))
	}
	if m.from != "" {
		r.RemoteAddr = m.from
	}
	return r
}

func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

var web = []string{webID, webSecret} // not decodable, and split at its first colon: see C5
var app = []string{plainID, plainPass}

type reply struct {
	*http.Response
	body string
}

// send has the server answer, and checks what every answer must have.
func (f *fixture) send(m message) reply {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, m.request())
	r := reply{w.Result(), w.Body.String()}
	checkReply(f.t, r)
	return r
}

func checkReply(t *testing.T, r reply) {
	t.Helper()
	for name, want := range map[string]string{"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff", "ETag": ""} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r.StatusCode == http.StatusNoContent {
		if r.body != "" || r.Header.Get("Content-Type") != "" {
			t.Errorf("204 with a body: %q %q", r.body, r.Header.Get("Content-Type"))
		}
		return
	}
	if got := r.Header.Get("Content-Type"); got != jsonType {
		t.Errorf("Content-Type: %q", got)
	}
	members := map[string]string{}
	if err := json.Unmarshal([]byte(r.body), &members); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	if r.StatusCode < 300 {
		if r.body != "{}" {
			t.Errorf("success with %q", r.body)
		}
		return
	}
	if members["error"] == "" || members["error_description"] == "" {
		t.Errorf("an error without error or error_description: %q", r.body)
	}
	for _, c := range members["error_description"] { // RFC 6749 §5.2
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			t.Errorf("error_description %q has %q", members["error_description"], c)
		}
	}
	limited := r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusServiceUnavailable
	if retry := r.Header.Get("Retry-After"); (retry != "") != limited || retry == "0" || strings.Trim(retry, "0123456789") != "" {
		t.Errorf("%d with Retry-After %q", r.StatusCode, retry)
	}
}

func (r reply) code() string {
	var members map[string]string
	json.Unmarshal([]byte(r.body), &members)
	return members["error"]
}

// expect is an answer and what must have become of the token T.
type expect struct {
	status int
	code   string // of an error
	www    bool   // a challenge
	dead   bool   // T is revoked
}

func (f *fixture) expect(m message, want expect) reply {
	f.t.Helper()
	r := f.send(m)
	if r.StatusCode != want.status || r.code() != want.code {
		f.t.Errorf("answered %d %q, want %d %q: %s", r.StatusCode, r.code(), want.status, want.code, r.body)
	}
	challenge := r.Header.Get("WWW-Authenticate")
	if want.www && challenge != `Basic realm="to \"ken\\", charset="UTF-8"` || !want.www && challenge != "" {
		f.t.Errorf("WWW-Authenticate: %q", challenge)
	}
	if f.dead("T") != want.dead {
		f.t.Errorf("T is revoked: %t, want %t", !want.dead, want.dead)
	}
	if !want.dead && len(f.store.all()) != 0 && !f.dead("other") {
		f.t.Errorf("something was recorded: %v", f.store.all())
	}
	return r
}

var (
	ok        = expect{status: 200, dead: true}
	noContent = expect{status: 204, dead: true}
)

func refused(status int, code string) expect { return expect{status: status, code: code} }

func challenged(status int, code string) expect {
	return expect{status: status, code: code, www: true}
}

// one is a case: one message to a fresh server.
type one struct {
	name   string
	change func(*Options)
	message
	expect
}

func run(t *testing.T, cases []one) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			newFixture(t, c.change).expect(c.message, c.expect)
		})
	}
}

func jwt(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(payload)) + "." + encode(bytes.Repeat([]byte{7}, 64))
}
