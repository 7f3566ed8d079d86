package caddymodule

// This file has what lives longer than a configuration log to the configuration that
// is in use, and makes the audit log's logger.

import (
	"context"
	"log/slog"
	"math"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/exp/zapslog"
)

// currentLog is where something shared by configurations logs to.
type currentLog struct{ current[*slog.Logger] }

// newCurrentLog returns a log that is used by a logger's configuration.
func newCurrentLog(first *slog.Logger) *currentLog {
	l := new(currentLog)
	l.set(first)
	return l
}

// logger returns the logger for what is shared.
func (l *currentLog) logger() *slog.Logger {
	return slog.New(followingHandler{l, func(h slog.Handler) slog.Handler { return h }})
}

// followingHandler hands records to the handler that is current then.
type followingHandler struct {
	log  *currentLog
	with func(slog.Handler) slog.Handler // adds the attributes and groups
}

func (h followingHandler) current() slog.Handler { return h.with(h.log.get().Handler()) }

// Enabled implements slog.Handler.
func (h followingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.log.get().Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h followingHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h followingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return followingHandler{h.log, func(next slog.Handler) slog.Handler { return h.with(next).WithAttrs(attrs) }}
}

// WithGroup implements slog.Handler.
func (h followingHandler) WithGroup(name string) slog.Handler {
	return followingHandler{h.log, func(next slog.Handler) slog.Handler { return h.with(next).WithGroup(name) }}
}

// auditLogger returns the logger of the audit log. Its core is that of the app's own
// logger, since Caddy decides by modules which logs have lines of a logger at all: a name
// of its own would be none that a log which includes the app's has heard of. It has no
// stack traces, which slog's errors would have.
func auditLogger(ctx caddy.Context) *slog.Logger {
	return slog.New(zapslog.NewHandler(ctx.Logger().Core(),
		zapslog.WithName(appID+".audit"), zapslog.AddStacktraceAt(slog.Level(math.MaxInt))))
}
