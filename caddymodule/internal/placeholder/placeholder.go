// Package placeholder replaces placeholders in what is configured, and reads the files that
// it names. No error has any of a secret in it.
package placeholder

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// Resolver replaces placeholders until one can't be replaced.
type Resolver struct {
	repl     *caddy.Replacer
	err      error // the first one
	contents [][]byte
}

// New returns a Resolver of the placeholders that exist while a configuration is read.
func New() *Resolver { return &Resolver{repl: caddy.NewReplacer()} }

// Err returns the first thing that went wrong. It names what it is about.
func (r *Resolver) Err() error { return r.err }

// errSecret doesn't say which placeholder it is: a secret with braces in it looks
// like one.
var errSecret = errors.New("a placeholder in it is unknown or empty")

// Text replaces the placeholders of what is called by a name.
func (r *Resolver) Text(name, text string) string {
	replaced, err := r.repl.ReplaceOrErr(text, true, true)
	r.Fail(name, err)
	return replaced
}

// Secret is Text for what must not be seen in an error.
func (r *Resolver) Secret(name, text string) string {
	replaced, err := r.repl.ReplaceOrErr(text, true, true)
	if err != nil {
		r.Fail(name, errSecret)
	}
	return replaced
}

// Texts is Text for several.
func (r *Resolver) Texts(name string, texts []string) []string {
	var replaced []string
	for _, text := range texts {
		replaced = append(replaced, r.Text(name, text))
	}
	return replaced
}

// File reads a file, whose path may have placeholders. After an error it reads nothing.
func (r *Resolver) File(name, path string) []byte {
	path = r.Text(name, path)
	if r.err != nil {
		return nil
	}
	content, err := readFile(path)
	r.Fail(name, err)
	r.contents = append(r.contents, content)
	return content
}

// Files is File for several.
func (r *Resolver) Files(name string, paths []string) [][]byte {
	var contents [][]byte
	for _, path := range paths {
		contents = append(contents, r.File(name, path))
	}
	return contents
}

// Contents returns what was in all files that were read.
func (r *Resolver) Contents() [][]byte { return r.contents }

// Fail notes an error of what is called by a name, unless it is nil.
func (r *Resolver) Fail(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
}
