// Reading the last messages on several subjects in one request, which every server that has
// the stream answers.

package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// stored is a message as it stands in a stream.
type stored struct {
	mark    mark
	subject string
	data    []byte
}

var (
	// errMoving says that a message went away while it was to be read: a newer one has
	// taken its place.
	errMoving = errors.New("a message was replaced while it was read")
	// errTooMany says that the server doesn't answer for so many subjects.
	errTooMany = errors.New("there are too many subjects")
)

// lastOf returns the last message on each subject, up to a number if that isn't 0.
func (s *Store) lastOf(ctx context.Context, sess *session, stream string, subjects []string, upTo uint64) ([]stored, error) {
	return ask(ctx, s, func(ctx context.Context) ([]stored, error) { return s.lastOnce(ctx, sess, stream, subjects, upTo) })
}

func (s *Store) lastOnce(ctx context.Context, sess *session, stream string, subjects []string, upTo uint64) (found []stored, err error) {
	request, err := json.Marshal(struct {
		MultiLast []string `json:"multi_last"`
		UpToSeq   uint64   `json:"up_to_seq,omitempty"`
	}{subjects, upTo})
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox()
	sub, err := sess.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := sess.conn.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, request); err != nil {
		return nil, err
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if status := m.Header.Get("Status"); status != "" {
			return found, endOfReplies(m, status)
		}
		one, err := parseStored(m)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
}

// endOfReplies returns what the last reply to a request says.
func endOfReplies(m *nats.Msg, status string) error {
	const none, tooMany, end, noResponders = "404", "413", "204", "503"
	description := m.Header.Get("Description")
	switch {
	case status == end && m.Header.Get("Nats-Num-Pending") == "0":
		return nil
	case status == end, status == tooMany:
		return errTooMany
	case status == none && description == "No Results":
		return nil
	case status == none:
		return errMoving
	case status == noResponders:
		return nats.ErrNoResponders
	}
	return refuse("the server doesn't hand out messages: %s %s", status, description)
}

// parseStored reads a message from the headers that the server adds.
func parseStored(m *nats.Msg) (stored, error) {
	seq, err1 := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	at, err2 := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err1 != nil || err2 != nil || seq == 0 {
		return stored{}, errBadReply
	}
	return stored{mark{seq, at.UnixNano()}, m.Header.Get("Nats-Subject"), m.Data}, nil
}
