package natsstore

import (
	"fmt"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/storetest"
)

// BenchmarkFeed has lists on the store.
func BenchmarkFeed(b *testing.B) {
	sv := startServer(b)
	storetest.BenchmarkFeed(b, func(b *testing.B) storetest.Opener {
		opts := sv.options()
		opts.Prefix = fmt.Sprintf("store%d", stores.Add(1))
		return func(t testing.TB) revocation.Store { return openStore(t, opts) }
	})
}
