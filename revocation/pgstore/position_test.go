package pgstore

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	someHistory  = "9b2d6b1e-5c8e-4d0e-8f0a-0a4c1f6f6b11.7713153111946743814.00000001"
	otherHistory = "9b2d6b1e-5c8e-4d0e-8f0a-0a4c1f6f6b11.7713153111946743814.00000002"
)

func TestCovers(t *testing.T) {
	at := func(history string, number, tag int64) position { return position{history, mark{number, tag}} }
	for _, test := range []struct {
		applied, head position
		want          bool
	}{
		{at(someHistory, 0, 0), at(someHistory, 0, 0), true},
		{at(someHistory, 7, 1), at(someHistory, 0, 0), true},
		{at(someHistory, 0, 0), at(someHistory, 7, 1), false},
		{at(someHistory, 7, 1), at(someHistory, 7, 1), true},
		{at(someHistory, 8, 2), at(someHistory, 7, 1), true},
		{at(someHistory, 8, 1), at(someHistory, 7, 1), true}, // of one Append
		{at(someHistory, 6, 1), at(someHistory, 7, 1), false},
		{at(someHistory, 7, 2), at(someHistory, 7, 1), false}, // a fork
		{at(otherHistory, 9, 1), at(someHistory, 7, 1), false},
		{at(someHistory, 9, 1), at(otherHistory, 7, 1), false},
	} {
		if got := new(Store).Covers(test.applied.text(), test.head.text()); got != test.want {
			t.Errorf("Covers(%s, %s) is %v", test.applied.text(), test.head.text(), got)
		}
	}
	for _, p := range []revocation.Position{"", "garbage", revocation.Position(someHistory)} {
		if whole := at(someHistory, 7, 1).text(); new(Store).Covers(p, whole) || new(Store).Covers(whole, p) || new(Store).Covers(p, p) {
			t.Errorf("%q covers, or is covered", p)
		}
	}
}

// TestCoversIsWhatIsApplied compares Covers with what it stands for: an Append adds several
// numbers, some are given up, and whoever is at one mark has all the marks before.
func TestCoversIsWhatIsApplied(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		marks := []position{{history: someHistory}}
		number := int64(0)
		for range 1 + random.IntN(12) {
			number += random.Int64N(3) // given up
			tag := newTag()
			for range 1 + random.IntN(3) {
				number++
				marks = append(marks, position{someHistory, mark{number, tag}})
			}
		}
		for i, a := range marks {
			for j, h := range marks {
				if got := new(Store).Covers(a.text(), h.text()); got != (i >= j) {
					t.Fatalf("Covers(%s, %s) is %v", a.text(), h.text(), got)
				}
			}
		}
	}
}

func TestVerify(t *testing.T) {
	c := cutAt{history: someHistory, pruned: mark{10, 5}, last: mark{20, 9}}
	for name, test := range map[string]struct {
		p   position
		tag int64 // of what stands there
		ok  bool
	}{
		"the beginning":           {position{someHistory, mark{}}, 0, true},
		"a record":                {position{someHistory, mark{15, 7}}, 7, true},
		"another record":          {position{someHistory, mark{15, 7}}, 8, false},
		"what was removed":        {position{someHistory, mark{9, 4}}, 0, true},
		"the last that was":       {position{someHistory, mark{10, 5}}, 0, true},
		"another than the last":   {position{someHistory, mark{10, 6}}, 0, false},
		"what is lost":            {position{someHistory, mark{15, 7}}, 0, false},
		"behind the end":          {position{someHistory, mark{21, 7}}, 0, false},
		"of another history":      {position{otherHistory, mark{15, 7}}, 7, false},
		"beginning of another":    {position{otherHistory, mark{}}, 0, false},
		"removed, there is a row": {position{someHistory, mark{9, 4}}, 3, false},
	} {
		c.tag = test.tag
		if err := c.verify(&test.p); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add(string(position{someHistory, mark{42, newTag()}}.text()))
	f.Add("")
	f.Add("a.b.c.0.0000000000000000")
	f.Add("a.b.c.1.ffffffffffffffff")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(revocation.Position(text))
		if err != nil {
			return
		}
		if string(p.text()) != text || strings.Count(text, ".") != historyParts+1 {
			t.Fatalf("%q became %q", text, p.text())
		}
		if n, ok := Number(revocation.Position(text)); !ok || int64(n) != p.mark.number || p.mark.number < 0 {
			t.Fatalf("%q has number %d", text, n)
		}
		if !p.covers(p) {
			t.Fatalf("%q doesn't cover itself", text)
		}
	})
}
