// Package gate lets operations into what can be closed, so that whoever closes it can end
// them, and wait until the last one is out.
package gate

import "sync"

// Gate is open when it is made. Its methods may be called from any goroutine.
type Gate struct {
	mu      sync.Mutex // guards closing, and running against it
	closing chan struct{}
	running sync.WaitGroup
}

// New returns a gate that is open.
func New() *Gate { return &Gate{closing: make(chan struct{})} }

// Enter admits an operation, which calls Leave at its end, unless the gate is closed.
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Closed() {
		return false
	}
	g.running.Add(1)
	return true
}

// Leave ends an operation that was admitted.
func (g *Gate) Leave() { g.running.Done() }

// Close closes the gate for good. It reports whether this call did.
func (g *Gate) Close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.Closed() {
		return false
	}
	close(g.closing)
	return true
}

// Closing returns a channel that is closed with the gate.
func (g *Gate) Closing() <-chan struct{} { return g.closing }

// Closed reports whether the gate is closed.
func (g *Gate) Closed() bool {
	select {
	case <-g.closing:
		return true
	default:
		return false
	}
}

// Wait waits until nothing is inside. The gate must be closed.
func (g *Gate) Wait() { g.running.Wait() }
