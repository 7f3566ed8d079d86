package caddymodule

// This file is how commands read tokens and ask questions: at a terminal, or from a
// file or a pipe, where nobody can be asked.

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// console is where a command reads from, and where it asks.
type console struct {
	in    io.Reader
	asked io.Writer // for questions and progress: standard error

	// person is what somebody types into who can be asked. Nil when there is nobody.
	person person
}

// person types at a terminal.
type person interface {
	io.Reader
	// ReadHidden reads a line of any length that isn't shown. It asks for it when nothing
	// that is typed is shown any more.
	ReadHidden(ask func()) (string, error)
}

// consoleOf returns the console of a command.
func consoleOf(cmd *cobra.Command) *console {
	c := &console{in: cmd.InOrStdin(), asked: cmd.ErrOrStderr()}
	switch in := c.in.(type) {
	case *os.File:
		if term.IsTerminal(int(in.Fd())) {
			c.person = terminal{in}
		}
	case person:
		c.person = in
	}
	return c
}

// maxTokenInput is how long a token can be that is read. The API has a bound of its own.
const maxTokenInput = 512 << 10

// token reads a token: at a prompt, or all that is there.
func (c *console) token() (string, error) {
	if c.person == nil {
		text, err := io.ReadAll(io.LimitReader(c.in, maxTokenInput+1))
		if err != nil {
			return "", fmt.Errorf("reading the token from standard input: %w", err)
		}
		return checkToken(string(text), "standard input")
	}
	text, err := c.person.ReadHidden(func() { fmt.Fprint(c.asked, "Token (it isn't shown): ") })
	fmt.Fprintln(c.asked)
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	return checkToken(text, "what you typed")
}

// checkToken removes the end of the line. What else is wrong with a token, such as the
// word Bearer before it, the API sees.
func checkToken(text, where string) (string, error) {
	token := strings.TrimRight(text, "\r\n")
	switch {
	case len(text) > maxTokenInput:
		return "", fmt.Errorf("%s is too long to be a token", where)
	case token == "":
		return "", fmt.Errorf("%s is empty: a token was expected", where)
	case strings.ContainsAny(token, "\r\n"):
		return "", fmt.Errorf("%s has several lines: one token was expected, and nothing else", where)
	}
	return token, nil
}

// errNoReason is what a command says that changes something.
var errNoReason = errors.New(`say why with --reason "…": it is recorded, for those who look at this later`)

// checkReason refuses what reason will, before anything is read and done.
func (c *console) checkReason(given string) error {
	if c.person == nil && strings.TrimSpace(given) == "" {
		return errNoReason
	}
	return nil
}

// reason asks for a reason if there is none.
func (c *console) reason(given string) (string, error) {
	reason := strings.TrimSpace(given)
	if reason == "" && c.person != nil {
		fmt.Fprint(c.asked, "Why? (it is recorded, for those who look at this later) ")
		line, err := readLine(c.person)
		if err != nil {
			return "", err
		}
		reason = strings.TrimSpace(line)
	}
	if reason == "" {
		return "", errNoReason
	}
	return reason, nil
}

// confirm asks a question that only "y" or "yes" agrees to.
func (c *console) confirm(question string) error {
	if c.person == nil {
		return errors.New("nobody can be asked, since standard input isn't a terminal: add --yes if that is right")
	}
	fmt.Fprintf(c.asked, "%s [y/N] ", question)
	line, err := readLine(c.person)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}

var errDeclined = errors.New("nothing was changed")

// readLine reads a line and nothing behind it: that is for who asks next.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		switch {
		case n > 0 && b[0] == '\n':
			return string(line), nil
		case n > 0:
			line = append(line, b[0])
		case errors.Is(err, io.EOF):
			return string(line), nil
		case err != nil:
			return "", err
		}
	}
}

// terminal is a terminal with a person at it.
type terminal struct{ *os.File }

// errInterrupted is what Ctrl-C comes to while the terminal leaves it to the program.
var errInterrupted = errors.New("interrupted")

// ReadHidden implements person. The terminal's own way to read lines is off meanwhile:
// it cuts what is longer than 1024 or 4096 bytes, as tokens are.
func (t terminal) ReadHidden(ask func()) (string, error) {
	state, err := term.MakeRaw(int(t.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(t.Fd()), state)
	ask()
	return readRaw(t)
}

// errTypedAhead is what a token with a break in it comes to. What follows the break must
// not answer the next question: it would be recorded as the reason.
var errTypedAhead = errors.New("what you typed has several lines: one token was expected. If it was pasted with a line break in it, remove that")

// readRaw reads a line from a terminal that handles no key itself.
func readRaw(r io.Reader) (string, error) {
	const (
		ctrlC, ctrlD, ctrlU = 3, 4, 21
		backspace, del      = 8, 127
	)
	var line []byte
	for b := make([]byte, 4096); len(line) <= maxTokenInput; {
		n, err := r.Read(b)
		for i, key := range b[:n] {
			switch key {
			case '\r', '\n', ctrlD:
				// What is pasted arrives at once.
				if len(bytes.TrimLeft(b[i+1:n], "\r\n")) > 0 {
					return "", errTypedAhead
				}
				return string(line), nil
			case ctrlC:
				return "", errInterrupted
			case ctrlU:
				line = line[:0]
			case backspace, del:
				line = line[:max(0, len(line)-1)]
			default:
				line = append(line, key)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	return string(line), nil
}

// whoRuns names who runs the command, for the record. Behind sudo it is who called it.
func whoRuns() string {
	name := os.Getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	host, _ := os.Hostname()
	return "cli:" + cmp.Or(name, "unknown") + "@" + cmp.Or(host, "unknown")
}
