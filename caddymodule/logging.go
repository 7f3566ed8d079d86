package caddymodule

// This file has what lives longer than a configuration log to the configuration that
// is in use.

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
)

// currentLog is where something shared by configurations logs to: where the one does
// that began to use it last. Caddy closes the logs of one that has ended.
type currentLog struct {
	mu      sync.Mutex
	users   []*slog.Logger // the last one is in use
	handler atomic.Pointer[slog.Handler]
}

// newCurrentLog returns a log that is used by a logger's configuration.
func newCurrentLog(first *slog.Logger) *currentLog {
	l := new(currentLog)
	h := first.Handler()
	l.handler.Store(&h)
	return l
}

// use makes the log that of a configuration.
func (l *currentLog) use(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users = append(l.users, logger)
	l.choose()
}

// leave ends what use began. A configuration that fails leaves the log to the one
// before.
func (l *currentLog) leave(logger *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, user := range l.users {
		if user == logger {
			l.users = append(l.users[:i], l.users[i+1:]...)
			break
		}
	}
	l.choose()
}

// choose takes the last user's handler. When there is none the last one stays: what
// is shared is about to be closed, and may have something to say about it.
func (l *currentLog) choose() {
	if len(l.users) == 0 {
		return
	}
	h := l.users[len(l.users)-1].Handler()
	l.handler.Store(&h)
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

func (h followingHandler) current() slog.Handler { return h.with(*h.log.handler.Load()) }

// Enabled implements slog.Handler.
func (h followingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return (*h.log.handler.Load()).Enabled(ctx, level)
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
