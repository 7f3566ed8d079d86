package revocation

import "time"

// Stats are a list's figures at one moment.
type Stats struct {
	Keys    []Count // keys in the index by kind and shape
	Bytes   int64   // memory of the index
	Pending int     // records that are enforced but not durable, or were lost by the store
	Store   StoreHealth
}

// StoreHealth says whether the store takes records. The zero value is that of a
// store that does.
type StoreHealth struct {
	Failing bool
	Since   time.Time // when it began to fail
	Err     error     // what it says
}

// Stats returns the list's figures.
func (l *List) Stats() Stats {
	l.mu.Lock()
	pending, health := l.queue.len(), l.health
	l.mu.Unlock()
	if l.follower != nil {
		pending += l.follower.echoes.lacking()
	}
	return Stats{Keys: l.index.counts(), Bytes: l.index.bytes(), Pending: pending, Store: health}
}
