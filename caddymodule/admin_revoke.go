package caddymodule

// This file revokes, by a token or by what tokens have in common.

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

// sourceAdmin is the Source of what is revoked and reinstated through the admin API.
const sourceAdmin = "admin"

// intended is what a request to revoke comes to. Nothing is revoked yet.
type intended struct {
	records     []revocation.Record // none: what they would hit has expired
	fingerprint string              // of a token that was presented
	unproven    error               // why nobody vouches for it
	warnings    []string
}

// revoke serves POST records.
func (c *adminCall) revoke() error {
	var q revokeRequest
	if err := c.read(&q); err != nil {
		return err
	}
	var wait time.Duration // zero: for nobody
	if q.Wait != "" {
		var err error
		if wait, err = parseWait(q.Wait); err != nil {
			return badRequest("wait: %v", err)
		}
	}
	made, err := c.intend(&q)
	if err != nil {
		return err
	}
	c.entry.Note = revocation.Note{Source: sourceAdmin, Actor: q.Actor, Reason: q.Reason}
	c.entry.Fingerprint = made.fingerprint
	if made.unproven != nil {
		c.entry.Unproven = made.unproven.Error()
	}
	answer := revokeResponse{Outcome: outcomeExpired, Warnings: made.warnings}
	if len(made.records) == 0 {
		if !q.DryRun {
			c.entry.Event, c.entry.Outcome, c.entry.Status = revocation.AuditUnchanged, outcomeExpired, http.StatusOK
		}
		return c.answer(http.StatusOK, answer)
	}
	if err := c.checkShapes(made.records); err != nil {
		return err
	}
	answer.Revocation = showRecords(made.records)
	if q.DryRun {
		answer.Outcome, answer.Revocation.ID, answer.Revocation.State = outcomeWouldRevoke, "", ""
		return c.answer(http.StatusOK, answer)
	}
	c.entry.Records = made.records
	ctx, cancel := c.changing(endpoint.DefaultRevokeTimeout)
	defer cancel()
	if err := (ledger{c.app}).Revoke(ctx, made.records...); err != nil {
		return c.failed(err, made.records[0].ID)
	}
	if err := c.awaitNodes(wait, made.records); err != nil {
		return err
	}
	answer.Outcome, answer.Awaited = outcomeRevoked, wait > 0
	c.entry.Event, c.entry.Outcome, c.entry.Status = revocation.AuditRevoked, outcomeRevoked, http.StatusCreated
	c.w.Header().Set("Location", adminPath+"records/"+answer.Revocation.ID)
	return c.answer(http.StatusCreated, answer)
}

// awaitNodes waits until no node accepts what the records hit, if it should.
func (c *adminCall) awaitNodes(wait time.Duration, records []revocation.Record) error {
	if wait == 0 {
		return nil
	}
	c.takeTime()
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	err := ledger{c.app}.AwaitNodes(ctx, records...)
	if err == nil {
		return nil
	}
	known := asAdminError(err)
	return &adminError{known.status, known.outcome, known.retry, notEverywhere{err, records[0].ID}}
}

// notEverywhere is the error of a revocation that other nodes may not enforce yet.
type notEverywhere struct {
	cause error
	id    revocation.ID
}

func (e notEverywhere) Error() string {
	return "it was revoked, as " + e.id.String() + ": " + e.cause.Error()
}

func (e notEverywhere) Unwrap() error { return e.cause }

// failed tells of a change that isn't durable that it is in force all the same.
func (c *adminCall) failed(err error, id revocation.ID) error {
	if !errors.Is(err, revocation.ErrNotDurable) {
		c.entry.Records = nil // nothing was done
		return err
	}
	known := asAdminError(err)
	return &adminError{known.status, known.outcome, known.retry, notDurable{err, id}}
}

// notDurable is the error of a change that is in force and could be lost.
type notDurable struct {
	cause error
	id    revocation.ID
}

func (e notDurable) Error() string {
	return "it is in force here, as " + e.id.String() + ", but a restart could lose it; this is tried again until the store takes it: " + e.cause.Error()
}

func (e notDurable) Unwrap() error { return e.cause }

// intend finds out what is to be revoked. The request's actor is filled in.
func (c *adminCall) intend(q *revokeRequest) (*intended, error) {
	q.Actor = cmp.Or(q.Actor, defaultActor)
	if q.Reason == "" {
		return nil, badRequest("reason is required: it is kept with the revocation")
	}
	if err := checkNote(q.Actor, q.Reason); err != nil {
		return nil, err
	}
	keep, err := parseKeepFor(q.ExpiresIn)
	if err != nil {
		return nil, err
	}
	if q.Token != "" {
		return c.intendToken(q, keep)
	}
	if q.Cascade != "" {
		return nil, badRequest("cascade is for a token: it says what else is revoked with it")
	}
	return c.intendSelector(q, keep)
}

// intendToken makes the records of a token.
func (c *adminCall) intendToken(q *revokeRequest, keep time.Duration) (*intended, error) {
	if selected := selectedBy(q); len(selected) > 0 {
		return nil, badRequest("a token is named, and %s as well: name either a token, or what tokens have in common", selected[0])
	}
	if q.IssuedBefore != "" || q.AuthenticatedBefore != "" {
		return nil, badRequest("issued_before and authenticated_before are for what tokens have in common, not for one token")
	}
	switch endpoint.Cascade(q.Cascade) {
	case "", endpoint.CascadeSession, endpoint.CascadeSubjectClient, endpoint.CascadeOff:
	default:
		return nil, badRequest("cascade must be %s, %s or %s", endpoint.CascadeSession, endpoint.CascadeSubjectClient, endpoint.CascadeOff)
	}
	text, removed, err := unwrapToken(q.Token)
	if err != nil {
		return nil, err
	}
	if containsToken(q.Actor, text) || containsToken(q.Reason, text) {
		return nil, badRequest("actor or reason has the token in it: it would be kept and logged in clear")
	}
	made := c.operator().Plan(c.r.Context(), endpoint.OperatorRequest{
		Token: text, Actor: q.Actor, Reason: q.Reason, Cascade: endpoint.Cascade(q.Cascade), KeepFor: keep,
	})
	warnings := append(removed, made.Warnings...)
	if len(made.Records) == 0 {
		warnings = append(warnings, "the token has expired, so that nobody accepts it any more: nothing was recorded. With expires_in it is revoked all the same")
	}
	return &intended{made.Records, made.Facts.Fingerprint.String(), made.Unproven, warnings}, nil
}

// checkShapes refuses what the list would, before a dry run says that it is possible.
func (c *adminCall) checkShapes(records []revocation.Record) error {
	shapes := map[revocation.Shape]bool{}
	for _, n := range c.run.list.Stats().Keys {
		shapes[n.Shape] = true
	}
	known := len(shapes)
	for i := range records {
		shapes[records[i].Selector.Shape()] = true
	}
	if len(shapes) > max(known, revocation.MaxShapes) {
		return revocation.ErrTooManyShapes
	}
	return nil
}

// parseKeepFor reads expires_in. Zero: it isn't given.
func parseKeepFor(text string) (time.Duration, error) {
	most := time.Until(revocation.Never)
	switch text {
	case "":
		return 0, nil
	case "never":
		return most, nil
	}
	d, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, badRequest(`expires_in must be a duration, such as 12h or 30d, or never`)
	}
	if d <= 0 {
		return 0, badRequest("expires_in must be longer than nothing")
	}
	if d > most-time.Minute { // the moment is rounded up
		return 0, badRequest("expires_in must end before the year %d: never is as long as is possible", revocation.Never.Year())
	}
	return d, nil
}
