package caddymodule

// This file writes times, records and tables for people.

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// momentFrom reads "now", a time as in RFC 3339, or how long ago it was. It returns what
// the API reads: now is for the server to say, whose clock decides.
func momentFrom(flag, text string, now time.Time) (string, error) {
	if text == "now" {
		return text, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC().Format(time.RFC3339), nil
	}
	if ago, err := caddy.ParseDuration(text); err == nil && ago > 0 {
		return now.Add(-ago).UTC().Format(time.RFC3339), nil
	}
	return "", fmt.Errorf("--%s is not a time: write now, how long ago (2h, 3d), or a time with its zone as in %s", flag, now.Format(time.RFC3339))
}

// relative says how far a moment is from now: "in 4 h", "2 min ago".
func relative(t, now time.Time) string {
	d := t.Sub(now)
	format := "in %s"
	if d < 0 {
		d, format = -d, "%s ago"
	}
	if d < time.Second {
		return "now"
	}
	return fmt.Sprintf(format, roughly(d))
}

// roughly is a duration in the largest unit that fits.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{365 * day, "years"}, {day, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= 2*unit.length || d >= unit.length && unit.length < 365*day {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

const momentLayout = "2006-01-02 15:04:05 MST"

// moment writes a time in the zone of who reads it, and how far it is from now.
func moment(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case !t.Before(revocation.Never):
		return "never"
	}
	return t.Local().Format(momentLayout) + " (" + relative(t, now) + ")"
}

// shortMoment is moment for a column of a table.
func shortMoment(t, now time.Time) string {
	if t.IsZero() || !t.Before(revocation.Never) {
		return moment(t, now)
	}
	return t.Local().Format("2006-01-02 15:04 MST")
}

// shortExpiry says in how long a record expires.
func shortExpiry(t, now time.Time) string {
	if t.IsZero() || !t.Before(revocation.Never) {
		return moment(t, now)
	}
	return relative(t, now)
}

// describeSelector says what a record names: "sub=alice @ https://idp.example.com".
func describeSelector(selector map[string]string, short bool) string {
	var parts []string
	for _, role := range slices.Sorted(maps.Keys(selector)) {
		value := printable(selector[role])
		switch {
		case role == string(revocation.RoleIssuer):
			continue
		case short && role == string(revocation.RoleToken):
			value = value[:min(len(value), 12)] + "…"
		case short && utf8.RuneCountInString(value) > 48:
			value = string([]rune(value)[:45]) + "…"
		}
		parts = append(parts, role+"="+value)
	}
	issuer := printable(selector[string(revocation.RoleIssuer)])
	switch {
	case len(parts) == 0:
		return "every token @ " + issuer
	case issuer == "":
		return strings.Join(parts, " ")
	}
	return strings.Join(parts, " ") + " @ " + issuer
}

// describeKind says what a record does: "block", or a cutoff with its moment.
func describeKind(r *recordJSON) string {
	if r.Cutoff.IsZero() {
		return r.Kind
	}
	return strings.ReplaceAll(r.Kind, "_", " ") + " " + r.Cutoff.Local().Format(momentLayout)
}

// printable replaces what would move a terminal's cursor, or do worse: subjects, reasons
// and names come from others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// table writes rows in columns that are aligned, and no blanks at the end of a line.
// That is what text/tabwriter doesn't do with rows that differ in length.
type table struct {
	out    io.Writer
	indent string
	rows   [][]string
	widths []int
}

// newTable begins a table with a line of headings, unless there are none.
func newTable(out io.Writer, indent string, headings ...string) *table {
	t := &table{out: out, indent: indent}
	if len(headings) > 0 {
		t.row(headings...)
	}
	return t
}

func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if i == len(t.widths) {
			t.widths = append(t.widths, 0)
		}
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
	t.rows = append(t.rows, cells)
}

func (t *table) flush() error {
	for _, cells := range t.rows {
		var line strings.Builder
		line.WriteString(t.indent)
		for i, cell := range cells {
			fmt.Fprintf(&line, "%-*s  ", t.widths[i], cell)
		}
		if _, err := fmt.Fprintln(t.out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// revocationsTable lists revocations: a row for each, and one for each further record.
func revocationsTable(out io.Writer, all []revocationJSON, now time.Time) error {
	const state = 2 // the column that is left out where it would say the same everywhere
	headings := []string{"RECORDED", "ID", "STATE", "WHAT", "KIND", "EXPIRES", "BY", "WHY"}
	shown := slices.ContainsFunc(all, func(r revocationJSON) bool { return stateOf(&r) != stateLive })
	t := newTable(out, "")
	add := func(cells []string) {
		if !shown {
			cells = slices.Delete(cells, state, state+1)
		}
		t.row(cells...)
	}
	add(headings)
	for i := range all {
		r := &all[i]
		for n := range r.Records {
			record := &r.Records[n]
			cells := []string{"", "", "", describeSelector(record.Selector, true), describeKind(record), shortExpiry(record.Expires, now), "", ""}
			if n == 0 {
				cells[0], cells[1], cells[2] = shortMoment(r.RecordedAt, now), r.ID, stateOf(r)
				cells[6], cells[7] = printable(r.Actor), printable(r.Reason)
			}
			add(cells)
		}
	}
	return t.flush()
}

// stateOf is a revocation's state, with what is pending.
func stateOf(r *revocationJSON) string {
	if r.Pending {
		return r.State + ", pending"
	}
	return r.State
}
