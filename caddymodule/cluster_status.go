package caddymodule

// This file tells about the nodes that share a store, in the admin API's status and in
// `caddy tokens status`.

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// clusterStatus returns nil where the store is this node's alone.
func (c *adminCall) clusterStatus() *clusterStatus {
	if _, shared := c.run.store.(revocation.Feed); !shared {
		return nil
	}
	list := c.run.list
	shown := &clusterStatus{
		Applied:      string(list.Applied()),
		MaxStaleness: c.app.maxStaleness().String(),
		OnStale:      cmp.Or(c.app.OnStale, staleDeny),
		WarmStart:    cmp.Or(c.app.WarmStart, warmOn),
		Replica:      cmp.Or(c.run.replica, inMemory),
		Nodes:        []nodeStatus{},
	}
	nodes := slices.DeleteFunc(list.Nodes(), func(n revocation.NodeStatus) bool { return n.Ended })
	number := func(p revocation.Position) (uint64, bool) {
		if n, ok := c.run.store.(Numbered); ok {
			return n.Number(p)
		}
		return 0, false
	}
	var most uint64
	var last time.Time
	for _, n := range nodes {
		at, _ := number(n.Applied)
		most = max(most, at)
		if n.At.After(last) {
			last = n.At
		}
	}
	silentAfter := min(c.app.maxStaleness(), longSilence)
	for _, n := range nodes {
		node := nodeStatus{
			ID: n.Node, Name: n.Name, Version: n.Version, Fresh: n.Fresh, Applied: string(n.Applied), LastBeat: n.At.UTC(), Lenient: n.Lenient,
			Silent: last.Sub(n.At) > silentAfter,
		}
		if at, ok := number(n.Applied); ok {
			lag := most - at
			node.Lag = &lag
		}
		shown.Nodes = append(shown.Nodes, node)
	}
	slices.SortFunc(shown.Nodes, func(a, b nodeStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return shown
}

// lagEntries returns how many entries of the store a list had still to apply when it last
// heard how far that goes. It is all of them while everything is read.
func lagEntries(store revocation.Store, lag revocation.Lag) (entries uint64, ok bool) {
	numbered, ok := store.(Numbered)
	if !ok {
		return 0, false
	}
	head, ok := numbered.Number(lag.Head)
	if !ok {
		return 0, false // it hasn't answered yet
	}
	applied, _ := numbered.Number(lag.Applied)
	return head - min(applied, head), true // it may have come further since
}

// inMemory is where the list is kept that has no file.
const inMemory = "memory"

// longSilence is longer than a node that runs says nothing: three beats. One that has ended
// is forgotten some time after that.
const longSilence = 15 * time.Second

// maxStaleness returns how old the view of the store may be.
func (a *App) maxStaleness() time.Duration {
	return cmp.Or(time.Duration(a.MaxStaleness), revocation.DefaultMaxStaleness)
}

// wrong says what somebody should look after.
func (c *clusterStatus) wrong(now time.Time) (problems []string) {
	if c.Replica == inMemory && c.WarmStart == warmOn {
		problems = append(problems, "the local copy of the list is in memory: a start without the store would know nothing; the log says why")
	}
	for _, n := range c.Nodes {
		if !n.Fresh && !n.Silent {
			problems = append(problems, fmt.Sprintf("the node %s said %s that its list may lack something: see its status", n.Name, moment(n.LastBeat, now)))
		}
	}
	return problems
}

// wrongDurability says what somebody should look after.
func (s *storeStatus) wrongDurability() (problems []string) {
	switch s.Durability {
	case "", durabilityVerified, durabilityStated:
		return nil
	}
	return []string{fmt.Sprintf("revocations can be lost although they were acknowledged: the store's durability is %s, not verified; docs/clusters.md says what to set", s.Durability)}
}

// describe writes the nodes.
func (c *clusterStatus) describe(out io.Writer, now time.Time) error {
	if len(c.Nodes) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out, "", "NODE", "FRESH", "BEHIND BY", "LAST BEAT", "VERSION")
	for _, n := range c.Nodes {
		fresh, lag := "yes", "unknown"
		switch {
		case n.Silent:
			fresh = "silent"
		case !n.Fresh:
			fresh = "no"
		}
		if n.Lag != nil {
			lag = humanize.Comma(int64(*n.Lag)) + " entries"
		}
		t.row(printable(n.Name), fresh, lag, moment(n.LastBeat, now), printable(n.Version))
	}
	return t.flush()
}
