// The body of the Moov SDKs: one JSON object. encoding/json takes the last of
// several members of one name, ignores their case, and what follows the object.

package endpoint

import (
	"bytes"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	errJSON       = syntaxError("the body is not one JSON object in UTF-8 whose members have different names")
	errJSONString = syntaxError("one of token, token_type_hint, client_id, client_secret, client_assertion and client_assertion_type is not a string")
	errJSONDepth  = syntaxError("the body is nested too deeply")

	maxJSONDepth = 16
)

// parseJSON reads one object whose members have the parameters' names. A member
// that is null counts as omitted.
func parseJSON(body []byte) (parameters, error) {
	var p parameters
	d := jsontext.NewDecoder(bytes.NewBuffer(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return parameters{}, errJSON
	}
	for count := 0; d.PeekKind() == '"'; {
		if count++; count > maxParameters {
			return parameters{}, errTooManyParameters
		}
		if err := p.readMember(d); err != nil {
			return parameters{}, err
		}
	}
	if t, err := d.ReadToken(); err != nil || t.Kind() != '}' {
		return parameters{}, errJSON
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return parameters{}, errJSON
	}
	return p, nil
}

func (p *parameters) readMember(d *jsontext.Decoder) error {
	name, err := d.ReadToken()
	if err != nil {
		return errJSON
	}
	which, known := lookUpParameter(name.String())
	if !known {
		return skipValue(d)
	}
	kind := d.PeekKind()
	value, err := d.ReadToken()
	switch {
	case err != nil:
		return errJSON
	case kind == 'n':
		return p.set(which, "")
	case kind != '"':
		return errJSONString
	}
	return p.set(which, value.String())
}

// skipValue reads over a value token by token, as deep as is reasonable.
func skipValue(d *jsontext.Decoder) error {
	depth := d.StackDepth()
	for {
		if _, err := d.ReadToken(); err != nil {
			return errJSON
		}
		switch now := d.StackDepth(); {
		case now > maxJSONDepth:
			return errJSONDepth
		case now == depth:
			return nil
		}
	}
}
