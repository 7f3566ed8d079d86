package revocation

// A store that takes records and then doesn't say so is given them again: every second,
// while a replica of it is away or an answer is late. For those who follow it all of these
// are one record. Else they would stand in every replica as often, and count against the
// quota of whoever made them.

// recent are the records that a feed brought last, in two halves: the older one is
// forgotten when the newer one is full. Only the goroutine that follows uses them.
type recent struct{ newer, older inventory }

const mostRecent = 1 << 14 // in each half

// repeats reports whether a record says nothing that the recent ones don't say, and notes
// it.
func (rs *recent) repeats(id identity, v value) bool {
	known, again := rs.newer[id]
	if !again {
		known, again = rs.older[id]
	}
	if again && known.merge(v) == known {
		return true
	}
	if rs.newer == nil || len(rs.newer) >= mostRecent {
		rs.newer, rs.older = inventory{}, rs.newer
	}
	rs.newer[id] = known.merge(v)
	return false
}
