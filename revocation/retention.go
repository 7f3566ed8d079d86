package revocation

import (
	"math"
	"time"
)

// Grace is how much longer a record is kept than its token could be accepted:
// room for clocks that differ between this node, the issuer and the upstreams.
const Grace = 5 * time.Minute

// Forever as a MaxTokenLifetime keeps the records of tokens without a usable
// exp for good.
const Forever time.Duration = math.MaxInt64

// Defaults of a Retention.
const (
	DefaultLeeway           = 5 * time.Minute
	DefaultMaxTokenLifetime = 30 * 24 * time.Hour
)

// Retention says how long records are kept. The zero Retention has the
// defaults.
type Retention struct {
	// Leeway is the most by which an upstream accepts an expired token.
	// Default: DefaultLeeway.
	Leeway time.Duration

	// MaxTokenLifetime is how long a token without a usable exp must be expected
	// to live, and how far a cutoff reaches back. Default:
	// DefaultMaxTokenLifetime. It may be Forever.
	MaxTokenLifetime time.Duration
}

func (r Retention) leeway() time.Duration {
	if r.Leeway == 0 {
		return DefaultLeeway
	}
	return r.Leeway
}

func (r Retention) maxTokenLifetime() time.Duration {
	if r.MaxTokenLifetime == 0 {
		return DefaultMaxTokenLifetime
	}
	return r.MaxTokenLifetime
}

// Token returns when the record of a token that is revoked now may be
// forgotten: its exp, or where that can't be trusted the later of what it hints
// at and the longest lifetime from now, and the leeway and the Grace on top.
// The result lies in the past when no upstream accepts the token any more.
func (r Retention) Token(exp Expiry, now time.Time) time.Time {
	end := unixTime(exp.Unix)
	if !exp.Trusted {
		end = later(end, r.lifetimeFrom(now))
	}
	return r.withMargin(end)
}

// Cutoff returns when a cutoff at t may be forgotten: when every token that it
// hits has expired.
func (r Retention) Cutoff(t time.Time) time.Time {
	return r.withMargin(r.lifetimeFrom(t))
}

func (r Retention) lifetimeFrom(t time.Time) time.Time {
	if r.maxTokenLifetime() == Forever {
		return Never
	}
	return t.Add(r.maxTokenLifetime())
}

func (r Retention) withMargin(t time.Time) time.Time {
	if t.After(Never.Add(-Grace)) || t.After(Never.Add(-Grace).Add(-r.leeway())) {
		return Never
	}
	return ceilSecond(t.Add(r.leeway()).Add(Grace))
}

// unixTime returns the time of so many Unix seconds, at most Never.
func unixTime(seconds int64) time.Time {
	return time.Unix(min(seconds, Never.Unix()), 0).UTC()
}

func ceilSecond(t time.Time) time.Time {
	if f := t.Truncate(time.Second); !f.Equal(t) {
		return f.Add(time.Second).UTC()
	}
	return t.UTC()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
