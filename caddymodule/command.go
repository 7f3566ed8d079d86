package caddymodule

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tokens",
		Short: "Works with revoked tokens and the clients that revoke them",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.AddCommand(secretCommand())
		},
	})
}

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
