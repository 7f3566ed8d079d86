package pace

// This file remembers what was used last.

import "sync"

// Generations is a map that forgets: it keeps the last size to twice size entries
// that were put or got.
//
// All methods may be called concurrently.
type Generations[K comparable, V any] struct {
	size int

	mu                sync.Mutex
	current, previous map[K]V
}

// NewGenerations returns an empty map.
func NewGenerations[K comparable, V any](size int) *Generations[K, V] {
	return &Generations[K, V]{size: size, current: map[K]V{}}
}

// Get returns what was put for the key last, unless it is forgotten.
func (g *Generations[K, V]) Get(key K) (V, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v, ok := g.current[key]; ok {
		return v, true
	}
	v, ok := g.previous[key]
	if ok {
		g.add(key, v)
	}
	return v, ok
}

// Put remembers a value for the key.
func (g *Generations[K, V]) Put(key K, value V) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(key, value)
}

// add puts, with the lock held.
func (g *Generations[K, V]) add(key K, value V) {
	if _, ok := g.current[key]; !ok && len(g.current) >= g.size {
		g.previous, g.current = g.current, make(map[K]V, g.size)
	}
	g.current[key] = value
}
