package pgstore

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/storetest"
)

// opener makes stores of one server that share nothing.
func opener(sv *server) func(t *testing.T) storetest.Opener {
	var stores atomic.Int64
	return func(t *testing.T) storetest.Opener {
		opts := sv.options()
		opts.Schema = fmt.Sprintf("store%d", stores.Add(1))
		return func(t testing.TB) revocation.Store { return open(t, opts) }
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, opener(startServer(t)))
}

func TestFeed(t *testing.T) {
	storetest.RunFeed(t, opener(startServer(t)))
}
