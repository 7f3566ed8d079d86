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
	for _, opaque := range []string{`{}`, `{"payload":"x"}`, `{"payload":"x","protected":"y"}`, `{"protected":7,"payload":[]}`, `{"signatures":[`, `{"recipients":7}`} {
		if f := r.ReadFacts(opaque); f.Malformed != nil {
			t.Errorf("%s: %v", opaque, f.Malformed)
		}
	}
}
