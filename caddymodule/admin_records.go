package caddymodule

// This file finds revocations, and takes them back.

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// maxLimit is how many revocations a page can have.
const maxLimit = 1000

// search serves GET records.
func (c *adminCall) search() error {
	q, err := parseQuery(c.r.URL.RawQuery)
	if err != nil {
		return err
	}
	c.takeTime()
	page, err := c.run.list.Search(c.r.Context(), q)
	if err != nil {
		return err
	}
	answer := revocationsResponse{Revocations: []revocationJSON{}, Next: page.Next.String()}
	for i := range page.Revocations {
		answer.Revocations = append(answer.Revocations, *c.showRevocation(&page.Revocations[i]))
	}
	return c.answer(http.StatusOK, answer)
}

// show serves GET records/{id}.
func (c *adminCall) show() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	c.takeTime()
	found, err := c.run.list.Find(c.r.Context(), id)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, c.showRevocation(&found))
}

// id returns the revocation that the path names.
func (c *adminCall) id() (revocation.ID, error) {
	id, err := revocation.ParseID(c.r.PathValue("id"))
	if err != nil {
		return id, badRequest("what follows records/ in the path is not a revocation id: it has the form of a UUID")
	}
	return id, nil
}

// reinstate serves DELETE records/{id}.
func (c *adminCall) reinstate() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	var q reinstateRequest
	if err := c.read(&q); err != nil {
		return err
	}
	q.Actor = cmp.Or(q.Actor, defaultActor)
	if q.Reason == "" {
		return badRequest("reason is required: it is kept with the reinstatement")
	}
	if err := checkNote(q.Actor, q.Reason); err != nil {
		return err
	}
	note := revocation.Note{Source: sourceAdmin, Actor: q.Actor, Reason: q.Reason}
	c.entry.Note, c.entry.Revocation = note, id
	ctx, cancel := c.changing(reinstateTimeout)
	defer cancel()
	made, err := ledger{c.app}.Reinstate(ctx, note, id)
	switch {
	case errors.Is(err, revocation.ErrUnknownRevocation):
		return c.whyNotReinstated(id)
	case errors.Is(err, revocation.ErrNotDurable):
		c.entry.Revocation, c.entry.Records = made.ID, []revocation.Record{made}
		return c.failed(err, made.ID)
	case err != nil:
		return err
	}
	c.entry.Revocation, c.entry.Records = made.ID, []revocation.Record{made}
	c.entry.Event, c.entry.Outcome, c.entry.Status = revocation.AuditReinstated, "reinstated", http.StatusOK
	return c.answer(http.StatusOK, reinstateResponse{made.ID.String(), []string{id.String()}})
}

// whyNotReinstated says why there is nothing in force under an id.
func (c *adminCall) whyNotReinstated(id revocation.ID) error {
	found, err := c.run.list.Find(c.r.Context(), id)
	if err != nil {
		return err
	}
	by := found.Reinstatement
	if by == nil {
		return refuse(http.StatusGone, "expired", "revocation %s has expired on %s: it rejects nothing any more", id, found.Expires().Format(time.RFC3339))
	}
	if health := c.run.list.Stats().Store; health.Failing {
		// This may be the one that isn't durable.
		return c.failed(fmt.Errorf("%w: %w", revocation.ErrNotDurable, health.Err), by.ID)
	}
	return refuse(http.StatusConflict, "reinstated_already", "revocation %s was reinstated already, on %s by %s: %s",
		id, by.RecordedAt.Format(time.RFC3339), by.Actor, by.Reason)
}

// showRevocation writes a revocation.
func (c *adminCall) showRevocation(r *revocation.Revocation) *revocationJSON {
	shown := showRecords(r.Records)
	shown.Pending = r.Pending
	if by := r.Reinstatement; by != nil {
		shown.State = stateReinstated
		shown.Reinstated = &reinstatedJSON{by.ID.String(), by.Source, by.Actor, by.Reason, by.RecordedAt}
	} else if !c.run.list.InForce(r) {
		shown.State = stateExpired
	}
	return shown
}

// showRecords writes the records of a revocation that is in force.
func showRecords(records []revocation.Record) *revocationJSON {
	first := &records[0]
	shown := &revocationJSON{
		ID: first.ID.String(), State: stateLive, Source: first.Source, Actor: first.Actor, Reason: first.Reason, RecordedAt: first.RecordedAt,
	}
	for i := range records {
		shown.Records = append(shown.Records, showRecord(&records[i]))
	}
	return shown
}

func showRecord(r *revocation.Record) recordJSON {
	return recordJSON{r.Kind.String(), r.Selector.Map(), r.Cutoff, r.Expires.UTC()}
}

// filters are what a search can be narrowed by, besides the selectors of a request to
// revoke.
var filters = map[string]func(*revocation.Query, string) error{
	"limit": func(q *revocation.Query, v string) (err error) {
		if q.Limit, err = strconv.Atoi(v); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			return badRequest("limit must be a number from 1 to %d", maxLimit)
		}
		return nil
	},
	"after": func(q *revocation.Query, v string) (err error) {
		if q.After, err = revocation.ParseCursor(v); err != nil {
			return badRequest("after must be what a page has as next")
		}
		return nil
	},
	"iss": func(q *revocation.Query, v string) error {
		q.Issuer = v
		return nil
	},
	"kind": func(q *revocation.Query, v string) error {
		for kind := revocation.Block; kind < revocation.Reinstatement; kind++ {
			if kind.String() == v {
				q.Kind = kind
				return nil
			}
		}
		return badRequest("kind must be %s, %s or %s", revocation.Block, revocation.IssuedBefore, revocation.AuthenticatedBefore)
	},
	"shape": func(q *revocation.Query, v string) error {
		roles := strings.FieldsFunc(v, func(r rune) bool { return r == '+' || r == ' ' }) // + is a space in a query
		if len(roles) == 0 {
			return badRequest("shape must be roles, such as client_id+sub")
		}
		slices.Sort(roles)
		q.Shape = revocation.Shape(strings.Join(roles, "+"))
		return nil
	},
	"source": func(q *revocation.Query, v string) error {
		q.Source = v
		return nil
	},
	"actor": func(q *revocation.Query, v string) error {
		q.Actor = v
		return nil
	},
	"since": func(q *revocation.Query, v string) (err error) {
		q.Since, err = parseMoment("since", v)
		return err
	},
	"until": func(q *revocation.Query, v string) (err error) {
		q.Until, err = parseMoment("until", v)
		return err
	},
	"state": func(q *revocation.Query, v string) error {
		switch v {
		case stateLive:
		case stateReinstated:
			q.Reinstated = true
		case stateAll:
			q.All = true
		default:
			return badRequest("state must be %s, %s or %s", stateLive, stateReinstated, stateAll)
		}
		return nil
	},
}

// parseQuery reads what is searched for.
func parseQuery(raw string) (q revocation.Query, err error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, badRequest("the query can't be decoded")
	}
	for name, all := range values {
		if name == "claim" {
			if err := addClaims(&q, all); err != nil {
				return q, err
			}
			continue
		}
		set := filters[name]
		if i := slices.IndexFunc(selectorMembers, func(s selectorMember) bool { return s.name == name }); i >= 0 {
			role := selectorMembers[i].role
			set = func(q *revocation.Query, v string) error {
				q.Claims = append(q.Claims, revocation.Claim{Role: role, Value: v})
				return nil
			}
		}
		switch {
		case set == nil:
			return q, badRequest("the query has a parameter that is not known here: possible are %s", strings.Join(queryNames(), ", "))
		case len(all) != 1:
			return q, badRequest("%s is given more than once", name)
		case all[0] == "":
			return q, badRequest("%s has no value", name)
		}
		if err := set(&q, all[0]); err != nil {
			return q, err
		}
	}
	return q, nil
}

// addClaims reads the parameters claim=name=value.
func addClaims(q *revocation.Query, all []string) error {
	for _, pair := range all {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || value == "" {
			return badRequest("claim must be a name and a value, as in claim=tenant_id=acme")
		}
		q.Claims = append(q.Claims, revocation.Claim{Role: revocation.Role(name), Value: value})
	}
	return nil
}

func queryNames() (names []string) {
	for _, s := range selectorMembers {
		names = append(names, s.name)
	}
	for name := range filters {
		names = append(names, name)
	}
	names = append(names, "claim")
	slices.Sort(names)
	return names
}

// parseMoment reads a time, or how long ago it was.
func parseMoment(name, text string) (time.Time, error) {
	if ago, err := caddy.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, strings.Replace(text, " ", "+", 1)) // + is a space in a query
	if err != nil {
		return t, badRequest("%s must be a time as in 2026-01-31T12:00:00Z, or how long ago that was, as in 24h or 7d", name)
	}
	return t, nil
}
