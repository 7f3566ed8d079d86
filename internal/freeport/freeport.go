// Package freeport finds ports for the servers of tests.
//
// The system's own way to find one (port 0) takes it from those that it also gives to
// outgoing connections, of which tests make many: one that was found, or that a server is to
// have again after it was killed, may be taken by then. These are below them.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

// The ports. Redis Cluster adds 10,000 to one, which must still be one.
const (
	first = 10_000
	count = 20_000
)

// turn is whose turn it is. Other processes begin elsewhere.
var turn atomic.Uint32

func init() { turn.Store(rand.Uint32N(count)) }

// Next returns a port on which nobody listens. The process doesn't get it again before it has
// had all others.
func Next(t testing.TB) int {
	t.Helper()
	for range count {
		port := first + int(turn.Add(1)%count)
		l, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no port is free")
	return 0
}
