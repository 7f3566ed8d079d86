// The log, of what isn't about a single request: never a token, a secret or an
// Authorization header, and not more lines than somebody can read, however many
// requests fail.

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

// linesPerMinute is how many lines there are of one kind whose number is up to anybody.
const linesPerMinute = 60

// journal writes the log, and the audit log.
type journal struct {
	logger  *slog.Logger
	audit   *slog.Logger
	elapsed func() time.Duration

	mu      sync.Mutex
	pace    map[string]pace.Meter
	dropped map[string]int
}

func newJournal(o Options, elapsed func() time.Duration) *journal {
	j := &journal{logger: o.Logger, audit: o.Audit, elapsed: elapsed, pace: map[string]pace.Meter{}, dropped: map[string]int{}}
	for _, logger := range []**slog.Logger{&j.logger, &j.audit} {
		if *logger == nil {
			*logger = slog.New(slog.DiscardHandler)
		}
	}
	return j
}

// admit reports whether there may be one more line of a kind, and how many were
// left out before it.
func (j *journal) admit(kind string) (dropped int, ok bool) {
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
	if dropped, ok := j.admit("bad_hash"); ok {
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
	dropped, ok := j.admit("panic")
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
