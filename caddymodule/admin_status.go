package caddymodule

// This file tells how the list, its store and what belongs to them are.

import (
	"cmp"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// health serves GET health: 200 when this node rejects every revoked token that there
// is, 503 when it can't know. A store that fails is only a warning: what this node knows
// it enforces, also what isn't durable yet, and to take it out of service would gain
// nothing.
func (c *adminCall) health() error {
	if f := c.run.list.Freshness(); !f.Fresh {
		return unavailable("the revocation list may lack something since %s: %w", f.Since.Format(time.RFC3339), f.Cause)
	}
	answer := healthResponse{Status: healthReady}
	if stats := c.run.list.Stats(); stats.Store.Failing {
		answer.Warning = fmt.Sprintf("the store has failed since %s, and %s in force only until a restart: %v",
			stats.Store.Since.UTC().Format(time.RFC3339), are(stats.Pending, "record"), stats.Store.Err)
	}
	return c.answer(http.StatusOK, answer)
}

func are(n int, what string) string {
	if n == 1 {
		return "1 " + what + " is"
	}
	return fmt.Sprintf("%d %ss are", n, what)
}

// status serves GET status.
func (c *adminCall) status() error {
	answer := statusResponse{
		Version: moduleVersion(), List: c.listStatus(), Store: c.storeStatus(), Cache: c.cacheStatus(), Streams: openStreams(),
		Cluster: c.clusterStatus(),
		Issuers: []issuerStatusJSON{}, MatchClaims: append([]string{}, c.app.MatchClaims...),
		Retention: retentionStatus{
			MaxTokenLifetime: lifetimeText(cmp.Or(time.Duration(c.app.MaxTokenLifetime), revocation.DefaultMaxTokenLifetime)),
			Leeway:           cmp.Or(time.Duration(c.app.Leeway), revocation.DefaultLeeway).String(),
		},
	}
	for _, s := range c.run.issuers.Statuses() {
		answer.Issuers = append(answer.Issuers, issuerStatusJSON{
			Issuer: s.Issuer, Ready: s.Ready(), Keys: s.Keys, KeysFrom: s.KeysFrom.UTC(), Error: errorText(s.Err), IntrospectionError: errorText(s.IntrospectionErr),
		})
	}
	return c.answer(http.StatusOK, answer)
}

func (c *adminCall) listStatus() listStatus {
	stats, freshness := c.run.list.Stats(), c.run.list.Freshness()
	shown := listStatus{
		Fresh: freshness.Fresh, Since: freshness.Since.UTC(), Cause: errorText(freshness.Cause),
		Records: []recordsCount{}, MaxShapes: revocation.MaxShapes, IndexBytes: stats.Bytes, Pending: stats.Pending,
	}
	shapes := map[revocation.Shape]bool{}
	for _, n := range stats.Keys {
		shapes[n.Shape] = true
		shown.Keys += n.Keys
		shown.Records = append(shown.Records, recordsCount{n.Kind.String(), string(n.Shape), n.Keys})
	}
	shown.Shapes = len(shapes)
	return shown
}

func (c *adminCall) storeStatus() storeStatus {
	health := c.run.list.Stats().Store
	shown := storeStatus{Key: c.app.key, Failing: health.Failing, Since: health.Since.UTC(), Error: errorText(health.Err)}
	if m, ok := c.app.store.(caddy.Module); ok {
		shown.Module = m.CaddyModule().ID.Name()
	}
	if d, ok := c.run.store.(Durable); ok {
		shown.Durability = d.Durability()
	}
	return shown
}

// cacheStatus counts the caches of all configurations, as the metrics do.
func (c *adminCall) cacheStatus() cacheStatus {
	hits, misses := startedApps.cacheFigures()
	return cacheStatus{Size: cmp.Or(c.app.CacheSize, revocation.DefaultCacheBytes), Hits: hits, Misses: misses}
}

// openStreams returns how many exchanges are open by what they are.
func openStreams() map[string]int {
	open := map[string]int{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(streamsOpen)
	families, _ := registry.Gather() // of gauges, which don't fail
	for _, family := range families {
		for _, m := range family.GetMetric() {
			open[m.GetLabel()[0].GetValue()] = int(m.GetGauge().GetValue())
		}
	}
	return open
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func lifetimeText(d time.Duration) string {
	if d == revocation.Forever {
		return "never"
	}
	return d.String()
}

// moduleVersion returns the version of this module in the running program.
func moduleVersion() string {
	const unknown = "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknown
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path != "" && strings.HasPrefix(tracerName, m.Path+"/") {
			if m.Replace != nil {
				m = m.Replace
			}
			return cmp.Or(m.Version, unknown)
		}
	}
	return unknown
}
