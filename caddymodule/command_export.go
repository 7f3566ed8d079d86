package caddymodule

// This file is `caddy tokens export`.

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func exportCommand() *cobra.Command {
	var client adminClient
	var file string
	cmd := &cobra.Command{
		Use:   "export [--output <file>]",
		Short: "Writes all records, one JSON object on each line",
		Long: `
Writes every record that is in force, and every reinstatement that still counts, as
JSON, one on each line: for a backup, for another Caddy, or for a look with jq. What
import reads is the same.

It has the ids of users and sessions in clear, which are personal data, but no tokens.
A file is only readable by you, and appears when it is complete.`,
		Example: `    caddy tokens export --output revocations.ndjson

  To another Caddy:
    caddy tokens export | caddy tokens import - --address other.internal:2019

  Which users are revoked?
    caddy tokens export | jq -r '.selector.sub // empty' | sort -u`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			resp, err := client.request(http.MethodGet, "export", nil, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if file == "" || file == "-" {
				return copyExport(cmd.OutOrStdout(), resp.Body)
			}
			return writeWhole(file, func(w io.Writer) error { return copyExport(w, resp.Body) })
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVarP(&file, "output", "o", "-", "Write to this `file`, - is standard output")
	return cmd
}

// copyExport copies an export. One that broke off is an error.
func copyExport(w io.Writer, export io.Reader) error {
	if _, err := io.Copy(w, export); err != nil {
		return fmt.Errorf("the export is not complete: %w", err)
	}
	return nil
}

// writeWhole writes a file for its owner only, which replaces another of that name when
// it is complete and not before. What is there and isn't a file is written to: to put a
// file into the place of /dev/null would break more than an export.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // a link stays one
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // has mode 0600
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
