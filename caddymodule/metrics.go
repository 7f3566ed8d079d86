package caddymodule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
)

// Caddy makes a new registry for every configuration. What counts up lives here
// and is registered with each of them, so that it survives reloads; what is
// measured is asked of the app that runs: the admin API goes on with the registry of a
// configuration that has failed.

const (
	metricsNamespace = "caddy"
	metricsSubsystem = appID
)

var (
	checksTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "checks_total",
		Help: "Requests that reject_revoked saw, by verdict.",
	}, []string{"verdict"})

	endpointRequestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "endpoint_requests_total",
		Help: "Requests to revocation_endpoint, by outcome.",
	}, []string{"outcome"})

	issuerRequestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "issuer_requests_total",
		Help: "Calls to issuers, by issuer, what was asked for, and outcome.",
	}, []string{"issuer", "call", "outcome"})

	checkDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "check_duration_seconds",
		Help:    "How long the tokens of a request took to be looked up, and verified; of one request in 1024.",
		Buckets: []float64{1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 1e-3, .01, .1, 1, 10},
	})

	recordedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "recorded_total",
		Help: "Records that were made durable, by where the revocation came from.",
	}, []string{"source"})

	reinstatementsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "reinstatements_total",
		Help: "Reinstatements that were made durable.",
	})

	storeAppendDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "store_append_duration_seconds",
		Help:    "How long a write to the store took. One write may carry many revocations.",
		Buckets: []float64{1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})

	awaitDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "await_nodes_duration_seconds",
		Help:    "How long revocations waited until no node accepted their tokens, by outcome: everywhere, or not_everywhere.",
		Buckets: []float64{1e-3, 2.5e-3, 5e-3, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"outcome"})

	storeErrorsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "store_errors_total",
		Help: "Writes to the store that failed. They are tried again.",
	})

	eventsDropped = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "events_dropped_total",
		Help: "Events that nobody heard of, since their handlers were too slow.",
	})

	// The counters of all values that a label has, which so are shown from the
	// start.
	checkCounters    = counters(checksTotal, allVerdicts...)
	endpointCounters = counters(endpointRequestsTotal, endpoint.Outcomes()...)
	recordedCounters = counters(recordedTotal, allSources...)

	tokensChecked atomic.Uint64 // look-ups in the caches of all configurations
)

// The sources of records, as recorded_total has them. Records say themselves where they
// came from, and those that were imported may say anything.
const (
	sourceImport = "import"
	sourceOther  = "other"
)

var allSources = []string{"endpoint", "relay", sourceAdmin, sourceImport, sourceOther}

func counters[L ~string](vec *prometheus.CounterVec, labels ...L) map[L]prometheus.Counter {
	all := map[L]prometheus.Counter{}
	for _, l := range labels {
		all[l] = vec.WithLabelValues(string(l))
	}
	return all
}

func countCheck(verdict string) { checkCounters[verdict].Inc() }

func countEndpoint(outcome endpoint.Outcome) { endpointCounters[outcome].Inc() }

// countRecorded counts records that are durable.
func countRecorded(source string, records int) {
	counter, known := recordedCounters[source]
	if !known {
		counter = recordedCounters[sourceOther]
	}
	counter.Add(float64(records))
}

// observeAppend is a list's OnAppend.
func observeAppend(_ int, took time.Duration, err error) {
	storeAppendDuration.Observe(took.Seconds())
	if err != nil {
		storeErrorsTotal.Inc()
	}
}

// The two ends of a wait for other nodes, there from the start.
var (
	awaitedEverywhere    = awaitDuration.WithLabelValues("everywhere")
	awaitedNotEverywhere = awaitDuration.WithLabelValues("not_everywhere")
)

// observeAwait takes in how a wait for other nodes ended.
func observeAwait(took time.Duration, err error) {
	if err != nil {
		awaitedNotEverywhere.Observe(took.Seconds())
		return
	}
	awaitedEverywhere.Observe(took.Seconds())
}

// sampledChecks is of how many checks one is timed: the clock, twice, would cost as much
// as a check itself.
const sampledChecks = 1024

// beginCheck returns when a check began, if it is one of those that are timed.
func beginCheck() (began time.Time) {
	if rand.Uint32()%sampledChecks == 0 {
		began = time.Now()
	}
	return began
}

// endCheck ends what beginCheck began.
func endCheck(began time.Time) {
	if !began.IsZero() {
		checkDuration.Observe(time.Since(began).Seconds())
	}
}

// observeIssuer returns what counts the calls to an issuer. There are as many labels
// as issuers are configured, whatever tokens say.
func observeIssuer(name string) func(issuer.Call, issuer.Outcome) {
	// From the start, since the first one that fails is worth an alert.
	for _, call := range []issuer.Call{issuer.CallMetadata, issuer.CallKeys} {
		for _, outcome := range []issuer.Outcome{issuer.OutcomeOK, issuer.OutcomeInvalid, issuer.OutcomeFailed} {
			issuerRequestsTotal.WithLabelValues(name, string(call), string(outcome))
		}
	}
	for _, outcome := range []issuer.Outcome{
		issuer.OutcomeActive, issuer.OutcomeInactive, issuer.OutcomeUnauthorized, issuer.OutcomeInvalid, issuer.OutcomeFailed, issuer.OutcomeLimited,
	} {
		issuerRequestsTotal.WithLabelValues(name, string(issuer.CallIntrospection), string(outcome))
	}
	return func(call issuer.Call, outcome issuer.Outcome) {
		issuerRequestsTotal.WithLabelValues(name, string(call), string(outcome)).Inc()
	}
}

// registerMetrics registers the metrics with the registry of a configuration.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{
		checksTotal, checkDuration, endpointRequestsTotal, issuerRequestsTotal, recordedTotal, reinstatementsTotal,
		storeAppendDuration, storeErrorsTotal, awaitDuration, streamsOpen, streamsCutTotal, eventsDropped, appCollector{},
	} {
		err := registry.Register(c)
		if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// startedApps are the apps that have started and haven't ended: two in a reload.
var startedApps appsInUse

type appsInUse struct {
	mu     sync.Mutex
	apps   []*App // the last one is in use
	misses uint64 // in the caches of those that ended
}

func (u *appsInUse) add(a *App) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.apps = append(u.apps, a)
}

// remove ends what add began, if it did.
func (u *appsInUse) remove(a *App) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if i := slices.Index(u.apps, a); i >= 0 {
		u.apps = slices.Delete(u.apps, i, i+1)
		u.misses += a.running.checker.CacheMisses()
	}
}

// last returns the app in use, or nil.
func (u *appsInUse) last() *App {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.apps) == 0 {
		return nil
	}
	return u.apps[len(u.apps)-1]
}

// cacheFigures returns how many tokens were found in the caches of all configurations, and
// how many weren't.
func (u *appsInUse) cacheFigures() (hits, misses uint64) {
	u.mu.Lock()
	misses = u.misses
	for _, a := range u.apps {
		misses += a.running.checker.CacheMisses()
	}
	u.mu.Unlock()
	hits = tokensChecked.Load()
	return hits - min(misses, hits), misses // a check that is under way may count as a miss already
}

// appCollector reads the figures of the app that runs when Prometheus asks for them.
type appCollector struct{}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

var (
	recordsDesc     = describe("records", "Keys in the index, by the kind and the shape of their records.", "kind", "shape")
	indexBytesDesc  = describe("index_bytes", "Memory that the index takes.")
	pendingDesc     = describe("pending_records", "Records that are enforced but not durable, since the store failed.")
	freshDesc       = describe("list_fresh", "Whether the list has all that the store has.")
	stalenessDesc   = describe("list_staleness_seconds", "How long the list may have lacked something by now. 0 while it is fresh.")
	feedLagDesc     = describe("feed_lag_entries", "How many entries of the shared store this node hadn't applied at its last answer.")
	feedAgeDesc     = describe("feed_answer_age_seconds", "For how long the shared store hasn't answered how far it goes.")
	cacheHitsDesc   = describe("cache_hits_total", "Checked tokens whose facts were cached.")
	cacheMissesDesc = describe("cache_misses_total", "Checked tokens whose facts were not cached.")
	issuerReadyDesc = describe("issuer_ready", "Whether the last call to the issuer for its keys, and the last question, succeeded.", "issuer")
	issuerKeysDesc  = describe("issuer_keys", "Keys of the issuer that are known.", "issuer")
)

// Describe implements prometheus.Collector.
func (appCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		recordsDesc, indexBytesDesc, pendingDesc, freshDesc, stalenessDesc, feedLagDesc, feedAgeDesc, cacheHitsDesc, cacheMissesDesc, issuerReadyDesc, issuerKeysDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (appCollector) Collect(ch chan<- prometheus.Metric) {
	app := startedApps.last()
	if app == nil {
		return
	}
	stats := app.running.list.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, n := range stats.Keys {
		gauge(recordsDesc, float64(n.Keys), n.Kind.String(), string(n.Shape))
	}
	gauge(indexBytesDesc, float64(stats.Bytes))
	gauge(pendingDesc, float64(stats.Pending))
	fresh, staleness := 1.0, 0.0
	if f := app.running.list.Freshness(); !f.Fresh {
		fresh, staleness = 0, max(0, time.Since(f.Since).Seconds())
	}
	gauge(freshDesc, fresh)
	gauge(stalenessDesc, staleness)
	if lag, ok := app.running.list.Lag(); ok {
		gauge(feedAgeDesc, lag.Age.Seconds())
		if entries, ok := lagEntries(app.running.store, lag); ok {
			gauge(feedLagDesc, float64(entries))
		}
	}

	for _, status := range app.running.issuers.Statuses() {
		ready := 0.0
		if status.Ready() {
			ready = 1
		}
		gauge(issuerReadyDesc, ready, status.Issuer)
		gauge(issuerKeysDesc, float64(status.Keys), status.Issuer)
	}

	hits, misses := startedApps.cacheFigures()
	ch <- prometheus.MustNewConstMetric(cacheHitsDesc, prometheus.CounterValue, float64(hits))
	ch <- prometheus.MustNewConstMetric(cacheMissesDesc, prometheus.CounterValue, float64(misses))
}
