package revocation

// The form of records in JSON, for people, exports and the admin API. Stores have
// their own encoding, see codec.go.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// recordJSON is a record in JSON.
type recordJSON struct {
	ID         string            `json:"id,omitempty"`
	Kind       string            `json:"kind"`
	Selector   map[string]string `json:"selector,omitempty"`
	Cutoff     *time.Time        `json:"cutoff,omitempty"`
	Reinstates []string          `json:"reinstates,omitempty"`
	Expires    *time.Time        `json:"expires,omitempty"`
	Source     string            `json:"source,omitempty"`
	Actor      string            `json:"actor,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	RecordedAt *time.Time        `json:"recorded_at,omitempty"`
}

// MarshalJSON writes the record: kind and selector by their names, times as in RFC
// 3339, in UTC.
func (r Record) MarshalJSON() ([]byte, error) {
	j := recordJSON{
		ID: r.ID.String(), Kind: r.Kind.String(), Selector: r.Selector.Map(),
		Cutoff: timeJSON(r.Cutoff), Expires: timeJSON(r.Expires),
		Source: r.Source, Actor: r.Actor, Reason: r.Reason, RecordedAt: timeJSON(r.RecordedAt),
	}
	for _, id := range r.Reinstates {
		j.Reinstates = append(j.Reinstates, id.String())
	}
	return json.Marshal(j)
}

func timeJSON(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

// UnmarshalJSON reads what MarshalJSON writes. An unknown member is an error. id,
// expires and recorded_at may be missing and are zero then. The error doesn't quote
// any value, as one could be a token.
//
// It doesn't Validate the record.
func (r *Record) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var j recordJSON
	if err := d.Decode(&j); err != nil {
		return describeJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the record")
	}
	*r = Record{Source: j.Source, Actor: j.Actor, Reason: j.Reason}
	if r.Kind = kindNamed(j.Kind); r.Kind == 0 {
		return fmt.Errorf("kind must be one of %s, %s, %s and %s", Block, IssuedBefore, AuthenticatedBefore, Reinstatement)
	}
	for name, t := range map[*time.Time]*time.Time{&r.Cutoff: j.Cutoff, &r.Expires: j.Expires, &r.RecordedAt: j.RecordedAt} {
		if t != nil {
			*name = t.UTC()
		}
	}
	var err error
	if j.ID != "" {
		if r.ID, err = ParseID(j.ID); err != nil {
			return errors.New("id is not a UUID")
		}
	}
	for _, text := range j.Reinstates {
		id, err := ParseID(text)
		if err != nil {
			return errors.New("reinstates has something that is not a UUID")
		}
		r.Reinstates = append(r.Reinstates, id)
	}
	r.Selector = selectorOf(j.Selector)
	return nil
}

// describeJSON says what is wrong without quoting what was found.
func describeJSON(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if wrong.Field == "" {
			return errors.New("a record is a JSON object")
		}
		return fmt.Errorf("%s is not of the right type", wrong.Field)
	}
	if broken, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is not JSON, from byte %d on", broken.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early to be JSON")
	}
	if strings.HasPrefix(err.Error(), "json: unknown field") { // there is no other way to tell
		return errors.New("it has a member that records don't have")
	}
	return errors.New("a time must be written as in 2026-01-31T12:00:00Z")
}

func kindNamed(name string) Kind {
	for k := Block; k.valid(); k++ {
		if kindNames[k] == name {
			return k
		}
	}
	return 0
}

// Map returns the selector's claims by their roles, and its issuer as iss.
func (s Selector) Map() map[string]string {
	if s.Issuer == "" && len(s.Claims) == 0 {
		return nil
	}
	m := map[string]string{}
	if s.Issuer != "" {
		m[string(RoleIssuer)] = s.Issuer
	}
	for _, c := range s.Claims {
		m[string(c.Role)] = c.Value
	}
	return m
}

// selectorOf is the reverse of Map. What it returns may be invalid.
func selectorOf(m map[string]string) (s Selector) {
	s.Issuer = m[string(RoleIssuer)]
	for _, role := range slices.Sorted(maps.Keys(m)) {
		if Role(role) != RoleIssuer {
			s.Claims = append(s.Claims, Claim{Role(role), m[role]})
		}
	}
	return s
}
