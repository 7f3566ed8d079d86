// The way of a request through the endpoint.

package endpoint

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyrevocation/caddy-revocation/revocation"
)

// Server is a revocation endpoint. Its methods may be called concurrently.
type Server struct {
	opts       Options // with defaults
	source     string  // of records
	clients    map[string]*client
	bearer     holder // who has no client but the token: see Options.SelfRevocation
	origins    map[string]bool
	challenge  string // WWW-Authenticate
	secrets    *secrets
	assertions *assertions
	quotas     *quotas
	repeats    *repeats
	planner    *planner
	journal    *journal
	plain      atomic.Bool // a credential has arrived over plain HTTP
	start      time.Time
}

// New returns a Server. The error joins everything that is wrong with the options.
func New(opts Options) (*Server, error) {
	opts, err := opts.withDefaults()
	if len(opts.Clients) == 0 {
		err = errors.Join(errors.New("the revocation endpoint has no client, so nobody could use it"), err)
	}
	if err != nil {
		return nil, err
	}
	return newServer(opts, endpointSource), nil
}

// newServer returns one whose options are in order, with or without clients.
func newServer(opts Options, source string) *Server {
	s := &Server{
		opts:      opts,
		source:    source,
		clients:   registerClients(opts),
		origins:   map[string]bool{},
		challenge: `Basic realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(opts.Realm) + `", charset="UTF-8"`,
		bearer:    newBearer(opts),
		repeats:   newRepeats(),
		planner:   newPlanner(opts, source),
		start:     opts.Now(),
	}
	for _, o := range opts.AllowOrigins {
		s.origins[o] = true
	}
	s.journal = newJournal(opts, s.elapsed)
	failed := newAttempts(opts.Limits, s.elapsed)
	s.secrets = newSecrets(opts, s.clients, failed, s.journal)
	s.assertions = newAssertions(opts, s.clients, failed)
	s.quotas = newQuotas(opts, s.elapsed)
	return s
}

// elapsed is the clock of all limits: it doesn't jump when the time of day is set.
func (s *Server) elapsed() time.Duration { return s.opts.Now().Sub(s.start) }

// exchange is one request on its way.
type exchange struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	wrote  bool // the answer is under way

	origin        origin
	dialect       dialect
	body          []byte
	params        parameters
	authorization bool         // there is an Authorization header
	address       netip.Prefix // where the request comes from, as limits count
	claimed       *client      // who the client says it is, if that is a registered one
	client        *client      // who the client has proven to be
	self          bool         // there is no client: see Server.revokesItself

	// For the audit log:
	actor       string              // as records have it; empty: the client's
	revocation  revocation.ID       // that the token is under
	records     []revocation.Record // that were made
	again       bool                // they were made by an earlier request
	fingerprint string              // of the token
	unproven    error               // why nobody vouches for it
	hint        string              // what the operator might want to know
	err         error               // what the list said
	noted       bool                // it has its line
}

// step is one of the things that a request must pass. It returns the answer that
// ends the request, or nil.
type step func(*Server, *exchange) *answer

var steps = [...]step{
	(*Server).checkMethod,
	(*Server).checkTransport,
	(*Server).readBody,
	(*Server).readParameters,
	(*Server).authenticate,
	(*Server).checkOrigin,
	(*Server).revoke, // always answers
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{server: s, w: w, r: r}
	defer x.recoverPanic()
	for _, next := range steps {
		if a := next(s, x); a != nil {
			x.finish(a)
			return
		}
	}
}

func (x *exchange) finish(a *answer) {
	x.note(a)
	x.write(a)
}

// note tells metrics and the audit log what becomes of the request.
func (x *exchange) note(a *answer) {
	x.server.opts.Observe(a.outcome)
	if !x.noted {
		x.noted = true
		x.server.journal.record(x, a)
	}
}

// recoverPanic answers a panic with 500. The value of the panic isn't logged
// unless it is the runtime's: it could quote the token.
func (x *exchange) recoverPanic() {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		x.server.journal.panicked(v)
		a := refusal(InternalError, http.StatusInternalServerError, codeServerError, "internal error")
		x.note(a)
		if !x.wrote {
			a.closing = true
			x.write(a)
		}
	}
}
