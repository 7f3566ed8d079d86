package caddymodule

// This file is about revocations whose success says that no node accepts the token any
// more.

import (
	"cmp"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

// waitCluster is what wait_for may be.
const waitCluster = "cluster"

// Bounds of how long somebody waits for other nodes, and how long it is by default. Longer
// than max_staleness nobody has to, unless a node accepts tokens while it is stale.
const (
	minWait         = 100 * time.Millisecond
	maxWait         = 25 * time.Hour
	defaultWait     = 10 * time.Second
	defaultWaitCLI  = time.Minute
	waitBoundsWords = "a duration from 100ms to 25h"
)

// waitFor fills in how long the endpoint waits.
func (h *RevocationEndpoint) waitFor(to *endpoint.Options) error {
	timeout := time.Duration(h.WaitTimeout)
	switch h.WaitFor {
	case "":
		if timeout != 0 {
			return fmt.Errorf("wait_timeout is for wait_for")
		}
		return nil
	case waitCluster:
	default:
		return fmt.Errorf("wait_for is %q, possible is %s", h.WaitFor, waitCluster)
	}
	if timeout != 0 && (timeout < minWait || timeout > maxWait) {
		return fmt.Errorf("wait_timeout is %s, possible is %s", timeout, waitBoundsWords)
	}
	to.WaitFor = cmp.Or(timeout, defaultWait)
	h.app.waits = true
	return nil
}

// parseWait reads how long to wait.
func parseWait(text string) (time.Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil || d < minWait || d > maxWait {
		return 0, fmt.Errorf("%q is not %s", text, waitBoundsWords)
	}
	return d, nil
}

// attitude tells other nodes what they must know of this one: whether somebody here waits
// for them, and whether it accepts tokens while it is stale.
func (a *App) attitude(list interface {
	Lenient() func()
	WillAwaitNodes() func()
}) {
	end := func(f func()) {
		a.release = append(a.release, func() error { f(); return nil })
	}
	if a.lenient {
		end(list.Lenient())
	}
	if a.waits {
		end(list.WillAwaitNodes())
	}
}
