package caddymodule

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
	"github.com/caddyrevocation/caddy-revocation/revocation/issuer"
)

// These tests hold the dashboard, the alert rules and docs/monitoring.md to the
// metrics that there are. A query that names no metric, or a value that no label
// has, is no error to Prometheus: it only never shows anything.

const (
	dashboardFile = "deploy/grafana/token-revocation.json"
	alertsFile    = "deploy/prometheus/alerts.yml"
)

// metricDesc is what a collector says of a metric.
type metricDesc struct {
	kind   string // counter, gauge or histogram
	labels []string
}

// ourMetrics returns the metrics that the module registers, by their names.
func ourMetrics(t *testing.T) map[string]metricDesc {
	t.Helper()
	registry := prometheus.NewRegistry()
	if err := registerMetrics(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	histograms := map[string]bool{}
	for _, family := range families {
		histograms[family.GetName()] = family.GetType().String() == "HISTOGRAM"
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	pattern := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([\w,]*)\}`)
	all := map[string]metricDesc{}
	for desc := range descs {
		match := pattern.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("not understood: %s", desc)
		}
		m := metricDesc{kind: "gauge"}
		if match[2] != "" {
			m.labels = strings.Split(match[2], ",")
		}
		switch {
		case histograms[match[1]]:
			m.kind = "histogram"
		case strings.HasSuffix(match[1], "_total"):
			m.kind = "counter"
		}
		all[match[1]] = m
	}
	if len(all) < 10 {
		t.Fatalf("only %d metrics", len(all))
	}
	return all
}

// seriesOf returns the metric that a time series is of: a histogram has three.
func seriesOf(metrics map[string]metricDesc, name string) (metricDesc, bool) {
	if m, ok := metrics[name]; ok {
		return m, m.kind != "histogram"
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && metrics[base].kind == "histogram" {
			m := metrics[base]
			if suffix == "_bucket" {
				m.labels = append(slices.Clone(m.labels), "le")
			}
			return m, true
		}
	}
	return metricDesc{}, false
}

var seriesName = regexp.MustCompile(`\bcaddy_token_revocation_\w+`)

// labelValues returns the values that a label of a metric can have, where queries
// may ask for some of them.
func labelValues(name, label string) []string {
	switch name + " " + label {
	case "caddy_token_revocation_checks_total verdict":
		return allVerdicts
	case "caddy_token_revocation_endpoint_requests_total outcome":
		return texts(endpoint.Outcomes())
	case "caddy_token_revocation_recorded_total source":
		return allSources
	case "caddy_token_revocation_streams_open kind":
		return texts([]streamKind{kindWebSocket, kindEventStream, kindOther})
	case "caddy_token_revocation_streams_cut_total reason":
		return texts([]cutReason{cutRevoked, cutExpired})
	case "caddy_token_revocation_issuer_requests_total call":
		return texts([]issuer.Call{issuer.CallMetadata, issuer.CallKeys, issuer.CallIntrospection})
	case "caddy_token_revocation_issuer_requests_total outcome":
		return texts([]issuer.Outcome{
			issuer.OutcomeOK, issuer.OutcomeActive, issuer.OutcomeInactive, issuer.OutcomeUnauthorized,
			issuer.OutcomeInvalid, issuer.OutcomeFailed, issuer.OutcomeLimited,
		})
	}
	return nil
}

func texts[S ~string](values []S) (all []string) {
	for _, v := range values {
		all = append(all, string(v))
	}
	return all
}

// promQuery is a PromQL expression and what is shown of its labels.
type promQuery struct{ where, expr, text string }

var (
	selector = regexp.MustCompile(`\b(caddy_token_revocation_\w+)\{([^}]*)\}`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	shown    = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)
)

// check looks for series, labels and values that don't exist.
func (q promQuery) check(t *testing.T, metrics map[string]metricDesc) {
	t.Helper()
	possible := []string{"job", "instance"}
	for _, name := range seriesName.FindAllString(q.expr, -1) {
		m, ok := seriesOf(metrics, name)
		if !ok {
			t.Errorf("%s: there is no series %s", q.where, name)
		}
		possible = append(possible, m.labels...)
	}
	for _, match := range selector.FindAllStringSubmatch(q.expr, -1) {
		m, _ := seriesOf(metrics, match[1])
		for _, pair := range matcher.FindAllStringSubmatch(match[2], -1) {
			label, value := pair[1], pair[2]
			if label == "job" || label == "instance" {
				continue
			}
			if !slices.Contains(m.labels, label) {
				t.Errorf("%s: %s has no label %s", q.where, match[1], label)
			}
			for alternative := range strings.SplitSeq(value, "|") {
				if !slices.Contains(labelValues(match[1], label), alternative) {
					t.Errorf("%s: %s of %s is never %q, as far as this test knows", q.where, label, match[1], alternative)
				}
			}
		}
	}
	var named []string
	for _, match := range grouping.FindAllStringSubmatch(q.expr, -1) {
		named = append(named, regexp.MustCompile(`\w+`).FindAllString(match[1], -1)...)
	}
	for _, match := range shown.FindAllStringSubmatch(q.text, -1) {
		named = append(named, match[1])
	}
	for _, label := range named {
		if !slices.Contains(possible, label) {
			t.Errorf("%s: nothing in it has the label %s: %s", q.where, label, q.expr)
		}
	}
}

// dashboard is what these tests need of Grafana's model.
type dashboard struct {
	SchemaVersion int
	Panels        []struct {
		ID                       int
		Type, Title, Description string
		Targets                  []struct{ Expr, LegendFormat string }
		Datasource               struct{ UID string }
		FieldConfig              struct{ Defaults struct{ Unit string } }
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d dashboard) queries() (all []promQuery) {
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			all = append(all, promQuery{`panel "` + panel.Title + `"`, target.Expr, target.LegendFormat})
		}
	}
	return all
}

// alertRule is a rule as it stands in the file.
type alertRule struct{ name, expr, text string }

func readAlerts(t *testing.T) (all []alertRule) {
	t.Helper()
	pattern := regexp.MustCompile(`(?s)^(\w+)\n\s+expr: (.*?)\n\s+for: \d+\w\n\s+labels:\n\s+severity: (?:critical|warning)\n\s+annotations:\n(.*)`)
	for _, text := range strings.Split(read(t, alertsFile), "- alert: ")[1:] {
		match := pattern.FindStringSubmatch(text)
		if match == nil {
			t.Fatalf("an alert needs expr, for, severity and annotations, in this order: %s", text)
		}
		all = append(all, alertRule{match[1], match[2], match[3]})
	}
	if len(all) < 10 {
		t.Fatalf("only %d alerts", len(all))
	}
	return all
}

func TestDashboardAndAlertsAskForMetricsThatExist(t *testing.T) {
	metrics, d := ourMetrics(t), readDashboard(t)
	queries := d.queries()
	if len(queries) < 20 {
		t.Errorf("only %d queries in the dashboard", len(queries))
	}
	for _, variable := range d.Templating.List {
		queries = append(queries, promQuery{"variable " + variable.Name, variable.Definition, ""})
	}
	for _, a := range readAlerts(t) {
		queries = append(queries, promQuery{"alert " + a.name, a.expr, a.text})
	}
	for _, q := range queries {
		q.check(t, metrics)
	}
}

func TestDashboardAnswersWithEveryMetric(t *testing.T) {
	d := readDashboard(t)
	if d.SchemaVersion < 36 || d.SchemaVersion > 41 {
		t.Errorf("schemaVersion %d is none of Grafana 10 or 11", d.SchemaVersion)
	}
	ids, exprs := map[int]bool{}, ""
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		switch {
		case panel.Type == "row":
			if !strings.HasSuffix(panel.Title, "?") {
				t.Errorf("the row %q is no question", panel.Title)
			}
		case !strings.Contains(panel.Description, "Normal: "):
			t.Errorf("panel %q doesn't say what is normal", panel.Title)
		case panel.Datasource.UID != "${datasource}":
			t.Errorf("panel %q has a data source of its own", panel.Title)
		case panel.FieldConfig.Defaults.Unit == "" && panel.Type != "state-timeline":
			t.Errorf("panel %q has no unit", panel.Title)
		}
	}
	for _, q := range d.queries() {
		exprs += q.expr + "\n"
	}
	for name := range ourMetrics(t) {
		if !regexp.MustCompile(name + `(_bucket|_sum|_count)?\b`).MatchString(exprs) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// Prometheus's own parser reads the queries. The rules and their tests are for
// promtool alone: see .ci/run.
func TestDashboardQueriesAreValid(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		missing(t, "promtool")
	}
	type rule map[string]string
	var rules []rule
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", "a", "$instance", "b")
	for _, q := range readDashboard(t).queries() {
		rules = append(rules, rule{"record": "query:" + strings.Repeat("x", len(rules)+1), "expr": variables.Replace(q.expr)})
	}
	// JSON is YAML.
	file, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAlertsAreTestedAndSayWhatToDo(t *testing.T) {
	tests := read(t, "deploy/prometheus/alerts_test.yml")
	runbook := regexp.MustCompile(`runbook_url: https://github\.com/caddyrevocation/caddy-revocation/blob/main/(\S+\.md)#(\S+)`)
	for _, a := range readAlerts(t) {
		for _, annotation := range []string{"summary: ", "description: "} {
			if !strings.Contains(a.text, annotation) {
				t.Errorf("%s has no %s", a.name, annotation)
			}
		}
		if match := runbook.FindStringSubmatch(a.text); match == nil {
			t.Errorf("%s has no runbook", a.name)
		} else if _, err := os.Stat(filepath.Join("..", match[1])); err != nil {
			t.Errorf("the runbook of %s: %v", a.name, err)
		} else if !slices.Contains(anchors(read(t, match[1])), match[2]) {
			t.Errorf("the runbook of %s: %s has no section %s", a.name, match[1], match[2])
		}
		silent := strings.Contains(tests, "alertname: "+a.name+"\n        exp_alerts: []\n")
		if fires := strings.Contains(tests, "alertname: "+a.name+"\n        exp_alerts:\n          - exp_labels:") ||
			strings.Contains(tests, `labels: ALERTS{alertname="`+a.name+`"`); !fires || !silent {
			t.Errorf("%s is tested to fire: %t, and to be silent: %t", a.name, fires, silent)
		}
	}
}

// anchors returns what links name the sections of a page by.
func anchors(page string) (all []string) {
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		plain := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(match[1]), "")
		all = append(all, strings.ReplaceAll(plain, " ", "-"))
	}
	return all
}

// Each metric has a row in docs/monitoring.md, with its type and labels, and no page
// names one that doesn't exist.
func TestTheDocsNameTheMetrics(t *testing.T) {
	metrics := ourMetrics(t)
	rows := map[string][]string{}
	for line := range strings.Lines(section(t, read(t, "docs/monitoring.md"), "Metrics")) {
		if cells := strings.Split(line, "|"); len(cells) == 6 && strings.HasPrefix(cells[1], " `caddy_") {
			rows[strings.Trim(cells[1], " `")] = cells
		}
	}
	for name, m := range metrics {
		cells, ok := rows[name]
		if !ok {
			t.Errorf("docs/monitoring.md has no row for %s", name)
			continue
		}
		if kind := strings.TrimSpace(cells[2]); kind != m.kind {
			t.Errorf("docs/monitoring.md: %s is a %s, not a %s", name, m.kind, kind)
		}
		if len(m.labels) == 0 && strings.TrimSpace(cells[3]) != "" {
			t.Errorf("docs/monitoring.md: %s has no labels", name)
		}
		for _, label := range m.labels {
			if !strings.Contains(cells[3], "`"+label+"`") {
				t.Errorf("docs/monitoring.md: %s has the label %s", name, label)
			}
			if strings.Contains(cells[3], "endpoint.md#outcomes") {
				continue // where another test looks for all of them
			}
			for _, value := range labelValues(name, label) {
				if !strings.Contains(cells[3], "`"+value+"`") {
					t.Errorf("docs/monitoring.md: %s of %s can be %s", label, name, value)
				}
			}
		}
	}
	for name := range rows {
		if _, ok := metrics[name]; !ok {
			t.Errorf("docs/monitoring.md: there is no metric %s", name)
		}
	}
	for _, name := range seriesName.FindAllString(strings.Join(append(docs(t), read(t, "README.md")), "\n"), -1) {
		if _, ok := seriesOf(metrics, name); !ok && metrics[name].kind == "" {
			t.Errorf("the docs name a metric that there isn't: %s", name)
		}
	}
}
