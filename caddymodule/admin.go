package caddymodule

// This file is the module in Caddy's admin API: its routes, how they find the app that
// is in use, and how they answer.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/endpoint"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI is the part of Caddy's admin API below `/token_revocation/`: it revokes
// tokens, finds and takes back revocations, says why a token is rejected, imports,
// exports, and tells how the list is.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api." + appID,
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// adminRoute is one thing that can be asked for.
type adminRoute struct {
	method, path string
	serve        func(*adminCall) error
	changes      bool // it has a line in the audit log
	health       bool // it answers at once, and 503 whatever is wrong
}

func adminRoutes() []adminRoute {
	return []adminRoute{
		{method: http.MethodGet, path: "status", serve: (*adminCall).status},
		{method: http.MethodGet, path: "health", serve: (*adminCall).health, health: true},
		{method: http.MethodGet, path: "records", serve: (*adminCall).search},
		{method: http.MethodPost, path: "records", serve: (*adminCall).revoke, changes: true},
		{method: http.MethodGet, path: "records/{id}", serve: (*adminCall).show},
		{method: http.MethodDelete, path: "records/{id}", serve: (*adminCall).reinstate, changes: true},
		{method: http.MethodPost, path: "check", serve: (*adminCall).check},
		{method: http.MethodGet, path: "export", serve: (*adminCall).export},
		{method: http.MethodPost, path: "import", serve: (*adminCall).imports, changes: true},
	}
}

// Routes implements caddy.AdminRouter.
func (AdminAPI) Routes() []caddy.AdminRoute {
	var all []caddy.AdminRoute
	known := http.NewServeMux() // to tell a wrong method from a wrong path
	for _, route := range adminRoutes() {
		pattern := route.method + " " + adminPath + route.path
		known.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
		all = append(all, caddy.AdminRoute{Pattern: pattern, Handler: caddy.AdminHandlerFunc(route.handle)})
	}
	return append(all, caddy.AdminRoute{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(
		func(w http.ResponseWriter, r *http.Request) error { return unknownRoute(known, w, r) },
	)})
}

// unknownRoute answers what no route does. Caddy would answer 404 without a word.
func unknownRoute(known *http.ServeMux, w http.ResponseWriter, r *http.Request) error {
	var allowed, routes []string
	for _, route := range adminRoutes() {
		probe := &http.Request{Method: route.method, Host: r.Host, URL: r.URL}
		if _, pattern := known.Handler(probe); pattern == route.method+" "+adminPath+route.path {
			allowed = append(allowed, route.method)
		}
		routes = append(routes, route.method+" "+route.path)
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: fmt.Errorf("this is only for %s", strings.Join(allowed, " and "))}
	}
	return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("below %s there are only %s", adminPath, strings.Join(routes, ", "))}
}

// adminCall is one request.
type adminCall struct {
	w   http.ResponseWriter
	r   *http.Request
	app *App
	run running

	entry revocation.AuditEntry // of a route that changes something
}

// handle serves a request with the app that is in use when it comes.
func (route adminRoute) handle(w http.ResponseWriter, r *http.Request) error {
	c := &adminCall{w: w, r: r}
	c.w.Header().Set("Cache-Control", "no-store")
	if !route.health {
		c.awaitStart()
	}
	err := c.findApp()
	if err == nil {
		err = route.serve(c)
	}
	refused := asAdminError(err)
	if route.changes {
		c.audit(refused)
	}
	if refused == nil {
		return nil
	}
	if route.health {
		refused.status = http.StatusServiceUnavailable
	}
	if refused.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(refused.retry/time.Second)))
	}
	return caddy.APIError{HTTPStatus: refused.status, Err: refused.err}
}

// awaitStart waits for Caddy to start, but not for long: its sites answer a moment
// before Caddy says that the configuration runs.
func (c *adminCall) awaitStart() {
	const patience, pause = 2 * time.Second, 10 * time.Millisecond
	for end := time.Now().Add(patience); caddy.ActiveContext().Context == nil && time.Now().Before(end); {
		select {
		case <-c.r.Context().Done():
			return
		case <-time.After(pause):
		}
	}
}

// findApp finds the app of the configuration that runs. Only that one's will do: the
// admin API is there before its configuration's apps are, also when these never start.
// Nor need the app be configured, since a handler makes it exist.
func (c *adminCall) findApp() error {
	config := caddy.ActiveContext()
	if config.Context == nil {
		return unavailable("Caddy has not started yet: its apps are being loaded, or have failed")
	}
	app, err := config.AppIfConfigured(appID)
	if errors.Is(err, caddy.ErrNotConfigured) {
		return refuse(http.StatusNotFound, "not_in_use",
			"the configuration that runs has no revocation list: add reject_revoked or revocation_endpoint to a site, or %s to the global options", appID)
	}
	if err != nil {
		return unavailable("the app %s has failed: %w", appID, err)
	}
	c.app = app.(*App)
	if !c.app.started() {
		return unavailable("%w", errNotReady)
	}
	c.run = c.app.running
	return nil
}

// adminError is an error with what it is to the client and to the audit log. Its text
// quotes nothing of the request that could be a token.
type adminError struct {
	status  int
	outcome string
	retry   time.Duration
	err     error
}

func (e *adminError) Error() string { return e.err.Error() }

// refuse returns the error of a request that can't be fulfilled.
func refuse(status int, outcome, format string, args ...any) error {
	return &adminError{status: status, outcome: outcome, err: fmt.Errorf(format, args...)}
}

// badRequest returns the error of a request with something wrong in it.
func badRequest(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "invalid_request", format, args...)
}

// adminRetry is told to clients when it can be expected that it works later.
const adminRetry = 5 * time.Second

// unavailable returns the error of what may work later.
func unavailable(format string, args ...any) error {
	return &adminError{http.StatusServiceUnavailable, "unavailable", adminRetry, fmt.Errorf(format, args...)}
}

// asAdminError says what an error of the list is to the client.
func asAdminError(err error) *adminError {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*adminError](err); ok {
		return known
	}
	// What isn't about the request is about the store, or comes of a reload.
	status, outcome, retry := http.StatusServiceUnavailable, "unavailable", adminRetry
	switch {
	case errors.Is(err, revocation.ErrUnknownRevocation):
		status, outcome, retry = http.StatusNotFound, "unknown_revocation", 0
	case errors.Is(err, revocation.ErrInvalidRecord), errors.Is(err, revocation.ErrInvalidSelector):
		status, outcome, retry = http.StatusBadRequest, "invalid_request", 0
	case errors.Is(err, revocation.ErrTooManyShapes):
		status, outcome, retry = http.StatusConflict, "too_many_shapes", 0
	case errors.Is(err, revocation.ErrNotDurable):
		outcome = "not_durable"
	case errors.Is(err, revocation.ErrNotEverywhere):
		outcome = "not_everywhere"
	}
	return &adminError{status, outcome, retry, err}
}

// audit writes the line of a request that was to change something. A dry run is none.
func (c *adminCall) audit(refused *adminError) {
	if c.app == nil {
		return // there is no configuration to log to
	}
	e := &c.entry
	if refused != nil {
		e.Outcome, e.Status, e.Detail = refused.outcome, refused.status, refused.Error()
		switch {
		case refused.outcome == "not_everywhere":
			e.Event = revocation.AuditRevoked
		case refused.status >= http.StatusInternalServerError:
			e.Event = revocation.AuditFailed
		case e.Event == "": // else something was done all the same
			e.Event = revocation.AuditRefused
		}
	}
	if e.Event == "" {
		return
	}
	if e.Note.Source == "" {
		e.Note.Source = sourceAdmin
	}
	if remote, err := netip.ParseAddrPort(c.r.RemoteAddr); err == nil {
		e.Address = remote.Addr().String()
	}
	e.Log(c.r.Context(), c.app.audit)
}

// defaultActor is who does something when the request doesn't say.
const defaultActor = "admin"

// answer sends an answer.
func (c *adminCall) answer(status int, v any) error {
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	encoder := json.NewEncoder(c.w)
	encoder.SetEscapeHTML(false)
	// Nobody is there to be told that it didn't arrive.
	_ = encoder.Encode(v)
	return nil
}

// takeTime takes away the bound that Caddy's admin API has for how long a request may
// take to arrive: net/http ends what is answered by then as well.
func (c *adminCall) takeTime() {
	// A writer that can't has no bound either.
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{})
}

// reinstateTimeout is how long a reinstatement may take. It reads the whole store, and
// one that ends halfway takes effect only at the next start.
const reinstateTimeout = 5 * time.Minute

// changing returns the context of a change, which goes on when the client is gone: it
// wanted it.
func (c *adminCall) changing(timeout time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.r.Context()), timeout)
}

// operator returns what makes records of tokens.
func (c *adminCall) operator() *endpoint.Operator {
	return endpoint.NewOperator(endpoint.OperatorOptions{
		List: ledger{c.app}, Facts: c.app.reader, Prover: c.prover(), Retention: c.app.retention(), Source: sourceAdmin,
	})
}

// prover returns the issuers, nil when none is configured.
func (c *adminCall) prover() revocation.Prover {
	if len(c.app.issuers) == 0 {
		return nil
	}
	return c.run.issuers
}

// Interface guard
var _ caddy.AdminRouter = AdminAPI{}
