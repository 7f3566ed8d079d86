package revocation

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestAProofNamesTheFirstValueOfARole(t *testing.T) {
	p := &Proof{Claims: []Claim{{RoleSubject, "oid"}, {RoleTokenID, "jti"}, {RoleSubject, "sub"}}}
	for role, want := range map[Role]string{RoleSubject: "oid", RoleTokenID: "jti", RoleSession: "", "tenant": ""} {
		if got := p.Claim(role); got != want {
			t.Errorf("%s is %q, want %q", role, got, want)
		}
	}
	if got := new(Proof).Claim(RoleSubject); got != "" {
		t.Errorf("an empty proof says %q", got)
	}
}

func TestATokenHasItsTimeWithinTheLeeway(t *testing.T) {
	const day = 24 * 60 * 60
	now := time.Unix(1_800_000_000, 999_999_999)
	for name, c := range map[string]struct {
		proof Proof // times are relative to now
		want  error
	}{
		"no times":                         {Proof{}, nil},
		"expires in a second":              {Proof{Expires: 1}, nil},
		"expires now":                      {Proof{Expires: math.MinInt64}, ErrTokenExpired},
		"expired within the leeway":        {Proof{Expires: -59, Leeway: time.Minute}, nil},
		"expired by the leeway":            {Proof{Expires: -60, Leeway: time.Minute}, ErrTokenExpired},
		"expired a day ago":                {Proof{Expires: -day, Leeway: time.Minute}, ErrTokenExpired},
		"expires in the year 9999":         {Proof{Expires: 251_602_300_799}, nil},
		"valid from within the leeway":     {Proof{NotBefore: 60, Leeway: time.Minute}, nil},
		"valid from beyond the leeway":     {Proof{NotBefore: 61, Leeway: time.Minute}, ErrTokenNotYetValid},
		"valid from tomorrow":              {Proof{NotBefore: day, Leeway: time.Minute}, ErrTokenNotYetValid},
		"valid since yesterday":            {Proof{NotBefore: -day}, nil},
		"issued within the leeway":         {Proof{IssuedAt: 60, Leeway: time.Minute}, nil},
		"issued in the future":             {Proof{IssuedAt: 61, Leeway: time.Minute}, ErrTokenNotYetValid},
		"issued tomorrow":                  {Proof{IssuedAt: day, Expires: 2 * day}, ErrTokenNotYetValid},
		"issued yesterday":                 {Proof{IssuedAt: -day, Expires: day}, nil},
		"expired, and not valid yet":       {Proof{Expires: -1, NotBefore: 1}, ErrTokenExpired},
		"a leeway of less than a second":   {Proof{Expires: -1, Leeway: time.Second - 1}, ErrTokenExpired},
		"issued now, without leeway":       {Proof{IssuedAt: math.MinInt64, NotBefore: math.MinInt64}, nil},
		"expired a second ago, no leeway":  {Proof{Expires: -1}, ErrTokenExpired},
		"valid in a second, no leeway":     {Proof{NotBefore: 1}, ErrTokenNotYetValid},
		"all times right, with the leeway": {Proof{IssuedAt: -10, NotBefore: -10, Expires: 290, Leeway: time.Minute}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.proof
			for _, field := range []*int64{&p.Expires, &p.NotBefore, &p.IssuedAt} {
				switch *field {
				case 0: // the token has none
				case math.MinInt64: // now
					*field = now.Unix()
				default:
					*field += now.Unix()
				}
			}
			if err := p.CheckTime(now); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestTokenKindsHaveNames(t *testing.T) {
	seen := map[string]bool{}
	for k := UnknownKind; k <= OtherToken; k++ {
		if k.String() == "" || seen[k.String()] {
			t.Errorf("kind %d is called %q", k, k)
		}
		seen[k.String()] = true
	}
}
