package caddymodule

// This file is `caddy tokens reinstate`.

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// reinstateFlags are the flags of reinstate.
type reinstateFlags struct {
	adminClient
	reason, actor string
	yes, asJSON   bool
}

func reinstateCommand() *cobra.Command {
	var f reinstateFlags
	cmd := &cobra.Command{
		Use:   "reinstate <id>... --reason <text>",
		Short: "Takes revocations back",
		Long: `
Takes revocations back, by their ids: the tokens that they hit are accepted again,
unless another revocation hits them too. Check says what still does.

Nothing is deleted: the reinstatement is recorded with who and why, and list --state
reinstated shows it.

It shows what would pass again and asks, unless --yes is given.`,
		Example: `  That was the wrong user:
    caddy tokens reinstate 0199e2a4-5b1c-7d3e-8f90-a1b2c3d4e5f6 --reason "alice, not alicia"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name the ids of the revocations to take back; list shows ids")
			}
			return nil
		},
		RunE: f.run,
	}
	f.adminClient.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.reason, "reason", "", "Why, in a few `words`. It is asked for at a terminal")
	flags.StringVar(&f.actor, "actor", "", "Who takes it back, for the record, as a `name`. Default: cli:<user>@<host>")
	flags.BoolVarP(&f.yes, "yes", "y", false, "Don't ask")
	flags.BoolVar(&f.asJSON, "json", false, "Print the answers of the admin API, one line for each id")
	return cmd
}

func (f *reinstateFlags) run(cmd *cobra.Command, ids []string) error {
	c, now := consoleOf(cmd), time.Now()
	var paths []string
	for _, id := range ids {
		path, err := revocationPath(id)
		if err != nil {
			return err
		}
		paths = append(paths, path)
	}
	if err := c.checkReason(f.reason); err != nil {
		return err
	}
	if !f.yes {
		if err := f.show(c, paths, now); err != nil {
			return err
		}
	}
	reason, err := c.reason(f.reason)
	if err != nil {
		return err
	}
	if !f.yes {
		if err := c.confirm("Take back?"); err != nil {
			return err
		}
	}
	for i, path := range paths {
		var answer reinstateResponse
		raw, err := f.call(http.MethodDelete, path, reinstateRequest{Reason: reason, Actor: cmp.Or(f.actor, whoRuns())}, &answer)
		if err != nil && len(ids) > 1 {
			err = fmt.Errorf("%s: %w", ids[i], err)
		}
		if err != nil {
			return err
		}
		if f.asJSON {
			err = printJSON(cmd.OutOrStdout(), raw)
		} else {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "Taken back: %s\n", ids[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// show shows what would be taken back.
func (f *reinstateFlags) show(c *console, paths []string, now time.Time) error {
	all := make([]revocationJSON, len(paths))
	for i, path := range paths {
		r := &all[i]
		if _, err := f.call(http.MethodGet, path, nil, r); err != nil {
			return err
		}
		if r.State != stateLive {
			return fmt.Errorf("%s is %s", r.ID, describeState(r.State, false))
		}
	}
	fmt.Fprintln(c.asked, "The tokens that these hit would pass again:")
	return revocationsTable(c.asked, all, now)
}
