package token

import (
	"strings"
	"testing"
)

func TestCanonicalSpellsATokenTheOneRightWay(t *testing.T) {
	r := newReader(t)
	want := jws(plainHeader, plainPayload)
	unsigned := want[:strings.LastIndexByte(want, '.')+1]
	for spelling, want := range map[string]string{
		want: want, want + "==": want, " " + want: want, want[:10] + "\n" + want[10:]: want, want + ".x": want, want + "...": want,
		unsigned: unsigned, strings.TrimSuffix(unsigned, "."): unsigned,
	} {
		got := Canonical(spelling)
		if got != want {
			t.Errorf("Canonical(%q) = %q", spelling, got)
		}
		if facts := r.ReadFacts(got); facts.Malformed != nil || facts.Fingerprint != r.ReadFacts(spelling).Fingerprint {
			t.Errorf("Canonical(%q) is another token, or malformed: %v", spelling, facts.Malformed)
		}
	}
	jwe := encode(`{"alg":"dir","enc":"A256GCM"}`) + "..aXY.Y2lwaGVy.dGFn"
	for _, other := range []string{"", "opaque", "a.b.c", "{}.{}.{}", "..", "{}", `{"payload":"e30","protected":"e30","signature":""}`, jwe, strings.Repeat("a", MaxTokenBytes+1)} {
		if got := Canonical(other); got != other {
			t.Errorf("Canonical(%q) = %q", other, got)
		}
	}
}
