// Pages in browsers: RFC 7009 §2.3 and https://fetch.spec.whatwg.org/#http-cors-protocol.

package endpoint

import (
	"net/http"
	"net/url"
	"strings"
)

const (
	preflightMaxAge       = "600" // seconds: how soon a change of AllowOrigins is noticed
	preflightHeaders      = "Authorization, Content-Type"
	maxPreflightHeaders   = 1024
	exposedHeaders        = "WWW-Authenticate, Retry-After"
	headerRequestMethod   = "Access-Control-Request-Method"
	headerRequestHeaders  = "Access-Control-Request-Headers"
	secFetchSite          = "Sec-Fetch-Site"
	siteSameOrigin        = "same-origin"
	siteCrossSite         = "cross-site"
	methodsOfTheEndpoint  = "POST"
	originRefusedSentence = "pages of this origin may not use the endpoint"
)

// origin is for whose page a browser sent the request.
type origin struct {
	value   string // what ACAO repeats; only of an allowed one
	allowed bool   // one of AllowOrigins
	foreign bool   // a page of another origin, and not allowed
}

func (s *Server) originOf(r *http.Request) origin {
	lines := r.Header["Origin"]
	if len(lines) == 0 {
		return origin{}
	}
	if len(lines) == 1 && s.origins[lines[0]] {
		return origin{value: lines[0], allowed: true}
	}
	return origin{foreign: len(lines) > 1 || !sameOrigin(r, lines[0])}
}

// sameOrigin reports whether the page comes from this very server. Sec-Fetch-Site
// says so where there is one: pages can't set it. The scheme is compared only when
// it is known; TLS may end in front of this server.
func sameOrigin(r *http.Request, value string) bool {
	if r.Header.Get(secFetchSite) == siteSameOrigin {
		return true
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || r.TLS != nil)) {
		return false
	}
	return withoutDefaultPort(u.Scheme, strings.ToLower(u.Host)) == withoutDefaultPort(u.Scheme, strings.ToLower(r.Host))
}

func withoutDefaultPort(scheme, host string) string {
	switch scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

// writeCORS lets an allowed page read the answer, errors as well. Credentials of
// the browser's own, such as cookies, are never asked for: a page that
// authenticates sets the Authorization header itself.
func (x *exchange) writeCORS(h http.Header) {
	if len(x.server.origins) > 0 {
		h.Add("Vary", "Origin")
	}
	if !x.origin.allowed {
		return
	}
	h.Set("Access-Control-Allow-Origin", x.origin.value)
	if x.r.Method == http.MethodOptions {
		h.Add("Vary", headerRequestHeaders)
		h.Set("Access-Control-Allow-Methods", methodsOfTheEndpoint)
		h.Set("Access-Control-Allow-Headers", allowedHeaders(x.r.Header.Get(headerRequestHeaders)))
		h.Set("Access-Control-Max-Age", preflightMaxAge)
		return
	}
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
}

// allowedHeaders allows whatever the page wants to send, since the operator trusts
// its origin: tracing libraries and SDKs add headers of their own.
func allowedHeaders(requested string) string {
	if requested == "" || len(requested) > maxPreflightHeaders || strings.ContainsFunc(requested, func(c rune) bool {
		return c > '~' || !strings.ContainsRune("!#$%&'*+-.^_`|~, ", c) && !isAlphanumeric(c)
	}) {
		return preflightHeaders
	}
	return requested
}

func isAlphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// preflight answers OPTIONS. A preflight for a page that isn't allowed is refused
// with a status of its own: to the browser that is the same as no header, and the
// developer sees why.
func (s *Server) preflight(x *exchange) *answer {
	if x.origin.foreign && x.r.Header.Get(headerRequestMethod) != "" {
		return originRefused()
	}
	return &answer{outcome: Preflight, status: http.StatusNoContent, allow: true}
}

func originRefused() *answer {
	return refusal(OriginRefused, http.StatusForbidden, codeInvalidRequest, originRefusedSentence)
}

// crossSite reports whether a page of another site had the browser send this,
// maybe with a password that the browser remembers.
func (x *exchange) crossSite() bool {
	return !x.origin.allowed && x.r.Header.Get(secFetchSite) == siteCrossSite
}

// checkOrigin refuses foreign pages that act as a public client: nothing but the
// origin tells such a client from its imitators. One that knows a secret, or
// has the token alone, is served, though the page can't read the answer.
func (s *Server) checkOrigin(x *exchange) *answer {
	if !x.self && x.client.public() && x.origin.foreign {
		return originRefused()
	}
	return nil
}
