package natsstore

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/storetest"
)

// stores counts those that the tests have made.
var stores atomic.Int64

// opener makes stores on servers that share nothing.
func opener(opts Options) func(t *testing.T) storetest.Opener {
	return func(t *testing.T) storetest.Opener {
		opts := opts
		opts.Prefix = fmt.Sprintf("store%d", stores.Add(1))
		return func(t testing.TB) revocation.Store { return openStore(t, opts) }
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, opener(startServer(t).options()))
}

func TestFeed(t *testing.T) {
	storetest.RunFeed(t, opener(startServer(t).options()))
}

// TestInACluster has the suite on three servers, each of which has all of it.
func TestInACluster(t *testing.T) {
	opts := clusterOptions(startCluster(t, 3))
	t.Run("Store", func(t *testing.T) { storetest.Run(t, opener(opts)) })
	t.Run("Feed", func(t *testing.T) { storetest.RunFeed(t, opener(opts)) })
}
