package caddymodule

// This file is `caddy tokens import`.

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// importFlags are the flags of import.
type importFlags struct {
	adminClient
	reason, actor  string
	strict, asJSON bool
}

func importCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import <file>",
		Short: "Reads records, one JSON object on each line",
		Long: `
Reads records from a file, or from standard input with -, and puts them on the list:
what export wrote, or lines of your own. Only kind and selector are needed there, and
the cutoff of a cutoff:

	{"kind":"block","selector":{"iss":"https://idp.example.com","sub":"alice"},"reason":"left"}
	{"kind":"issued_before","selector":{"iss":"https://idp.example.com","sid":"s-1"},"cutoff":"2026-01-31T12:00:00Z"}

Importing a file again changes nothing. A line that is wrong is refused and the others
are taken, unless --strict stops at the first one that is. The summary counts lines as
	accepted  it is in force now, and durable
	merged    the list had it already, or it was taken back
	expired   nobody accepts what it hits any more
	refused   it is wrong, see below the table

The exit code is 1 if a line was refused.`,
		Example: `    caddy tokens import revocations.ndjson

  A list of users who left:
    jq -Rc '{kind: "block", selector: {iss: "https://idp.example.com", sub: .}}' < users.txt |
        caddy tokens import - --reason "left, see HR-1234"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name the file to import; - is standard input")
			}
			return nil
		},
		RunE: f.run,
	}
	f.adminClient.flags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&f.strict, "strict", false, "Stop at the first line that is refused")
	flags.StringVar(&f.reason, "reason", "", "Why, in a few `words`, for lines that don't say it")
	flags.StringVar(&f.actor, "actor", "", "Who imports, for lines that don't say who revoked, as a `name`. Default: cli:<user>@<host>")
	flags.BoolVar(&f.asJSON, "json", false, "Print the answer of the admin API")
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, args []string) error {
	in, size, err := openImport(cmd, args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	query := url.Values{"actor": {cmp.Or(f.actor, whoRuns())}}
	if f.reason != "" {
		query.Set("reason", f.reason)
	}
	if f.strict {
		query.Set("strict", "true")
	}
	reading := &progress{in: in, size: size}
	stop := reading.show(cmd.ErrOrStderr())
	resp, err := f.request(http.MethodPost, "import?"+query.Encode(), http.Header{"Content-Type": {"application/x-ndjson"}}, reading)
	stop()
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("the answer of Caddy's admin API broke off: %w", err)
	}
	var answer importResponse
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the answer isn't one of Caddy's admin API: %w", err)
	}
	if f.asJSON {
		err = printJSON(cmd.OutOrStdout(), raw)
	} else {
		err = answer.describe(cmd.OutOrStdout())
	}
	if err == nil && answer.Refused > 0 {
		err = errRefusedLines
	}
	return err
}

var errRefusedLines = errors.New("lines were refused")

// openImport opens what is imported, and returns its size if that is known.
func openImport(cmd *cobra.Command, name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	if token.IsJWT(name) {
		return nil, 0, errNoArguments
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// describe writes the summary and the lines that were refused.
func (a *importResponse) describe(out io.Writer) error {
	t := newTable(out, "", "LINES", "ACCEPTED", "MERGED", "EXPIRED", "REFUSED")
	count := func(n int) string { return humanize.Comma(int64(n)) }
	t.row(count(a.Lines), count(a.Accepted), count(a.Merged), count(a.Expired), count(a.Refused))
	if err := t.flush(); err != nil {
		return err
	}
	warn(out, a.Warnings)
	if len(a.Errors) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nRefused:\n")
	for _, e := range a.Errors {
		fmt.Fprintf(out, "  line %d: %s\n", e.Line, printable(e.Error))
	}
	if left := a.Refused - len(a.Errors); left > 0 {
		fmt.Fprintf(out, "  and %s more\n", count(left))
	}
	return nil
}

// progress counts what is read.
type progress struct {
	in   io.Reader
	size int64 // 0: not known
	read atomic.Int64
}

// Read implements io.Reader.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.read.Add(int64(n))
	return n, err
}

// String says how much was read.
func (p *progress) String() string {
	n := p.read.Load()
	text := humanize.IBytes(uint64(n))
	if p.size > 0 {
		text += fmt.Sprintf(" of %s, %d%%", humanize.IBytes(uint64(p.size)), min(100, n*100/p.size))
	}
	return text
}

// show shows the progress while it is a terminal that is written to, until stop.
func (p *progress) show(w io.Writer) (stop func()) {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		const clearLine = "\r\x1b[K"
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(w, clearLine+"Importing: "+p.String())
			case <-done:
				fmt.Fprint(w, clearLine)
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}
