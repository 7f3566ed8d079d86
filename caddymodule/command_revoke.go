package caddymodule

// This file is `caddy tokens revoke`.

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// revokeFlags are the flags of revoke.
type revokeFlags struct {
	adminClient
	selectorFlags
	token                             bool
	issuedBefore, authenticatedBefore string
	expiresIn, reason, actor, cascade string
	wait                              string
	dryRun, yes, asJSON               bool
}

func revokeCommand() *cobra.Command {
	var f revokeFlags
	cmd := &cobra.Command{
		Use:   "revoke [--subject <id> | --session <id> | …] --reason <text>",
		Short: "Revokes a token, or all tokens of a user, session, client, key or issuer",
		Long: `
Revokes tokens. From the moment that this command succeeds every request with one of
them is rejected, and that is durable. Without a flag that names tokens it reads
one token, from standard input or at a prompt.

Flags that name tokens are combined: a token is hit that has all of these values,
and comes from the issuer.

Without --issued-before and --authenticated-before the revocation is a block. It
rejects every token that matches, also one that is issued tomorrow, until it
expires: a user who is blocked can't log in again and go on.

With --issued-before or --authenticated-before it is a cutoff. It rejects what was
issued up to that moment; who logs in again has a newer token, which passes. The
moment is now, how long ago (2h, 3d), or a time as in 2026-01-31T12:00:00Z.
--authenticated-before compares when the user last gave a password (auth_time), so it
also hits tokens that were renewed since then without one.

Unless it is about a single token, this command first shows what would be recorded
and asks. In scripts, look at it with --dry-run, then add --yes.

On a cluster other nodes enforce it within milliseconds. With --wait this command
succeeds only when none of them accepts the tokens any more, and names those that may
when it gives up. The revocation stays in any case.`,
		Example: `  A token leaked:
    caddy tokens revoke --reason "was in a bug report" < token.txt

  All that is left of it is a line in a log:
    caddy tokens revoke --fingerprint pV06-vm4K3hO-WUGET4PO-svxRFM0AsgBGBeHG0QZrA --reason "was in a log"

  Log a user out everywhere; they can log in again:
    caddy tokens revoke --subject alice --issued-before now --reason "lost phone"

  A user left:
    caddy tokens revoke --subject alice --reason "left the company"

  A user left, and could log in again for three months to come:
    caddy tokens revoke --subject alice --expires-in 90d --reason "left the company"

  An access token leaked; end the session that it came from as well:
    caddy tokens revoke --cascade session --reason "stolen" < token.txt

  A signing key leaked (remove it at the issuer first):
    caddy tokens revoke --key 2025-07 --issuer https://idp.example.com --reason "key leaked"

  Nothing that a client had before noon counts any more:
    caddy tokens revoke --client mobile-app --issued-before 2026-01-31T12:00:00Z --reason "bad release"`,
		Args: noToken,
		RunE: f.run,
	}
	f.adminClient.flags(cmd)
	f.selectorFlags.flags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.token, "token", false, "Read a token. The default where no other flag names tokens")
	flags.StringVar(&f.issuedBefore, "issued-before", "", "Only tokens that were issued up to this `time`: now, 2h, 2026-01-31T12:00:00Z")
	flags.StringVar(&f.authenticatedBefore, "authenticated-before", "", "Only tokens whose user logged in up to this `time`")
	flags.StringVar(&f.expiresIn, "expires-in", "", "Forget the revocation after this `duration`, such as 12h, 30d or never. Default: when no token that it hits can be valid any more")
	flags.StringVar(&f.reason, "reason", "", "Why, in a few `words`. It is asked for at a terminal")
	flags.StringVar(&f.actor, "actor", "", "Who revokes, for the record, as a `name`. Default: cli:<user>@<host>")
	flags.StringVar(&f.cascade, "cascade", "", "What else dies with a token, by its `scope`: session, subject_client (all of its user's with its client), or off. Default: session with a refresh token, else off")
	flags.StringVar(&f.wait, "wait", "", "Succeed only when no node of the cluster accepts the tokens any more, within this `duration`; --wait alone: 1m")
	flags.Lookup("wait").NoOptDefVal = defaultWaitCLI.String()
	flags.BoolVar(&f.dryRun, "dry-run", false, "Only show what would be recorded")
	flags.BoolVarP(&f.yes, "yes", "y", false, "Don't ask")
	flags.BoolVar(&f.asJSON, "json", false, "Print the answer of the admin API")
	cmd.RegisterFlagCompletionFunc("cascade", cobra.FixedCompletions([]string{"session", "subject_client", "off"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("issued-before", cobra.FixedCompletions([]string{"now"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("authenticated-before", cobra.FixedCompletions([]string{"now"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *revokeFlags) run(cmd *cobra.Command, _ []string) error {
	c := consoleOf(cmd)
	request, err := f.request(cmd, c)
	if err != nil {
		return err
	}
	request.DryRun = f.dryRun
	if !f.dryRun && !f.yes {
		if err := f.confirm(c, request); err != nil {
			return err
		}
	}
	answer, raw, err := f.send(request)
	if err != nil {
		return err
	}
	if f.asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	return answer.describe(cmd.OutOrStdout(), time.Now())
}

// request makes the request of what the flags, a file or a person say.
func (f *revokeFlags) request(cmd *cobra.Command, c *console) (revokeRequest, error) {
	request, err := f.selectorFlags.read(cmd)
	if err != nil {
		return request, err
	}
	wantsToken := f.token || reflect.DeepEqual(request, revokeRequest{})
	switch {
	case f.token && !reflect.DeepEqual(request, revokeRequest{}):
		return request, errors.New("--token names one token: it can't be combined with other flags that name tokens")
	case f.cascade != "" && !wantsToken:
		return request, errors.New("--cascade only goes with a token")
	case wantsToken && f.issuedBefore+f.authenticatedBefore != "":
		return request, errors.New("name the tokens that a cutoff is for, with --subject, say. One token is revoked without a cutoff")
	case f.issuedBefore != "" && f.authenticatedBefore != "":
		return request, errors.New("--issued-before and --authenticated-before are two revocations: give one after the other")
	}
	now := time.Now()
	for _, cutoff := range []struct {
		flag, given string
		member      *string
	}{{"issued-before", f.issuedBefore, &request.IssuedBefore}, {"authenticated-before", f.authenticatedBefore, &request.AuthenticatedBefore}} {
		if cutoff.given == "" {
			continue
		}
		if *cutoff.member, err = momentFrom(cutoff.flag, cutoff.given, now); err != nil {
			return request, err
		}
	}
	if f.wait != "" {
		if _, err := parseWait(f.wait); err != nil {
			return request, fmt.Errorf("--wait: %w", err)
		}
	}
	request.ExpiresIn, request.Actor, request.Cascade, request.Wait = f.expiresIn, cmp.Or(f.actor, whoRuns()), f.cascade, f.wait
	if err := c.checkReason(f.reason); err != nil {
		return request, err
	}
	if wantsToken {
		if request.Token, err = c.token(); err != nil {
			return request, err
		}
	}
	request.Reason, err = c.reason(f.reason)
	return request, err
}

func (f *revokeFlags) send(request revokeRequest) (answer revokeResponse, raw []byte, err error) {
	raw, err = f.call(http.MethodPost, "records", request, &answer)
	if err != nil {
		err = errors.New(withFlags.Replace(err.Error()))
	}
	for i, w := range answer.Warnings {
		answer.Warnings[i] = withFlags.Replace(w)
	}
	return answer, raw, err
}

// withFlags writes what the API says of its members as what it means to who used flags.
var withFlags = strings.NewReplacer(
	`"issued_before": "now"`, "--issued-before now", "issued_before", "--issued-before", "authenticated_before", "--authenticated-before",
	"expires_in", "--expires-in", "iss is ", "--issuer is ",
)

// confirm has a person agree to a revocation of more than one token.
func (f *revokeFlags) confirm(c *console, request revokeRequest) error {
	request.DryRun = true
	answer, _, err := f.send(request)
	if err != nil || answer.ofOneToken() {
		return err
	}
	if err := answer.describe(c.asked, time.Now()); err != nil {
		return err
	}
	return c.confirm("Revoke?")
}

// ofOneToken reports whether it hits a single token at most.
func (a *revokeResponse) ofOneToken() bool {
	if a.Revocation == nil {
		return true
	}
	for _, r := range a.Revocation.Records {
		_, token := r.Selector[string(revocation.RoleToken)]
		_, id := r.Selector[string(revocation.RoleTokenID)]
		if r.Kind != revocation.Block.String() || !token && !id {
			return false
		}
	}
	return true
}

// describe says what was done, or would be.
func (a *revokeResponse) describe(out io.Writer, now time.Time) error {
	r := a.Revocation
	switch {
	case a.Outcome == outcomeExpired || r == nil:
		fmt.Fprintln(out, "Nothing was recorded: the token has expired, and nobody accepts it any more.")
	case a.Outcome == outcomeWouldRevoke:
		fmt.Fprintln(out, "This would be recorded:")
	default:
		fmt.Fprintf(out, "Revoked: %s\n", r.ID)
	}
	if r != nil {
		if err := recordsTable(out, r.Records, now); err != nil {
			return err
		}
	}
	if a.Awaited {
		fmt.Fprintln(out, "No node accepts what it hits any more.")
	}
	warn(out, a.Warnings)
	if a.Outcome == outcomeRevoked && r != nil {
		fmt.Fprintf(out, "To take it back: caddy tokens reinstate %s --reason \"…\"\n", r.ID)
	}
	return nil
}

// warn writes what somebody should know.
func warn(out io.Writer, warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(out, "Warning: %s\n", printable(w))
	}
}

// recordsTable lists the records of one revocation in full.
func recordsTable(out io.Writer, records []recordJSON, now time.Time) error {
	t := newTable(out, "  ", "KIND", "WHAT", "EXPIRES")
	for i := range records {
		r := &records[i]
		t.row(describeKind(r), describeSelector(r.Selector, false), moment(r.Expires, now))
	}
	return t.flush()
}
