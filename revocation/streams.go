package revocation

import (
	"sync"
	"sync/atomic"
)

// This file ends exchanges that are open when one of their tokens is revoked. A check
// decides at the beginning of a request; what goes on for hours afterwards would
// outlive its token.

// Streams are the open exchanges of a process, by the keys that their tokens have. They
// don't belong to one list: exchanges outlive the configuration under which they began,
// and are ended by records of the lists that come after.
//
// All methods may be called concurrently.
type Streams struct {
	count atomic.Int64 // read without the lock, to know when there is nothing to do

	mu     sync.Mutex
	groups []*group         // the kinds and shapes that keys are made for
	keys   map[Key]*holding // the first one of each key
	first  *Stream
}

// Stream is one open exchange.
type Stream struct {
	streams *Streams
	cut     func(Verdict) // nil once it was called or the stream was closed
	tokens  []*Facts

	previous, next *Stream
	holdings       *holding // linked by sibling
	closed         bool
}

// holding is a key that a token of a stream has.
type holding struct {
	key    Key
	stream *Stream
	token  *Facts // as presented
	facts  *Facts // that have the key: the token's own or those of its proof

	previous, next *holding // of the same key
	sibling        *holding // of the same stream
}

// NewStreams returns streams of which none is open.
func NewStreams() *Streams {
	return &Streams{
		keys: map[Key]*holding{},
		// What most records are. Others are made room for when they come.
		groups: []*group{{kind: Block, shape: Shape(RoleToken), roles: []Role{RoleToken}}},
	}
}

// Open registers an exchange under all tokens that were presented for it. When a record
// that hits one of them becomes effective, cut is called with what it does to which
// token: once, on a goroutine of its own, and never after Close returned unless it
// began before.
//
// A record that became effective before Open returned may have been missed. So the
// caller checks the tokens once more afterwards, with Checker.CheckAgain.
func (s *Streams) Open(cut func(Verdict), tokens ...*Facts) *Stream {
	st := &Stream{streams: s, cut: cut, tokens: tokens}
	s.count.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.next = s.first; st.next != nil {
		st.next.previous = st
	}
	s.first = st
	for _, g := range s.groups {
		s.hold(st, g)
	}
	return st
}

// Close says that the exchange is over. It may be called more than once.
func (st *Stream) Close() {
	s := st.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.closed {
		return
	}
	st.closed = true
	s.count.Add(-1)
	for h := st.holdings; h != nil; h = h.sibling {
		s.release(h)
	}
	if st.previous != nil {
		st.previous.next = st.next
	} else {
		s.first = st.next
	}
	if st.next != nil {
		st.next.previous = st.previous
	}
	st.cut, st.tokens, st.holdings, st.previous, st.next = nil, nil, nil, nil, nil
}

// Len returns how many exchanges are open.
func (s *Streams) Len() int { return int(s.count.Load()) }

// hit ends every stream with a token that a record hits, which has been put into the
// index before.
func (s *Streams) hit(e entry) {
	if s == nil || s.count.Load() == 0 {
		return // who opens one now looks into the index afterwards
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(e.group)
	for h := s.keys[e.key]; h != nil; h = h.next {
		if h.facts.hitBy(e.group.kind, e.value) {
			h.stream.end(Verdict{State: Revoked, Kind: e.group.kind, Shape: e.group.shape, Facts: h.token})
		}
	}
}

// recheck ends every stream with a token that the list revokes. It is for a list that
// knows many records at once, of which some may be cancelled by others.
func (s *Streams) recheck(l *List) {
	if s == nil || s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := s.first; st != nil; st = st.next {
		for _, f := range st.tokens {
			if g := l.revokes(f); g != nil {
				st.end(Verdict{State: Revoked, Kind: g.kind, Shape: g.shape, Facts: f})
			}
		}
	}
}

// end calls cut if nobody has. The caller holds the lock.
func (st *Stream) end(v Verdict) {
	if cut := st.cut; cut != nil {
		st.cut = nil
		go cut(v)
	}
}

// makeRoom sees to it that streams have their keys of a kind and shape. New ones are
// rare: each costs a look at every open stream once.
func (s *Streams) makeRoom(g *group) {
	for _, known := range s.groups {
		if known.kind == g.kind && known.shape == g.shape {
			return
		}
	}
	g = &group{kind: g.kind, shape: g.shape, roles: g.roles} // without the table of one list
	s.groups = append(s.groups, g)
	for st := s.first; st != nil; st = st.next {
		s.hold(st, g)
	}
}

// hold adds a stream's keys of one kind and shape.
func (s *Streams) hold(st *Stream, g *group) {
	for _, token := range st.tokens {
		s.holdBy(st, g, token, token)
		if proof := token.proof.Load(); proof != nil && proof.Facts != nil {
			s.holdBy(st, g, token, proof.Facts)
		}
	}
}

func (s *Streams) holdBy(st *Stream, g *group, token, facts *Facts) {
	var space [4]groupKey
	for _, k := range facts.appendKeys(space[:0], g) {
		h := &holding{key: k.key, stream: st, token: token, facts: facts, next: s.keys[k.key], sibling: st.holdings}
		if h.next != nil {
			h.next.previous = h
		}
		s.keys[k.key], st.holdings = h, h
	}
}

// release takes a key of a stream out.
func (s *Streams) release(h *holding) {
	if h.next != nil {
		h.next.previous = h.previous
	}
	switch {
	case h.previous != nil:
		h.previous.next = h.next
	case h.next != nil:
		s.keys[h.key] = h.next
	default:
		delete(s.keys, h.key)
	}
}

// watch begins to end streams when records of the list become effective. Those that are
// effective already count at once.
func (l *List) watch(s *Streams) {
	l.streams = s
	s.recheck(l)
}

// CheckAgain is Check for a token whose facts a verdict had.
func (c *Checker) CheckAgain(f *Facts) Verdict { return c.decide(f) }
