package caddymodule

// This file registers `caddy tokens …`. Its commands are clients of the admin API, but
// for secret, which needs no Caddy that runs.

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tokens",
		Short: "Works with revoked tokens and the clients that revoke them",
		Long: `
Revokes bearer tokens in a running Caddy, and shows what is revoked and why. Every
request with a revoked token is rejected where a site has the directive
reject_revoked.

A revocation names tokens in one of two ways:

	a block   rejects every token that matches, also those that are issued later,
	          until it expires: "this token leaked", "this user left".
	a cutoff  rejects those that were issued up to a moment, and lets newer ones
	          pass: "log this user out everywhere, they may log in again".

	A token leaked                 caddy tokens revoke --reason "in a log" < token.txt
	A user left                    caddy tokens revoke --subject alice --reason left
	Log a user out everywhere      caddy tokens revoke --subject alice --issued-before now --reason "lost phone"
	Why is this token rejected?    caddy tokens check < token.txt
	What was revoked today?        caddy tokens list --since 24h
	That was a mistake             caddy tokens reinstate <id> --reason "wrong user"
	Is all well?                   caddy tokens status

The commands talk to the admin API of the Caddy that runs, which is at
localhost:2019 unless the configuration or --address says otherwise. Tokens are
read from standard input or at a prompt, and never from the command line, which
other users of the machine and the shell's history can see.`,
		CobraFunc: tokensCommand,
	})
}

// guestCommands are those of stores that are packages of their own.
var guestCommands []func() *cobra.Command

// AddCommand adds a command to `caddy tokens`. It is for the init functions of packages
// beside this one.
func AddCommand(command func() *cobra.Command) { guestCommands = append(guestCommands, command) }

func tokensCommand(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true
	cmd.FParseErrWhitelist.UnknownFlags = true // they are those of a command that is misspelled
	cmd.Args = knownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	// Its own usage is a command behind it, which stands in the next line.
	cmd.SetUsageTemplate(strings.Replace(cmd.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withoutTokens(err) })
	cmd.AddCommand(
		revokeCommand(), reinstateCommand(), checkCommand(), listCommand(), showCommand(), statusCommand(),
		exportCommand(), importCommand(), secretCommand(),
	)
	for _, command := range guestCommands {
		cmd.AddCommand(command())
	}
}

// knownCommand refuses what isn't a command. It doesn't repeat it: it could be a token.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("there is no such command; did you mean %s?", strings.Join(near, " or "))
	}
	return fmt.Errorf("there is no such command; %q lists all", cmd.CommandPath()+" --help")
}

// errNoArguments is what a command says that reads a token to who gives it one.
var errNoArguments = errors.New(`the token isn't an argument: other users of this machine could see it in the list
of processes. It is read from standard input, or at a prompt when there is none:
	caddy tokens <command> < token.txt
If what you typed was a token, it is in your shell's history now: delete it there`)

// noToken refuses arguments of commands that read a token.
func noToken(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return errNoArguments
	}
	return nil
}

// withoutTokens returns an error about flags that doesn't repeat what could be a token:
// --token=eyJ… is easily written.
func withoutTokens(err error) error {
	var value interface{ GetValue() string }
	if strings.Contains(err.Error(), "--token") || errors.As(err, &value) && looksSecret(value.GetValue()) {
		return errNoArguments
	}
	for word := range strings.FieldsSeq(err.Error()) {
		if looksSecret(word) {
			return errNoArguments
		}
	}
	return err
}

// looksSecret reports whether a word may be a token, in part at least.
func looksSecret(word string) bool { return len(word) > 40 || strings.Contains(word, "eyJ") }

func secretCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "secret [--json]",
		Short: "Makes a secret for a client of revocation_endpoint",
		Long: `
Makes a random client secret of 256 bits and prints it with its hash. Give the
secret to the client, and write the hash into the Caddyfile:

	revocation_endpoint /oauth2/revoke {
		hash_algorithm sha256
		client my-client <hash>
	}

The secret is shown once and stored nowhere.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, hash, err := newSecret()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(map[string]string{"secret": secret, "hash": hash})
			}
			_, err = fmt.Fprintf(out, "secret  %s\nhash    %s\n", secret, hash)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print a JSON object with the members secret and hash")
	return cmd
}
