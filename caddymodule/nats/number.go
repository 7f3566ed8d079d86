package nats

import (
	"strconv"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/natsstore"
)

// opened is an open store that tells people how far a node has come.
type opened struct{ *natsstore.Store }

// Number implements caddymodule.Numbered: positions have the number of a message behind the
// epoch. Markers of beats are counted with it, so that between two places there are at most
// as many entries.
func (opened) Number(p revocation.Position) (uint64, bool) {
	_, rest, _ := strings.Cut(string(p), ".")
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 64)
	return n, err == nil
}

// Interface guards
var (
	_ revocation.Feed      = opened{}
	_ caddymodule.Durable  = opened{}
	_ caddymodule.Numbered = opened{}
)
