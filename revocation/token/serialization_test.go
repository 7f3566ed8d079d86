package token

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestJ8_Serializations(t *testing.T) {
	r := newReader(t)
	h, p := encode(plainHeader), encode(plainPayload)
	signed := r.ReadFacts(h + "." + p + ".c2ln")
	encrypted := r.ReadFacts(encode(`{"enc":"A"}`) + ".a2V5.aXY.Y2lwaGVy.dGFn")
	he := encode(`{"enc":"A"}`)
	for serialization, want := range map[string]*revocation.Facts{
		`{"payload":"` + p + `","protected":"` + h + `","signature":"c2ln"}`:                                                 signed,
		` { "PAYLOAD" : "` + p + `", "signatures":[{"protected":"` + h + `"},{"protected":"e30"}],"x":[{}]} `:                signed,
		`{"protected":"` + h + `","\u0070ayload":"` + p + `"`:                                                                signed,
		`{"protected":"` + he + `","encrypted_key":"a2V5","iv":"aXY","ciphertext":"Y2lwaGVy","tag":"dGFn"}`:                  encrypted,
		`{"protected":"` + he + `","recipients":[{"encrypted_key":"a2V5"}],"iv":"aXY","ciphertext":"Y2lwaGVy","tag":"dGFn"}`: encrypted,
	} {
		got := r.ReadFacts(serialization)
		if got.Fingerprint != want.Fingerprint || got.Malformed != MalformedSerialization || !slices.Equal(got.Claims, want.Claims) {
			t.Errorf("%s: %+v", serialization, got)
		}
		found, err := authorization(t).Find(nil, request("", "Authorization", "Bearer "+serialization), nil)
		if serialization = strings.TrimSpace(serialization); err != nil || serialization[len(serialization)-1] == '}' && (found[0].Token != serialization || found[0].Probe) {
			t.Errorf("%s is not found: %+v, %v", serialization, found, err)
		}
	}
	// Of several signatures the first with a header; never any to pass.
	for serialization, want := range map[string]*revocation.Facts{
		`{"payload":"` + p + `","signatures":[{},{"protected":"` + h + `","signature":"c2ln"}]}`:                                  signed,
		`{"payload":"` + p + `","signatures":[null,7,"x",{"protected":"` + h + `"}]}`:                                             signed,
		`{"payload":"` + p + `","signatures":[{"header":{"alg":"ES256"},"signature":"c2ln"},{"protected":"` + h + `"}]}`:          signed,
		`{"payload":"` + p + `","signatures":[{"protected":"","signature":"c2ln"},{"protected":null},{"protected":"` + h + `"}]}`: signed,
		`{"payload":"` + p + `","signatures":[{"protected":"e30"},{"protected":"AAAA"},{"protected":"` + h + `"}]}`:               signed,
		`{"signatures":[{"protected":"` + h + `"}],"payload":"` + p + `"}`:                                                        signed,
		`{"ciphertext":"Y2lwaGVy","tag":"dGFn","iv":"aXY","protected":"` + he + `"}`:                                              encrypted,
		`{"payload":"x","signature":"y"}`: nil, `{"payload":"x","signatures":[]}`: nil, `{"payload":"","header":{"alg":"none"},"signature":""}`: nil,
		`{"ciphertext":"x"}`: nil, `{"unprotected":{"enc":"A"},"ciphertext":"x"`: nil,
	} {
		got := r.ReadFacts(serialization)
		if got.Malformed != MalformedSerialization || want != nil && got.Fingerprint != want.Fingerprint {
			t.Errorf("%s: %+v", serialization, got)
		}
	}
	for _, opaque := range []string{`{}`, `{"payload":"x"}`, `{"payload":"x","protected":"y"}`, `{"protected":7,"payload":[]}`, `{"signatures":[`, `{"recipients":7}`} {
		if f := r.ReadFacts(opaque); f.Malformed != nil {
			t.Errorf("%s: %v", opaque, f.Malformed)
		}
	}
}
