package caddymodule

// This file is `caddy tokens status`.

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	var client adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Says whether all is well, and what is on the list",
		Long: `
Says first what is wrong, if anything is: a store that fails, a list that may lack
something, a store that may lose what it acknowledged, revocations that aren't durable
yet, a node of the cluster that may lack something, an issuer that can't be asked. Then
how many records there are of each kind, what they take, how long revocations are kept,
which streams are open, and what is known of other nodes and of issuers.

For a health check by a machine there is the route /token_revocation/health of the
admin API.`,
		Example: `    caddy tokens status
    caddy tokens status --json --address localhost:2020`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s statusResponse
			raw, err := client.call(http.MethodGet, "status", nil, &s)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), raw)
			}
			return s.describe(cmd.OutOrStdout(), time.Now())
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print the answer of the admin API")
	return cmd
}

// describe writes the status, what is wrong first.
func (s *statusResponse) describe(out io.Writer, now time.Time) error {
	wrong := s.wrong(now)
	if len(wrong) == 0 {
		fmt.Fprintln(out, "All is well.")
	}
	for _, problem := range wrong {
		fmt.Fprintf(out, "WRONG: %s\n", printable(problem))
	}
	fmt.Fprintln(out)
	t := newTable(out, "")
	t.row("Store", printable(s.Store.Module+": "+strings.TrimPrefix(s.Store.Key, s.Store.Module+":")))
	if s.Store.Durability != "" {
		t.row("Durability", printable(s.Store.Durability))
	}
	if s.Cluster != nil {
		t.row("May be old", fmt.Sprintf("up to %s, then on_stale %s unless a route says otherwise", readable(s.Cluster.MaxStaleness), s.Cluster.OnStale))
		t.row("Local copy", printable(s.Cluster.Replica))
	}
	t.row("In force", fmt.Sprintf("%s records, %s of memory", humanize.Comma(int64(s.List.Keys)), humanize.IBytes(uint64(s.List.IndexBytes))))
	t.row("Named by", fmt.Sprintf("%d of %d possible combinations of claims", s.List.Shapes, s.List.MaxShapes))
	t.row("Kept", fmt.Sprintf("until tokens have expired, and %s longer; %s where that isn't known", readable(s.Retention.Leeway), readable(s.Retention.MaxTokenLifetime)))
	if len(s.MatchClaims) > 0 {
		t.row("Further claims", printable(strings.Join(s.MatchClaims, ", ")))
	}
	t.row("Cache", describeCache(s.Cache))
	t.row("Open streams", describeStreams(s.Streams))
	t.row("Version", printable(s.Version))
	if err := t.flush(); err != nil {
		return err
	}
	if err := s.List.describe(out); err != nil {
		return err
	}
	if s.Cluster != nil {
		if err := s.Cluster.describe(out, now); err != nil {
			return err
		}
	}
	return describeIssuers(out, s.Issuers, now)
}

// wrong says what somebody should look after.
func (s *statusResponse) wrong(now time.Time) (problems []string) {
	if s.Store.Failing {
		problems = append(problems, fmt.Sprintf("the store takes nothing since %s: %s", moment(s.Store.Since, now), s.Store.Error))
	}
	if !s.List.Fresh {
		problems = append(problems, fmt.Sprintf("the list may lack something since %s: %s", moment(s.List.Since, now), s.List.Cause))
	}
	problems = append(problems, s.Store.wrongDurability()...)
	if s.Cluster != nil {
		problems = append(problems, s.Cluster.wrong(now)...)
	}
	if s.List.Pending > 0 {
		problems = append(problems, fmt.Sprintf("%s records are in force but not durable: they are lost if Caddy ends now", humanize.Comma(int64(s.List.Pending))))
	}
	for _, i := range s.Issuers {
		if !i.Ready {
			problems = append(problems, fmt.Sprintf("the issuer %s isn't ready: %s", i.Issuer, cmp.Or(i.Error, i.IntrospectionError, "its keys weren't fetched yet")))
		}
	}
	return problems
}

// describe writes how many records there are of each kind and shape.
func (l *listStatus) describe(out io.Writer) error {
	if len(l.Records) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out, "", "KIND", "NAMED BY", "RECORDS")
	for _, r := range l.Records {
		t.row(r.Kind, printable(r.Shape), humanize.Comma(int64(r.Keys)))
	}
	return t.flush()
}

func describeIssuers(out io.Writer, issuers []issuerStatusJSON, now time.Time) error {
	if len(issuers) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out, "", "ISSUER", "READY", "KEYS", "FETCHED")
	for _, i := range issuers {
		ready := "yes"
		if !i.Ready {
			ready = "no"
		}
		t.row(printable(i.Issuer), ready, strconv.Itoa(i.Keys), moment(i.KeysFrom, now))
	}
	return t.flush()
}

// readable writes a duration of the API for people.
func readable(duration string) string {
	d, err := time.ParseDuration(duration)
	if err != nil { // never
		return duration
	}
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%d d", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len("0s")]
		}
	}
	return text
}

func describeCache(c cacheStatus) string {
	text := humanize.IBytes(uint64(c.Size)) + " at most"
	if asked := c.Hits + c.Misses; asked > 0 {
		text += fmt.Sprintf(", %d%% of %s look-ups found their token in it", c.Hits*100/asked, humanize.Comma(int64(asked)))
	}
	return text
}

func describeStreams(streams map[string]int) string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(streams)) {
		if streams[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", humanize.Comma(int64(streams[kind])), strings.ReplaceAll(kind, "_", " ")))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}
