package caddymodule

// This file is `caddy tokens list` and `caddy tokens show`.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// listFlags are the flags of list.
type listFlags struct {
	adminClient
	selectorFlags
	kind, shape, source, actor string
	state, since, until        string
	limit                      int
	after                      string
	all, asJSON                bool
}

func listCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list [--subject <id> | --since <time> | …]",
		Short: "Lists revocations, the newest first",
		Long: `
Lists what is revoked, the newest first. Flags narrow it down; all of them must hold.
Revocations that were taken back are listed with --state reinstated or all; those
that have expired are forgotten.

"What revokes this token?" is a question for check, which reads the token.`,
		Example: `  What was revoked today?
    caddy tokens list --since 24h

  Is this user blocked?
    caddy tokens list --subject alice

  Who logged users out, and was anything taken back?
    caddy tokens list --kind issued_before --state all

  Everything by one operator, for a script:
    caddy tokens list --actor cli:eve@laptop --all --json`,
		Args: cobra.NoArgs,
		RunE: f.run,
	}
	f.adminClient.flags(cmd)
	f.selectorFlags.flags(cmd)
	kinds := []string{revocation.Block.String(), revocation.IssuedBefore.String(), revocation.AuthenticatedBefore.String()}
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "kind", "", "Of this `kind`: block, issued_before or authenticated_before")
	flags.StringVar(&f.shape, "shape", "", "With exactly these claims, as a `list` such as sub or client_id+sub")
	flags.StringVar(&f.source, "source", "", "That came in this `way`: endpoint, relay, admin or import")
	flags.StringVar(&f.actor, "actor", "", "By this `name`, exactly as it is listed")
	flags.StringVar(&f.state, "state", stateLive, "In this `state`: live, reinstated (taken back), or all")
	flags.StringVar(&f.since, "since", "", "Recorded at or after this `time`: 24h, 2026-01-31T12:00:00Z")
	flags.StringVar(&f.until, "until", "", "Recorded before this `time`")
	flags.IntVarP(&f.limit, "limit", "n", 50, "This `number` at a time, up to 1000")
	flags.StringVar(&f.after, "after", "", "Go on behind a page, at the `place` that its last line names")
	flags.BoolVar(&f.all, "all", false, "All pages, one after the other")
	flags.BoolVar(&f.asJSON, "json", false, "Print the answer of the admin API, one line for each page")
	cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{stateLive, stateReinstated, stateAll}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *listFlags) run(cmd *cobra.Command, _ []string) error {
	query, err := f.query(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	for first := true; ; first = false {
		var page revocationsResponse
		raw, err := f.call(http.MethodGet, "records?"+query.Encode(), nil, &page)
		if err != nil {
			return err
		}
		if f.asJSON {
			err = printJSON(out, raw)
		} else {
			err = f.print(out, &page, first)
		}
		if err != nil || page.Next == "" || !f.all {
			return err
		}
		query.Set("after", page.Next)
	}
}

func (f *listFlags) query(cmd *cobra.Command) (url.Values, error) {
	if _, err := f.selectorFlags.read(cmd); err != nil {
		return nil, err
	}
	limit := f.limit
	if f.all && !cmd.Flags().Changed("limit") {
		limit = 1000
	}
	q := url.Values{"limit": {strconv.Itoa(limit)}, "state": {f.state}}
	f.selectorFlags.query(q)
	for name, value := range map[string]string{"kind": f.kind, "shape": f.shape, "source": f.source, "actor": f.actor, "after": f.after} {
		if value != "" {
			q.Set(name, value)
		}
	}
	now := time.Now()
	for name, value := range map[string]string{"since": f.since, "until": f.until} {
		if value == "" {
			continue
		}
		t, err := momentFrom(name, value, now)
		if err != nil {
			return nil, err
		}
		if t == "now" {
			t = now.UTC().Format(time.RFC3339)
		}
		q.Set(name, t)
	}
	return q, nil
}

func (f *listFlags) print(out io.Writer, page *revocationsResponse, first bool) error {
	if len(page.Revocations) == 0 {
		if first {
			fmt.Fprintln(out, "There are no such revocations.")
		}
		return nil
	}
	if err := revocationsTable(out, page.Revocations, time.Now()); err != nil {
		return err
	}
	if page.Next != "" && !f.all {
		fmt.Fprintf(out, "\nThere are more. The next page: the same command with --after %s\n", page.Next)
	}
	return nil
}

// revocationPath returns the path of a revocation. What isn't an id isn't repeated.
func revocationPath(id string) (string, error) {
	if _, err := revocation.ParseID(id); err != nil {
		return "", errors.New("that is not the id of a revocation, which looks like 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6; list shows ids")
	}
	return "records/" + id, nil
}

func showCommand() *cobra.Command {
	var client adminClient
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show <id>",
		Short: "Shows everything about one revocation",
		Long: `
Shows one revocation with all that it rejects: who recorded it, when, in what way
and why, when it expires, and who took it back if it was taken back. Ids are in the
output of list, revoke and check.`,
		Example: `    caddy tokens show 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the id of one revocation; list shows ids")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := revocationPath(args[0])
			if err != nil {
				return err
			}
			var r revocationJSON
			raw, err := client.call(http.MethodGet, path, nil, &r)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), raw)
			}
			return r.describe(cmd.OutOrStdout(), time.Now())
		},
	}
	client.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print the answer of the admin API")
	return cmd
}

// describe writes all of a revocation.
func (r *revocationJSON) describe(out io.Writer, now time.Time) error {
	t := newTable(out, "")
	t.row("Revocation", r.ID)
	t.row("State", describeState(r.State, r.Pending))
	t.row("Recorded", moment(r.RecordedAt, now))
	t.row("By", printable(r.Actor))
	t.row("Came by", printable(r.Source))
	t.row("Why", printable(r.Reason))
	if back := r.Reinstated; back != nil {
		t.row("Taken back", moment(back.RecordedAt, now))
		t.row("  by", printable(back.Actor))
		t.row("  why", printable(back.Reason))
		t.row("  under the id", back.ID)
	}
	if err := t.flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\nIts records:\n")
	return recordsTable(out, r.Records, now)
}

// describeState says what a state means.
func describeState(state string, pending bool) string {
	switch {
	case state == stateReinstated:
		return "reinstated: it was taken back and rejects nothing"
	case state == stateExpired:
		return "expired: it rejects nothing any more"
	case pending:
		return "live, pending: it is in force, but not durable, since the store fails"
	}
	return "live: it is in force"
}
