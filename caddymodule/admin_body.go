package caddymodule

// This file reads what clients of the admin API send. Nothing of it is quoted in an
// error, since it could be a token, and somebody who pastes one into the wrong place
// would have it in the log. And nothing in it is overlooked: what an operator meant and
// misspelled must not revoke something else.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// maxAdminBody is how long a body may be, but that of an import.
const maxAdminBody = 1 << 20

// read reads the request's body, one JSON object, and gives the connection all the time
// that the answer needs.
func (c *adminCall) read(into any) error {
	contentType := c.r.Header.Get("Content-Type")
	if c.r.ContentLength != 0 && !strings.Contains(contentType, "/json") {
		return badRequest("the body must have the Content-Type application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxAdminBody))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", "the body has more than %d bytes", maxAdminBody)
	}
	if err != nil {
		return badRequest("the body broke off, or took too long")
	}
	c.takeTime()
	if err := decodeObject(body, into); err != nil {
		return badRequest("%w", err)
	}
	return nil
}

// decodeObject decodes a JSON object into a struct. Each member must be one of the
// struct's, spelled exactly so, stand there once, and have a value.
func decodeObject(b []byte, into any) error {
	accepted := membersOf(reflect.TypeOf(into).Elem())
	if err := scanObject(b, accepted, true); err != nil {
		return fmt.Errorf("the body %w", err)
	}
	err := json.Unmarshal(b, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is not %s", wrong.Field, describeType(wrong.Type))
	}
	if err != nil {
		return errNotJSON
	}
	return nil
}

// membersOf returns the names of a struct's members in JSON.
func membersOf(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func describeType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Map:
		return "an object with strings as values"
	}
	return "a string"
}

var errNotJSON = errors.New("is not one JSON object in UTF-8")

// scanObject looks at the members of a JSON object. encoding/json takes the last of
// several of one name, whatever their case.
func scanObject(b []byte, accepted []string, needsValues bool) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return errNotJSON
	}
	for n := 1; d.PeekKind() == '"'; n++ {
		t, err := d.ReadToken()
		if err != nil {
			return explainSyntax(err)
		}
		name := t.String()
		if !slices.Contains(accepted, name) {
			return fmt.Errorf("has a member, its %s, that is not known here: possible are %s", ordinal(n), strings.Join(accepted, ", "))
		}
		value, err := d.ReadValue()
		if err != nil {
			return explainSyntax(err)
		}
		if needsValues && isEmptyValue(value) {
			return fmt.Errorf("has %s without a value: leave it out, or say what it is", name)
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' {
		return explainSyntax(err)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errNotJSON
	}
	return nil
}

// isEmptyValue reports whether a value is none. To take it for one that was left out
// would make a selector hit more than was meant: everything of the issuer, when a
// script's variable for the subject is empty.
func isEmptyValue(v jsontext.Value) bool {
	switch v.Kind() {
	case 'n':
		return true
	case '"':
		return len(v) == len(`""`)
	case '{':
		return len(bytes.TrimSpace(v[1:len(v)-1])) == 0
	}
	return false
}

func explainSyntax(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errors.New("has a member twice")
	}
	return errNotJSON
}

func ordinal(n int) string {
	switch {
	case n%10 == 1 && n%100 != 11:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2 && n%100 != 12:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3 && n%100 != 13:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// checkNote reports what is wrong with who and why, which are written into the record
// and into logs.
func checkNote(actor, reason string) error {
	for _, part := range []struct{ name, value string }{{"actor", actor}, {"reason", reason}} {
		if len(part.value) > revocation.MaxNoteBytes {
			return badRequest("%s has %d bytes, at most %d are possible", part.name, len(part.value), revocation.MaxNoteBytes)
		}
		if hasToken(part.value) {
			return badRequest("%s has a token in it: it would be kept and logged in clear", part.name)
		}
	}
	return nil
}

// hasToken reports whether a text has a JWT in it.
func hasToken(text string) bool {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'`,;=()<>", r) }) {
		if token.IsJWT(word) {
			return true
		}
	}
	// In a path, or behind a name and a colon. This is how "{" begins, with what may
	// follow it, in base64.
	for _, begin := range []string{"ey", "ew"} {
		for at := 0; ; at += len(begin) {
			next := strings.Index(text[at:], begin)
			if next < 0 {
				break
			}
			if at += next; token.IsJWT(text[at:]) {
				return true
			}
		}
	}
	return false
}
