package revocation

import (
	"maps"
	"sync"
)

// This file keeps account of records that a node has and that its feed hasn't surely
// brought. Two things rest on it. What comes back isn't taken for another node's: it is
// counted once and stands in the replica once. And what doesn't come back although the
// store had taken it was lost by the store: another server took over that never had it,
// at a place of the sequence that nobody had come to. No position tells that; only who
// appended the record can know.

// echo is what a node awaits of one record.
type echo struct {
	known value // what the node has of it, in force and in its replica
	seen  value // what the feed has brought of it
	sent  int64 // when the store had taken it, by the lease's time; unsent before
	lost  int   // the round in which the store was found to lack it; 0: it wasn't
}

const unsent = endless

// echoes are those of all records that are awaited.
type echoes struct {
	mu    sync.Mutex
	all   map[identity]echo
	lost  int           // how many of them the store is known to lack
	round int           // of giving back
	tidy  int           // at this size what isn't needed is dropped
	wake  chan struct{} // has an element when the store was found to lack something
}

const tidyEchoes = 1 << 16

func newEchoes() *echoes {
	return &echoes{all: map[identity]echo{}, round: 1, tidy: tidyEchoes, wake: make(chan struct{}, 1)}
}

// expect notes records that are about to be sent to the store. They are in force.
func (es *echoes) expect(records []Record) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for i := range records {
		id := identityOf(&records[i])
		e := es.all[id]
		e.known, e.sent = e.known.merge(valueOf(&records[i])), unsent
		es.all[id] = e
	}
	if len(es.all) > es.tidy { // nobody answers how far the sequence goes
		maps.DeleteFunc(es.all, func(_ identity, e echo) bool { return e.lost == 0 && e.sent != unsent && e.seen == e.known })
		es.tidy = max(tidyEchoes, 2*len(es.all))
	}
}

// sent notes that the store has taken records.
func (es *echoes) sent(records []Record, now int64) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for i := range records {
		id := identityOf(&records[i])
		if e, ok := es.all[id]; ok {
			es.found(&e)
			e.sent = now
			es.all[id] = e
		}
	}
}

// brought reports whether a record of the feed was awaited, and adds nothing.
func (es *echoes) brought(r *Record, now int64) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	id := identityOf(r)
	e, ok := es.all[id]
	if v := valueOf(r); !ok || e.known.merge(v) != e.known {
		return false
	} else if e.seen = e.seen.merge(v); e.lost > 0 && e.seen == e.known {
		es.found(&e) // another node gave it back
		e.sent = now
	}
	es.all[id] = e
	return true
}

// arrived reports whether the feed has brought records, as far as they are awaited.
func (es *echoes) arrived(records []Record) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	for i := range records {
		if e, ok := es.all[identityOf(&records[i])]; ok && (e.lost > 0 || e.seen != e.known) {
			return false
		}
	}
	return true
}

// found notes that the store doesn't lack a record. The caller holds the lock.
func (es *echoes) found(e *echo) {
	if e.lost > 0 {
		e.lost = 0
		es.lost--
	}
}

// settle is told that the feed has brought everything that was acknowledged before a
// time. It forgets what came, and returns how many records the store has lost. A record
// is awaited until then even if it came: a write that failed may have come through, and
// others may give back the same.
func (es *echoes) settle(asked int64) (lost int) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for id, e := range es.all {
		switch {
		case e.lost > 0 || e.sent >= asked:
		case e.seen == e.known:
			delete(es.all, id)
		default:
			es.lose(id, e)
			lost++
		}
	}
	return lost
}

// miss notes a record that the store lacks.
func (es *echoes) miss(id identity, known value) {
	es.mu.Lock()
	defer es.mu.Unlock()
	e := es.all[id]
	if e.sent == unsent {
		return // it is on its way
	}
	e.known = e.known.merge(known)
	if e.lost == 0 {
		es.lose(id, e)
	}
}

// lose says that the store lacks a record. The caller holds the lock.
func (es *echoes) lose(id identity, e echo) {
	e.seen, e.lost = 0, es.round // what came of it before is gone
	es.lost++
	es.all[id] = e
	select {
	case es.wake <- struct{}{}:
	default:
	}
}

func (es *echoes) lacking() int {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.lost
}

// lacks reports whether the store is known to lack a record.
func (es *echoes) lacks(r *Record) bool {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.all[identityOf(r)].lost > 0
}

// begin begins a round of giving back.
func (es *echoes) begin() (round int) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.round++
	return es.round - 1
}

// finish ends one in which all was given back that there is: the rest has expired or is
// cancelled.
func (es *echoes) finish(round int) {
	es.mu.Lock()
	defer es.mu.Unlock()
	maps.DeleteFunc(es.all, func(_ identity, e echo) bool {
		gone := e.lost > 0 && e.lost <= round
		if gone {
			es.lost--
		}
		return gone
	})
}
