package token

import "testing"

func TestCanonicalSpellsATokenTheOneRightWay(t *testing.T) {
	r := newReader(t)
	want := jws(plainHeader, plainPayload)
	for _, spelling := range []string{
		want, want + "==", " " + want, want[:10] + "\n" + want[10:],
	} {
		got := Canonical(spelling)
		if got != want {
			t.Errorf("Canonical(%q) = %q", spelling, got)
		}
		if facts := r.ReadFacts(got); facts.Malformed != nil || facts.Fingerprint != r.ReadFacts(spelling).Fingerprint {
			t.Errorf("Canonical(%q) is another token, or malformed: %v", spelling, facts.Malformed)
		}
	}
	for _, other := range []string{"", "opaque", "a.b.c", "{}.{}.{}", "..", want + ".x"} {
		if got := Canonical(other); got != other {
			t.Errorf("Canonical(%q) = %q", other, got)
		}
	}
}
