package issuer

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAnswersCountByBothClocks(t *testing.T) {
	for _, c := range []struct {
		name          string
		wall, elapsed time.Duration
		want          time.Duration
	}{
		{"both agree", time.Second, time.Second, time.Second},
		{"the machine slept", time.Hour, time.Second, time.Hour},
		{"the clock was set forward", time.Hour, 0, time.Hour},
		{"the clock was set back, but not far", time.Second, time.Minute, time.Minute},
		{"the clock was set back before it", -time.Nanosecond, time.Second, math.MaxInt64},
		{"the clock was set back for a day", -24 * time.Hour, 0, math.MaxInt64},
	} {
		if got := longer(c.wall, c.elapsed); got != c.want {
			t.Errorf("%s: %s have passed, want %s", c.name, got, c.want)
		}
	}
	now := time.Now() // with a monotonic reading
	holds := lasts(now, 30*time.Second)
	for after, want := range map[time.Duration]bool{
		0: true, 29 * time.Second: true, 30 * time.Second: false, time.Hour: false, -time.Second: false,
	} {
		if holds(now.Add(after)) != want || holds(now.Round(0).Add(after)) != want {
			t.Errorf("after %s: %t", after, !want)
		}
	}
	if lasts(now, -time.Second)(now) {
		t.Error("holds although it shouldn't at all")
	}
}

// Whatever an issuer answers: it is active only when it says so, and what it says has
// the types that it should have.
func FuzzParseAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"active":true}`, `{"active":false}`, `{"active":"true"}`, `{"active":true,"active":false}`, `[]`, `null`, ``, `{`,
		`{"active":true,"iss":"https://idp.example.com","sub":"u","aud":["a"],"exp":1.7e9,"nbf":0,"iat":-1,"client_id":"c","jti":"j"}`,
		`{"active":true,"iss":null,"aud":null}`, `{"active":true,"iss":"x"}`, `{"active":true,"exp":1e999}`, `{"active":true,"aud":[1]}`,
		`{"active":true,"x":{"a":1,"a":2}}`, "{\"active\":true,\"sub\":\"\xff\"}", `<html>`, strings.Repeat(`{"active":`, 100),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		claims, active, err := parseAnswer(body)
		if active != (claims != nil) || active && err != nil {
			t.Fatalf("active %t with %v, %v", active, claims, err)
		}
		if !active {
			return
		}
		if claims["active"] != true {
			t.Error("active without saying so")
		}
		for _, text := range []string{"iss", "sub", "client_id", "jti"} {
			if v, ok := claims[text]; ok && v != claims.Text(text) {
				t.Errorf("%s is %v", text, v)
			}
		}
		if aud := claims.texts("aud"); claims.has("aud") && aud == nil || slices.Contains(claims.texts("exp"), "") {
			t.Errorf("aud is %v", claims["aud"])
		}
		for _, moment := range []string{"exp", "nbf", "iat"} {
			if v, _, err := claims.number(moment); err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
				t.Errorf("%s is %v", moment, claims[moment])
			}
		}
	})
}
