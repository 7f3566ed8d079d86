package caddymodule

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// typist is a person at a terminal who types lines, and sees what is asked.
type typist struct {
	io.Reader
	hidden []string
}

func (p *typist) ReadHidden(ask func()) (string, error) {
	ask()
	if len(p.hidden) == 0 {
		return "", io.EOF
	}
	line := p.hidden[0]
	p.hidden = p.hidden[1:]
	return line, nil
}

func types(lines ...string) *typist {
	return &typist{Reader: strings.NewReader(strings.Join(lines, "\n") + "\n")}
}

func TestTokensThatAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"token":       "token",
		"token\n":     "token",
		"token\r\n\n": "token",
		"to.k-e_n=~+": "to.k-e_n=~+",
	} {
		c := &console{in: strings.NewReader(text), asked: io.Discard}
		if got, err := c.token(); err != nil || got != want {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                         "is empty",
		"\n":                       "is empty",
		"secret1\nsecret2\n":       "several lines",
		strings.Repeat("x", 1<<20): "too long",
	} {
		c := &console{in: strings.NewReader(text), asked: io.Discard}
		got, err := c.token()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.20q is %.20q, %v, want %q", text, got, err, want)
		}
	}
}

func TestATypedTokenIsAskedForAndNotShown(t *testing.T) {
	var asked strings.Builder
	p := types()
	p.hidden = []string{"very-secret"}
	c := &console{in: p, asked: &asked, person: p}
	got, err := c.token()
	if err != nil || got != "very-secret" {
		t.Fatalf("%q, %v", got, err)
	}
	if asked.String() != "Token (it isn't shown): \n" {
		t.Errorf("asked %q", &asked)
	}
}

// What a terminal sends that leaves every key to the program.
func TestReadingATerminalThatHandlesNoKeys(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	for keys, want := range map[string]string{
		"token\r\n":           "token",
		"token\n":             "token",
		"tokem\x7fn\r":        "token",
		"\x08\x7ftoken\x04":   "token",
		"wrong\x15token\r":    "token",
		"token":               "token",
		long + "\r":           long,
		"\x7f\x7f\x15\x15t\r": "t",
	} {
		if got, err := readRaw(strings.NewReader(keys)); err != nil || got != want {
			t.Errorf("%.20q is %.20q, %v", keys, got, err)
		}
	}
	// The rest of a token that was pasted with a break in it is no reason.
	for _, keys := range []string{"tok\ren\r", "tok\nen", "tok\r\n\x03"} {
		if got, err := readRaw(strings.NewReader(keys)); !errors.Is(err, errTypedAhead) {
			t.Errorf("%q is %q, %v", keys, got, err)
		}
	}
	if got, err := readRaw(strings.NewReader("tok\x03en\r")); !errors.Is(err, errInterrupted) {
		t.Errorf("Ctrl-C is %q, %v", got, err)
	}
}

func TestQuestions(t *testing.T) {
	for typed, want := range map[string]error{"y": nil, "YES": nil, " y ": nil, "": errDeclined, "n": errDeclined, "yep": errDeclined} {
		var asked strings.Builder
		p := types(typed)
		err := (&console{in: p, asked: &asked, person: p}).confirm("Revoke?")
		if !errors.Is(err, want) || asked.String() != "Revoke? [y/N] " {
			t.Errorf("%q is %v, asked %q", typed, err, &asked)
		}
	}
	if err := (&console{in: strings.NewReader("y\n"), asked: io.Discard}).confirm("Revoke?"); err == nil || !strings.Contains(err.Error(), "--yes") {
		t.Errorf("without a terminal: %v", err)
	}

	// One line each, whoever asks next gets the next.
	p := types("lost phone ", "y")
	c := &console{in: p, asked: io.Discard, person: p}
	if reason, err := c.reason(""); err != nil || reason != "lost phone" {
		t.Errorf("%q, %v", reason, err)
	}
	if err := c.confirm("Revoke?"); err != nil {
		t.Error(err)
	}
	if _, err := c.reason(""); err == nil || !strings.Contains(err.Error(), "--reason") {
		t.Errorf("no reason: %v", err)
	}
}
