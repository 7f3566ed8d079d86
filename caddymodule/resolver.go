package caddymodule

// This file replaces placeholders in what is configured, and reads the files that it
// names.

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/caddymodule/internal/keyfile"
)

// resolver replaces placeholders until one can't be replaced.
type resolver struct {
	repl *caddy.Replacer
	err  error // the first one
}

func newResolver() *resolver { return &resolver{repl: caddy.NewReplacer()} }

// errSecret doesn't say which placeholder it is: a secret with braces in it looks
// like one.
var errSecret = errors.New("a placeholder in it is unknown or empty")

// text replaces the placeholders of what is called by a name.
func (r *resolver) text(name, text string) string {
	replaced, err := r.repl.ReplaceOrErr(text, true, true)
	r.fail(name, err)
	return replaced
}

// secret is text for what must not be seen in an error.
func (r *resolver) secret(name, text string) string {
	replaced, err := r.repl.ReplaceOrErr(text, true, true)
	if err != nil {
		r.fail(name, errSecret)
	}
	return replaced
}

func (r *resolver) texts(name string, texts []string) []string {
	var replaced []string
	for _, text := range texts {
		replaced = append(replaced, r.text(name, text))
	}
	return replaced
}

// files reads files.
func (r *resolver) files(name string, paths []string) [][]byte {
	var contents [][]byte
	for _, path := range r.texts(name, paths) {
		content, err := keyfile.Read(path)
		r.fail(name, err)
		contents = append(contents, content)
	}
	return contents
}

func (r *resolver) fail(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}
