package caddymodule

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
)

// Caddy makes a new registry for every configuration. What counts up lives here
// and is registered with each of them, so that it survives reloads; what is
// measured is asked of the app that the registry belongs to.

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

	// The counters of all values that a label has, which so are shown from the
	// start.
	checkCounters    = counters(checksTotal, allVerdicts...)
	endpointCounters = counters(endpointRequestsTotal, endpoint.Outcomes()...)

	tokensChecked     atomic.Uint64 // look-ups in the caches of all configurations
	cacheMissesBefore atomic.Uint64 // misses in the caches of configurations that ended
)

func counters[L ~string](vec *prometheus.CounterVec, labels ...L) map[L]prometheus.Counter {
	all := map[L]prometheus.Counter{}
	for _, l := range labels {
		all[l] = vec.WithLabelValues(string(l))
	}
	return all
}

func countCheck(verdict string) { checkCounters[verdict].Inc() }

func countEndpoint(outcome endpoint.Outcome) { endpointCounters[outcome].Inc() }

// observeIssuer returns what counts the calls to an issuer. There are as many labels
// as issuers are configured, whatever tokens say.
func observeIssuer(name string) func(issuer.Call, issuer.Outcome) {
	return func(call issuer.Call, outcome issuer.Outcome) {
		issuerRequestsTotal.WithLabelValues(name, string(call), string(outcome)).Inc()
	}
}

// registerMetrics registers the metrics with the registry of the app's
// configuration.
func registerMetrics(registry *prometheus.Registry, a *App) error {
	for _, c := range []prometheus.Collector{checksTotal, endpointRequestsTotal, issuerRequestsTotal, appCollector{a}} {
		err := registry.Register(c)
		if err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// appCollector reads the figures of an app when Prometheus asks for them.
type appCollector struct{ app *App }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

var (
	recordsDesc     = describe("records", "Keys in the index, by the kind and the shape of their records.", "kind", "shape")
	indexBytesDesc  = describe("index_bytes", "Memory that the index takes.")
	pendingDesc     = describe("pending_records", "Records that are enforced but not durable, since the store failed.")
	cacheHitsDesc   = describe("cache_hits_total", "Checked tokens whose facts were cached.")
	cacheMissesDesc = describe("cache_misses_total", "Checked tokens whose facts were not cached.")
	issuerReadyDesc = describe("issuer_ready", "Whether the last call to the issuer for its keys, and the last question, succeeded.", "issuer")
	issuerKeysDesc  = describe("issuer_keys", "Keys of the issuer that are known.", "issuer")
)

// Describe implements prometheus.Collector.
func (appCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		recordsDesc, indexBytesDesc, pendingDesc, cacheHitsDesc, cacheMissesDesc, issuerReadyDesc, issuerKeysDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c appCollector) Collect(ch chan<- prometheus.Metric) {
	if !c.app.started() {
		return
	}
	stats := c.app.running.list.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, n := range stats.Keys {
		gauge(recordsDesc, float64(n.Keys), n.Kind.String(), string(n.Shape))
	}
	gauge(indexBytesDesc, float64(stats.Bytes))
	gauge(pendingDesc, float64(stats.Pending))

	for _, status := range c.app.running.issuers.Statuses() {
		ready := 0.0
		if status.Ready() {
			ready = 1
		}
		gauge(issuerReadyDesc, ready, status.Issuer)
		gauge(issuerKeysDesc, float64(status.Keys), status.Issuer)
	}

	misses := cacheMissesBefore.Load() + c.app.running.checker.CacheMisses()
	hits := tokensChecked.Load()
	hits -= min(misses, hits) // a check that is under way may count as a miss already
	ch <- prometheus.MustNewConstMetric(cacheHitsDesc, prometheus.CounterValue, float64(hits))
	ch <- prometheus.MustNewConstMetric(cacheMissesDesc, prometheus.CounterValue, float64(misses))
}
