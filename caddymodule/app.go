package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

func init() {
	caddy.RegisterModule(new(App))
}

// appID is the app's module ID and the namespace of what belongs to it.
const appID = "token_revocation"

// App keeps the list of revoked tokens: it opens the store, holds all live
// revocations in memory, and is what the handlers `reject_revoked` and
// `revocation_endpoint` share. Without any configuration it has an embedded
// store in Caddy's data directory.
//
// Revocations outlive reloads. A reload that names another store carries all
// live revocations over to it.
//
// It emits these events, in order, some time after what they tell of:
//
// Event | Data
// ------|------
// `token_revoked` | `revocation_id`, `source`, `actor`, `reason`, `fingerprint`, `shapes`, `selectors`, `cutoff` and `expires`, once the revocation is durable
// `token_reinstated` | `revocation_id` (the reinstatement's), `reinstates` (the ids that it takes back), `source`, `actor` and `reason`
// `revocation_list_stale` | `since` and `cause`: the list may lack something
// `revocation_list_fresh` | `since`: it doesn't any more
//
// `shapes` and `selectors` have an element for each record of the revocation. Times are
// written as in RFC 3339; what there isn't is empty. Revocations that are imported are no
// events. The name of the audit log's logger is `token_revocation.audit`.
type App struct {
	// Where revocations are durable. Default: the module `bolt` with its
	// defaults.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=token_revocation.stores inline_key=module"`

	// How long a token without a usable `exp` must be expected to live: its
	// revocation is kept for that long. `never` keeps it for good. Default: 30
	// days.
	MaxTokenLifetime Lifetime `json:"max_token_lifetime,omitempty"`

	// The most by which any upstream accepts an expired token. Revocations are
	// kept for that much longer than their token, and five minutes more.
	// Default: 5m.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// About how much memory the facts of tokens that were seen may take, in
	// bytes. Default: 64 MiB.
	CacheSize int64 `json:"cache_size,omitempty"`

	// Claims, besides the standard ones, by which tokens can be revoked. A
	// nested claim is named by its path, with dots. Default: none.
	MatchClaims []string `json:"match_claims,omitempty"`

	// How old this node's view of a store may be that other nodes write to as well,
	// from 1s to 24h. Other stores have no such bound. Default: 5m.
	MaxStaleness caddy.Duration `json:"max_staleness,omitempty"`

	// What becomes of requests with a token that isn't known to be revoked, when the
	// view is older: `deny` or `allow`. Default: `deny`.
	OnStale string `json:"on_stale,omitempty"`

	// Whether this node keeps what it knows of such a store in a file, so that it
	// enforces that at once at its next start: `on` or `off`. Default: `on`.
	WarmStart string `json:"warm_start,omitempty"`

	// The authorization servers whose tokens are known to be genuine. Default: none,
	// and tokens are revoked by their fingerprint only.
	Issuers []Issuer `json:"issuers,omitempty"`

	store   Store
	key     string
	reader  *token.Reader
	issuers []preparedIssuer
	logger  *slog.Logger
	audit   *slog.Logger
	emitter *emitter

	streams *revocation.Streams // set before ready

	ready   chan struct{} // closed when running is set
	running running
	lenient bool           // a route accepts tokens while the list is stale
	waits   bool           // an endpoint waits for other nodes
	release []func() error // gives back what is shared with other configurations
}

// running is what a started app has for its handlers.
type running struct {
	list    *revocation.List
	store   revocation.Store // the list's, to ask it about itself
	replica string           // the file of a list with a feed
	checker *revocation.Checker
	issuers *issuer.Set
	prover  revocation.Prover // the issuers, for requests
	events  *eventQueue
}

// Store is implemented by the modules in the namespace token_revocation.stores.
type Store interface {
	// StoreKey tells one store from another: two configurations with one key
	// share what OpenStore returned first. It contains no secret.
	StoreKey() string

	// OpenStore opens the store. It isn't called before the app starts.
	OpenStore(context.Context, *slog.Logger) (revocation.Store, error)
}

// lists holds the open revocation lists by the key of their store, so that they
// outlive the configuration that opened them.
var lists = caddy.NewUsagePool()

// sharedList is a list in the pool.
type sharedList struct {
	*revocation.List
	openStore
	log    *currentLog
	events *eventQueue
}

// Destruct closes the list when no configuration uses it any more.
func (l sharedList) Destruct() error {
	err := l.Close()
	l.events.close()
	return err
}

// CaddyModule returns the Caddy module information. It has no copy of the app made.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  appID,
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app. It opens nothing: that is left to Start, so that a
// configuration can be validated beside a running server.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger, a.audit = ctx.Slogger(), auditLogger(ctx)
	a.ready = make(chan struct{})
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"bolt"}`)
	}
	mod, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the store module: %v", err)
	}
	a.store = mod.(Store)
	a.key = a.store.StoreKey()
	if err := a.prepareIssuers(); err != nil {
		return err
	}
	if a.emitter, err = newEmitter(ctx, a.emit); err != nil {
		return err
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

// Validate checks the configuration.
func (a *App) Validate() error {
	if a.Leeway < 0 || time.Duration(a.Leeway) > maxLeeway {
		return fmt.Errorf("leeway is %s, possible is up to %s", time.Duration(a.Leeway), maxLeeway)
	}
	if a.CacheSize < 0 || a.CacheSize > maxCacheSize {
		return fmt.Errorf("cache_size is %d bytes, possible is up to %d", a.CacheSize, int64(maxCacheSize))
	}
	return a.validateCluster()
}

// Bounds of the configuration: what is beyond them is a slip of the pen.
const (
	maxLeeway    = 30 * 24 * time.Hour
	maxCacheSize = 64 << 30
)

// Start opens the list, or joins the one that an earlier configuration opened,
// and lets the handlers begin.
func (a *App) Start() error {
	a.streams = takeStreams(revocation.NewStreams())
	a.release = append(a.release, releaseStreams)
	key := a.poolKey()
	value, joined, err := lists.LoadOrNew(key, func() (caddy.Destructor, error) { return a.openList() })
	if err != nil {
		return fmt.Errorf("opening the revocation store: %w", err)
	}
	shared := value.(sharedList)
	shared.log.use(a.logger)
	a.release = append(a.release, func() error {
		shared.log.leave(a.logger)
		shared.events.leave(a.emitter)
		_, err := lists.Delete(key)
		return err
	})
	list := shared.List
	if !joined {
		if err := a.begin(shared); err != nil {
			return err
		}
		list.EndStreams()
	}
	set, err := a.startIssuers()
	if err != nil {
		return fmt.Errorf("starting the issuers: %w", err)
	}
	checker, err := revocation.NewChecker(list, a.reader, a.CacheSize)
	if err != nil {
		return fmt.Errorf("making the cache of token facts: %w", err)
	}
	a.attitude(list)
	a.running = running{list, shared.store, shared.replica, checker, set, requestProver{set}, shared.events}
	close(a.ready)
	startedApps.add(a)
	return nil
}

// openList opens the list that a configuration has and no other one before it.
func (a *App) openList() (sharedList, error) {
	log := newCurrentLog(a.logger)
	events := newEventQueue(log.logger())
	options := revocation.Options{
		Logger:      log.logger(),
		Streams:     a.streams,
		OnAppend:    observeAppend,
		OnDurable:   func(records []revocation.Record) { tellDurable(events, records) },
		OnFreshness: func(f revocation.Freshness) { events.put(freshnessEvent(f)) },
	}
	list, store, err := a.openStore(options)
	if err != nil {
		events.close()
		return sharedList{}, err
	}
	return sharedList{list, store, log, events}, nil
}

// emit has the list's events emitted by this configuration, all of which has started.
func (a *App) emit() { a.running.events.use(a.emitter) }

// Stop does nothing: requests may still be under way, Cleanup ends the app.
func (a *App) Stop() error { return nil }

// Cleanup releases what Start acquired. The list is closed with the last
// configuration that uses it.
func (a *App) Cleanup() error {
	startedApps.remove(a)
	if c := a.running.checker; c != nil {
		c.Close()
	}
	// The list comes last: the issuers are used with it.
	var errs []error
	for _, release := range slices.Backward(a.release) {
		errs = append(errs, release())
	}
	a.release = nil
	return errors.Join(errs...)
}

// errNotReady is what a request gets that came before the app had started.
var errNotReady = errors.New("the revocation list is not loaded yet")

// startTimeout bounds how long a request waits for the app to start: Caddy
// starts its apps in any order.
const startTimeout = 10 * time.Second

// wait returns what the app has for requests once it has started.
func (a *App) wait(ctx context.Context) (running, error) {
	select {
	case <-a.ready:
		return a.running, nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case <-a.ready:
		return a.running, nil
	case <-ctx.Done():
		return running{}, errNotReady
	}
}

// started reports whether the app runs, without waiting for it.
func (a *App) started() bool {
	select {
	case <-a.ready:
		return true
	default:
		return false
	}
}

func (a *App) retention() revocation.Retention {
	return revocation.Retention{Leeway: time.Duration(a.Leeway), MaxTokenLifetime: time.Duration(a.MaxTokenLifetime)}
}

// appOf returns the app of a configuration, with its defaults where it isn't
// configured.
func appOf(ctx caddy.Context) (*App, error) {
	app, err := ctx.App(appID)
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

// Lifetime is a duration, or never: a lifetime without end. In JSON it is a
// string as in Caddy's durations, with d for days, or a number of nanoseconds.
type Lifetime time.Duration

// UnmarshalJSON reads a lifetime.
func (l *Lifetime) UnmarshalJSON(b []byte) error {
	if string(b) == `"never"` {
		*l = Lifetime(revocation.Forever)
		return nil
	}
	var d caddy.Duration
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	return l.set(time.Duration(d))
}

// MarshalJSON writes a lifetime.
func (l Lifetime) MarshalJSON() ([]byte, error) {
	if time.Duration(l) == revocation.Forever {
		return []byte(`"never"`), nil
	}
	return json.Marshal(time.Duration(l).String())
}

func (l *Lifetime) set(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("a lifetime is longer than zero, or never; not %s", d)
	}
	*l = Lifetime(d)
	return nil
}

func parseLifetime(s string) (l Lifetime, err error) {
	if s == "never" {
		return Lifetime(revocation.Forever), nil
	}
	d, err := caddy.ParseDuration(s)
	if err != nil {
		return 0, err
	}
	return l, l.set(d)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
