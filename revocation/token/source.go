package token

// This file names the places of a request that can carry a token.

import (
	"fmt"
	"net/textproto"
	"strings"
)

// SourceKind is a kind of place in a request.
type SourceKind string

// The kinds of sources.
const (
	SourceHeader    SourceKind = "header"             // RFC 6750 §2.1, and other headers
	SourceQuery     SourceKind = "query"              // RFC 6750 §2.3
	SourceForm      SourceKind = "form"               // RFC 6750 §2.2
	SourceCookie    SourceKind = "cookie"             // RFC 6265 §4.2
	SourceBasic     SourceKind = "basic"              // RFC 7617: the password, or the user
	SourceWebSocket SourceKind = "websocket_protocol" // RFC 6455 §11.3.4: Sec-WebSocket-Protocol
)

// kindsText lists the kinds for error messages.
const kindsText = "header NAME, query NAME, form NAME, cookie NAME, basic or websocket_protocol"

// named reports whether a source of this kind has a name.
func (k SourceKind) named() bool { return k != SourceBasic && k != SourceWebSocket }

// Source is one place in a request that can carry a token.
type Source struct {
	Kind SourceKind `json:"kind"`
	// Name is the name of the header, parameter or cookie.
	Name string `json:"name,omitempty"`
}

// String returns the words that ParseSource reads.
func (s Source) String() string {
	if s.Name == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + " " + s.Name
}

// ParseSource reads a source from the words of a configuration, such as
// "header" and "X-Api-Token".
func ParseSource(args []string) (Source, error) {
	if len(args) == 0 {
		return Source{}, fmt.Errorf("a token source is missing: one of %s", kindsText)
	}
	s := Source{Kind: SourceKind(args[0])}
	if len(args) > 1 {
		s.Name = args[1]
	}
	if err := s.Validate(); err != nil {
		return Source{}, err
	}
	if len(args) > 2 {
		return Source{}, fmt.Errorf("the token source %s is followed by %q: name one source at a time", s, args[2])
	}
	return s, nil
}

// Validate reports what is wrong with the source, or nil.
func (s Source) Validate() error {
	switch s.Kind {
	case SourceHeader, SourceQuery, SourceForm, SourceCookie, SourceBasic, SourceWebSocket:
	default:
		return fmt.Errorf("%q is no kind of token source: it is one of %s", string(s.Kind), kindsText)
	}
	switch {
	case !s.Kind.named() && s.Name != "":
		return fmt.Errorf("the token source %s takes no name, but has %q", s.Kind, s.Name)
	case s.Kind.named() && s.Name == "":
		return fmt.Errorf("the token source %s needs a name, as in %s access_token", s.Kind, s.Kind)
	case s.Kind == SourceHeader && !isHeaderName(s.Name):
		return fmt.Errorf("%q is no header name", s.Name)
	case s.Kind == SourceHeader && textproto.CanonicalMIMEHeaderKey(s.Name) == "Cookie":
		return fmt.Errorf("name the cookie that has the token, as in cookie access_token, instead of header Cookie")
	case s.Kind == SourceCookie && !isHeaderName(s.Name):
		return fmt.Errorf("%q is no cookie name", s.Name)
	}
	for _, b := range []byte(s.Name) {
		if b < ' ' || b == 0x7f {
			return fmt.Errorf("the name %q of a token source has a control character", s.Name)
		}
	}
	return nil
}

// isHeaderName reports whether name is a token: RFC 9110 §5.6.2.
func isHeaderName(name string) bool {
	for _, b := range []byte(name) {
		switch {
		case b >= '0' && b <= '9', b|0x20 >= 'a' && b|0x20 <= 'z':
		case strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0:
		default:
			return false
		}
	}
	return name != ""
}

// DefaultSources are the sources where nothing else is configured: the two of
// RFC 6750 that can be looked at without reading a body.
func DefaultSources() []Source {
	return []Source{{SourceHeader, "Authorization"}, {SourceQuery, "access_token"}}
}
