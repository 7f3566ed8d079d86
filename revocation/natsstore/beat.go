// What nodes tell each other: that they live, and how far they have come.

package natsstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// markerLife is for how long a marker is kept. Its number counts at once; the message is
// needed as long as beats rest on the one before (see proof).
const markerLife = 5 * time.Minute

var errNoNode = errors.New("the beat names no node")

// errForgotten comes also when others have forgotten a node that said nothing for long, and
// isn't dead.
var errForgotten = broken("it has lost what this node said last, or others have forgotten this node")

// tokenOf makes a node's id something that can be in a subject.
func tokenOf(node string) string { return base64.RawURLEncoding.EncodeToString([]byte(node)) }

// shelves are what the subjects of nodes are put on. A server answers for a thousand
// subjects at a time, and these can be asked for one by one.
const shelves = "0123456789abcdef"

// subjectOf returns the subject of a node's beats.
func (n *streams) subjectOf(node string) string {
	shelf := shelves[sha256.Sum256([]byte(node))[0]%byte(len(shelves))]
	return n.nodePrefix + string(shelf) + "." + tokenOf(node)
}

// Beat notes what a node says, and publishes a marker: what was acknowledged before is in
// front of it. The node is noted first: one that others don't see yet has to have
// everything that they have appended by then.
func (s *Store) Beat(ctx context.Context, b revocation.Beat) (revocation.Head, error) {
	var head revocation.Head
	if b.Node == "" {
		return head, errNoNode
	}
	var applied position
	if b.Applied != "" {
		var err error
		if applied, err = parsePosition(b.Applied); err != nil {
			return head, s.explain(ctx, broken("%w", err))
		}
	}
	text, err := json.Marshal(b)
	if err != nil {
		return head, err
	}
	err = s.run(ctx, func(ctx context.Context, sess *session) error {
		ctx, cancel := s.timed(ctx)
		defer cancel()
		if err := s.inspectAgain(ctx, sess); err != nil {
			return err
		}
		noted, err := s.note(ctx, sess, b, text)
		if err != nil {
			return err
		}
		marker, last, err := s.mark(ctx, sess, s.streams.heads+tokenOf(b.Node))
		if err != nil {
			return err
		}
		if err := s.noticeNew(ctx, sess, noted, marker.seq); err != nil {
			return err
		}
		nodes, at, err := s.readNodes(ctx, sess, b.Node, noted)
		if err != nil {
			return err
		}
		j := s.newJudge(sess, last)
		if b.Applied != "" {
			if ok, err := j.isPlace(ctx, applied); err != nil {
				return err
			} else if !ok {
				if applied.epoch != j.epoch {
					return errOtherStreams
				}
				return errOtherLog(applied.mark)
			}
		}
		if nodes, err = s.forget(ctx, sess, nodes, b.Forget); err != nil {
			return err
		}
		head = revocation.Head{Position: position{j.epoch, last}.text(), Time: at}
		for _, n := range nodes {
			if n.Applied != "" {
				p, err := parsePosition(n.Applied)
				ok := err == nil
				if ok {
					if ok, err = j.isPlace(ctx, p); err != nil {
						return err
					}
				}
				if !ok {
					n.Applied = ""
				}
			}
			head.Nodes = append(head.Nodes, n.NodeStatus)
		}
		s.setProof(j.next(marker))
		return nil
	})
	if err != nil {
		return revocation.Head{}, err
	}
	return head, nil
}

// spoken is the last beat that this store has published. lost says that the servers have lost
// it.
type spoken struct {
	node string
	seq  uint64
	lost bool
}

// note publishes what a node says. If what it said last isn't there any more, the streams may
// have lost what others said as well, and by that whom to wait for, although every record is
// there: that is an error.
func (s *Store) note(ctx context.Context, sess *session, b revocation.Beat, text []byte) (noted uint64, err error) {
	subject := s.streams.subjectOf(b.Node)
	s.spokenMu.Lock()
	last := s.spoken
	s.spokenMu.Unlock()
	if last.node != b.Node {
		last = spoken{node: b.Node}
	}
	if last.seq > 0 && !last.lost {
		noted, err = s.publish(ctx, sess, s.streams.nodes, subject, text, 0, jetstream.WithExpectLastSequencePerSubject(last.seq))
		if err == nil {
			s.setSpoken(spoken{node: b.Node, seq: noted})
			return noted, nil
		}
		if code := codeOf(err); code != jetstream.JSErrCodeStreamWrongLastSequence && code != jetstream.JSErrCodeStreamWrongLastSequenceConstant {
			return 0, err
		}
		remembered, err := s.remembers(ctx, sess, b.Node, last.seq)
		if err != nil {
			return 0, err
		}
		last.lost = !remembered
		s.setSpoken(last)
	}
	if noted, err = s.publish(ctx, sess, s.streams.nodes, subject, text, 0); err != nil {
		return 0, err
	}
	s.setSpoken(spoken{node: b.Node, seq: noted})
	if last.lost {
		return 0, errForgotten
	}
	return noted, nil
}

func (s *Store) setSpoken(last spoken) {
	s.spokenMu.Lock()
	defer s.spokenMu.Unlock()
	s.spoken = last
}

// remembers reports whether the last message of a node is one that it has published, not
// before another one. If it is a later one, the answer to a beat was lost, and not the beat.
func (s *Store) remembers(ctx context.Context, sess *session, id string, seq uint64) (bool, error) {
	m, err := s.lastOn(ctx, sess, s.streams.nodes, s.streams.subjectOf(id))
	if errors.Is(err, errNoMessage) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, ok := parseNode(stored{mark{m.Seq, m.Time.UnixNano()}, m.Subject, m.Data})
	return ok && n.Node == id && n.seq >= seq, nil
}

// mark publishes a marker, and returns it and the last message of the log before it.
func (s *Store) mark(ctx context.Context, sess *session, subject string) (marker, last mark, err error) {
	seq, err := s.publish(ctx, sess, s.streams.log, subject, preface(kindHead), s.markerLife)
	if err != nil {
		return marker, last, err
	}
	return s.before(ctx, sess, subject, seq)
}

// before returns a marker by its number, and the last message of the log before it. A server
// that hasn't got the marker yet may lack what is before it.
func (s *Store) before(ctx context.Context, sess *session, subject string, seq uint64) (marker, last mark, err error) {
	err = s.untilCurrent(ctx, func() (bool, error) {
		found, err := s.lastOf(ctx, sess, s.streams.log, []string{s.streams.logSubject, subject}, seq)
		if err != nil {
			return false, err
		}
		marker, last = mark{}, mark{}
		for _, m := range found {
			if m.subject == subject {
				marker = m.mark
			} else {
				last = m.mark
			}
		}
		return marker.seq == seq, nil
	})
	return marker, last, err
}

// untilCurrent calls ask, which any server that has the stream answers, until one answers
// that isn't behind.
func (s *Store) untilCurrent(ctx context.Context, ask func() (bool, error)) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		ok, err := ask()
		if ok || err != nil && !errors.Is(err, errMoving) {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// noticeNew looks at the streams again when their numbers have begun anew.
func (s *Store) noticeNew(ctx context.Context, sess *session, noted, marker uint64) error {
	sess.mu.Lock()
	anew := noted <= sess.noted || marker <= sess.marker
	sess.noted, sess.marker = noted, marker
	sess.mu.Unlock()
	if anew {
		return s.inspectStreams(ctx, sess)
	}
	return nil
}

// node is what a node last said, and the number of the message.
type node struct {
	revocation.NodeStatus
	seq uint64
}

// readNodes returns what all nodes said last, this one and every one that was acknowledged
// before this one's beat, and when that came, by the stream's clock.
func (s *Store) readNodes(ctx context.Context, sess *session, self string, noted uint64) (nodes []node, at time.Time, err error) {
	nodes, at, err = s.nodesOn(ctx, sess, s.streams.nodePrefix+"*.*", self, noted)
	if !errors.Is(err, errTooMany) {
		return nodes, at, err
	}
	for _, shelf := range shelves {
		var some []node
		some, at, err = s.nodesOn(ctx, sess, s.streams.nodePrefix+string(shelf)+".*", self, noted)
		if errors.Is(err, errTooMany) {
			err = refuse("it remembers more nodes than it can hand out: delete the stream %s, and those that run say again that they do", s.streams.nodes)
		}
		if err != nil {
			return nil, at, err
		}
		nodes = append(nodes, some...)
	}
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.seq, b.seq) })
	return slices.CompactFunc(nodes, func(a, b node) bool { return a.Node == b.Node }), at, nil
}

// nodesOn returns what the nodes on some subjects said last, and this one, and when that was.
// A server that hasn't got its beat yet may lack others.
func (s *Store) nodesOn(ctx context.Context, sess *session, subjects, self string, noted uint64) (nodes []node, at time.Time, err error) {
	own := s.streams.subjectOf(self)
	err = s.untilCurrent(ctx, func() (bool, error) {
		found, err := s.lastOf(ctx, sess, s.streams.nodes, []string{subjects, own}, 0)
		if err != nil {
			return false, err
		}
		nodes = nodes[:0]
		current := false
		for _, m := range found {
			if m.subject == own && m.mark.seq >= noted {
				current, at = true, m.mark.at()
			}
			if n, ok := parseNode(m); ok {
				nodes = append(nodes, n)
			}
		}
		return current, nil
	})
	return nodes, at, err
}

// parseNode reads what a node said. What isn't a beat is left out.
func parseNode(m stored) (node, bool) {
	var b revocation.Beat
	if json.Unmarshal(m.data, &b) != nil || b.Node == "" {
		return node{}, false
	}
	return node{revocation.NodeStatus{Beat: b, At: m.mark.at()}, m.mark.seq}, true
}

// forget removes nodes whose last beat has a given number, and returns the others. What is
// removed is the message with that beat: one that came since then is another message.
func (s *Store) forget(ctx context.Context, sess *session, nodes []node, numbers map[string]uint64) ([]node, error) {
	var kept []node
	for _, n := range nodes {
		number, ok := numbers[n.Node]
		if !ok || number != n.Number {
			kept = append(kept, n)
			continue
		}
		var reply struct{}
		err := s.api(ctx, sess, "STREAM.MSG.DELETE."+s.streams.nodes, map[string]any{"seq": n.seq, "no_erase": true}, &reply)
		if err != nil && !errors.Is(err, errNoMessage) {
			return nil, err
		}
	}
	return kept, nil
}
