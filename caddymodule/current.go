package caddymodule

// This file is about what lives longer than a configuration, and yet needs something of
// one: the log to write to, and the events app. It uses those of the configuration that
// is in use.

import (
	"slices"
	"sync"
	"sync/atomic"
)

// current keeps what something shared by configurations uses of one of them: of the one
// that began to use it last. Caddy closes what belongs to one that has ended.
type current[T comparable] struct {
	mu    sync.Mutex
	users []T // the last one is in use
	now   atomic.Pointer[T]
}

// use makes a configuration's the one in use.
func (c *current[T]) use(v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users = append(c.users, v)
	c.choose()
}

// leave ends what use began, if it did. A configuration that fails leaves the place to
// the one before.
func (c *current[T]) leave(v T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.users, v); i >= 0 {
		c.users = slices.Delete(c.users, i, i+1)
	}
	c.choose()
}

// choose takes the last user's. When there is none the last one stays: what is shared is
// about to be closed, and may have something to say about it.
func (c *current[T]) choose() {
	if len(c.users) > 0 {
		c.set(c.users[len(c.users)-1])
	}
}

func (c *current[T]) set(v T) { c.now.Store(&v) }

// get returns what is in use. There must have been a use or set.
func (c *current[T]) get() T { return *c.now.Load() }
