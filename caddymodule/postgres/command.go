package postgres

// This file is `caddy tokens schema`.

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/caddyrevocation/caddy-revocation/caddymodule"
	"github.com/caddyrevocation/caddy-revocation/revocation/pgstore"
)

func init() {
	caddymodule.AddCommand(schemaCommand)
}

func schemaCommand() *cobra.Command {
	var schema string
	cmd := &cobra.Command{
		Use:   "schema [--schema <name>]",
		Short: "Prints the SQL of the tables of the store postgres",
		Long: `
Prints the SQL that makes the tables of the store postgres, for whoever makes them by
hand. It changes nothing where they are already. The store doesn't make them itself
with create_schema off.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), pgstore.Schema(schema))
			return err
		},
	}
	cmd.Flags().StringVar(&schema, "schema", pgstore.DefaultSchema, "The `name` of the schema that the tables are in")
	return cmd
}
