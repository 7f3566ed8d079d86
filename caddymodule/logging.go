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

// auditLog is not a module, but has the name of one: Caddy's logs include and exclude
// by such names.
type auditLog struct{}

// CaddyModule names the audit log.
func (auditLog) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: appID + ".audit"} }

// auditLogger returns the logger of the audit log. It is made as caddy.Context.Slogger
// makes that of a module: without stack traces, which slog's errors would have.
func auditLogger(ctx caddy.Context) *slog.Logger {
	var log auditLog
	return slog.New(zapslog.NewHandler(ctx.Logger(log).Core(),
		zapslog.WithName(string(log.CaddyModule().ID)), zapslog.AddStacktraceAt(slog.Level(math.MaxInt))))
}
