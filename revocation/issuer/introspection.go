package issuer

// This file asks an issuer about tokens: RFC 7662. An answer is only that when all of
// it makes sense. Whatever else comes back says nothing about the token, least of all
// that it is dead.

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// introspector asks one issuer. Its methods may be called concurrently.
type introspector struct {
	issuer  string
	opts    Introspection
	timeout time.Duration
	now     func() time.Time
	observe func(Call, Outcome)
	post    poster
	locate  func(context.Context) (string, error) // where to ask

	flights singleflight.Group
	bounds  *bounds
	outage  *outage
	report  *report
}

// answer is what the issuer says of a token that is active.
type answer struct {
	claims Claims // without those that are null
	raw    []byte
	at     time.Time
	holds  func(now time.Time) bool // the answer isn't too old

	// again is the proof that counts once more, for as long as holds says, since the
	// issuer can't be asked. There are no claims then, and at is the proof's.
	again *revocation.Proof
}

// question is what the issuer is asked.
type question struct {
	token, hint string
	key         string // equal for equal questions only
	fingerprint fingerprint
}

// fingerprint stands for a question. It isn't the token's canonical one: of two
// spellings of a token the issuer may know one.
type fingerprint [sha256.Size]byte

// newQuestion leaves out a hint that RFC 7009 §2.1 doesn't know: it may be anything.
func newQuestion(p revocation.Presented) question {
	q := question{token: p.Token}
	if p.Hint == "access_token" || p.Hint == "refresh_token" {
		q.hint = p.Hint
	}
	q.key = q.hint + " " + q.token // no hint has a space in it
	q.fingerprint = sha256.Sum256([]byte(q.key))
	return q
}

func newIntrospector(f *fetcher, d *discovery, o Options) *introspector {
	locate := func(context.Context) (string, error) { return o.Introspection.URL, nil }
	if o.Introspection.URL == "" {
		locate = func(ctx context.Context) (string, error) {
			m, err := d.metadata(ctx)
			if err == nil && m.IntrospectionEndpoint == "" {
				err = errors.New("its metadata names no introspection_endpoint")
			}
			return m.IntrospectionEndpoint, err
		}
	}
	return introspectorOver(f.post, locate, o)
}

// poster sends a form: fetcher.post.
type poster func(ctx context.Context, rawURL string, form url.Values, auth func(*http.Request)) (int, []byte, error)

// introspectorOver makes an introspector whose questions go out by post.
func introspectorOver(post poster, locate func(context.Context) (string, error), o Options) *introspector {
	start := o.Now()
	elapsed := func() time.Duration { return o.Now().Sub(start) }
	return &introspector{
		issuer:  o.Name,
		opts:    *o.Introspection,
		timeout: o.Timeout,
		now:     o.Now,
		observe: o.Observe,
		post:    post,
		locate:  locate,
		bounds:  newBounds(*o.Introspection, elapsed),
		outage:  newOutage(elapsed),
		report:  newReport(o.Logger, o.Name, elapsed),
	}
}

// ask asks the issuer about a token. The error wraps ErrUnproven when the issuer says
// that the token isn't active, or ErrIssuerUnavailable when nobody can tell. One that
// could be told a while ago is then told again, for as long as StaleIfError allows.
func (i *introspector) ask(ctx context.Context, p revocation.Presented) (*answer, error) {
	if len(p.Token) > token.MaxTokenBytes {
		return nil, fmt.Errorf("%w: it is longer than any token that %s is asked about", revocation.ErrUnproven, i.issuer)
	}
	q := newQuestion(p)
	a, err := i.share(ctx, q, p)
	if errors.Is(err, revocation.ErrIssuerUnavailable) {
		if again := i.again(q, p); again != nil {
			return again, nil
		}
	}
	return a, err
}

// share waits for the answer to a question, which is asked once however many want to
// know it.
func (i *introspector) share(ctx context.Context, q question, p revocation.Presented) (*answer, error) {
	who := sender{from: p.From, known: i.held(p) != nil}
	for {
		if err := i.recall(q, who); err != nil {
			return nil, err
		}
		flight := i.flights.DoChan(q.key, func() (any, error) {
			return i.call(context.WithoutCancel(ctx), q, who)
		})
		select {
		case <-ctx.Done():
			return nil, i.unavailable(context.Cause(ctx))
		case landed := <-flight:
			// Somebody else may have asked too much. That isn't held against this one,
			// who asks instead.
			var limited *limitedError
			if errors.As(landed.Err, &limited) && limited.who != who {
				continue
			}
			a, _ := landed.Val.(*answer)
			return a, landed.Err
		}
	}
}

// recall answers what need not, or must not, be asked now.
func (i *introspector) recall(q question, who sender) error {
	if i.bounds.inactive(q, i.now()) {
		return i.inactive()
	}
	if err := i.outage.recall(q); err != nil {
		return err
	}
	if err := i.bounds.limited(who); err != nil {
		i.observe(CallIntrospection, OutcomeLimited)
		return i.unavailable(err)
	}
	return nil
}

// call asks when its turn comes.
func (i *introspector) call(ctx context.Context, q question, who sender) (*answer, error) {
	pass, err := i.enter(ctx, who)
	if err != nil {
		i.observe(CallIntrospection, OutcomeLimited)
		return nil, i.unavailable(err)
	}
	defer pass.leave()
	attempt, err := i.outage.begin()
	if err != nil {
		pass.excuse()
		return nil, err
	}
	a, failed := i.exchange(ctx, q)
	if failed != nil && failed.outcome == OutcomeInactive {
		err := fmt.Errorf("%w: %s: %w", revocation.ErrUnproven, i.issuer, failed.err)
		attempt.fail(q, err, false)
		i.report.answered()
		i.observe(CallIntrospection, OutcomeInactive)
		return nil, err
	}
	if failed != nil {
		if failed.everywhere {
			pass.excuse()
		}
		err := i.unavailable(failed.err)
		attempt.fail(q, err, failed.everywhere)
		i.report.fails(failed.outcome, err)
		i.observe(CallIntrospection, failed.outcome)
		return nil, err
	}
	attempt.succeed()
	i.report.answered()
	if a == nil {
		i.observe(CallIntrospection, OutcomeInactive)
		return nil, i.inactive()
	}
	pass.excuse()
	i.observe(CallIntrospection, OutcomeActive)
	return a, nil
}

// enter waits for its turn no longer than for an answer.
func (i *introspector) enter(ctx context.Context, who sender) (*pass, error) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	return i.bounds.enter(ctx, who)
}

// failure is why there is no answer.
type failure struct {
	outcome Outcome
	err     error
	// everywhere says that it would be the same with other tokens. Else it may be due
	// to this one, and whoever sent it must not have the others suffer for it.
	everywhere bool
}

// exchange sends the question and reads the answer, which is nil when the token isn't
// active.
func (i *introspector) exchange(ctx context.Context, q question) (*answer, *failure) {
	ctx, cancel := context.WithTimeout(ctx, i.timeout)
	defer cancel()
	to, err := i.locate(ctx)
	if err != nil {
		return nil, &failure{OutcomeFailed, err, true}
	}
	at := i.now() // what the issuer says holds since it was asked, at least
	status, body, err := i.post(ctx, to, i.form(q), i.authenticate)
	if err != nil {
		outcome := outcomeOf(err)
		return nil, &failure{outcome, err, outcome == OutcomeFailed}
	}
	if status == http.StatusBadRequest && unsupported(body) {
		return nil, &failure{OutcomeInactive, errUnsupported, false}
	}
	if status != http.StatusOK {
		return nil, refusal(status)
	}
	claims, active, err := parseAnswer(body)
	if err != nil {
		return nil, &failure{OutcomeInvalid, err, false}
	}
	if !active {
		i.bounds.learn(q, at)
		return nil, nil
	}
	return &answer{claims: claims, raw: body, at: at, holds: lasts(at, i.opts.TTL)}, nil
}

// refusal says what a status other than 200 means: RFC 7662 §2.3.
func refusal(status int) *failure {
	f := &failure{outcome: OutcomeFailed, err: fmt.Errorf("it answered with status %d", status)}
	switch status {
	case http.StatusUnauthorized:
		f.outcome, f.everywhere = OutcomeUnauthorized, true
	case http.StatusForbidden:
		f.outcome = OutcomeUnauthorized
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		f.everywhere = true
	}
	return f
}

// form is the body of the question: RFC 7662 §2.1.
func (i *introspector) form(q question) url.Values {
	form := url.Values{"token": {q.token}}
	if q.hint != "" {
		form.Set("token_type_hint", q.hint)
	}
	if i.opts.Post {
		form.Set("client_id", i.opts.ClientID)
		form.Set("client_secret", i.opts.ClientSecret)
	}
	return form
}

// authenticate adds what the form doesn't have: RFC 6749 §2.3.1, which encodes both
// parts before RFC 7617 does.
func (i *introspector) authenticate(r *http.Request) {
	if !i.opts.Post {
		r.SetBasicAuth(url.QueryEscape(i.opts.ClientID), url.QueryEscape(i.opts.ClientSecret))
	}
}

func (i *introspector) inactive() error {
	return fmt.Errorf("%w: %s says that it isn't active", revocation.ErrUnproven, i.issuer)
}

func (i *introspector) unavailable(err error) error {
	return fmt.Errorf("%w: %s doesn't say whether it is active: %w", revocation.ErrIssuerUnavailable, i.issuer, err)
}

// held returns the proof that this issuer's last answer about the token was made
// into, if there is one.
func (i *introspector) held(p revocation.Presented) *revocation.Proof {
	proof := p.Facts.Proof()
	if proof == nil || !proof.Introspected || proof.Issuer != i.issuer {
		return nil
	}
	return proof
}

// staleFor is how long an answer that had its time is used before the issuer is asked
// again.
const staleFor = 10 * time.Second

// again returns the answer that the token had before, unless it is too old or the
// issuer said since that the token isn't active.
func (i *introspector) again(q question, p revocation.Presented) *answer {
	proof := i.held(p)
	if proof == nil || i.opts.StaleIfError <= 0 || i.bounds.inactiveSince(q, proof.At) {
		return nil
	}
	now := i.now()
	rest := i.opts.StaleIfError - max(passed(proof.At, now)-max(i.opts.TTL, 0), 0)
	if rest <= 0 {
		return nil
	}
	fresh := lasts(now, min(rest, staleFor))
	// A question that nobody waited for may be answered meanwhile.
	holds := func(now time.Time) bool { return fresh(now) && !i.bounds.inactiveSince(q, proof.At) }
	return &answer{at: proof.At, again: proof, holds: holds}
}

// status returns why the last question failed, nil when it was answered.
func (i *introspector) status() error { return i.report.status() }
