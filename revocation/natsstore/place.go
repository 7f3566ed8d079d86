// Whether a place is one of the log that the servers have now.

package natsstore

import (
	"context"
	"errors"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// proof is what a beat has found, for the time when the messages have expired: the marker
// that it published, and places before that. As long as the marker is there, the log is the
// same up to it.
type proof struct {
	epoch  string
	marker mark
	marks  map[mark]bool
}

func (s *Store) lastProof() proof {
	s.proofMu.Lock()
	defer s.proofMu.Unlock()
	return s.proof
}

func (s *Store) setProof(p proof) {
	s.proofMu.Lock()
	defer s.proofMu.Unlock()
	s.proof = p
}

// judge looks at the places of one log, as it is at one moment.
type judge struct {
	store *Store
	sess  *session
	epoch string
	last  mark // the last message
	proof proof
	holds *bool         // whether the marker of the proof is there, once that was looked up
	known map[mark]bool // what was found
}

func (s *Store) newJudge(sess *session, last mark) *judge {
	j := &judge{store: s, sess: sess, epoch: sess.streamsEpoch(), last: last, proof: s.lastProof(), known: map[mark]bool{}}
	if j.proof.epoch != j.epoch {
		j.proof = proof{}
	}
	return j
}

// isPlace reports whether a position is one of the log.
func (j *judge) isPlace(ctx context.Context, p position) (bool, error) {
	switch {
	case p.epoch != j.epoch:
		return false, nil
	case p.mark == mark{}, p.mark == j.last:
		j.known[p.mark] = true
		return true, nil
	}
	if ok, known := j.known[p.mark]; known {
		return ok, nil
	}
	ok, err := j.isProven(ctx, p.mark)
	if err == nil && !ok {
		ok, err = j.store.stands(ctx, j.sess, p.mark)
	}
	if err == nil {
		j.known[p.mark] = ok
	}
	return ok, err
}

// isProven reports whether the last beat has found a place, in what is the log still.
func (j *judge) isProven(ctx context.Context, m mark) (bool, error) {
	if !j.proof.marks[m] {
		return false, nil
	}
	if j.holds == nil {
		ok, err := j.store.stands(ctx, j.sess, j.proof.marker)
		if err != nil {
			return false, err
		}
		j.holds = &ok
	}
	return *j.holds, nil
}

// next is the proof that there is after a beat, whose marker is behind everything that was
// found.
func (j *judge) next(marker mark) proof {
	p := proof{j.epoch, marker, map[mark]bool{}}
	for m, ok := range j.known {
		if ok && m.seq < marker.seq {
			p.marks[m] = true
		}
	}
	return p
}

// stands reports whether the message of a mark is in the log.
func (s *Store) stands(ctx context.Context, sess *session, m mark) (bool, error) {
	at, err := s.bySequence(ctx, sess, s.streams.log, m.seq)
	if errors.Is(err, errNoMessage) {
		return false, nil
	}
	return at.Time.UnixNano() == m.time, err
}

// verify returns an error that wraps ErrFeedBroken unless a position is a place of the log.
// there reports whether its message can still be read.
func (s *Store) verify(ctx context.Context, sess *session, p position) (there bool, err error) {
	if p.epoch != sess.streamsEpoch() {
		return false, errOtherStreams
	}
	if p.mark == (mark{}) {
		return false, nil
	}
	if there, err = s.stands(ctx, sess, p.mark); there || err != nil {
		return there, err
	}
	proven, err := s.newJudge(sess, mark{}).isProven(ctx, p.mark)
	if err == nil && !proven {
		err = errOtherLog(p.mark)
	}
	return false, err
}

var errOtherStreams = broken("its streams were made anew")

func errOtherLog(m mark) error {
	return broken("message %d is not the one that was followed, or has expired long since", m.seq)
}

// broken makes an error that wraps ErrFeedBroken.
func broken(format string, args ...any) error {
	return refuse("%w: "+format, append([]any{revocation.ErrFeedBroken}, args...)...)
}
