package caddymodule

// This file tells Caddy's events app what happens to the list. Its handlers are called
// one after the other and may take long: a webhook, a program. So events wait in a
// queue, and nobody whose token is being revoked waits for them.

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// The names of the events.
const (
	eventRevoked    = "token_revoked"
	eventReinstated = "token_reinstated"
	eventStale      = "revocation_list_stale"
	eventFresh      = "revocation_list_fresh"
)

func init() {
	caddy.RegisterModule(eventOrigins{})
}

const (
	// maxQueuedEvents is how many events may wait for those before them.
	maxQueuedEvents = 1024

	// lastEvents is how long a list that is closed waits for its last events.
	lastEvents = 5 * time.Second

	// complainAboutEvents is how often events that are lost are worth a line in the log.
	complainAboutEvents = time.Minute
)

// event is one that waits.
type event struct {
	name string
	data func() map[string]any // made when it is its turn
}

// emitter emits events by one configuration's events app.
type emitter struct {
	ctx caddy.Context // of the app token_revocation, where they come from
	app *caddyevents.App
}

// newEmitter has a function called when the whole configuration has started. Caddy
// starts its apps in any order, and before the events app has, nobody could be told.
func newEmitter(ctx caddy.Context, started func()) (*emitter, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %w", err)
	}
	// It ends with the configuration, and there is nothing in it to clean up.
	own, _ := caddy.NewContext(ctx)
	origin, err := own.LoadModuleByID(string(eventOrigins{}.CaddyModule().ID), nil)
	if err != nil {
		return nil, fmt.Errorf("loading the origin of events: %w", err)
	}
	e := &emitter{origin.(*eventOrigin).ctx, app.(*caddyevents.App)}
	return e, e.app.On("started", &startedHandler{started})
}

// eventOrigins makes the module that events come from, the app. A context says which
// module it was made for by a list that it shares with the contexts of other modules: where
// a handler loads the app, what that handler loads next takes the app's place. So events
// have a context of their own, which only loading a module makes.
type eventOrigins struct{}

// CaddyModule returns the Caddy module information.
func (eventOrigins) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID + ".events",
		New: func() caddy.Module { return new(eventOrigin) },
	}
}

// eventOrigin is the app to events.
type eventOrigin struct{ ctx caddy.Context }

// CaddyModule returns the app's module information.
func (*eventOrigin) CaddyModule() caddy.ModuleInfo { return new(App).CaddyModule() }

// Provision keeps the context.
func (o *eventOrigin) Provision(ctx caddy.Context) error {
	o.ctx = ctx
	return nil
}

// startedHandler hears of Caddy's own event of a configuration that has started.
type startedHandler struct{ started func() }

// Handle implements caddyevents.Handler.
func (h *startedHandler) Handle(context.Context, caddy.Event) error {
	h.started()
	return nil
}

// emit calls the handlers. They may finish what they began although the configuration
// ends: nobody would tell of the event again.
func (e *emitter) emit(ev event) {
	if knows, ok := any(e.app).(interface{ ShouldEmit(string) bool }); ok && !knows.ShouldEmit(ev.name) {
		return // newer versions of Caddy can tell that nobody listens
	}
	ctx := e.ctx
	ctx.Context = context.WithoutCancel(ctx.Context)
	e.app.Emit(ctx, ev.name, ev.data())
}

// eventQueue has the events of a list emitted, in order, by the configuration that is
// in use then.
type eventQueue struct {
	emitters current[*emitter]
	queue    chan event
	log      *slog.Logger
	ready    chan struct{} // closed when there is an emitter
	begin    sync.Once
	closing  chan struct{}
	done     chan struct{}

	dropped    atomic.Int64 // since the last complaint
	complained atomic.Int64 // when that was, in Unix nanoseconds
}

func newEventQueue(log *slog.Logger) *eventQueue {
	q := &eventQueue{
		queue: make(chan event, maxQueuedEvents), log: log,
		ready: make(chan struct{}), closing: make(chan struct{}), done: make(chan struct{}),
	}
	go q.run()
	return q
}

// use has events emitted by a configuration that has started.
func (q *eventQueue) use(e *emitter) {
	q.emitters.use(e)
	q.begin.Do(func() { close(q.ready) })
}

// leave ends what use began, if it did.
func (q *eventQueue) leave(e *emitter) { q.emitters.leave(e) }

// put queues an event. It doesn't block: one for which there is no room is lost.
func (q *eventQueue) put(ev event) {
	select {
	case q.queue <- ev:
	default:
		q.lose(1)
	}
}

// run emits what is in the queue, and when it is closed, what is left in it.
func (q *eventQueue) run() {
	defer close(q.done)
	select {
	case <-q.ready:
	case <-q.closing: // no configuration has ever started with this list
		return
	}
	for {
		select {
		case ev := <-q.queue:
			q.emit(ev)
			continue
		default:
		}
		select {
		case ev := <-q.queue:
			q.emit(ev)
		case <-q.closing:
			return
		}
	}
}

// emit survives a handler that panics: there is no request whose end that could be.
func (q *eventQueue) emit(ev event) {
	defer func() {
		if v := recover(); v != nil {
			q.log.Error("a handler of an event panicked", "event", ev.name, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	q.emitters.get().emit(ev)
}

// close waits for the last events, but not for ever.
func (q *eventQueue) close() {
	close(q.closing)
	timer := time.NewTimer(lastEvents)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-timer.C:
	}
	for lost := int64(0); ; lost++ {
		select {
		case <-q.queue:
			continue
		default:
		}
		if lost > 0 {
			q.lose(lost)
		}
		return
	}
}

// lose counts events that nobody will hear of.
func (q *eventQueue) lose(n int64) {
	eventsDropped.Add(float64(n))
	q.dropped.Add(n)
	now, last := time.Now().UnixNano(), q.complained.Load()
	if now-last >= int64(complainAboutEvents) && q.complained.CompareAndSwap(last, now) {
		q.log.Warn("events were lost: their handlers are slower than the list changes", "events", q.dropped.Swap(0))
	}
}

// revokedEvent tells of the records of a revocation.
func revokedEvent(records []revocation.Record) event {
	return event{eventRevoked, func() map[string]any {
		data := eventNote(&records[0])
		data["revocation_id"] = records[0].ID.String()
		var shapes []string
		var selectors []map[string]string
		var cutoff, expires time.Time
		fingerprint := ""
		for i := range records {
			r := &records[i]
			shapes = append(shapes, string(r.Selector.Shape()))
			selectors = append(selectors, r.Selector.Map())
			cutoff, expires = later(cutoff, r.Cutoff), later(expires, r.Expires)
			for _, c := range r.Selector.Claims {
				if c.Role == revocation.RoleToken {
					fingerprint = c.Value
				}
			}
		}
		data["shapes"], data["selectors"], data["fingerprint"] = shapes, selectors, fingerprint
		data["cutoff"], data["expires"] = eventTime(cutoff), eventTime(expires)
		return data
	}}
}

// reinstatedEvent tells of a reinstatement.
func reinstatedEvent(r revocation.Record) event {
	return event{eventReinstated, func() map[string]any {
		data := eventNote(&r)
		data["revocation_id"] = r.ID.String()
		ids := make([]string, len(r.Reinstates))
		for i, id := range r.Reinstates {
			ids[i] = id.String()
		}
		data["reinstates"] = ids
		return data
	}}
}

// freshnessEvent tells that the list's freshness has changed.
func freshnessEvent(f revocation.Freshness) event {
	if f.Fresh {
		return event{eventFresh, func() map[string]any { return map[string]any{"since": eventTime(f.Since)} }}
	}
	return event{eventStale, func() map[string]any {
		return map[string]any{"since": eventTime(f.Since), "cause": fmt.Sprint(f.Cause)}
	}}
}

func eventNote(r *revocation.Record) map[string]any {
	return map[string]any{"source": r.Source, "actor": r.Actor, "reason": r.Reason}
}

// eventTime is a time as text, and empty where there is none.
func eventTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
