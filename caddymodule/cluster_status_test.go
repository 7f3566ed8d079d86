package caddymodule

import (
	"strconv"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// numberedStore has positions that are numbers.
type numberedStore struct{ revocation.Store }

func (numberedStore) Number(p revocation.Position) (uint64, bool) {
	n, err := strconv.ParseUint(string(p), 10, 64)
	return n, err == nil
}

// plainStore has positions that say nothing.
type plainStore struct{ revocation.Store }

func TestLagEntries(t *testing.T) {
	for name, c := range map[string]struct {
		store revocation.Store
		lag   revocation.Lag
		want  uint64
		known bool
	}{
		"at the end":              {numberedStore{}, revocation.Lag{Applied: "7", Head: "7"}, 0, true},
		"behind":                  {numberedStore{}, revocation.Lag{Applied: "7", Head: "12"}, 5, true},
		"beyond the last answer":  {numberedStore{}, revocation.Lag{Applied: "9", Head: "7"}, 0, true},
		"while it reads":          {numberedStore{}, revocation.Lag{Head: "12"}, 12, true},
		"before there was one":    {numberedStore{}, revocation.Lag{Applied: "7"}, 0, false},
		"of a store with no such": {plainStore{}, revocation.Lag{Applied: "7", Head: "12"}, 0, false},
	} {
		if got, known := lagEntries(c.store, c.lag); got != c.want || known != c.known {
			t.Errorf("%s: %d, %v", name, got, known)
		}
	}
}
