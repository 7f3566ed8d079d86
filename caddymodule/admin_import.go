package caddymodule

// This file takes records from an export, or from a file that somebody wrote.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// maxImportErrors is how many refused lines are told.
const maxImportErrors = 1000

// recordMembers are what revocation.Record has in JSON.
var recordMembers = []string{"id", "kind", "selector", "cutoff", "reinstates", "expires", "source", "actor", "reason", "recorded_at"}

// importing is an import that is under way.
type importing struct {
	c      *adminCall
	list   *revocation.Import
	strict bool

	summary   importResponse
	unmatched int // records with claims that tokens aren't looked up by
	firstLine int // of these
}

// imports serves POST import.
func (c *adminCall) imports() error {
	contentType := c.r.Header.Get("Content-Type")
	if !strings.Contains(contentType, "/json") && !strings.Contains(contentType, ndjson) {
		return badRequest("the body must have the Content-Type %s", ndjson)
	}
	im := &importing{c: c}
	note, err := im.options(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	c.entry.Note = note
	c.takeTime()
	// Also when the client goes away, what was accepted becomes durable.
	ctx := context.WithoutCancel(c.r.Context())
	if im.list, err = c.run.list.Import(ctx, c.retentionOf, note); err != nil {
		return err
	}
	stopped := im.read(arrivingBody{c.r.Body, http.NewResponseController(c.w)})
	if err := im.finish(); err != nil && !endsImport(stopped) {
		stopped = im.failed(err)
	}
	if stopped != nil {
		if im.summary.Accepted > 0 { // and is in force, whoever is at fault
			c.entry.Event = revocation.AuditImported
		}
		return stopped
	}
	c.entry.Event, c.entry.Outcome, c.entry.Status, c.entry.Detail = revocation.AuditImported, "imported", http.StatusOK, im.counts()
	return c.answer(http.StatusOK, im.summary)
}

// options reads the query.
func (im *importing) options(raw string) (note revocation.Note, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return note, badRequest("the query can't be decoded")
	}
	for name, all := range values {
		if !slices.Contains([]string{"strict", "actor", "reason"}, name) {
			return note, badRequest("the query has a parameter that is not known here: possible are actor, reason, strict")
		}
		if len(all) != 1 {
			return note, badRequest("%s is given more than once", name)
		}
	}
	switch values.Get("strict") {
	case "", "false":
	case "true":
		im.strict = true
	default:
		return note, badRequest("strict must be true or false")
	}
	note = revocation.Note{Source: sourceImport, Actor: cmp.Or(values.Get("actor"), defaultActor), Reason: values.Get("reason")}
	return note, checkNote(note.Actor, note.Reason)
}

// read reads all lines, or up to what ends the import.
func (im *importing) read(body io.Reader) error {
	lines := newLineReader(body, maxLine)
	for {
		line, err := lines.next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, errLineTooLong):
		case err != nil:
			return refuse(http.StatusBadRequest, "incomplete_body", "the body broke off in line %d, or nothing arrived for %s; %s", lines.number, importStall, im.counts())
		}
		im.summary.Lines++
		if err == nil {
			err = im.line(line, lines.number)
		}
		if err == nil {
			continue
		}
		if endsImport(err) {
			return err
		}
		im.summary.Refused++
		if im.strict {
			return refuse(http.StatusBadRequest, "invalid_request", "line %d: %w; nothing after it was read: %s", lines.number, err, im.counts())
		}
		if len(im.summary.Errors) < maxImportErrors {
			im.summary.Errors = append(im.summary.Errors, importError{lines.number, err.Error()})
		}
	}
}

// line imports one line. The error is the line's, unless endsImport says otherwise.
func (im *importing) line(line []byte, number int) error {
	r, err := parseRecord(line)
	if err != nil {
		return err
	}
	what, err := im.list.Add(r)
	switch {
	case errors.Is(err, revocation.ErrTooManyShapes):
		return err
	case errors.Is(err, revocation.ErrInvalidRecord):
		return describeInvalid(&r, err)
	case err != nil:
		return im.failed(err)
	}
	switch what {
	case revocation.ImportAccepted:
		im.summary.Accepted++
		if !im.c.matches(r.Selector) {
			im.unmatched++
			im.firstLine = cmp.Or(im.firstLine, number)
		}
	case revocation.ImportMerged:
		im.summary.Merged++
	case revocation.ImportExpired:
		im.summary.Expired++
	}
	return nil
}

// parseRecord reads a record without quoting anything of it in an error.
func parseRecord(line []byte) (r revocation.Record, err error) {
	if err := scanObject(line, recordMembers, false); err != nil {
		return r, fmt.Errorf("the line %w", err)
	}
	if err := r.UnmarshalJSON(line); err != nil {
		return r, err
	}
	for _, claim := range append([]revocation.Claim{{Role: revocation.RoleIssuer, Value: r.Selector.Issuer}}, r.Selector.Claims...) {
		if token.IsJWT(claim.Value) || token.IsJWT(string(claim.Role)) {
			return r, errors.New("the selector has a token itself in it, which would be kept in clear")
		}
	}
	for _, text := range []string{r.Source, r.Actor, r.Reason} {
		if hasToken(text) {
			return r, errors.New("source, actor or reason has a token in it, which would be kept in clear")
		}
	}
	return r, nil
}

// describeInvalid says what is wrong with a record. The names of claims are quoted there,
// and anything could stand in their place.
func describeInvalid(r *revocation.Record, err error) error {
	for _, claim := range r.Selector.Claims {
		if claim.Role.Validate() != nil {
			return errors.New("the selector has the name of a claim that can't be one: it is visible ASCII without + \" \\, and not too long")
		}
		if !isStandard(claim.Role) {
			return errors.New("the selector is not valid: it needs iss, has at most 4 claims, and no value is empty or longer than 1024 bytes")
		}
	}
	return err
}

func isStandard(role revocation.Role) bool {
	return slices.ContainsFunc(selectorMembers, func(s selectorMember) bool { return s.role == role })
}

// matches reports whether tokens are looked up by all claims of a selector.
func (c *adminCall) matches(s revocation.Selector) bool {
	return !slices.ContainsFunc(s.Claims, func(claim revocation.Claim) bool {
		return !isStandard(claim.Role) && !slices.Contains(c.app.MatchClaims, string(claim.Role))
	})
}

// finish makes durable what was accepted.
func (im *importing) finish() error {
	err := im.list.Finish()
	if im.unmatched > 0 {
		im.summary.Warnings = append(im.summary.Warnings, fmt.Sprintf(
			"%s claims that tokens aren't looked up by, the first in line %d: no token is rejected by them until match_claims of %s has these",
			names(im.unmatched), im.firstLine, appID))
	}
	if im.summary.Lines == 0 {
		im.summary.Warnings = append(im.summary.Warnings, "there was nothing to import: the body is empty")
	}
	ledger{im.c.app}.imported(im.list.Durable())
	return err
}

// failed is the error of a list that takes no more.
func (im *importing) failed(err error) error {
	known := asAdminError(err)
	became := "what was accepted is in force here, but a part of it could be lost in a restart"
	if !errors.Is(err, revocation.ErrNotDurable) {
		became = "what was accepted last is not in force"
	}
	return &adminError{http.StatusServiceUnavailable, known.outcome, adminRetry, storeFailed{fmt.Errorf(
		"%w; %s (%s): import it once more, what is there already is recognized", err, became, im.counts())}}
}

// storeFailed is an error that is not about a line.
type storeFailed struct{ error }

func (e storeFailed) Unwrap() error { return e.error }

func endsImport(err error) bool {
	failed, ok := errors.AsType[*adminError](err)
	return ok && errors.As(failed.err, new(storeFailed))
}

// counts says in words what became of the lines so far.
func (im *importing) counts() string {
	s := &im.summary
	return fmt.Sprintf("%s read, %d accepted, %d merged, %d expired, %d refused", count(s.Lines, "line"), s.Accepted, s.Merged, s.Expired, s.Refused)
}
