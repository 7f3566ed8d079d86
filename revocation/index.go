package revocation

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Index is the exact map from keys to what rejects the tokens that have them:
// all live records on this node, merged. There is one table for each kind and
// shape that records have, so that a token is looked up only where something
// could be found. Look-ups take no lock; an insert is seen by every look-up that
// begins after it returned.
type Index struct {
	groups atomic.Pointer[[]*group] // replaced as a whole when one is added
	mu     sync.Mutex               // held while one is added
}

// group is the table of the records of one kind and shape.
type group struct {
	kind  Kind
	shape Shape
	roles []Role
	table *table
}

func newIndex() *Index {
	ix := new(Index)
	ix.groups.Store(new([]*group))
	return ix
}

// find returns the group of a kind and shape, or nil.
func (ix *Index) find(kind Kind, shape Shape) *group {
	for _, g := range *ix.groups.Load() {
		if g.kind == kind && g.shape == shape {
			return g
		}
	}
	return nil
}

// group returns the group of a kind and shape and makes it if need be.
func (ix *Index) group(kind Kind, shape Shape) *group {
	if g := ix.find(kind, shape); g != nil {
		return g
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if g := ix.find(kind, shape); g != nil {
		return g
	}
	g := &group{kind: kind, shape: shape, roles: shape.roles(), table: newTable()}
	groups := append(slices.Clone(*ix.groups.Load()), g)
	ix.groups.Store(&groups)
	return g
}

// entry says where in the index a record is and what it is worth there.
type entry struct {
	group *group
	key   Key
	value value
}

// entry returns the place of a block or a cutoff.
func (ix *Index) entry(r *Record) entry {
	return entry{
		group: ix.group(r.Kind, r.Selector.Shape()),
		key:   r.Selector.Key(r.Kind),
		value: valueOf(r),
	}
}

// valueOf returns what a record is worth under its key.
func valueOf(r *Record) value { return makeValue(uint32(r.Expires.Unix()), cutoffSeconds(r)) }

func (e entry) merge(now uint32) { e.group.table.merge(e.key, e.value, now) }

// shapes returns the number of different shapes.
func (ix *Index) shapes() int {
	seen := map[Shape]bool{}
	for _, g := range *ix.groups.Load() {
		seen[g.shape] = true
	}
	return len(seen)
}

// hasShape reports whether records of the shape were ever put in.
func (ix *Index) hasShape(s Shape) bool {
	return slices.ContainsFunc(*ix.groups.Load(), func(g *group) bool { return g.shape == s })
}

// sweep forgets what has expired in the nth of shardCount parts.
func (ix *Index) sweep(n int, now uint32) {
	for _, g := range *ix.groups.Load() {
		g.table.sweep(n, now)
	}
}

// Count is how many keys of one kind and shape the index holds.
type Count struct {
	Kind  Kind
	Shape Shape
	Keys  int
}

func (ix *Index) counts() []Count {
	groups := *ix.groups.Load()
	counts := make([]Count, len(groups))
	for i, g := range groups {
		counts[i] = Count{g.kind, g.shape, int(g.table.keys.Load())}
	}
	return counts
}

func (ix *Index) len() (n int) {
	for _, g := range *ix.groups.Load() {
		n += int(g.table.keys.Load())
	}
	return n
}

func (ix *Index) bytes() (n int64) {
	for _, g := range *ix.groups.Load() {
		n += g.table.bytes()
	}
	return n
}
