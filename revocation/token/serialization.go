package token

// This file reads the JSON serializations of signed and encrypted JWTs (RFC 7515
// §7.2, RFC 7516 §7.2). RFC 7519 §1 allows none of them, but go-jose and jwx
// accept them where a compact one is meant, so that they are one more spelling of
// the same token.

import (
	"bytes"
	"strings"
)

// serialized are the members of a JSON serialization, in base64url.
type serialized struct {
	protected, payload, signature           []byte
	encryptedKey, iv, ciphertext, tag       []byte
	hasProtected, hasPayload, hasCiphertext bool
}

// compact returns the compact serialization of a token in JSON. Of several
// signatures or recipients it takes the first.
func (j *jsonReader) compact(token string) (string, bool) {
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
	_ = j.serializedMembers(&s)
	var parts [][]byte
	switch {
	case s.hasProtected && s.hasPayload:
		parts = [][]byte{s.protected, s.payload, s.signature}
	case s.hasProtected && s.hasCiphertext:
		parts = [][]byte{s.protected, s.encryptedKey, s.iv, s.ciphertext, s.tag}
	default:
		return "", false
	}
	return string(bytes.Join(parts, []byte("."))), true
}

// serializedMembers reads an object: the whole token or one of its signatures or
// recipients.
func (j *jsonReader) serializedMembers(s *serialized) error {
	if err := j.open(); err != nil {
		return err
	}
	for {
		name, more, err := j.next()
		if err != nil || !more {
			return err
		}
		var to *[]byte
		// In any case, since that is how encoding/json reads into a struct.
		switch strings.ToLower(string(name)) {
		case "protected":
			to, s.hasProtected = &s.protected, true
		case "payload":
			to, s.hasPayload = &s.payload, true
		case "ciphertext":
			to, s.hasCiphertext = &s.ciphertext, true
		case "signature":
			to = &s.signature
		case "encrypted_key":
			to = &s.encryptedKey
		case "iv":
			to = &s.iv
		case "tag":
			to = &s.tag
		case "signatures", "recipients":
			if j.decoder.PeekKind() == '[' {
				if err := j.firstElement(s); err != nil {
					return err
				}
				continue
			}
		}
		if to == nil || j.decoder.PeekKind() != '"' {
			if err := j.decoder.SkipValue(); err != nil {
				return err
			}
			continue
		}
		value, err := j.stringValue()
		if err != nil {
			return err
		}
		*to = bytes.Clone(value)
	}
}

// firstElement reads the first object of an array and skips the others.
func (j *jsonReader) firstElement(s *serialized) error {
	if _, err := j.decoder.ReadToken(); err != nil {
		return err
	}
	for first := true; j.decoder.PeekKind() != ']'; first = false {
		var err error
		if first && j.decoder.PeekKind() == '{' {
			err = j.serializedMembers(s)
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
