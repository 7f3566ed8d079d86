// The log: never a token, a secret or an Authorization header, and not more lines
// than somebody can read, however many requests fail.

package endpoint

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation/internal/pace"
)

// linesPerMinute is how many lines above debug there are of one kind.
const linesPerMinute = 60

// journal writes the log.
type journal struct {
	logger  *slog.Logger
	elapsed func() time.Duration

	mu      sync.Mutex
	pace    map[string]pace.Meter
	dropped map[string]int
}

func newJournal(logger *slog.Logger, elapsed func() time.Duration) *journal {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &journal{logger: logger, elapsed: elapsed, pace: map[string]pace.Meter{}, dropped: map[string]int{}}
}

// outcome says what became of a request. A client is named only when it is
// registered: an unknown client_id can be anything, a secret in the wrong field as
// well.
func (j *journal) outcome(x *exchange, a *answer) {
	ctx, level := x.r.Context(), a.outcome.level()
	if x.hint != "" {
		level = max(level, slog.LevelInfo) // a mistake that nobody else notices
	}
	if !j.logger.Enabled(ctx, level) {
		return
	}
	dropped, ok := j.admit(string(a.outcome), level)
	if !ok {
		return
	}
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.String("outcome", string(a.outcome)), slog.Int("status", a.status))
	switch {
	case x.client != nil:
		attrs = append(attrs, slog.String("client_id", x.client.id))
	case x.claimed != nil:
		attrs = append(attrs, slog.String("claimed_client_id", x.claimed.id))
	}
	if x.address.IsValid() {
		attrs = append(attrs, slog.String("address", x.address.String()))
	}
	if x.fingerprint != "" {
		attrs = append(attrs, slog.String("fingerprint", x.fingerprint[:8]))
	}
	if x.unproven != nil {
		attrs = append(attrs, slog.String("unproven", x.unproven.Error()))
	}
	if x.hint != "" {
		attrs = append(attrs, slog.String("hint", x.hint))
	}
	if a.description != "" {
		attrs = append(attrs, slog.String("answer", a.description))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("lines_left_out", dropped))
	}
	j.logger.LogAttrs(ctx, level, "revocation request", attrs...)
}

// admit reports whether there may be one more line of a kind, and how many were
// left out before it.
func (j *journal) admit(kind string, level slog.Level) (dropped int, ok bool) {
	if level <= slog.LevelDebug {
		return 0, true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	after, wait := j.pace[kind].Take(linesPerMinute, j.elapsed())
	if wait > 0 {
		j.dropped[kind]++
		return 0, false
	}
	j.pace[kind] = after
	dropped = j.dropped[kind]
	delete(j.dropped, kind)
	return dropped, true
}

// badHash says that a client's hash can't be compared. The error isn't quoted: it
// isn't known what is in it.
func (j *journal) badHash(c *client) {
	if dropped, ok := j.admit("bad_hash", slog.LevelError); ok {
		j.logger.Error("a hash of the client can't be compared: is it of the configured algorithm?",
			"client_id", c.id, "lines_left_out", dropped)
	}
}

func (j *journal) plainHTTP() {
	j.logger.Warn("a credential arrived over plain HTTP at the revocation endpoint; this is only said once",
		"hint", "harmless where TLS ends in front of this server; else require TLS")
}

// panicked says where. The value of the panic is quoted only when it is the
// runtime's.
func (j *journal) panicked(v any) {
	dropped, ok := j.admit(string(InternalError), slog.LevelError)
	if !ok {
		return
	}
	what := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		what = err.Error()
	}
	j.logger.LogAttrs(context.Background(), slog.LevelError, "the revocation endpoint panicked",
		slog.String("outcome", string(InternalError)), slog.String("panic", what),
		slog.String("stack", string(debug.Stack())), slog.Int("lines_left_out", dropped))
}
