package issuer

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func mustParse(t testing.TB, object string) Claims {
	t.Helper()
	c, err := parseClaims([]byte(object))
	if err != nil {
		t.Fatalf("%s: %v", object, err)
	}
	return c
}

func TestOnlyOneReadingOfClaimsIsAccepted(t *testing.T) {
	const secret = "geheim"
	for name, object := range map[string]string{
		"nothing":               ``,
		"null":                  `null`,
		"a string":              `"` + secret + `"`,
		"an array":              `[{"sub":"` + secret + `"}]`,
		"a name twice":          `{"sub":"a","sub":"` + secret + `"}`,
		"a name twice, spelled": `{"sub":"a","\u0073ub":"` + secret + `"}`,
		"a name twice, inside":  `{"a":{"` + secret + `":1,"` + secret + `":2}}`,
		"two objects":           `{} {"sub":"` + secret + `"}`,
		"a comma too many":      `{"sub":"` + secret + `",}`,
		"broken off":            `{"sub":"` + secret,
		"no UTF-8":              "{\"sub\":\"" + secret + "\xff\"}",
		"half a surrogate pair": `{"sub":"` + secret + `\ud800"}`,
		"a byte order mark":     "\ufeff{}",
		"a number out of range": `{"` + secret + `":1e999}`,
		"not a number":          `{"` + secret + `":NaN}`,
		"too deep":              strings.Repeat(`{"a":`, 20_000) + `1` + strings.Repeat(`}`, 20_000),
	} {
		c, err := parseClaims([]byte(object))
		if err == nil || c != nil {
			t.Errorf("%s is accepted: %v", name, c)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
	if c := mustParse(t, " {} "); len(c) != 0 {
		t.Error(c)
	}
}

func TestTextOfAClaim(t *testing.T) {
	c := mustParse(t, `{"s":"text","n":7,"nil":null,"array":["text"],"a":{"b":{"c":"deep"},"b.c":"dotted","n":1},
		"x.y":"whole","x":{"y":"nested"},"x.z":{"w":"cut late"},"empty":"","":"nameless","p":{"":"below"},"q":{"r":{"s":""}},"q.r":{"s":"other way"}}`)
	for path, want := range map[string]string{
		"s": "text", "n": "", "nil": "", "array": "", "missing": "", "a": "", "a.n": "", "s.x": "", "empty": "",
		"a.b.c": "dotted", "x.y": "whole", "x.z.w": "cut late", "": "nameless", "p.": "below", ".": "", "..": "",
		"q.r.s": "other way", "a.b": "", "a.b.": "", "a.b.c.d": "",
	} {
		if got := c.Text(path); got != want {
			t.Errorf("%q is %q, want %q", path, got, want)
		}
	}
	if Claims(nil).Text("a.b") != "" {
		t.Error("there is something in nothing")
	}
}

func TestTextsOfAClaim(t *testing.T) {
	c := mustParse(t, `{"one":"a","many":["a","b"],"none":[],"mixed":["a",7],"nested":[["a"]],"n":7,"nil":null,"o":{"a":"b"}}`)
	for name, want := range map[string][]string{
		"one": {"a"}, "many": {"a", "b"}, "none": {}, "mixed": nil, "nested": nil, "n": nil, "nil": nil, "o": nil, "missing": nil,
	} {
		if got := c.texts(name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestNumberOfAClaim(t *testing.T) {
	c := mustParse(t, `{"i":7,"f":7.5,"big":1e300,"neg":-1,"zero":0,"s":"7","b":true,"nil":null,"a":[7]}`)
	for name, want := range map[string]float64{"i": 7, "f": 7.5, "big": 1e300, "neg": -1, "zero": 0} {
		if got, present, err := c.number(name); got != want || !present || err != nil {
			t.Errorf("%s is %v, %v, %v", name, got, present, err)
		}
	}
	for _, name := range []string{"s", "b", "nil", "a"} {
		if got, present, err := c.number(name); got != 0 || !present || err == nil {
			t.Errorf("%s is %v, %v, %v", name, got, present, err)
		}
	}
	if got, present, err := c.number("missing"); got != 0 || present || err != nil {
		t.Error(got, present, err)
	}
}

func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"iss":"https://a","aud":["x","y"],"exp":1.5e9,"cnf":{"jkt":"k"}}`, `{"exp":1e300,"a.b":"c","a":{"b":"d"}}`,
		`{"aud":"x","iat":-0.5,"nbf":"7"}`, `{"a":1,"a":2}`, `[]`, `{"":{"":""}}`,
	} {
		f.Add([]byte(seed), "a.b")
	}
	f.Fuzz(func(t *testing.T, b []byte, path string) {
		c, err := parseClaims(b)
		if err != nil {
			return
		}
		c.Text(path)
		for name := range c {
			if text, ok := c[name].(string); ok && c.Text(name) != text {
				t.Errorf("%q is found as %q", text, c.Text(name))
			}
			c.texts(name)
			if v, present, err := c.number(name); !present || err == nil && v != v {
				t.Errorf("%q is %v, %v, %v", name, v, present, err)
			}
			for _, round := range []func(float64) float64{math.Floor, math.Ceil} {
				if sec, err := seconds(c, name, round); err == nil && (sec > maxSeconds || sec < -maxSeconds) {
					t.Errorf("%q is %d", name, sec)
				}
			}
		}
	})
}
