package revocation

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSelectorsThatAreRefused(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for name, tc := range map[string]struct {
		issuer string
		claims []Claim
		says   string
	}{
		"nothing":                 {"", nil, "neither an issuer nor a claim"},
		"jti without issuer":      {"", []Claim{{RoleTokenID, "x"}}, "needs the issuer"},
		"token with issuer":       {iss, []Claim{{RoleToken, Fingerprint{}.String()}}, "leave the issuer out"},
		"token that isn't one":    {"", []Claim{{RoleToken, "eyJ"}}, "43 characters"},
		"empty value":             {iss, []Claim{{RoleSubject, ""}}, "empty"},
		"role twice":              {iss, []Claim{{RoleSubject, "a"}, {RoleSubject, "b"}}, "twice"},
		"iss as a claim":          {iss, []Claim{{RoleIssuer, "a"}}, "not one of its claims"},
		"too many":                {iss, []Claim{{"a", "a"}, {"b", "b"}, {"c", "c"}, {"d", "d"}, {"e", "e"}}, "at most 4"},
		"long value":              {iss, []Claim{{RoleSubject, long}}, "at most 1024"},
		"long issuer":             {long, nil, "at most 1024"},
		"long role":               {iss, []Claim{{Role(long), "x"}}, "at most 128"},
		"role with a plus":        {iss, []Claim{{"a+b", "x"}}, "character"},
		"role without a name":     {iss, []Claim{{"", "x"}}, "no name"},
		"value not UTF-8":         {iss, []Claim{{RoleSubject, "\xff"}}, "UTF-8"},
		"issuer not UTF-8":        {"\xff", nil, "UTF-8"},
		"fingerprint's last bits": {"", []Claim{{RoleToken, strings.Repeat("A", 42) + "B"}}, "43 characters"},
	} {
		_, err := Select(tc.issuer, tc.claims...)
		if !errors.Is(err, ErrInvalidSelector) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfDifferentSelectorsDiffer(t *testing.T) {
	seen := map[Key]string{}
	add := func(kind Kind, issuer string, claims ...Claim) {
		k := makeKey(kind, issuer, claims)
		name := kind.String() + issuer + string(Selector{issuer, claims}.Shape())
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[k] = name
	}
	for _, kind := range []Kind{Block, IssuedBefore, AuthenticatedBefore} {
		add(kind, "ab")
		add(kind, "a", Claim{"b", "c"})
		add(kind, "a", Claim{"bc", "d"})
		add(kind, "a", Claim{"b", "cd"})
		add(kind, "", Claim{"ab", "cd"})
		add(kind, "a", Claim{"b", "c"}, Claim{"d", "e"})
		add(kind, "a", Claim{"b", "cd"}, Claim{"", "e"})
	}
}

func someRecords() []Record {
	at := time.Unix(1_800_000_000, 0).UTC()
	subject, _ := Select(iss, Claim{RoleSubject, "ålice\x00"}, Claim{RoleClient, "app"})
	issuer, _ := Select(iss)
	return []Record{
		{ID: NewID(), Kind: Block, Selector: SelectToken(Fingerprint{1, 2, 3}), Expires: at, RecordedAt: at},
		{ID: NewID(), Kind: Block, Selector: subject, Expires: Never, Source: "endpoint", Actor: "client:app", Reason: "lost laptop", RecordedAt: at.Add(123 * time.Millisecond)},
		{ID: NewID(), Kind: IssuedBefore, Selector: issuer, Cutoff: at, Expires: at.Add(time.Hour), RecordedAt: time.UnixMilli(-5).UTC()},
		{ID: NewID(), Kind: AuthenticatedBefore, Selector: subject, Cutoff: Never, Expires: Never, RecordedAt: at},
		{ID: NewID(), Kind: Reinstatement, Reinstates: []ID{NewID(), NewID()}, Expires: at, RecordedAt: at},
	}
}

func TestRecordsSurviveTheirEncoding(t *testing.T) {
	for _, r := range someRecords() {
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeRecord(AppendRecord(nil, &r))
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, r)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range someRecords() {
		f.Add(AppendRecord(nil, &r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidRecord) {
				t.Errorf("%v does not wrap ErrInvalidRecord", err)
			}
			return
		}
		again, err := DecodeRecord(AppendRecord(nil, &r))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
		for i := range b {
			if _, err := DecodeRecord(b[:i]); err == nil {
				t.Errorf("its first %d of %d bytes are a record too", i, len(b))
			}
		}
		if _, err := DecodeRecord(append(bytes.Clone(b), 0)); err == nil {
			t.Error("a byte more makes no difference")
		}
	})
}

func TestRecordsThatAreRefused(t *testing.T) {
	valid := someRecords()
	for name, change := range map[string]func(*Record){
		"no id":                         func(r *Record) { r.ID = ID{} },
		"unknown kind":                  func(r *Record) { r.Kind = 9 },
		"no expiry":                     func(r *Record) { r.Expires = time.Time{} },
		"expiry in half a second":       func(r *Record) { r.Expires = r.Expires.Add(time.Second / 2) },
		"expiry after never":            func(r *Record) { r.Expires = Never.Add(time.Second) },
		"block with a cutoff":           func(r *Record) { r.Cutoff = r.Expires },
		"cutoff without one":            func(r *Record) { r.Kind = IssuedBefore },
		"block that reinstates":         func(r *Record) { r.Reinstates = []ID{NewID()} },
		"reason too long":               func(r *Record) { r.Reason = strings.Repeat("x", 300) },
		"actor not UTF-8":               func(r *Record) { r.Actor = "\xff" },
		"reinstatement of nothing":      func(r *Record) { r.Kind, r.Selector = Reinstatement, Selector{} },
		"reinstatement with a selector": func(r *Record) { r.Kind, r.Reinstates = Reinstatement, []ID{NewID()} },
	} {
		r := valid[1]
		r.Expires = time.Unix(1_800_000_000, 0)
		change(&r)
		if err := r.Validate(); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRetention(t *testing.T) {
	now := time.Unix(1_800_000_000, 500)
	seconds := func(d time.Duration) int64 { return now.Unix() + int64(d.Seconds()) }
	const margin = 10 * time.Minute // leeway and grace
	for name, tc := range map[string]struct {
		r    Retention
		exp  Expiry
		want int64
	}{
		"exp":                       {Retention{}, Expiry{seconds(time.Hour), true}, seconds(time.Hour + margin)},
		"exp with another leeway":   {Retention{Leeway: time.Hour}, Expiry{seconds(time.Hour), true}, seconds(2*time.Hour + 5*time.Minute)},
		"exp beyond every lifetime": {Retention{}, Expiry{seconds(24 * 365 * time.Hour), true}, seconds(24*365*time.Hour + margin)},
		"exp just passed":           {Retention{}, Expiry{seconds(-time.Minute), true}, seconds(margin - time.Minute)},
		"exp long passed":           {Retention{}, Expiry{seconds(-time.Hour), true}, seconds(margin - time.Hour)},
		"exp at the end of time":    {Retention{}, Expiry{math.MaxInt64, true}, Never.Unix()},
		"a leeway without end":      {Retention{Leeway: Forever}, Expiry{seconds(time.Hour), true}, Never.Unix()},
		"no exp":                    {Retention{}, Expiry{}, seconds(30*24*time.Hour+margin) + 1},
		"exp that can't be trusted": {Retention{}, Expiry{seconds(time.Hour), false}, seconds(30*24*time.Hour+margin) + 1},
		"and is late":               {Retention{}, Expiry{seconds(60 * 24 * time.Hour), false}, seconds(60*24*time.Hour + margin)},
		"no exp, lifetime of a day": {Retention{MaxTokenLifetime: 24 * time.Hour}, Expiry{}, seconds(24*time.Hour+margin) + 1},
		"no exp, lives forever":     {Retention{MaxTokenLifetime: Forever}, Expiry{}, Never.Unix()},
	} {
		if got := tc.r.Token(tc.exp, now).Unix(); got != tc.want {
			t.Errorf("%s: until %d, want %d", name, got, tc.want)
		}
	}
	if got := (Retention{}).Cutoff(now).Unix(); got != seconds(30*24*time.Hour+margin)+1 {
		t.Errorf("a cutoff until %d", got)
	}
}

func TestTally(t *testing.T) {
	tally := newTally()
	for i := range uint32(100) {
		tally.add("a", i*60)
	}
	tally.add("b", 60)
	tally.add("forever", neverSeconds)
	if tally.live("a") != 100 || tally.live("b") != 1 || tally.live("c") != 0 {
		t.Error("miscounted")
	}
	tally.prune(3000)
	if n := tally.live("a"); n != 50 {
		t.Errorf("%d live", n)
	}
	if tally.live("forever") != 1 {
		t.Error("a record that is kept for good isn't counted")
	}
	if len(tally.actors) != 2 {
		t.Error("an actor without records is remembered")
	}
}
