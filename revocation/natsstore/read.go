// Reading the log: a consumer hands out its messages, and they become records.

package natsstore

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

const (
	// A consumer that has nothing to hand out says now and then that it is there. After two
	// times that are missing it is given up.
	minHeartbeat, maxHeartbeat = 500 * time.Millisecond, 2 * time.Second
	// readAhead is how many messages are asked for at a time.
	readAhead = 500
	// idleAfter is after how long the server drops a consumer that nobody asks.
	idleAfter = 30 * time.Second
)

// delivered is a message as a consumer hands it out.
type delivered struct {
	mark    mark
	subject string
	data    []byte
	pending uint64 // how many there are behind it
}

// reader hands out the messages of a stream.
type reader struct {
	sess      *session
	consumer  jetstream.Consumer
	consuming jetstream.ConsumeContext
	remove    string // the subject by which the consumer is deleted
	messages  chan delivered
	failed    chan error
	done      chan struct{}
	received  atomic.Uint64 // messages
	patience  time.Time     // until when a consumer may be unknown that was just made
	heartbeat time.Duration // how often the server says that the consumer is there
}

// read makes a reader of what a consumer is to hand out.
func (s *Store) read(ctx context.Context, sess *session, stream string, config jetstream.ConsumerConfig) (*reader, error) {
	config.AckPolicy = jetstream.AckNonePolicy
	config.InactiveThreshold = idleAfter
	config.MemoryStorage = true
	config.Replicas = 1
	consumer, err := ask(ctx, s, func(ctx context.Context) (jetstream.Consumer, error) {
		return sess.js.CreateConsumer(ctx, stream, config)
	})
	if err != nil {
		return nil, err
	}
	r := &reader{
		sess:      sess,
		consumer:  consumer,
		remove:    "$JS.API.CONSUMER.DELETE." + stream + "." + consumer.CachedInfo().Name,
		messages:  make(chan delivered, readAhead),
		failed:    make(chan error, 1),
		done:      make(chan struct{}),
		patience:  time.Now().Add(s.opts.Timeout),
		heartbeat: min(max(s.opts.Timeout/2, minHeartbeat), maxHeartbeat),
	}
	if err := r.consume(); err != nil {
		return nil, err
	}
	return r, nil
}

// consume asks for messages. The library goes on asking; what it does about failures is no
// matter here, since any of them ends the reader.
func (r *reader) consume() (err error) {
	r.consuming, err = r.consumer.Consume(r.receive,
		jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(r.heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { r.fail(err) }))
	return err
}

// receive takes in a message. None may be missing among those that the server has sent.
func (r *reader) receive(m jetstream.Msg) {
	about, err := m.Metadata()
	if err == nil && about.Sequence.Consumer != r.received.Add(1) {
		err = errGap
	}
	if err != nil {
		r.fail(err)
		return
	}
	select {
	case r.messages <- delivered{mark{about.Sequence.Stream, about.Timestamp.UnixNano()}, m.Subject(), m.Data(), about.NumPending}:
	case <-r.done:
	}
}

var errGap = errors.New("the server left out messages of a consumer")

func (r *reader) fail(err error) {
	select {
	case r.failed <- err:
	default:
	}
}

// close ends the reader. The server is told, and not waited for.
func (r *reader) close() {
	close(r.done)
	r.consuming.Stop()
	_ = r.sess.conn.PublishRequest(r.remove, nats.NewInbox(), nil) // else it notices by itself
}

// next waits for a message.
func (r *reader) next(ctx context.Context) (delivered, error) {
	for {
		if d, ok := r.ready(); ok {
			return d, nil
		}
		select {
		case d := <-r.messages:
			return d, nil
		case <-ctx.Done():
			return delivered{}, ctx.Err()
		case err := <-r.failed:
			if err = r.insist(ctx, err); err != nil {
				return delivered{}, err
			}
		}
	}
}

// insist asks again where a server of a cluster hasn't heard yet that the consumer is
// there. Else it returns the error.
func (r *reader) insist(ctx context.Context, err error) error {
	if !errors.Is(err, nats.ErrNoResponders) || r.received.Load() > 0 || time.Now().After(r.patience) {
		return err
	}
	r.consuming.Stop()
	timer := time.NewTimer(firstRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return r.consume()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nextWithin is next for a time. It reports whether there was a message.
func (r *reader) nextWithin(ctx context.Context, patience time.Duration) (delivered, bool, error) {
	if d, ok := r.ready(); ok {
		return d, true, nil
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := r.next(waiting)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return delivered{}, false, nil
	}
	return d, err == nil, err
}

// ready returns a message if there is one already.
func (r *reader) ready() (delivered, bool) {
	select {
	case d := <-r.messages:
		return d, true
	default:
		return delivered{}, false
	}
}

// heldBytes is how much is held of parts whose last message hasn't come. What is beyond is
// fetched when it is needed.
const heldBytes = 64 << 20

// assembler makes records of messages.
type assembler struct {
	store *Store
	sess  *session
	held  map[uint64][]byte // parts by their numbers
	bytes int
	batch []revocation.Record
}

func (s *Store) assemble(sess *session) *assembler {
	return &assembler{store: s, sess: sess, held: map[uint64][]byte{}}
}

// add adds the records of a message to the batch. Those of a part wait for the message that
// names it.
func (a *assembler) add(ctx context.Context, d delivered) error {
	s := a.store
	if d.subject == s.streams.parts {
		a.hold(d)
		return nil
	}
	kind, body, err := open(d.data)
	var pieces []piece
	switch {
	case errors.Is(err, errForeign):
		s.tellForeign(d)
		return nil
	case errors.Is(err, errNewer):
		return refuse("%w: message %d of the stream %s has schema %q, this version writes %q: update every node, or choose another prefix",
			revocation.ErrStoreVersion, d.mark.seq, s.streams.log, d.data[len(magic)], rune(schema))
	case kind == kindWhole:
		pieces, err = parsePieces(nil, body)
	case kind == kindCommit:
		pieces, err = a.gather(ctx, body)
	default:
		err = errContent
	}
	if err == nil {
		a.batch, err = decodePieces(a.batch, pieces)
	}
	if known := (*refusal)(nil); err == nil || errors.As(err, &known) || ctx.Err() != nil {
		return err
	}
	return s.corrupt(d.mark.seq, err)
}

func (a *assembler) hold(d delivered) {
	if a.bytes+len(d.data) > heldBytes {
		clear(a.held)
		a.bytes = 0
	}
	a.held[d.mark.seq] = d.data
	a.bytes += len(d.data)
}

// gather returns the blocks of all parts that are named. One that isn't there had expired,
// or is lost.
func (a *assembler) gather(ctx context.Context, body []byte) (pieces []piece, err error) {
	refs, err := parseRefs(body)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		data, ok := a.held[ref.seq]
		if ok {
			delete(a.held, ref.seq)
			a.bytes -= len(data)
		} else {
			m, err := a.store.bySequence(ctx, a.sess, a.store.streams.log, ref.seq)
			switch {
			case err == nil:
				data = m.Data
			case !errors.Is(err, errNoMessage):
				return nil, err
			case a.store.now().Unix() >= ref.expires:
				continue
			default:
				return nil, a.store.corrupt(ref.seq, errors.New("it is missing"))
			}
		}
		kind, content, err := open(data)
		if err == nil && kind != kindPart {
			err = errContent
		}
		if err == nil {
			pieces, err = parsePieces(pieces, content)
		}
		if err != nil {
			return nil, a.store.corrupt(ref.seq, err)
		}
	}
	return pieces, nil
}

// tellForeign says that somebody else has published to the log. Once is enough for each
// store: it can't be removed.
func (s *Store) tellForeign(d delivered) {
	if _, again := s.warned.LoadOrStore(errForeign, true); !again {
		s.log.Error("a message in the NATS stream of revocations wasn't written by this module and is passed over: keep other programs away from these subjects",
			"store", s.name, "stream", s.streams.log, "subject", d.subject, "sequence", d.mark.seq)
	}
}

// errNoMessage says that a stream has no such message.
var errNoMessage = errors.New("there is no such message")

// apiMessage is a message as the API of JetStream gives it.
type apiMessage struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// bySequence asks a stream's leader for a message.
func (s *Store) bySequence(ctx context.Context, sess *session, stream string, seq uint64) (apiMessage, error) {
	return s.message(ctx, sess, stream, map[string]any{"seq": seq})
}

// lastOn asks a stream's leader for the last message on a subject.
func (s *Store) lastOn(ctx context.Context, sess *session, stream, subject string) (apiMessage, error) {
	return s.message(ctx, sess, stream, map[string]any{"last_by_subj": subject})
}

func (s *Store) message(ctx context.Context, sess *session, stream string, what map[string]any) (m apiMessage, err error) {
	var reply struct {
		Message apiMessage `json:"message"`
	}
	err = s.api(ctx, sess, "STREAM.MSG.GET."+stream, what, &reply)
	return reply.Message, err
}

// api calls the API of JetStream.
func (s *Store) api(ctx context.Context, sess *session, subject string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, s, func(ctx context.Context) (*nats.Msg, error) {
		return sess.conn.RequestWithContext(ctx, "$JS.API."+subject, body)
	})
	if err != nil {
		return err
	}
	var failed struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer.Data, &failed); err != nil {
		return errBadReply
	}
	if failed.Error != nil {
		switch {
		case failed.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound, failed.Error.ErrorCode == codeNoSequence:
			return errNoMessage
		case strings.Contains(failed.Error.Description, "no message found"):
			return errNoMessage
		}
		return failed.Error
	}
	if err := json.Unmarshal(answer.Data, reply); err != nil {
		return errBadReply
	}
	return nil
}

var errBadReply = errors.New("the server's reply has another form than it must have")
