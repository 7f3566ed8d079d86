package caddymodule

// This file answers why a token is rejected, or why it isn't.

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// check serves POST check.
func (c *adminCall) check() error {
	var q checkRequest
	if err := c.read(&q); err != nil {
		return err
	}
	if q.Token == "" {
		return badRequest("token is required")
	}
	text, removed, err := unwrapToken(q.Token)
	if err != nil {
		return err
	}
	found, err := c.run.checker.Explain(c.r.Context(), revocation.Presented{Token: text}, c.prover())
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, showExplanation(&found, token.IsJWT(text), removed))
}

func showExplanation(e *revocation.Explanation, isJWT bool, warnings []string) checkResponse {
	facts := e.Verdict.Facts
	shown := checkResponse{
		Verdict: e.Verdict.State.String(), Reason: sentence(e),
		Fingerprint: facts.Fingerprint.String(), JWT: isJWT,
		Issuers:  facts.Issuers,
		IssuedAt: unixMoment(facts.IssuedAt), AuthenticatedAt: unixMoment(facts.AuthTime),
		Expires: unixMoment(facts.Expiry.Unix), ExpiryTrusted: facts.Expiry.Trusted,
		Records: []matchedRecordJSON{}, Matches: []selectableJSON{}, Impossible: []impossibleJSON{},
		Warnings: warnings,
	}
	if facts.Malformed != nil {
		shown.Malformed = facts.Malformed.Error()
	}
	for _, claim := range facts.Claims {
		if shown.Claims == nil {
			shown.Claims = map[string][]string{}
		}
		shown.Claims[string(claim.Role)] = append(shown.Claims[string(claim.Role)], claim.Value)
	}
	if p := e.Proof; p != nil {
		shown.Proof = &proofJSON{
			Issuer: p.Issuer, Kind: p.Kind.String(), Owners: p.Owners, Audience: p.Audience,
			IssuedAt: unixMoment(p.IssuedAt), NotBefore: unixMoment(p.NotBefore), Expires: unixMoment(p.Expires), Introspected: p.Introspected,
		}
	}
	if e.Unproven != nil {
		shown.Unproven = e.Unproven.Error()
	}
	for _, m := range e.Records {
		r := m.Record
		shown.Records = append(shown.Records, matchedRecordJSON{
			Record:  recordedJSON{r.ID.String(), showRecord(r), r.Source, r.Actor, r.Reason, r.RecordedAt},
			Rejects: m.Rejects, Why: m.Why, Pending: m.Pending,
		})
	}
	for _, m := range e.Matches {
		shown.Matches = append(shown.Matches, selectableJSON{string(m.Selector.Shape()), m.Selector.Map()})
	}
	for _, m := range e.Impossible {
		shown.Impossible = append(shown.Impossible, impossibleJSON{string(m.Shape), m.Why})
	}
	return shown
}

// sentence says in one sentence why the token is rejected or isn't.
func sentence(e *revocation.Explanation) string {
	switch e.Verdict.State {
	case revocation.Revoked:
		i := slices.IndexFunc(e.Records, func(m revocation.Match) bool { return m.Rejects })
		if i < 0 {
			return fmt.Sprintf("The token is rejected by a %s of shape %s that was made in this very moment, or is in the store of a reload that is under way.", e.Verdict.Kind, e.Verdict.Shape)
		}
		r, others := e.Records[i].Record, 0
		for _, m := range e.Records[i+1:] {
			if m.Rejects {
				others++
			}
		}
		text := fmt.Sprintf("The token is rejected by revocation %s (%s of %s), which %s made on %s: %s",
			r.ID, r.Kind, r.Selector.Shape(), cmp.Or(r.Actor, "somebody"), r.RecordedAt.Format(time.RFC3339), cmp.Or(r.Reason, "no reason was given"))
		if others > 0 {
			text += fmt.Sprintf("; and by %s more", count(others, "record"))
		}
		if e.ByAnswer {
			text += "; but only where reject_revoked has verify, since only what its issuer answers says whose it is: elsewhere it passes, to be safe revoke the token itself"
		}
		return text + "."
	case revocation.Malformed:
		return fmt.Sprintf("No record rejects the token, but it is malformed and doesn't pass where reject_revoked stands, unless a route says `malformed pass`: %v.", e.Verdict.Facts.Malformed)
	}
	text := "No record rejects the token"
	if n := len(e.Records); n > 0 {
		text = fmt.Sprintf("The token passes: %s it, and none rejects it", names(n))
	}
	switch p := e.Proof; {
	case p != nil && p.CheckTime(time.Now()) != nil:
		text += fmt.Sprintf("; but %v, so that it doesn't pass where reject_revoked has verify", p.CheckTime(time.Now()))
	case e.Unproven != nil:
		text += "; but nobody vouches for it, so that it doesn't pass where reject_revoked has verify"
	}
	return text + "."
}

func names(n int) string {
	if n == 1 {
		return "1 record names"
	}
	return fmt.Sprintf("%d records name", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// unixMoment returns the time of so many Unix seconds; zero where there is none, and where
// the year has more than four digits, which JSON can't have.
func unixMoment(seconds int64) time.Time {
	const lastYear = 253402300799
	if seconds == 0 || seconds < 0 || seconds > lastYear {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
