// One request through a relay, and its answer.

package endpoint

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// passage is a request on its way to the authorization server, and the answer on its
// way back.
type passage struct {
	*exchange
	relay *Relay
	plan  plan // what to do when the server says success; the zero plan: nothing
	owned bool // the token is proven to be the named client's

	// conditional says that the proof counts only with an empty 200.
	conditional bool

	holder   holder
	admitted int // records that the quota let pass
}

// prepare finds out what is to be done here when the authorization server says success.
func (p *passage) prepare() *answer {
	token := p.params.get(paramToken)
	if strings.TrimSpace(token) == "" {
		return nil // the authorization server has an answer to that
	}
	if refused := p.server.checkToken(p.exchange, token); refused != nil {
		return refused
	}
	p.decide(revocation.Presented{Token: token, Hint: p.params.get(paramTokenTypeHint), From: p.address})
	p.fingerprint, p.unproven = p.plan.facts.Fingerprint.String(), p.plan.err
	if p.plan.facts.Malformed == nil {
		p.hint = hintFor(token)
	}
	if p.plan.outcome == IssuerUnavailable {
		return p.plan.refused
	}
	if p.plan.outcome != Revoked {
		return nil
	}
	if _, known := p.made(); known {
		return nil
	}
	if wait := p.server.quotas.admit(p.holder.client, p.address, p.plan.count()); wait > 0 {
		return tooMany(QuotaExceeded, wait, "no more tokens may be revoked now")
	}
	p.admitted = p.plan.count()
	return nil
}

// decide makes the plan. The client is who it says it is, since the authorization
// server finds out whether that is true before it says success.
func (p *passage) decide(t revocation.Presented) {
	planner, ids := p.server.planner, claimedClients(p.r, &p.params)
	facts := planner.facts.ReadFacts(t.Token)
	proof, err := planner.prove(p.r.Context(), t, facts)
	var until time.Time // what is known of the token was so then; zero: now
	if u, ok := p.relay.unsettled.Get(facts.Fingerprint); ok && u.proof != nil && errors.Is(err, revocation.ErrUnproven) {
		proof, err, until = u.proof, nil, u.until
	}
	if answers, ok := planner.prover.(AnswerProver); ok && errors.Is(err, revocation.ErrUnproven) {
		t.Facts = facts
		if proof = answers.ProofByAnswer(t); proof != nil {
			p.conditional, err = true, nil
		}
	}
	h := &p.holder
	*h = holder{actor: relaySource, public: true, client: p.relay.anybody}
	switch {
	case len(ids) == 0 && proof != nil:
		// Nobody can say whether it is the client's own: as if it were nobody's.
		nobodys := *proof
		nobodys.Owners = nil
		proof = &nobodys
	case len(ids) > 0:
		h.id = ids[0]
		if proof != nil && len(proof.Owners) > 0 && slices.Contains(ids, proof.Owners[0]) {
			h.id = proof.Owners[0]
		}
	}
	if proof != nil && len(proof.Owners) > 0 && ownedBy(proof.Owners, h.id) {
		p.owned, h.client = true, nil
		p.claimed = &client{id: h.id} // the issuer's own word, so it can't be a secret
		if len(h.id) <= MaxClientIDBytes && utf8.ValidString(h.id) {
			h.actor = relaySource + ":" + h.id
		}
	}
	p.plan = planner.decide(*h, t.Hint, facts, proof, err)
	p.plan.until = until
	if p.plan.outcome == IssuerUnavailable && p.relay.opts.BestEffort {
		p.plan = planner.fingerprint(*h, facts)
		p.plan.err = err
	}
}

// made returns the revocation that makes another one by the plan unnecessary, or a new
// one.
func (p *passage) made() (m made, known bool) {
	now, reinstatements := p.server.opts.Now(), p.server.opts.List.Reinstatements()
	if m, known := p.server.repeats.find(p.key(), &p.plan, now, reinstatements); known {
		return m, true
	}
	return newMade(&p.plan, now, reinstatements), false
}

func (p *passage) key() repeatKey { return repeatKey{p.plan.facts.Fingerprint, p.holder.client} }

// commit carries the plan out.
func (p *passage) commit() *answer {
	m, known := p.made()
	p.actor, p.again = p.plan.actor, known
	if m.settled {
		p.revocation = m.id
		p.settled()
		return p.success(Repeated)
	}
	a := p.server.record(p.exchange, p.key(), m)
	if a.code != "" {
		p.unsettle()
	} else {
		p.settled()
	}
	return a
}

// unsettled is what was proven of a token until a moment.
type unsettled struct {
	proof *revocation.Proof
	until time.Time
}

// rememberedUnsettled is of how many tokens that is remembered before the oldest are
// forgotten.
const rememberedUnsettled = 1 << 12

// unsettle remembers what would die with the token: the authorization server may have
// revoked it, and the client tries again. Nothing more dies then than now, so that the
// next login lives.
func (p *passage) unsettle() {
	if p.owned && !p.conditional && p.plan.hasCascade() {
		until := valueOr(p.plan.until, p.server.opts.Now())
		p.relay.unsettled.Put(p.plan.facts.Fingerprint, unsettled{p.plan.proof, until})
	}
}

// settled forgets it again.
func (p *passage) settled() {
	if _, ok := p.relay.unsettled.Get(p.plan.facts.Fingerprint); ok {
		p.relay.unsettled.Put(p.plan.facts.Fingerprint, unsettled{})
	}
}

// release gives back what prepare took.
func (p *passage) release() {
	if p.admitted > 0 {
		p.server.quotas.release(p.holder.client, p.admitted)
	}
}

// errNoAnswer is of what stands behind a relay.
var errNoAnswer = errors.New("nothing behind the relay has answered: is there a reverse_proxy?")

// forward has the authorization server answer. It isn't told when the client goes: what
// it does about the token must be known here.
func (p *passage) forward(next func(http.ResponseWriter, *http.Request) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.r.Context()), p.relay.opts.Timeout)
	defer cancel()
	response := &relayResponse{inner: p.w, judge: p.judge}
	defer p.recoverForward(response)
	err := next(response, p.replay(ctx))
	switch response.fate {
	case undecided:
		return p.unanswered(err)
	case held:
		return p.settle(response, err)
	case replaced:
		return nil
	}
	if response.header != nil { // it was held, and too long to be read
		p.pass(RelayRefused, response.status)
	}
	return err
}

// replay returns the request as it was received, byte for byte.
func (p *passage) replay(ctx context.Context) *http.Request {
	r := p.r.WithContext(ctx)
	body := func() (io.ReadCloser, error) {
		if len(p.body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(p.body)), nil
	}
	r.Body, _ = body()
	r.GetBody = body
	r.ContentLength = int64(len(p.body))
	r.TransferEncoding = nil // its length is known by now
	if p.revocable() {
		r.Header = r.Header.Clone()
		r.Header.Set("Accept-Encoding", "identity") // to be read here
	}
	return r
}

// revocable reports whether the token is to be revoked although the authorization
// server doesn't.
func (p *passage) revocable() bool {
	return p.relay.opts.RevokeUnsupported && p.owned && !p.conditional && p.plan.count() > 0
}

// judge decides about the authorization server's answer and does what it calls for.
func (p *passage) judge(status int) fate {
	switch {
	case status == http.StatusSwitchingProtocols:
		p.replace(p.failed("the authorization server speaks another protocol than HTTP"))
		return replaced
	case status >= 200 && status < 300:
		return p.accepted(status)
	case status == http.StatusBadRequest && p.revocable():
		return held
	case status >= 500:
		p.unsettle()
		p.pass(RelayFailed, status)
	default:
		p.pass(RelayRefused, status)
	}
	return passing
}

// accepted enforces what the authorization server accepted.
func (p *passage) accepted(status int) fate {
	if p.conditional && (status != http.StatusOK || p.w.Header().Get("Content-Length") != "0") {
		// The server says in the body that the token isn't valid.
		p.pass(Relayed, status)
		return passing
	}
	p.conditional = false
	switch p.plan.outcome {
	case "", UnsupportedTokenType:
		p.pass(Relayed, status)
		return passing
	case Revoked:
		if p.owned {
			p.client = p.claimed // the authorization server says so
		}
	default:
		p.pass(p.plan.outcome, status)
		return passing
	}
	a := p.commit()
	if a.code != "" && !p.relay.opts.BestEffort {
		p.replace(a)
		return replaced
	}
	p.pass(a.outcome, status)
	return passing
}

// settle decides about an answer that was held: a refusal of a token that is the
// client's own.
func (p *passage) settle(response *relayResponse, err error) error {
	if err != nil || !unsupportedToken(response.body) {
		p.pass(RelayRefused, response.status)
		response.release() // when the client has gone there is nobody to tell
		return err
	}
	a := p.commit()
	response.replace()
	p.replace(a)
	return nil
}

// unanswered answers when the authorization server hasn't.
func (p *passage) unanswered(err error) error {
	p.err = err
	p.unsettle()
	if err == nil {
		p.err = errNoAnswer
	} else if !p.relay.opts.Unreachable(err) {
		p.note(&answer{outcome: RelayRefused})
		return err
	}
	p.replace(p.failed("the authorization server doesn't answer and the token must be assumed to be valid still: try again"))
	return nil
}

func (p *passage) failed(description string) *answer {
	return unavailable(RelayFailed, failureRetry, description)
}

// pass notes what becomes of a request whose answer passes.
func (p *passage) pass(o Outcome, status int) {
	p.wrote = true
	p.note(&answer{outcome: o, status: status})
}

// replace answers in the authorization server's place.
func (p *passage) replace(a *answer) {
	dropOwnHeaders(p.w.Header())
	p.finish(a)
}

// recoverForward ends what panicked behind the relay. An answer that is under way must
// not look complete; one in its place is.
func (p *passage) recoverForward(response *relayResponse) {
	v := recover()
	if v == nil {
		return
	}
	if response.fate == undecided || response.fate == held {
		p.unsettle()
		dropOwnHeaders(p.w.Header())
		if v == http.ErrAbortHandler { // that has no answer; any other panic has one
			p.note(&answer{outcome: RelayFailed})
		}
		panic(v)
	}
	if v != http.ErrAbortHandler {
		p.server.journal.panicked(v)
	}
	if response.fate == passing {
		panic(http.ErrAbortHandler)
	}
}
