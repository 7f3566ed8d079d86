package revocation

// The audit log: who changed the list, who tried to, and what became of it. One line
// is one AuditEntry. People and their tools read the fields for years, so names and
// meanings stay. No line ever has a token, a secret or an assertion.

import (
	"context"
	"log/slog"
	"time"
)

// AuditEvent is what happened, in one word.
type AuditEvent string

// The events of the audit log.
const (
	AuditRevoked    AuditEvent = "revoked"    // something is durable and enforced
	AuditUnchanged  AuditEvent = "unchanged"  // a success for which there was nothing to record
	AuditReinstated AuditEvent = "reinstated" // revocations were taken back
	AuditImported   AuditEvent = "imported"   // records were read from a file
	AuditRefused    AuditEvent = "refused"    // who asked may not have it, or asked for nothing that is possible
	AuditFailed     AuditEvent = "failed"     // it went wrong here, or at a server that is needed
)

// level is how much an operator wants to hear of it.
func (e AuditEvent) level() slog.Level {
	switch e {
	case AuditRefused:
		return slog.LevelWarn
	case AuditFailed:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// AuditEntry is one line of the audit log. Fields that are empty are left out of it.
type AuditEntry struct {
	// Event is what happened. Required.
	Event AuditEvent
	// Outcome is the same in more detail, as metrics have it.
	Outcome string
	// Note says by what way, who and why. Default: that of Records.
	Note Note
	// Revocation is the id of what was made. Default: that of Records.
	Revocation ID
	// Records are what was made: those of one revocation, or a reinstatement's. The
	// line has their selectors in clear, and when the last of them expires.
	Records []Record

	Fingerprint     string // of the token that was presented
	ClientID        string // of a client that has proven who it is
	ClaimedClientID string // of a registered client that hasn't
	Address         string // where the request came from
	Status          int    // of the answer
	Detail          string // what the answer says
	Unproven        string // why nobody vouches for the token
	Hint            string // what is most likely a mistake of the client's
	Error           string // what went wrong
	LeftOut         int    // lines of the same outcome that weren't written before this one
}

// Log writes the entry, at level info, warn when something was refused, and error when
// something failed.
func (e *AuditEntry) Log(ctx context.Context, logger *slog.Logger) {
	level := e.Event.level()
	if !logger.Enabled(ctx, level) {
		return
	}
	line := auditLine{attrs: make([]slog.Attr, 0, 20)}
	line.text("event", string(e.Event))
	line.text("outcome", e.Outcome)
	note := e.Note
	if note == (Note{}) && len(e.Records) > 0 {
		made := &e.Records[0]
		note = Note{made.Source, made.Actor, made.Reason}
	}
	line.text("source", note.Source)
	line.text("actor", note.Actor)
	line.text("reason", note.Reason)
	line.records(e)
	line.text("fingerprint", e.Fingerprint)
	line.text("client_id", e.ClientID)
	line.text("claimed_client_id", e.ClaimedClientID)
	line.text("address", e.Address)
	line.number("status", e.Status)
	line.text("detail", e.Detail)
	line.text("unproven", e.Unproven)
	line.text("hint", e.Hint)
	line.text("error", e.Error)
	line.number("left_out", e.LeftOut)
	logger.LogAttrs(ctx, level, auditMessage, line.attrs...)
}

// auditMessage is the message of every line: what differs stands in the fields.
const auditMessage = "token revocation"

// auditLine collects the fields of a line.
type auditLine struct{ attrs []slog.Attr }

func (l *auditLine) text(name, value string) {
	if value != "" {
		l.attrs = append(l.attrs, slog.String(name, value))
	}
}

func (l *auditLine) number(name string, value int) {
	if value != 0 {
		l.attrs = append(l.attrs, slog.Int(name, value))
	}
}

// moment writes a time as text: how Caddy writes others is configured.
func (l *auditLine) moment(name string, t time.Time) {
	if !t.IsZero() {
		l.text(name, t.UTC().Format(time.RFC3339))
	}
}

// records writes what was made.
func (l *auditLine) records(e *AuditEntry) {
	id := e.Revocation
	var selectors []any
	var cutoff, expires time.Time
	var reinstates []string
	for i := range e.Records {
		r := &e.Records[i]
		if id == (ID{}) {
			id = r.ID
		}
		if r.Kind != Reinstatement {
			selectors = append(selectors, r.Selector.attr())
		}
		cutoff, expires = later(cutoff, r.Cutoff), later(expires, r.Expires)
		for _, id := range r.Reinstates {
			reinstates = append(reinstates, id.String())
		}
	}
	if id != (ID{}) {
		l.text("revocation_id", id.String())
	}
	if len(selectors) > 0 {
		l.attrs = append(l.attrs, slog.Group("selectors", selectors...))
	}
	l.moment("cutoff", cutoff)
	l.moment("expires", expires)
	if len(reinstates) > 0 {
		l.attrs = append(l.attrs, slog.Any("reinstates", reinstates))
	}
}

// attr is the selector under the name of its shape. It is no map and in no list, since
// filters that take personal data out of logs reach into neither.
func (s Selector) attr() slog.Attr {
	parts := make([]any, 0, 1+len(s.Claims))
	if s.Issuer != "" {
		parts = append(parts, slog.String(string(RoleIssuer), s.Issuer))
	}
	for _, c := range s.Claims {
		parts = append(parts, slog.String(string(c.Role), c.Value))
	}
	return slog.Group(string(s.Shape()), parts...)
}
