// What the servers refused, in words that say what to do.

package natsstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Error codes of JetStream that the client's library has no names for.
const (
	codeNoPeers         jetstream.ErrorCode = 10005
	codeUnavailable     jetstream.ErrorCode = 10008
	codeInsufficient    jetstream.ErrorCode = 10023
	codeManyStreams     jetstream.ErrorCode = 10027
	codeMemory          jetstream.ErrorCode = 10028
	codeNoSequence      jetstream.ErrorCode = 10043
	codeStorage         jetstream.ErrorCode = 10047
	codeStreamLimits    jetstream.ErrorCode = 10053
	codeMessageTooLarge jetstream.ErrorCode = 10054
	codeOverlap         jetstream.ErrorCode = 10065
	codeNoCluster       jetstream.ErrorCode = 10074
	codeStoreFailed     jetstream.ErrorCode = 10077
	codeSealed          jetstream.ErrorCode = 10109
	codeNoTTL           jetstream.ErrorCode = 10166
)

const makeRoom = "raise the limits of the stream or the account, or max_file_store, or delete what else is there"

// refusals are errors of JetStream.
var refusals = map[jetstream.ErrorCode]struct {
	kind   error // of the revocation package, nil where none fits
	remedy string
}{
	jetstream.JSErrCodeJetStreamNotEnabled:           {nil, "give the server a block jetstream { … } in its configuration"},
	jetstream.JSErrCodeJetStreamNotEnabledForAccount: {nil, "give the account jetstream: enabled in the server's configuration"},
	codeNoPeers:                              {nil, "there are fewer servers with room than the stream has replicas: bring them back, or set replicas"},
	codeUnavailable:                          {nil, "the cluster has no leader: bring servers back until it has a majority"},
	codeInsufficient:                         {revocation.ErrStoreFull, makeRoom},
	codeManyStreams:                          {revocation.ErrStoreFull, "raise the account's limit of streams"},
	codeMemory:                               {revocation.ErrStoreFull, "raise max_memory_store, or delete what else is there"},
	codeStorage:                              {revocation.ErrStoreFull, makeRoom},
	codeStreamLimits:                         {revocation.ErrStoreFull, makeRoom},
	codeMessageTooLarge:                      {nil, "raise max_msg_size of the stream to 64 KiB"},
	codeOverlap:                              {nil, "another stream takes the same subjects: choose another prefix"},
	codeNoCluster:                            {nil, "the server is in no cluster: set replicas to 1"},
	codeStoreFailed:                          {nil, "see the server's log"},
	codeSealed:                               {revocation.ErrStoreReadOnly, "delete the stream, and it is made as it must be"},
	codeNoTTL:                                {nil, "run nats stream edit --allow-msg-ttl"},
	jetstream.JSErrCodeMaximumConsumersLimit: {nil, "raise max_consumers of the stream or the account"},
	jetstream.JSErrCodeStreamNotFound:        {nil, "somebody has deleted the stream: it is made anew"},
	jetstream.JSErrCodeStreamNameInUse:       {nil, "another program uses the stream: choose another prefix"},
}

// full are words in errors of a stream or its store that say that there is no room.
var full = []string{"maximum bytes", "maximum messages", "maximum messages per subject", "no space left", "insufficient", "resources exceeded"}

// rights is what the user needs, with the default prefix.
const rights = "docs/clusters-nats.md has the permissions that the user needs"

// refusal is an error that says by itself what to do.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func refuse(format string, args ...any) error { return &refusal{fmt.Errorf(format, args...)} }

// final is an error after which a call isn't made again.
func final(err error) error {
	if err == nil {
		return nil
	}
	return &lastWord{err}
}

type lastWord struct{ error }

func (l *lastWord) Unwrap() error { return l.error }

// isNoStream reports whether nobody has answered for a stream: it isn't there.
func isNoStream(err error) bool {
	var last *lastWord
	if errors.As(err, &last) {
		return false
	}
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) || codeOf(err) == jetstream.JSErrCodeStreamNotFound
}

func codeOf(err error) jetstream.ErrorCode {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return api.ErrorCode
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return js.APIError().ErrorCode
	}
	return 0
}

// explain makes the error of a call from that of the client's library.
func (s *Store) explain(ctx context.Context, err error) error {
	var caller *callers
	var known *refusal
	switch {
	case err == nil:
		return nil
	case errors.As(err, &caller):
		return caller.error
	case s.gate.Closed():
		return s.errClosed()
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", s.name, ctx.Err())
	case errors.As(err, &known):
		return fmt.Errorf("%s: %w", s.name, known.err)
	}
	if code := codeOf(err); code != 0 {
		return fmt.Errorf("%s: %w", s.name, explainCode(code, err))
	}
	return fmt.Errorf("%s: %w", s.name, s.explainClient(err))
}

func explainCode(code jetstream.ErrorCode, err error) error {
	r := refusals[code]
	for _, words := range full {
		if r.kind == nil && strings.Contains(err.Error(), words) && code != codeNoPeers {
			r.kind, r.remedy = revocation.ErrStoreFull, makeRoom
		}
	}
	switch {
	case r.kind != nil:
		return fmt.Errorf("%w: %w: %s", r.kind, err, r.remedy)
	case r.remedy != "":
		return fmt.Errorf("%w: %s", err, r.remedy)
	}
	return err
}

// explainClient explains what isn't an answer of JetStream.
func (s *Store) explainClient(err error) error {
	var network net.Error
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return fmt.Errorf("%w: the user lacks a permission: %s", err, rights)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked), errors.Is(err, nats.ErrAccountAuthExpired):
		return fmt.Errorf("%w: the user, the password, the token, the credentials or the NKey is wrong, or is missing", err)
	case errors.Is(err, nats.ErrNkeysNotSupported):
		return fmt.Errorf("%w: none of its users has an NKey or credentials: use another way in", err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: JetStream isn't enabled there, or the stream has no leader: see nats stream report", err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: raise the server's max_payload to 1 MB", err)
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: one side wants TLS and the other doesn't", err)
	case errors.Is(err, errNoAnswer), errors.Is(err, nats.ErrStaleConnection), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout), errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("it doesn't answer within %s, as when fewer than half of the servers that have the stream are there, or a disk is full or was and the server must be restarted: %w", s.opts.Timeout, err)
	case errors.Is(err, jetstream.ErrNoHeartbeat), errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, errGap), errors.Is(err, errBehind), errors.Is(err, errMovedOn), errors.Is(err, errBadReply):
		return err
	}
	return fmt.Errorf("it can't be reached: %w", err)
}

// corrupt makes an error that wraps ErrStoreCorrupt.
func (s *Store) corrupt(seq uint64, what error) error {
	return refuse("%w: message %d of the stream %s: %w: delete the stream, and the nodes that run write what they know again", revocation.ErrStoreCorrupt, seq, s.streams.log, what)
}
