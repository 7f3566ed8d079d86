package caddymodule

// This file is how commands talk to the admin API, and what they say when it doesn't
// answer as it should.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminClient asks the admin API that its flags name.
type adminClient struct {
	address, config, adapter string
}

// flags adds the flags that all commands of Caddy have which talk to the admin API.
func (c *adminClient) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.config, "config", "c", "", "Configuration file to use to parse the admin address, if --address is not used")
	f.StringVarP(&c.adapter, "adapter", "a", "", "Name of config adapter to apply (when --config is used)")
	f.StringVar(&c.address, "address", "", "The address to use to reach the admin API endpoint, if not the default")
}

// call sends a request with a JSON body, unless that is nil, and decodes the answer. It
// also returns the answer as it came.
func (c *adminClient) call(method, path string, body, answer any) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(encoded)
	}
	resp, err := c.request(method, path, nil, reader)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer of Caddy's admin API broke off: %w", err)
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return nil, errors.New("what answered isn't Caddy's admin API, or has another version of this module than this program")
	}
	return raw, nil
}

// request sends a request to a path of this module. The caller closes the answer's body.
func (c *adminClient) request(method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the address of Caddy's admin API: %w", err)
	}
	resp, err := caddycmd.AdminAPIRequest(address, method, adminPath+path, header, body)
	if err != nil {
		return nil, explainFailure(address, err)
	}
	return resp, nil
}

// answeredWith finds the status and the body in an error of AdminAPIRequest.
var answeredWith = regexp.MustCompile(`(?s)^caddy responded with error: HTTP (\d+): (.*)$`)

// explainFailure makes a sentence of an error of AdminAPIRequest.
func explainFailure(address string, err error) error {
	if answered := answeredWith.FindStringSubmatch(err.Error()); answered != nil {
		var answer errorResponse
		switch json.Unmarshal([]byte(answered[2]), &answer); {
		case answer.Error != "":
			return errors.New(printable(strings.ReplaceAll(answer.Error, "\n", "; ")))
		case answered[1] == "404":
			return fmt.Errorf("the Caddy at %s doesn't have this module: run the binary that it was built into", address)
		}
		return fmt.Errorf("the admin API at %s answered with status %s", address, answered[1])
	}
	if cause := unreachable(address); cause != nil {
		return fmt.Errorf(`no Caddy answers at %s (%w).
Is it running, with its admin API on? If that is elsewhere, name its address with
--address, or with --config the file of the configuration that Caddy runs`, address, cause)
	}
	return fmt.Errorf("asking the admin API at %s: %s", address, strings.TrimPrefix(err.Error(), "performing request: "))
}

// unreachable says why nobody can be asked at the address, or returns nil.
func unreachable(address string) error {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil || parsed.IsFdNetwork() {
		return nil
	}
	if parsed.IsUnixNetwork() {
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|") // the permissions of the socket
	}
	const patience = 5 * time.Second
	conn, err := net.DialTimeout(parsed.Network, parsed.JoinHostPort(0), patience)
	if err != nil {
		if failed, ok := errors.AsType[*net.OpError](err); ok {
			return failed.Err
		}
		return err
	}
	conn.Close()
	return nil
}

// printJSON prints an answer as one line. What would move a terminal's cursor is escaped,
// as JSON does with only a part of it: it can only stand in strings.
func printJSON(out io.Writer, answer []byte) error {
	var line strings.Builder
	for _, r := range string(bytes.TrimSpace(answer)) {
		if r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r) {
			line.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&line, `\u%04x`, unit)
		}
	}
	_, err := fmt.Fprintln(out, line.String())
	return err
}
