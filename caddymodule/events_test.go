package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

func init() {
	caddy.RegisterModule(recorder{})
}

// recorder is a handler of events that remembers them in the recording that is on.
type recorder struct {
	Name string `json:"name"` // of the configuration
}

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.recorder", New: func() caddy.Module { return new(recorder) }}
}

func (h *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&h.Name) {
		return d.ArgErr()
	}
	return nil
}

func (h *recorder) Handle(ctx context.Context, e caddy.Event) error {
	on := recording
	on.mu.Lock()
	hold := on.hold
	on.mu.Unlock()
	if hold != nil {
		on.held <- struct{}{}
		<-hold
	}
	on.heard <- heard{h.Name, e, ctx.Err()}
	if e.Data["actor"] == "client:panics" {
		panic("a handler's own")
	}
	return nil
}

var recording *recordedEvents

type recordedEvents struct {
	heard chan heard
	held  chan struct{} // a handler has begun to wait

	mu   sync.Mutex
	hold chan struct{} // handlers wait for it, if there is one
}

type heard struct {
	by    string
	event caddy.Event
	ended error // whether the configuration's time was over
}

// record remembers the events of a test. It is called before Caddy starts.
func record(t *testing.T) *recordedEvents {
	recording = &recordedEvents{heard: make(chan heard, 10_000), held: make(chan struct{}, 10_000)}
	return recording
}

// pause makes handlers wait until the function that it returns is called.
func (r *recordedEvents) pause() (resume func()) {
	hold := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = hold
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hold = nil
		close(hold)
	}
}

// next returns the next event.
func (r *recordedEvents) next(t *testing.T) heard {
	t.Helper()
	select {
	case h := <-r.heard:
		return h
	case <-time.After(20 * time.Second):
		t.Fatal("there is no event")
		panic("unreachable")
	}
}

// recordingTo is oneSite with its events recorded under a name.
func recordingTo(name, caddyfile string) string {
	handlers := "\tevents {\n"
	for _, event := range []string{eventRevoked, eventReinstated, eventStale, eventFresh} {
		handlers += "\t\ton " + event + " recorder " + name + "\n"
	}
	handlers += "\t}\n"
	if rest, ok := strings.CutPrefix(strings.TrimSpace(caddyfile), "{\n"); ok {
		return "{\n" + handlers + rest
	}
	return "{\n" + handlers + "}\n" + caddyfile
}

// activeApp returns the app of the configuration that runs.
func activeApp(t testing.TB) *App {
	t.Helper()
	app, err := caddy.ActiveContext().App(appID)
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

func TestEventsSayWhatHappened(t *testing.T) {
	events, i := record(t), startIssuer(t)
	c := startCaddy(t, recordingTo("a", "{\n\ttoken_revocation {\n"+i.asIssuer("")+"\n\t}\n}\n"+oneSite))
	app := activeApp(t)
	token := i.token(t, map[string]any{"jti": "id-1", "client_id": "app"})
	mustRevoke(t, c.URL("/oauth2/revoke"), token)
	revoked := events.next(t)
	records := []revocation.Record{}
	if err := app.running.list.Records(t.Context(), func(r *revocation.Record) error {
		records = append(records, *r)
		return nil
	}); err != nil || len(records) != 2 {
		t.Fatalf("%v: %v", err, records)
	}
	fingerprint := app.reader.ReadFacts(token).Fingerprint.String()
	want := map[string]any{
		"revocation_id": records[0].ID.String(), "source": "endpoint", "actor": "client:app", "reason": "",
		"shapes":      []string{"token", "jti"},
		"selectors":   []map[string]string{{"token": fingerprint}, {"iss": i.URL, "jti": "id-1"}},
		"fingerprint": fingerprint, "cutoff": "", "expires": records[0].Expires.UTC().Format(time.RFC3339),
	}
	if e := revoked.event; e.Name() != eventRevoked || e.Origin().CaddyModule().ID != appID || !reflect.DeepEqual(e.Data, want) {
		t.Errorf("%s of %v:\n%v, want\n%v", e.Name(), e.Origin(), e.Data, want)
	}

	made, err := ledger{app}.Reinstate(t.Context(), revocation.Note{Source: "admin", Actor: "bob", Reason: "a mistake"}, records[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]any{
		"revocation_id": made.ID.String(), "reinstates": []string{records[0].ID.String()},
		"source": "admin", "actor": "bob", "reason": "a mistake",
	}
	if e := events.next(t).event; e.Name() != eventReinstated || !reflect.DeepEqual(e.Data, want) {
		t.Errorf("%s: %v, want %v", e.Name(), e.Data, want)
	}

	session, err := revocation.Select(i.URL, revocation.Claim{Role: revocation.RoleSession, Value: "s"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Truncate(time.Second)
	cutoff := revocation.Record{
		ID: revocation.NewID(), Kind: revocation.IssuedBefore, Selector: session, Cutoff: at, Expires: at.Add(time.Hour),
		Source: "admin", Actor: "bob", Reason: "stolen", RecordedAt: at,
	}
	if err := (ledger{app}).Revoke(t.Context(), cutoff); err != nil {
		t.Fatal(err)
	}
	if data := events.next(t).event.Data; data["cutoff"] != at.UTC().Format(time.RFC3339) || data["fingerprint"] != "" || data["reason"] != "stolen" {
		t.Errorf("a cutoff: %v", data)
	}
}

func TestFreshnessEvents(t *testing.T) {
	events := record(t)
	startCaddy(t, recordingTo("a", oneSite))
	queue, at := activeApp(t).running.events, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	queue.put(freshnessEvent(revocation.Freshness{Since: at, Cause: errors.New("the store is away")}))
	queue.put(freshnessEvent(revocation.Freshness{Fresh: true, Since: at.Add(time.Minute)}))
	if e := events.next(t).event; e.Name() != eventStale ||
		!reflect.DeepEqual(e.Data, map[string]any{"since": "2026-01-31T12:00:00Z", "cause": "the store is away"}) {
		t.Errorf("%s: %v", e.Name(), e.Data)
	}
	if e := events.next(t).event; e.Name() != eventFresh || !reflect.DeepEqual(e.Data, map[string]any{"since": "2026-01-31T12:01:00Z"}) {
		t.Errorf("%s: %v", e.Name(), e.Data)
	}
}

// While a handler takes its time, tokens are revoked as fast as ever, and configurations
// come and go. What it has begun it finishes; everything else is told, in order, by the
// configuration that is in use then.
func TestASlowHandlerHoldsUpNobody(t *testing.T) {
	events := record(t)
	resume := events.pause()
	c := startCaddy(t, recordingTo("first", oneSite))
	queue := activeApp(t).running.events
	var tokens []string
	revoke := func() {
		token := fmt.Sprint("token-", len(tokens))
		mustRevoke(t, c.URL("/oauth2/revoke"), token)
		tokens = append(tokens, token)
	}
	revoke()
	<-events.held // the handler is called, and waits
	for range 20 {
		revoke()
	}
	c.load(t, recordingTo("second", oneSite)) // which doesn't wait for the handler either
	if activeApp(t).running.events != queue {
		t.Fatal("the queue is another one")
	}
	for range 20 {
		revoke()
	}
	beforeFailing = func() {}
	if err := c.tryLoad(recordingTo("failing", strings.Replace("{\n}\n"+oneSite, "{\n", "{\n\tfailing_app\n", 1))); err == nil {
		t.Fatal("an app that fails is no error")
	}
	revoke()
	resume()
	reader := activeApp(t).reader
	for n, token := range tokens {
		h := events.next(t)
		by := "second"
		if n == 0 {
			by = "first"
		}
		if h.by != by || h.ended != nil || h.event.Data["fingerprint"] != reader.ReadFacts(token).Fingerprint.String() {
			t.Fatalf("event %d is told by %s, %v: %v", n, h.by, h.ended, h.event.Data)
		}
	}
}

func TestTheLastEventsAreToldWhenCaddyStops(t *testing.T) {
	events := record(t)
	resume := events.pause()
	c := startCaddy(t, recordingTo("a", oneSite))
	for n := range 10 {
		mustRevoke(t, c.URL("/oauth2/revoke"), fmt.Sprint("token-", n))
	}
	<-events.held
	go resume()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := len(events.heard); n != 10 {
		t.Errorf("%d events, want 10", n)
	}
}

func TestWhatFindsNoRoomInTheQueueIsCounted(t *testing.T) {
	events := record(t)
	resume := events.pause()
	c := startCaddy(t, recordingTo("a", oneSite))
	queue := activeApp(t).running.events
	const name = "caddy_token_revocation_events_dropped_total"
	before := metric(c.metrics(t), name)
	put := func(n int) { queue.put(event{eventFresh, func() map[string]any { return map[string]any{"n": n} }}) }
	put(0)
	<-events.held
	for n := range maxQueuedEvents + 10 {
		put(n + 1)
	}
	if got := metric(c.metrics(t), name) - before; got != 10 {
		t.Errorf("%v events were dropped, want 10", got)
	}
	resume()
	for n := range maxQueuedEvents + 1 {
		if e := events.next(t).event; e.Data["n"] != n {
			t.Fatalf("event %d is %v", n, e.Data)
		}
	}
}

func TestAHandlerThatPanicsEndsNothing(t *testing.T) {
	events := record(t)
	c := startCaddy(t, recordingTo("a", strings.Replace(oneSite, "client spa", "client panics", 1)))
	resp, err := http.PostForm(c.URL("/oauth2/revoke"), url.Values{"client_id": {"panics"}, "token": {"a"}})
	if err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	mustRevoke(t, c.URL("/oauth2/revoke"), "b")
	actors := []any{events.next(t).event.Data["actor"], events.next(t).event.Data["actor"]}
	if !slices.Equal(actors, []any{"client:panics", "client:app"}) {
		t.Errorf("events of %v", actors)
	}
}

// The first events can come before the events app has started, when nobody could be
// told yet.
func TestEventsWaitUntilEverythingHasStarted(t *testing.T) {
	events := record(t)
	log := newCurrentLog(slog.New(slog.DiscardHandler))
	queue := newEventQueue(log.logger())
	queue.put(event{eventFresh, func() map[string]any { return map[string]any{"early": true} }})
	startCaddy(t, recordingTo("a", oneSite))
	queue.use(activeApp(t).emitter)
	if e := events.next(t).event; e.Data["early"] != true {
		t.Errorf("%v", e.Data)
	}
	queue.close()
	unused := newEventQueue(log.logger())
	unused.put(event{eventFresh, nil})
	unused.close() // no configuration ever started: it doesn't wait for one
}

// What the store didn't take at first is told when it does, and once: whether or not
// anybody asks again.
func TestWhatBecomesDurableLaterIsToldAndCountedOnce(t *testing.T) {
	events := record(t)
	c := startCaddy(t, recordingTo("a", "{\n\ttoken_revocation {\n\t\tstore switched DIR/records.db\n\t}\n}\n"+oneSite))
	before, reader := c.metrics(t), activeApp(t).reader
	wantRevoked := func(token string) (id string) {
		t.Helper()
		e := events.next(t).event
		if e.Name() != eventRevoked || e.Data["fingerprint"] != reader.ReadFacts(token).Fingerprint.String() {
			t.Fatalf("%s: %v, want that of %s", e.Name(), e.Data, token)
		}
		return e.Data["revocation_id"].(string)
	}
	nothingYet := func() {
		t.Helper()
		if n := len(events.heard); n != 0 {
			t.Fatalf("%d events of what isn't durable", n)
		}
	}
	mend := failStore(t)
	for _, token := range []string{"a", "b"} {
		wantStatus(t, postAs(t, c.URL("/oauth2/revoke"), "app", appSecret, token), 503)
	}
	nothingYet()
	mend()
	id := wantRevoked("a") // nobody has asked again
	wantRevoked("b")
	mustRevoke(t, c.URL("/oauth2/revoke"), "b")
	mustRevoke(t, c.URL("/oauth2/revoke"), "c")
	wantRevoked("c")

	mend = failStore(t)
	refused(t, c.admin(t, "DELETE", "records/"+id, `{"reason":"r"}`), 503)
	nothingYet()
	mend()
	if e := events.next(t).event; e.Name() != eventReinstated || !reflect.DeepEqual(e.Data["reinstates"], []string{id}) {
		t.Errorf("%s: %v", e.Name(), e.Data)
	}
	for name, want := range map[string]float64{`recorded_total{source="endpoint"}`: 3, "reinstatements_total": 1} {
		if got := c.grown(t, before, name); got != want {
			t.Errorf("%s grew by %v, want %v", name, got, want)
		}
	}
}

// Whatever module loads the app, and whatever that one loads then.
func TestEventsComeFromTheApp(t *testing.T) {
	events := record(t)
	for _, site := range []string{
		oneSite,
		strings.Replace(oneSite, ":PORT {", "http://127.0.0.1:PORT {", 1),
	} {
		c := startCaddy(t, recordingTo("a", site))
		mustRevoke(t, c.URL("/oauth2/revoke"), "token")
		e := events.next(t).event
		if id := e.Origin().CaddyModule().ID; id != appID {
			t.Errorf("the event comes from %s", id)
		}
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}
