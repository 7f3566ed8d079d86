package token

import (
	"regexp"
	"strings"
	"testing"
)

func TestIsPlain(t *testing.T) {
	plain := regexp.MustCompile(`^[A-Za-z0-9._-]*$`)
	scheme := regexp.MustCompile(`(?i)bearer`)
	check := func(s string) {
		t.Helper()
		if want := plain.MatchString(s) && !scheme.MatchString(s); isPlain(s) != want {
			t.Errorf("isPlain(%q) is %v", s, !want)
		}
		found := -1
		if at := scheme.FindStringIndex(s); at != nil {
			found = at[0]
		}
		if got := indexBearer(s, 0); got != found {
			t.Errorf("indexBearer(%q) is %d, want %d", s, got, found)
		}
	}
	for length := range 40 {
		filler := strings.Repeat("beaer-X_", 5)[:length]
		check(filler)
		for at := range length + 1 {
			for b := range 256 {
				check(filler[:at] + string([]byte{byte(b)}) + filler[at:])
			}
			for _, s := range []string{"bearer", "BEARER", "BeArEr", "bbearer", "beabearer", "bearebearer", "be\u0430rer", "bear\x05r", "be@rer"} {
				check(filler[:at] + s + filler[at:])
			}
		}
	}
}

func BenchmarkIsPlain(b *testing.B) {
	s := tokenOfSize(b, 840)
	b.Run("isPlain", func(b *testing.B) {
		for b.Loop() {
			isPlain(s)
		}
	})
	b.Run("indexBearer", func(b *testing.B) {
		for b.Loop() {
			indexBearer(s, 0)
		}
	})
}
