// The audit log: one line for each request that isn't a preflight.

package endpoint

import (
	"log/slog"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// event is what an outcome is to the audit log.
func (o Outcome) event() revocation.AuditEvent {
	switch o {
	case Revoked, NotEverywhere:
		return revocation.AuditRevoked
	case Repeated, Expired, Forged, Relayed:
		return revocation.AuditUnchanged
	case NotDurable, Unavailable, IssuerUnavailable, InternalError, RelayFailed:
		return revocation.AuditFailed
	}
	return revocation.AuditRefused // also where the client mustn't find out
}

// entry is the audit log's line about a request. A client is named only when it is
// registered: an unknown client_id can be anything, a secret in the wrong field as
// well.
func (x *exchange) entry(a *answer) revocation.AuditEntry {
	e := revocation.AuditEntry{
		Event: a.outcome.event(), Outcome: string(a.outcome),
		Note:        revocation.Note{Source: x.server.source, Actor: x.by()},
		Revocation:  x.revocation,
		Records:     x.records,
		Fingerprint: x.fingerprint,
		Status:      a.status, Detail: a.description, Hint: x.hint,
	}
	switch {
	case x.client != nil:
		e.ClientID = x.client.id
	case x.claimed != nil:
		e.ClaimedClientID = x.claimed.id
	}
	if addr := x.server.opts.ClientIP(x.r); addr.IsValid() {
		e.Address = addr.Unmap().String()
	}
	if x.unproven != nil {
		e.Unproven = x.unproven.Error()
	}
	if x.err != nil {
		e.Error = x.err.Error()
	}
	return e
}

// by is who asks, as records have it: empty as long as nobody knows.
func (x *exchange) by() string {
	switch {
	case x.actor != "":
		return x.actor
	case x.self:
		return x.server.bearer.actor
	case x.client != nil:
		return x.client.actor
	}
	return ""
}

// byAnybody reports whether anybody could have caused the answer, and as many as they
// like: nothing was recorded, and nobody has proven who they are.
func (x *exchange) byAnybody(e revocation.AuditEvent) bool {
	recorded := e == revocation.AuditRevoked || len(x.records) > 0 && !x.again
	return !recorded && (x.client == nil || x.client.public())
}

// record writes the line about a request. Of those that anybody can cause there are no
// more than somebody can read; all else is always written.
func (j *journal) record(x *exchange, a *answer) {
	if a.outcome == Preflight || !j.audit.Enabled(x.r.Context(), slog.LevelError) {
		return
	}
	e := x.entry(a)
	if x.byAnybody(e.Event) {
		leftOut, ok := j.admit(e.Outcome)
		if !ok {
			return
		}
		e.LeftOut = leftOut
	}
	e.Log(x.r.Context(), j.audit)
}
