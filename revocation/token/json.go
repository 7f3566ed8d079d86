package token

// This file walks through the JSON of headers and claims: strictly first, and
// when that fails once more, taking whatever some library might have taken.

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// reading says how much of a JSON object could be read.
type reading int

const (
	unreadable reading = iota // not a JSON object
	lenient                   // an object, but libraries may differ about it
	exact                     // exactly one object, and everybody reads the same
)

var errNotObject = errors.New("not a JSON object")

var lenientOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// joseHeader is what a JOSE header (RFC 7515 §4, RFC 7516 §4) says that matters here.
type joseHeader struct {
	reading    reading
	object     span   // where the object is, without what is around it
	text       []byte // of the key ids
	keyIDs     []span // kid, RFC 7515 §4.1.4
	critical   bool   // crit, RFC 7515 §4.1.11
	compressed bool   // zip, RFC 7516 §4.1.3
	encrypted  bool   // enc, RFC 7516 §4.1.2
	algorithm  bool   // alg, RFC 7515 §4.1.1
	keyless    bool   // alg is one of those that encrypt no key: RFC 7518 §4.5, §4.6
}

func (h *joseHeader) reset() { *h = joseHeader{text: h.text[:0], keyIDs: h.keyIDs[:0]} }

// jsonReader is a decoder to be used again and again.
type jsonReader struct {
	decoder jsontext.Decoder
	input   bytes.Buffer
	name    []byte // the unquoted name, where it had escapes
	text    []byte // the unquoted string, where it had escapes
	paths   []path // the stack of paths that lead on from nested objects
	ending  []path // the claims that a member is
}

// start makes the reader read b.
func (j *jsonReader) start(b []byte, options []jsontext.Options) {
	j.input = *bytes.NewBuffer(b)
	j.decoder.Reset(&j.input, options...)
	j.paths = j.paths[:0]
}

// end reports whether nothing follows.
func (j *jsonReader) end() error {
	if _, err := j.decoder.ReadToken(); err != io.EOF {
		return errNotObject
	}
	return nil
}

// readHeader reads the object in b into h.
func (j *jsonReader) readHeader(b []byte, h *joseHeader) {
	h.reset()
	if !opensObject(b) {
		return
	}
	j.start(b, nil)
	err := j.headerMembers(h)
	h.object = span{bytes.IndexByte(b, '{'), int(j.decoder.InputOffset())}
	if err == nil && j.end() == nil {
		h.reading = exact
		return
	}
	h.reset()
	rest := withoutBOM(b)
	j.start(rest, lenientOptions)
	// A header that breaks off is one for nobody.
	if j.headerMembers(h) == nil {
		h.reading = lenient
		h.object = span{bytes.IndexByte(b, '{'), len(b) - len(rest) + int(j.decoder.InputOffset())}
	}
}

// headerMembers reads the members that matter, in order: names may repeat.
func (j *jsonReader) headerMembers(h *joseHeader) error {
	if err := j.open(); err != nil {
		return err
	}
	for {
		name, more, err := j.next()
		if err != nil || !more {
			return err
		}
		switch string(name) {
		case "kid":
			if j.decoder.PeekKind() == '"' {
				value, err := j.stringValue()
				if err != nil {
					return err
				}
				start := len(h.text)
				h.text = append(h.text, value...)
				h.keyIDs = append(h.keyIDs, span{start, len(h.text)})
				continue
			}
		case "alg":
			h.algorithm = true
			if j.decoder.PeekKind() == '"' {
				value, err := j.stringValue()
				if err != nil {
					return err
				}
				h.keyless = h.keyless || string(value) == "dir" || string(value) == "ECDH-ES"
				continue
			}
		case "crit":
			h.critical = true
		case "zip":
			h.compressed = true
		case "enc":
			h.encrypted = true
		}
		if err := j.decoder.SkipValue(); err != nil {
			return err
		}
	}
}

// readClaims reads the object in b into f.
func (j *jsonReader) readClaims(b []byte, paths []path, f *findings) reading {
	if !opensObject(b) {
		return unreadable
	}
	j.start(b, nil)
	if err := j.members(paths, f, topLevel); err == nil && j.end() == nil {
		return exact
	}
	f.reset()
	j.start(withoutBOM(b), lenientOptions)
	f.cut = j.members(paths, f, topLevel) != nil
	return lenient
}

// Where the members of an object stand.
const (
	topLevel = true
	nested   = false
)

// members reads the members of a claims set, or of an object in it into which the
// paths lead. It goes no deeper than a path has dots.
func (j *jsonReader) members(paths []path, f *findings, top bool) error {
	if err := j.open(); err != nil {
		return err
	}
	for {
		name, more, err := j.next()
		if err != nil || !more {
			return err
		}
		if err := j.member(name, paths, f, top); err != nil {
			return err
		}
	}
}

// member reads the value of a member.
func (j *jsonReader) member(name []byte, paths []path, f *findings, top bool) error {
	if top {
		switch string(name) {
		case "iss":
			return j.issuer(f)
		case "exp":
			return j.expiry(f)
		case "iat":
			return j.moment(&f.issuedAt)
		case "auth_time":
			return j.moment(&f.authTime)
		}
	}
	return j.value(name, paths, f)
}

// value reads the value of a member in which some of the paths may end or lead on.
func (j *jsonReader) value(name []byte, paths []path, f *findings) error {
	base := len(j.paths)
	j.ending = j.ending[:0]
	for _, p := range paths {
		if p.rest == string(name) {
			j.ending = append(j.ending, p)
		} else if q, ok := p.below(name); ok {
			j.paths = append(j.paths, q)
		}
	}
	var err error
	switch {
	case len(j.ending) > 0 && j.decoder.PeekKind() == '"':
		var value []byte
		if value, err = j.stringValue(); err == nil && selectable(value, revocation.MaxValueBytes) {
			kept := f.keep(value)
			for _, p := range j.ending {
				f.add(p, kept)
			}
		}
	case len(j.paths) > base && j.decoder.PeekKind() == '{':
		err = j.members(j.paths[base:], f, nested)
	default:
		err = j.decoder.SkipValue()
	}
	j.paths = j.paths[:base]
	return err
}

// issuer reads the value of iss: RFC 7519 §4.1.1.
func (j *jsonReader) issuer(f *findings) error {
	if j.decoder.PeekKind() != '"' {
		return j.decoder.SkipValue()
	}
	value, err := j.stringValue()
	if err == nil && selectable(value, revocation.MaxIssuerBytes) {
		f.addIssuer(f.keep(value))
	}
	return err
}

// moment reads the value of iat (RFC 7519 §4.1.6) or auth_time (OpenID Connect
// Core 1.0 §2).
func (j *jsonReader) moment(e *earliest) error {
	if j.decoder.PeekKind() != '0' {
		e.add(0, false)
		return j.decoder.SkipValue()
	}
	number, err := j.decoder.ReadValue()
	if err == nil {
		down, _, ok := seconds(number)
		e.add(down, ok)
	}
	return err
}

// expiry reads the value of exp: RFC 7519 §4.1.4.
func (j *jsonReader) expiry(f *findings) error {
	switch j.decoder.PeekKind() {
	case '0':
		number, err := j.decoder.ReadValue()
		if err == nil {
			_, up, _ := seconds(number)
			f.expiry.add(up, true)
		}
		return err
	case '"':
		text, err := j.stringValue()
		if err == nil && numeric(text) {
			_, up, _ := seconds(text)
			f.expiry.add(up, false)
		} else {
			f.expiry.add(0, false)
		}
		return err
	default:
		f.expiry.add(0, false)
		return j.decoder.SkipValue()
	}
}

// open reads the start of an object.
func (j *jsonReader) open() error {
	if j.decoder.PeekKind() != '{' {
		return errNotObject
	}
	_, err := j.decoder.ReadToken()
	return err
}

// next reads the name of the next member, or the end of the object. The name
// holds until the value has been read.
func (j *jsonReader) next() (name []byte, more bool, err error) {
	if j.decoder.PeekKind() == '}' {
		_, err = j.decoder.ReadToken()
		return nil, false, err
	}
	raw, err := j.decoder.ReadValue()
	if err != nil {
		return nil, false, err
	}
	name, j.name = unquote(raw, j.name)
	return name, true, nil
}

// stringValue reads a string. It holds until the next one has been read.
func (j *jsonReader) stringValue() (value []byte, err error) {
	raw, err := j.decoder.ReadValue()
	if err != nil {
		return nil, err
	}
	value, j.text = unquote(raw, j.text)
	return value, nil
}

// unquote returns what a JSON string says: a part of it where it has no
// escapes, else in the buffer, which is returned to be used again. What isn't
// UTF-8 becomes U+FFFD, so that a selector can name it.
func unquote(raw jsontext.Value, buffer []byte) (text, next []byte) {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' || c >= utf8.RuneSelf {
			// The only error there can be is about UTF-8.
			buffer, _ = jsontext.AppendUnquote(buffer[:0], raw)
			return buffer, buffer
		}
	}
	return inner, buffer
}

const byteOrderMark = "\ufeff"

// opensObject reports whether b begins like a JSON object, or like one for
// those who overlook a byte order mark.
func opensObject(b []byte) bool {
	b = bytes.TrimLeft(withoutBOM(b), " \t\r\n")
	return len(b) > 0 && b[0] == '{'
}

func withoutBOM(b []byte) []byte { return bytes.TrimPrefix(b, []byte(byteOrderMark)) }
