package postgres

import (
	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

// opened is an open store that tells people how far a node has come.
type opened struct{ *pgstore.Store }

// Number implements caddymodule.Numbered.
func (opened) Number(p revocation.Position) (uint64, bool) { return pgstore.Number(p) }

// Interface guards
var (
	_ revocation.Feed      = opened{}
	_ revocation.Pruner    = opened{}
	_ caddymodule.Durable  = opened{}
	_ caddymodule.Numbered = opened{}
)
