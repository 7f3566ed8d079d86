package token

// This file finds every token in a request. It reads what was received, never
// what net/http makes of it (Header.Get, URL.Query, Cookies, FormValue): those
// hide values that some upstream sees.

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"
)

// Candidate is something in a request that somebody may take for a token.
type Candidate struct {
	// Token is the token, decoded as its source requires. It is part of the
	// request's memory, or a copy where it had to be decoded.
	Token string
	// Source is where it was found.
	Source Source
	// Scheme is the authentication scheme in front of the token: Bearer and DPoP
	// in this spelling, others as received, empty where there was none.
	Scheme string
	// Probe marks what is a token only for a sloppy reader. When it is revoked,
	// the request is rejected; in every other respect it doesn't exist: it is
	// never malformed, it doesn't count as one of several tokens, and a request
	// with nothing else has no token.
	Probe bool
	// Secret marks a probe that is, if anything, some other credential than a
	// bearer token, such as a password or a part of it. Nothing that is derived
	// from it may be kept: it must not be cached.
	Secret bool
}

// The schemes that announce a token.
const (
	SchemeBearer = "Bearer" // RFC 6750 §2.1
	SchemeDPoP   = "DPoP"   // RFC 9449 §7.1
)

// MaxCandidates is how many candidates are taken from one request, not counting
// secret ones. A request that has more is refused.
const MaxCandidates = 64

// maxSecrets is how many secret candidates are taken: more than any browser's
// Digest credentials have, with the query of a page in them.
const maxSecrets = 2 * MaxCandidates

const tooLong = "a token is too long"

// FindError says why the tokens of a request can't be enumerated. The request
// must not pass, since an upstream may see a token that was missed here.
type FindError struct {
	Status int    // 400, or 413 where a form is too long
	Reason string // for the client; never contains any of the request
}

// Error returns the reason.
func (e *FindError) Error() string { return e.Reason }

// FinderOptions configure a Finder.
type FinderOptions struct {
	// Sources are where to look. Default: DefaultSources.
	Sources []Source
	// FormLimit is the longest form that is read, in bytes. Default: 64 KiB.
	FormLimit int64
	// FormTimeout is how long a client may take to send a form. Default: 10 s.
	FormTimeout time.Duration
}

const (
	defaultFormLimit   = 64 << 10
	defaultFormTimeout = 10 * time.Second
)

// Finder finds the tokens in requests. It is safe for concurrent use.
type Finder struct {
	headers     []headerSource
	query       []namedSource
	form        []namedSource
	cookies     []namedSource
	basic       bool
	webSocket   bool
	credentials []string // headers that no trailer may set
	formLimit   int64
	formTimeout time.Duration
}

type headerSource struct {
	source Source // its name is canonical
	folded bool   // other names mean the same to some upstreams
}

type namedSource struct {
	source Source
	name   string // as foldName makes it
}

// NewFinder makes a Finder.
func NewFinder(o FinderOptions) (*Finder, error) {
	f := &Finder{formLimit: o.FormLimit, formTimeout: o.FormTimeout, credentials: []string{"Authorization"}}
	if f.formLimit <= 0 {
		f.formLimit = defaultFormLimit
	}
	if f.formTimeout <= 0 {
		f.formTimeout = defaultFormTimeout
	}
	sources := o.Sources
	if sources == nil {
		sources = DefaultSources()
	}
	for i, s := range sources {
		if err := s.Validate(); err != nil {
			return nil, err
		}
		if slices.Contains(sources[:i], s) {
			continue
		}
		switch s.Kind {
		case SourceHeader:
			s.Name = textproto.CanonicalMIMEHeaderKey(s.Name)
			f.headers = append(f.headers, headerSource{s, strings.ContainsAny(s.Name, "-_.")})
			f.credentials = append(f.credentials, s.Name)
		case SourceQuery:
			f.query = append(f.query, namedSource{s, foldName(s.Name, true)})
		case SourceForm:
			f.form = append(f.form, namedSource{s, foldName(s.Name, true)})
		case SourceCookie:
			f.cookies = append(f.cookies, namedSource{s, foldName(s.Name, false)})
			f.credentials = append(f.credentials, "Cookie")
		case SourceBasic:
			f.basic = true
		case SourceWebSocket:
			f.webSocket = true
			f.credentials = append(f.credentials, webSocketHeader)
		}
	}
	return f, nil
}

// Find appends to dst every candidate in the request. There may be candidates
// even if there is an error, which is a *FindError: a revoked token among them
// matters more than the error.
//
// A form is read from the body, which is replaced so that the next handler
// reads the same bytes; w is used to limit the time that this takes.
func (f *Finder) Find(w http.ResponseWriter, r *http.Request, dst []Candidate) ([]Candidate, error) {
	c := collectors.Get().(*collector)
	defer c.release()
	for i := range f.headers {
		f.headers[i].find(c, r.Header)
	}
	if f.basic {
		c.source = Source{Kind: SourceBasic}
		c.secret = true
		for _, line := range r.Header["Authorization"] {
			c.basic(line)
		}
		c.secret = false
	}
	if f.webSocket {
		c.source = Source{Kind: SourceWebSocket}
		for _, line := range r.Header[webSocketHeader] {
			c.webSocketProtocols(line)
		}
	}
	if len(f.cookies) > 0 {
		for _, line := range r.Header["Cookie"] {
			c.cookies(line, f.cookies)
		}
	}
	if len(f.query) > 0 && r.URL != nil && r.URL.RawQuery != "" {
		c.pairs(r.URL.RawQuery, f.query, false)
	}
	if len(f.form) > 0 && hasForm(r) {
		f.readForm(c, w, r)
	}
	// After the form: its end may have brought trailers that nobody announced.
	if len(r.Trailer) > 0 {
		f.checkTrailers(c, r.Trailer)
	}
	dst = append(dst, c.found...)
	if c.err != nil {
		return dst, c.err
	}
	return dst, nil
}

// find takes the values of every header that an upstream may take for this one:
// CGI and its successors turn other characters into underscores.
func (s *headerSource) find(c *collector, header http.Header) {
	c.source = s.source
	if !s.folded {
		for _, value := range header[s.source.Name] {
			c.authorization(value)
		}
		return
	}
	for name, values := range header {
		if sameHeader(name, s.source.Name) {
			for _, value := range values {
				c.authorization(value)
			}
		}
	}
}

func sameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if headerByte(a[i]) != headerByte(b[i]) {
			return false
		}
	}
	return true
}

func headerByte(b byte) byte {
	switch {
	case b == '_' || b == '.':
		return '-'
	case b >= 'A' && b <= 'Z':
		return b | 0x20
	}
	return b
}

// checkTrailers refuses credentials in trailers (RFC 9110 §6.5.1), which come
// after the request was let through and which some upstreams merge into the
// headers.
func (f *Finder) checkTrailers(c *collector, trailer http.Header) {
	for name := range trailer {
		for _, credential := range f.credentials {
			if sameHeader(name, credential) {
				c.fail(http.StatusBadRequest, "a trailer has the name of a header with credentials")
			}
		}
	}
}

// collector gathers the candidates of one request.
type collector struct {
	found    []Candidate
	source   Source
	secret   bool // whether probes are secret
	onlyJWTs bool // whether runs that don't look like a JWT are left out
	secrets  int  // how many candidates are
	overflow bool // there were too many candidates: err says so
	err      *FindError
}

// collectors saves an allocation per request: the caller's room can't be on its
// stack if a collector points to it.
var collectors = sync.Pool{New: func() any { return new(collector) }}

// release gives the collector back, without the tokens that are in it.
func (c *collector) release() {
	clear(c.found)
	*c = collector{found: c.found[:0]}
	collectors.Put(c)
}

// fail keeps the first reason.
func (c *collector) fail(status int, reason string) {
	if c.err == nil {
		c.err = &FindError{status, reason}
	}
}

// token adds a candidate.
func (c *collector) token(token, scheme string) { c.add(token, scheme, false) }

// probe adds what is a token for sloppy readers only, unless it is known.
func (c *collector) probe(token string) { c.add(token, "", true) }

// add adds a candidate, unless there are too many, which is a failure. Loops
// may stop early only when that has happened.
func (c *collector) add(token, scheme string, probe bool) {
	if token == "" {
		return
	}
	if len(token) > MaxTokenBytes {
		if !probe {
			c.fail(http.StatusBadRequest, tooLong)
		}
		return
	}
	if probe {
		for i := range c.found {
			if c.found[i].Token == token {
				return
			}
		}
	}
	secret := probe && c.secret
	count, limit := len(c.found)-c.secrets, MaxCandidates
	if secret {
		count, limit = c.secrets, maxSecrets
	}
	if count >= limit {
		c.overflow = true
		c.fail(http.StatusBadRequest, "the request has too many tokens")
		return
	}
	if secret {
		c.secrets++
	}
	c.found = append(c.found, Candidate{Token: token, Source: c.source, Scheme: scheme, Probe: probe, Secret: secret})
	if token[0] >= 0x80 || token[len(token)-1] >= 0x80 {
		// Many a reader trims NBSP and the like, as UTF-8 or as Latin-1.
		c.probe(strings.TrimSpace(token))
		c.probe(trimLatin1Space(token))
	}
}
