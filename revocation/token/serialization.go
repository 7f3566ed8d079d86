package token

// This file reads the JSON serializations of signed and encrypted JWTs (RFC 7515
// §7.2, RFC 7516 §7.2). RFC 7519 §1 allows none of them, but go-jose and jwx
// accept them where a compact one is meant, so that they are one more spelling of
// the same token.

import (
	"bytes"
	"strings"
)

// serialized are the members of a JSON serialization that identify a token, in
// base64url.
type serialized struct {
	protected           []byte
	ofSignatures        [][]byte // the protected header of each
	payload             []byte
	iv, ciphertext, tag []byte
	signed              bool // there is a signature, whatever it is
}

// compact returns the compact serialization of a token in JSON, without what
// isn't part of its identity. Of several signatures it takes the first one with a
// header that can be read. Libraries differ in which one they take, so that the
// token must not pass in any case. It is empty where there is no such header.
func (j *jsonReader) compact(token string) (_ string, ok bool) {
	if strings.IndexByte(token, '{') < 0 {
		return "", false
	}
	object := withoutBOM([]byte(token))
	if !opensObject(object) {
		return "", false
	}
	var s serialized
	j.start(object, lenientOptions)
	// What comes before an error counts: some readers stop there.
	_ = j.serializedMembers(&s, true)
	// Where there are signatures in an array, go-jose overlooks what is outside.
	header := j.usableHeader(append(s.ofSignatures, s.protected))
	var parts [][]byte
	switch {
	case s.payload == nil && s.ciphertext == nil:
		return "", false
	case header == nil:
		return "", s.signed || s.ciphertext != nil
	case s.payload != nil:
		parts = [][]byte{header, s.payload, nil}
	default:
		parts = [][]byte{header, nil, s.iv, s.ciphertext, s.tag}
	}
	return string(bytes.Join(parts, []byte("."))), true
}

// usableHeader returns the first protected header that names an algorithm, or
// the first that is an object at all, or nil.
func (j *jsonReader) usableHeader(protected [][]byte) (usable []byte) {
	var h joseHeader
	for _, p := range protected {
		j.readHeader(appendLenient(nil, p), &h)
		if h.reading != unreadable && h.algorithm {
			return p
		}
		if h.reading != unreadable && usable == nil {
			usable = p
		}
	}
	return usable
}

// serializedMembers reads an object: the whole token, or one of its signatures.
func (j *jsonReader) serializedMembers(s *serialized, whole bool) error {
	if err := j.open(); err != nil {
		return err
	}
	for {
		name, more, err := j.next()
		if err != nil || !more {
			return err
		}
		// In any case, since that is how encoding/json reads into a struct.
		member := strings.ToLower(string(name))
		kind := j.decoder.PeekKind()
		switch {
		case kind == '"' && whole:
			var value []byte
			if value, err = j.stringValue(); err == nil {
				s.keep(member, value)
			}
		case kind == '"' && member == "protected":
			var value []byte
			if value, err = j.stringValue(); err == nil {
				s.ofSignatures = append(s.ofSignatures, bytes.Clone(value))
			}
		case kind == '[' && whole && member == "signatures":
			s.signed = true
			err = j.signatures(s)
		default:
			err = j.decoder.SkipValue()
		}
		if err != nil {
			return err
		}
	}
}

// keep keeps the value of a member, which isn't nil even if it is empty.
func (s *serialized) keep(member string, value []byte) {
	value = append([]byte{}, value...)
	switch member {
	case "protected":
		s.protected = value
	case "payload":
		s.payload = value
	case "signature":
		s.signed = true
	case "iv":
		s.iv = value
	case "ciphertext":
		s.ciphertext = value
	case "tag":
		s.tag = value
	}
}

// signatures reads the objects in an array and skips what else is there.
func (j *jsonReader) signatures(s *serialized) error {
	if _, err := j.decoder.ReadToken(); err != nil {
		return err
	}
	for j.decoder.PeekKind() != ']' {
		var err error
		if j.decoder.PeekKind() == '{' {
			err = j.serializedMembers(s, false)
		} else {
			err = j.decoder.SkipValue()
		}
		if err != nil {
			return err
		}
	}
	_, err := j.decoder.ReadToken()
	return err
}

// serializedIn returns the token in JSON that is in s, if there is one.
func serializedIn(s string) (string, bool) {
	start, end := strings.IndexByte(s, '{'), strings.LastIndexByte(s, '}')
	if start < 0 || end < start || end-start >= MaxTokenBytes {
		return "", false
	}
	s = s[start : end+1]
	b := benches.Get().(*bench)
	_, ok := b.json.compact(s)
	benches.Put(b)
	return s, ok
}
