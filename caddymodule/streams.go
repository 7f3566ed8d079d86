package caddymodule

// This file knows the exchanges that are open under a token: which are watched, and
// what they are counted as.

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddyrevocation/caddy-revocation/revocation"
	"github.com/caddyrevocation/caddy-revocation/revocation/token"
)

// What close_streams may be.
const (
	closeStreams = "streams"
	closeAll     = "all"
	closeOff     = "off"
)

// streamKind is what an exchange is, as far as the request tells.
type streamKind string

const (
	kindWebSocket   streamKind = "websocket"
	kindEventStream streamKind = "event_stream"
	kindOther       streamKind = "other"
)

// cutReason is why an exchange was ended.
type cutReason string

const (
	cutRevoked cutReason = "revoked"
	cutExpired cutReason = "expired"
)

var (
	streamsOpen = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "streams_open",
		Help: "Exchanges that end when their token is revoked, by what they are.",
	}, []string{"kind"})

	streamsCutTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "streams_cut_total",
		Help: "Exchanges that were ended because of their token, by what they were and why.",
	}, []string{"kind", "reason"})

	// All values that the labels have, which so are shown from the start.
	openGauges  = map[streamKind]prometheus.Gauge{}
	cutCounters = map[streamKind]map[cutReason]prometheus.Counter{}
)

func init() {
	for _, kind := range []streamKind{kindWebSocket, kindEventStream, kindOther} {
		openGauges[kind] = streamsOpen.WithLabelValues(string(kind))
		cutCounters[kind] = map[cutReason]prometheus.Counter{}
		for _, reason := range []cutReason{cutRevoked, cutExpired} {
			cutCounters[kind][reason] = streamsCutTotal.WithLabelValues(string(kind), string(reason))
		}
	}
}

// streamPool holds the open exchanges, of which there is one register. Each exchange is
// a user of it, as is each configuration, so that lists know the exchanges that began
// under configurations before theirs.
var streamPool = caddy.NewUsagePool()

const streamPoolKey = "streams"

// takeStreams returns the register: the one that there is, or else the one given.
func takeStreams(ours *revocation.Streams) *revocation.Streams {
	streams, _ := streamPool.LoadOrStore(streamPoolKey, ours)
	return streams.(*revocation.Streams)
}

func releaseStreams() error {
	_, err := streamPool.Delete(streamPoolKey)
	return err
}

// streamKind returns what the request's exchange is, if it is to be watched; else it is
// empty.
func (h *RejectRevoked) streamKind(r *http.Request) streamKind {
	switch {
	case h.DryRun || h.CloseStreams == closeOff:
		return ""
	case asksForWebSocket(r):
		return kindWebSocket
	case asksForEvents(r):
		return kindEventStream
	case h.CloseStreams == closeAll:
		return kindOther
	}
	return ""
}

func asksForWebSocket(r *http.Request) bool {
	// Others than to a WebSocket have been dropped.
	return len(r.Header["Upgrade"]) > 0 || isExtendedConnect(r)
}

// isExtendedConnect reports whether the request opens a WebSocket on a stream of HTTP/2
// (RFC 8441) or HTTP/3 (RFC 9220).
func isExtendedConnect(r *http.Request) bool {
	if r.Method != http.MethodConnect {
		return false
	}
	protocol := r.Proto
	if r.ProtoMajor == 2 {
		if protocols := r.Header[":protocol"]; len(protocols) > 0 {
			protocol = protocols[0]
		}
	}
	return protocol == "websocket"
}

func asksForEvents(r *http.Request) bool {
	const wanted = "text/event-stream"
	for _, accept := range r.Header["Accept"] {
		for len(accept) >= len(wanted) {
			var media string
			if media, accept, _ = strings.Cut(accept, ","); len(media) < len(wanted) {
				continue
			}
			media, _, _ = strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), wanted) {
				return true
			}
		}
	}
	return false
}

// open begins an exchange that passed the check. It returns a rejection when a token
// was revoked meanwhile.
func (h *RejectRevoked) open(w http.ResponseWriter, r *http.Request, kind streamKind, candidates []token.Candidate, facts []*revocation.Facts) (*exchange, *rejection) {
	x := newExchange(h, w, r, kind)
	for i := range candidates {
		x.tokens = append(x.tokens, presentedToken{candidates[i], facts[i]})
	}
	openGauges[kind].Inc()
	x.stream = takeStreams(h.app.streams).Open(x.revoke, facts...)
	for i := range x.tokens {
		t := &x.tokens[i]
		remembered := t.candidate.Token
		if t.candidate.Secret {
			remembered = ""
		} else {
			tokensChecked.Add(1)
		}
		if v := h.app.running.checker.CheckAgain(remembered, t.facts); v.State == revocation.Revoked {
			x.finish()
			return nil, revoked(&t.candidate, v)
		}
	}
	if h.CloseOnExpiry {
		x.awaitExpiry()
	}
	return x, nil
}

// presentedToken is a token of an exchange.
type presentedToken struct {
	candidate token.Candidate
	facts     *revocation.Facts
}

// expires returns the token's exp, zero where it can't be told.
func (t *presentedToken) expires() int64 {
	if t.candidate.Probe {
		return 0
	}
	if proof := t.facts.Proof(); proof != nil && proof.Expires != 0 {
		return proof.Expires
	}
	if t.facts.Expiry.Trusted {
		return t.facts.Expiry.Unix
	}
	return 0
}

// expiry returns which of the exchange's tokens expires first, nil if that can't be told
// of any, and when.
func (x *exchange) expiry() (first *presentedToken, at time.Time) {
	for i := range x.tokens {
		t := &x.tokens[i]
		unix := t.expires()
		if expires := time.Unix(unix, 0); unix != 0 && (first == nil || expires.Before(at)) {
			first, at = t, expires
		}
	}
	return first, at
}

// maxTimer is how often is looked when tokens expire. A timer doesn't know that the clock
// was set or the machine slept, nor what an issuer says when it is asked again.
const maxTimer = time.Minute

// awaitExpiry cuts the exchange when its time has come.
func (x *exchange) awaitExpiry() {
	left := maxTimer
	if t, at := x.expiry(); t != nil {
		if left = min(left, time.Until(at)); left <= 0 {
			x.cut(cutExpired, (&rejection{
				status: http.StatusUnauthorized, verdict: verdictUnverified, code: "invalid_token", reason: reasonExpired,
			}).about(&t.candidate, t.facts))
			return
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.finished && x.why == nil {
		x.timer = time.AfterFunc(left, x.awaitExpiry)
	}
}

// revoke cuts the exchange because of what hit one of its tokens.
func (x *exchange) revoke(v revocation.Verdict) {
	for i := range x.tokens {
		if t := &x.tokens[i]; t.facts == v.Facts {
			x.cut(cutRevoked, revoked(&t.candidate, v))
			return
		}
	}
}

// report counts and logs that the exchange is being cut.
func (x *exchange) report(reason cutReason, why *rejection) {
	cutCounters[x.kind][reason].Inc()
	x.handler.logger.Info("open stream ended",
		zap.String("kind", string(x.kind)),
		zap.String("reason", string(reason)),
		zap.String("fingerprint", why.fingerprintText()),
		zap.String("selector", string(why.selector)),
		zap.String("host", x.request.Host),
		zap.Duration("duration", time.Since(x.began)),
	)
}
