package redis

import (
	"strconv"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/redisstore"
)

// opened is an open store that tells people how far a node has come.
type opened struct{ *redisstore.Store }

// Number implements caddymodule.Numbered: positions have their number behind the epoch.
func (opened) Number(p revocation.Position) (uint64, bool) {
	_, rest, _ := strings.Cut(string(p), ".")
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, err == nil
}

// Interface guards
var (
	_ revocation.Feed      = opened{}
	_ revocation.Pruner    = opened{}
	_ caddymodule.Durable  = opened{}
	_ caddymodule.Numbered = opened{}
)
