package caddymodule

// This file is `caddy tokens check`.

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// The exit codes of check. 1 is that of every command that fails.
const (
	exitActive    = 0
	exitFailed    = 1
	exitRevoked   = 3
	exitMalformed = 4
)

// checkFlags are the flags of check.
type checkFlags struct {
	adminClient
	quiet, asJSON bool
}

func checkCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Says whether a token is rejected, and why or why not",
		Long: `
Reads a token, from standard input or at a prompt, and says how this Caddy sees it:
whether it is revoked, which records name it and by which of its values, and what can
never match it: a token that isn't a JWT has no user, as far as Caddy can see.

It asks the token's issuer too, if that is configured, whether the token is genuine.
The routes decide whether that matters: see verify in reject_revoked.

The exit code is
	0  nothing on the list rejects it
	1  it could not be found out
	3  it is revoked
	4  it is malformed, which reject_revoked rejects too`,
		Example: `    caddy tokens check < token.txt

  In a script:
    if caddy tokens check --quiet < token.txt; then echo "not revoked"; fi`,
		Args: noToken,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return f.run(cmd) })(cmd, nil)
		},
	}
	f.adminClient.flags(cmd)
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "Print nothing: the exit code says it")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "Print the answer of the admin API")
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command) (int, error) {
	token, err := consoleOf(cmd).token()
	if err != nil {
		return exitFailed, err
	}
	var answer checkResponse
	raw, err := f.call(http.MethodPost, "check", checkRequest{Token: token}, &answer)
	if err != nil {
		return exitFailed, err
	}
	out := cmd.OutOrStdout()
	switch {
	case f.quiet:
	case f.asJSON:
		err = printJSON(out, raw)
	default:
		err = answer.describe(out, time.Now())
	}
	if err != nil {
		return exitFailed, err
	}
	switch answer.Verdict {
	case revocation.Active.String():
		return exitActive, nil
	case revocation.Revoked.String():
		return exitRevoked, nil
	case revocation.Malformed.String():
		return exitMalformed, nil
	}
	return exitFailed, errors.New("the verdict isn't one that this program knows: it is older than the Caddy that runs")
}

// describe says all about a token.
func (a *checkResponse) describe(out io.Writer, now time.Time) error {
	fmt.Fprintf(out, "%s. %s\n", strings.ToUpper(a.Verdict), printable(a.Reason))
	warn(out, a.Warnings)
	if len(a.Records) > 0 {
		fmt.Fprint(out, "\nRecords that name it:\n")
	}
	last := ""
	for i := range a.Records {
		r := &a.Records[i].Record
		if r.ID != last {
			fmt.Fprintf(out, "  %s, recorded %s by %s: %s\n", r.ID, moment(r.RecordedAt, now), printable(r.Actor), printable(r.Reason))
		}
		a.Records[i].describe(out, now)
		last = r.ID
	}
	fmt.Fprint(out, "\nThe token:\n")
	if err := a.describeToken(out, now); err != nil {
		return err
	}
	if len(a.Matches) > 0 {
		fmt.Fprint(out, "\nFlags of revoke that name it:\n")
		for _, m := range a.Matches {
			fmt.Fprintf(out, "  %s\n", flagsFor(m.Selector))
		}
	}
	return describeImpossible(out, a.Impossible)
}

// describe says what a record does to the token.
func (m *matchedRecordJSON) describe(out io.Writer, now time.Time) {
	verb := "passes"
	if m.Rejects {
		verb = "rejected"
	}
	r := &m.Record
	fmt.Fprintf(out, "    %s: %s %s\n", verb, describeKind(&r.recordJSON), describeSelector(r.Selector, true))
	fmt.Fprintf(out, "      %s; expires %s\n", printable(m.Why), moment(r.Expires, now))
	if m.Pending {
		fmt.Fprintln(out, "      in force, but not durable, since the store fails")
	}
}

// describeImpossible says what can never hit the token.
func describeImpossible(out io.Writer, impossible []impossibleJSON) error {
	if len(impossible) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nFlags that can't name it:\n")
	why := impossible[0].Why
	if !slices.ContainsFunc(impossible, func(i impossibleJSON) bool { return i.Why != why }) && len(impossible) > 1 {
		_, err := fmt.Fprintf(out, "  all others: %s\n", printable(why))
		return err
	}
	t := newTable(out, "  ")
	for _, i := range impossible {
		t.row(flagNames(i.Shape), printable(i.Why))
	}
	return t.flush()
}

// describeToken says what is known of the token itself.
func (a *checkResponse) describeToken(out io.Writer, now time.Time) error {
	t := newTable(out, "  ")
	optional := func(name, text string) {
		if text != "" && text != "-" {
			t.row(name, printable(text))
		}
	}
	kind := "opaque: nothing can be read in it"
	if a.JWT {
		kind = "JWT"
	}
	t.row("Form", kind)
	t.row("Fingerprint", a.Fingerprint)
	optional("Malformed", a.Malformed)
	optional("Issuer", strings.Join(a.Issuers, ", "))
	for _, role := range slices.Sorted(maps.Keys(a.Claims)) {
		optional(role, strings.Join(a.Claims[role], ", "))
	}
	optional("Issued", moment(a.IssuedAt, now))
	optional("User logged in", moment(a.AuthenticatedAt, now))
	optional("Expires", moment(a.Expires, now))
	if p := a.Proof; p != nil {
		t.row("Genuine", "yes, "+printable(p.Issuer)+" vouches for it")
		if p.Kind != revocation.UnknownKind.String() {
			optional("Kind", strings.ReplaceAll(p.Kind, "_", " "))
		}
		optional("Owner", strings.Join(p.Owners, ", "))
		optional("Audience", strings.Join(p.Audience, ", "))
	} else {
		t.row("Genuine", "not proven: "+printable(cmp.Or(a.Unproven, "no issuer is configured that could be asked")))
	}
	return t.flush()
}

// flagsFor writes a selector as the flags of revoke that name it.
func flagsFor(selector map[string]string) string {
	var flags []string
	for _, role := range slices.Sorted(maps.Keys(selector)) {
		if role != string(revocation.RoleIssuer) {
			flags = append(flags, flagFor(role, selector[role]))
		}
	}
	if issuer, ok := selector[string(revocation.RoleIssuer)]; ok {
		flags = append(flags, flagFor(string(revocation.RoleIssuer), issuer))
	}
	return strings.Join(flags, " ")
}

func flagFor(role, value string) string {
	if name := flagName(role); name != "" {
		return "--" + name + " " + quoted(value)
	}
	return "--claim " + quoted(role+"="+value)
}

// quoted writes a word so that a shell takes it as it is.
func quoted(word string) string {
	word = printable(word)
	if strings.ContainsAny(word, " '\"$&|;<>()*?[]#~`\\!{}") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}

// flagNames writes a shape as the flags of revoke that make it.
func flagNames(shape string) string {
	var flags []string
	for role := range strings.SplitSeq(shape, "+") {
		if name := flagName(role); name != "" {
			flags = append(flags, "--"+name)
		} else {
			flags = append(flags, "--claim "+quoted(role))
		}
	}
	return strings.Join(flags, " ")
}

// flagName is the flag for a role, empty for a claim that match_claims names.
func flagName(role string) string {
	if role == string(revocation.RoleToken) {
		return "fingerprint"
	}
	for _, f := range new(selectorFlags).all() {
		if f.member == role {
			return f.name
		}
	}
	return ""
}
