// Whether streams may be trusted with revocations, and how they are made.

package natsstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// What Durability returns.
const (
	// DurabilityStated says that whoever runs the servers has stated that they write
	// everything to disk before they answer: Options.SyncAlways.
	DurabilityStated = "stated"
	// DurabilityUnverified says that nobody has stated that. A server doesn't tell it, and
	// by default it writes to disk every two minutes.
	DurabilityUnverified = "unverified"
	// DurabilityUnsafe says that a stream can forget revocations, which
	// Options.UnsafeDurability allows.
	DurabilityUnsafe = "unsafe"
)

// inspectEvery is how often Beat looks at the streams: somebody may have changed them.
const inspectEvery = time.Minute

// Durability returns how far the streams that were seen last can be trusted, or nothing
// before the first connection.
func (s *Store) Durability() string { return s.durability.Load().(string) }

// inspectServer looks at the server behind a new connection.
func (s *Store) inspectServer(sess *session) error {
	return checkVersion(sess.conn.ConnectedServerVersion())
}

// checkVersion wants a server that knows how messages expire one by one.
func checkVersion(version string) error {
	parts := strings.SplitN(version, ".", 3)
	major, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 2 {
		return nil // another numbering
	}
	minor, _ := strconv.Atoi(parts[1])
	if major > 2 || major == 2 && minor >= 11 {
		return nil
	}
	return refuse("%w: it has version %s: use nats-server 2.11 or newer", revocation.ErrStoreVersion, version)
}

// metaSchema is under which name a stream has its schema. One that was made by hand needs
// none.
const metaSchema = "token_revocation.schema"

// autoReplicas are those of a stream in a cluster: one server may be lost.
const autoReplicas = 3

func (s *Store) logConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        s.streams.log,
		Description: "Revoked OAuth tokens, written by Caddy",
		Subjects:    []string{s.streams.logSubject, s.streams.parts, s.streams.heads + "*"},
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		Discard:     jetstream.DiscardNew,
		AllowMsgTTL: true,
		AllowDirect: true,
		DenyDelete:  true,
		DenyPurge:   true,
		Metadata:    map[string]string{metaSchema: string(schema)},
	}
}

func (s *Store) nodesConfig(replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.streams.nodes,
		Description:       "The Caddys that share revoked OAuth tokens",
		Subjects:          []string{s.streams.nodePrefix + "*.*"},
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		MaxMsgsPerSubject: 1,
		AllowDirect:       true,
		DenyPurge:         true,
		Metadata:          map[string]string{metaSchema: string(schema)},
	}
}

// inspectStreams looks at the streams, and makes those that aren't there. The error says
// what to set.
func (s *Store) inspectStreams(ctx context.Context, sess *session) error {
	log, err := s.stream(ctx, sess, s.logConfig)
	if err != nil {
		return err
	}
	nodes, err := s.stream(ctx, sess, s.nodesConfig)
	if err != nil {
		return err
	}
	faults := append(s.findFaults(&log.Config, s.logConfig(0)), s.findFaults(&nodes.Config, s.nodesConfig(0))...)
	for _, f := range faults {
		if f.kind != nil || f.vital || !s.opts.UnsafeDurability {
			return f.refusal(s.opts.UnsafeDurability)
		}
	}
	switch {
	case len(faults) > 0:
		s.durability.Store(DurabilityUnsafe)
		s.warnOnce("a NATS stream can forget revocations, which unsafe_durability allows", "problem", faults[0].what, "remedy", faults[0].remedy)
	case !s.opts.SyncAlways:
		s.durability.Store(DurabilityUnverified)
		s.warnOnce("NATS servers don't tell when they write to disk what they acknowledge, and by default they do that every two minutes: set sync_interval to always at each of them, and state that with sync_always",
			"remedy", "jetstream { sync_interval: always }")
	default:
		s.durability.Store(DurabilityStated)
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.epoch = epochOf(log.Created, nodes.Created)
	sess.limit = max(int(log.Config.MaxMsgSize), 0)
	sess.inspected = time.Now()
	return nil
}

// inspectAgain is inspectStreams, at most once in inspectEvery.
func (s *Store) inspectAgain(ctx context.Context, sess *session) error {
	sess.mu.Lock()
	due := time.Since(sess.inspected) >= inspectEvery
	sess.mu.Unlock()
	if !due {
		return nil
	}
	return s.inspectStreams(ctx, sess)
}

// stream returns what a stream is, which is made if need be.
func (s *Store) stream(ctx context.Context, sess *session, config func(replicas int) jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	return ask(ctx, s, func(ctx context.Context) (*jetstream.StreamInfo, error) { return s.findOrMake(ctx, sess, config) })
}

func (s *Store) findOrMake(ctx context.Context, sess *session, config func(replicas int) jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	name := config(0).Name
	found, err := sess.js.Stream(ctx, name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return infoOf(found, err)
	}
	if s.opts.NoCreate {
		return nil, refuse("it has no stream %s, and create is off: make it, docs/clusters-nats.md says how", name)
	}
	replicas := s.opts.Replicas
	if replicas == 0 {
		replicas = autoReplicas
	}
	made, err := sess.js.CreateStream(ctx, config(replicas))
	if s.opts.Replicas == 0 && codeOf(err) == codeNoCluster {
		made, err = sess.js.CreateStream(ctx, config(1))
	}
	if codeOf(err) == jetstream.JSErrCodeStreamNameInUse {
		// Another node was quicker, with other replicas.
		return infoOf(sess.js.Stream(ctx, name))
	}
	return infoOf(made, err)
}

func infoOf(stream jetstream.Stream, err error) (*jetstream.StreamInfo, error) {
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// fault is why a stream isn't one to trust.
type fault struct {
	stream, what, remedy string
	vital                bool  // it can't be used at all
	kind                 error // of the revocation package, nil where none fits
}

func (f *fault) refusal(unsafe bool) error {
	sentence := fmt.Sprintf("the stream %s %s: %s", f.stream, f.what, f.remedy)
	switch {
	case f.kind != nil:
		return refuse("%w: %s", f.kind, sentence)
	case f.vital || unsafe:
		return refuse("%s", sentence)
	}
	return refuse("%s; or accept that it forgets revocations with unsafe_durability", sentence)
}

// findFaults compares a stream with what it should be.
func (s *Store) findFaults(c *jetstream.StreamConfig, want jetstream.StreamConfig) (faults []fault) {
	add := func(f fault) {
		f.stream = c.Name
		faults = append(faults, f)
	}
	edit := "nats stream edit " + c.Name + " "
	const anew = "it can't be changed: delete the stream, and it is made as it must be"
	if version, ok := c.Metadata[metaSchema]; ok && version != string(schema) {
		add(fault{what: fmt.Sprintf("has schema %s, this version writes %c", version, schema), remedy: "update every node, or choose another prefix", kind: revocation.ErrStoreVersion})
	}
	switch {
	case c.Mirror != nil:
		add(fault{what: "is a mirror", remedy: "name servers, or a prefix, of the stream that it mirrors", kind: revocation.ErrStoreReadOnly})
	case c.Sealed:
		add(fault{what: "is sealed", remedy: anew, kind: revocation.ErrStoreReadOnly})
	}
	for _, subject := range want.Subjects {
		if !slices.ContainsFunc(c.Subjects, func(has string) bool { return covers(has, subject) }) {
			add(fault{what: "lacks the subject " + subject, remedy: edit + "--subjects " + strings.Join(want.Subjects, ","), vital: true})
		}
	}
	if c.NoAck {
		add(fault{what: "acknowledges nothing (no_ack)", remedy: edit + "--ack", vital: true})
	}
	if !c.AllowDirect {
		add(fault{what: "doesn't allow direct access (allow_direct)", remedy: edit + "--allow-direct", vital: true})
	}
	if want.AllowMsgTTL && !c.AllowMsgTTL {
		add(fault{what: "doesn't let messages expire one by one (allow_msg_ttl)", remedy: edit + "--allow-msg-ttl", vital: true})
	}
	if c.SubjectDeleteMarkerTTL != 0 {
		add(fault{what: "puts markers where messages have expired (subject_delete_marker_ttl)", remedy: anew, vital: true})
	}
	if c.Storage != jetstream.FileStorage {
		add(fault{what: "is in memory, and would forget revocations", remedy: anew})
	}
	if c.PersistMode == jetstream.AsyncPersistMode {
		add(fault{what: "acknowledges before it writes (persist_mode async), and would forget revocations", remedy: anew})
	}
	if c.Retention != jetstream.LimitsPolicy {
		add(fault{what: "removes what was read (retention " + strings.ToLower(c.Retention.String()) + ")", remedy: anew})
	}
	if c.MaxAge != 0 {
		add(fault{what: fmt.Sprintf("removes messages that are older than %s (max_age), whether or not they have expired", c.MaxAge), remedy: edit + "--max-age=0"})
	}
	if c.Discard == jetstream.DiscardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0) {
		add(fault{what: "removes the oldest messages when it is full (discard old)", remedy: edit + "--discard=new"})
	}
	if per := c.MaxMsgsPerSubject; want.MaxMsgsPerSubject == 1 {
		if per != 1 {
			add(fault{what: "keeps more than one message for each node (max_msgs_per_subject)", remedy: edit + "--max-msgs-per-subject=1", vital: true})
		}
	} else if per > 0 && (c.Discard != jetstream.DiscardNew || !c.DiscardNewPerSubject) {
		add(fault{what: fmt.Sprintf("keeps %d messages only (max_msgs_per_subject)", per), remedy: edit + "--max-msgs-per-subject=-1"})
	}
	return faults
}

// covers reports whether a stream that has a subject gets all that goes to another.
func covers(has, subject string) bool {
	h, w := strings.Split(has, "."), strings.Split(subject, ".")
	for i, token := range h {
		switch {
		case token == ">":
			return i < len(w)
		case i >= len(w) || token != "*" && token != w[i]:
			return false
		}
	}
	return len(h) == len(w)
}

// warnOnce logs a warning unless the store has done so before.
func (s *Store) warnOnce(message string, args ...any) {
	if _, again := s.warned.LoadOrStore(message, true); !again {
		s.log.Warn(message, append([]any{"store", s.name}, args...)...)
	}
}
