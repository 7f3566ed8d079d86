package endpoint

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func TestUnwrapFindsTheTokenInWhatWasPasted(t *testing.T) {
	for pasted, want := range map[string]string{
		"abc":                              "abc",
		" abc\r\n":                         "abc",
		"Bearer abc":                       "abc",
		"bearer\tabc":                      "abc",
		"DPoP   abc":                       "abc",
		"Authorization: Bearer abc":        "abc",
		"authorization:bearer abc":         "abc",
		`"abc"`:                            "abc",
		`'abc',`:                           "abc",
		"`abc`;":                           "abc",
		`"Authorization: 'Bearer "abc"'",`: "abc",
		`"abc`:                             `"abc`,
		"abc,":                             "abc,",
		"Basic abc":                        "Basic abc",
		"Bearerabc":                        "Bearerabc",
		"a b":                              "a b",
		"Bearer":                           "",
		"Authorization:":                   "",
		" ":                                "",
		"":                                 "",
	} {
		got, removed := Unwrap(pasted)
		if got != want || (len(removed) > 0) != (pasted != got) {
			t.Errorf("%q: %q, %q", pasted, got, removed)
		}
		if slices.ContainsFunc(removed, func(s string) bool { return strings.Contains(s, "abc") }) {
			t.Errorf("%q: %q quotes it", pasted, removed)
		}
	}
}

func FuzzUnwrap(f *testing.F) {
	for _, seed := range []string{"abc", " Bearer abc", `"Authorization: DPoP 'a'",`, "Bearer", `""`, `"",`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pasted string) {
		token, removed := Unwrap(pasted)
		if !strings.Contains(pasted, token) || strings.TrimSpace(token) != token || (token == pasted) != (len(removed) == 0) {
			t.Errorf("%q: %q, %q", pasted, token, removed)
		}
		if again, _ := Unwrap(token); again != token {
			t.Errorf("%q: %q, and then %q", pasted, token, again)
		}
	})
}

func TestAnOperatorsRecordsEndAtNeverAtTheLatest(t *testing.T) {
	o := NewOperator(OperatorOptions{List: clockOnly{time.Now()}})
	for _, keep := range []time.Duration{time.Until(revocation.Never), revocation.Forever} {
		if got := o.Until(keep); !got.Equal(revocation.Never) {
			t.Errorf("%s: %s", keep, got)
		}
	}
	if got := time.Until(o.Until(time.Hour)); got < time.Hour || got > time.Hour+2*time.Second {
		t.Errorf("an hour is %s", got)
	}
}

// A clock that is suddenly ahead must not put cutoffs into the future.
func TestAnOperatorDoesntBelieveAClockThatIsAheadOfTheLists(t *testing.T) {
	behind := time.Now().Add(-time.Hour)
	if got := NewOperator(OperatorOptions{List: clockOnly{behind}}).Now(); !got.Equal(behind) {
		t.Errorf("now is %s, want %s", got, behind)
	}
	if got := NewOperator(OperatorOptions{List: clockOnly{time.Now().Add(-time.Second)}}).Now(); time.Since(got) > time.Second/2 {
		t.Errorf("now is %s", got)
	}
}

// clockOnly is a List that has nothing but a clock.
type clockOnly struct{ now time.Time }

func (clockOnly) Revoke(context.Context, ...revocation.Record) error { panic("nothing is revoked") }
func (clockOnly) AwaitNodes(context.Context, ...revocation.Record) error {
	panic("nobody is waited for")
}
func (clockOnly) Live(string) int        { return 0 }
func (clockOnly) LiveTotal() int         { return 0 }
func (clockOnly) Reinstatements() uint64 { return 0 }
func (c clockOnly) Now() time.Time       { return c.now }
