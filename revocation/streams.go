package revocation

import (
	"slices"
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
	tokens  []streamToken

	previous, next *Stream
	holdings       *holding // linked by sibling
	closed         bool
}

// streamToken is a token that was presented for a stream.
type streamToken struct {
	facts *Facts // as presented
	said  *Facts // what its issuer's last answer adds; nil if there was none
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
	st := &Stream{streams: s, cut: cut, tokens: make([]streamToken, len(tokens))}
	s.count.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, facts := range tokens {
		// Who learns something of a token stores it and takes the lock then.
		st.tokens[i] = streamToken{facts, facts.said()}
	}
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
	s.releaseAll(st)
	if st.previous != nil {
		st.previous.next = st.next
	} else {
		s.first = st.next
	}
	if st.next != nil {
		st.next.previous = st.previous
	}
	st.cut, st.tokens, st.previous, st.next = nil, nil, nil, nil
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
		st.recheck(l)
	}
}

// recheck ends the stream if the list revokes one of its tokens. The caller holds the
// lock.
func (st *Stream) recheck(l *List) {
	for i := range st.tokens {
		t := &st.tokens[i]
		g := l.revokes(t.facts)
		if g == nil && t.said != nil {
			g = l.lookup(t.said)
		}
		if g != nil {
			st.end(Verdict{State: Revoked, Kind: g.kind, Shape: g.shape, Facts: t.facts})
		}
	}
}

// learn gives the streams that are open under a token, whoever holds its facts, the keys
// by which its issuer's last answer names it.
func (s *Streams) learn(l *List, f *Facts) {
	if s == nil || s.count.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	said := f.said()
	var open []*Stream // apart, since their keys change
	var space [1]groupKey
	for h := s.keys[f.appendKeys(space[:0], s.groups[0])[0].key]; h != nil; h = h.next {
		open = append(open, h.stream)
	}
	for _, st := range open {
		if st.learn(f.Fingerprint, said) {
			s.releaseAll(st)
			for _, g := range s.groups {
				s.hold(st, g)
			}
			st.recheck(l)
		}
	}
}

// learn reports whether that changes the stream's keys.
func (st *Stream) learn(token Fingerprint, said *Facts) (changed bool) {
	for i := range st.tokens {
		if t := &st.tokens[i]; t.facts.Fingerprint == token && !t.said.looksLike(said) {
			t.said, changed = said, true
		}
	}
	return changed
}

// said returns what the last answer of the token's issuer adds, nil if there was none.
func (f *Facts) said() *Facts {
	if proof := f.proof.Load(); proof != nil {
		return proof.Facts
	}
	return nil
}

// looksLike reports whether the same records hit both.
func (f *Facts) looksLike(o *Facts) bool {
	if f == nil || o == nil {
		return f == o
	}
	return f.Fingerprint == o.Fingerprint && f.IssuedAt == o.IssuedAt && f.AuthTime == o.AuthTime &&
		slices.Equal(f.Issuers, o.Issuers) && slices.Equal(f.Claims, o.Claims)
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
	for i := range st.tokens {
		t := &st.tokens[i]
		s.holdBy(st, g, t.facts, t.facts)
		if t.said != nil {
			s.holdBy(st, g, t.facts, t.said)
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

// releaseAll takes all keys of a stream out.
func (s *Streams) releaseAll(st *Stream) {
	for h := st.holdings; h != nil; h = h.sibling {
		s.release(h)
	}
	st.holdings = nil
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

// EndStreams ends the streams under tokens that were revoked before the list was opened.
// It comes after every other list has handed over to this one: they may know of
// reinstatements that its own store doesn't have.
func (l *List) EndStreams() { l.streams.recheck(l) }

// CheckAgain is Check for a token that a stream was opened under, with the facts that a
// verdict had. The token is empty if nothing of it is remembered.
func (c *Checker) CheckAgain(token string, f *Facts) Verdict {
	if token == "" {
		return c.decide(f)
	}
	// Two requests may have read the token at once, and the other one has asked its issuer.
	if other, cached := c.cache.find(token); cached && other != f && other.said() != nil {
		c.list.streams.learn(c.list, other)
		if v := c.decide(other); v.State == Revoked {
			return v
		}
	}
	return c.decide(f)
}
