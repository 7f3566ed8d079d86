package caddymodule

// This file has what the admin API reads and writes. The commands `caddy tokens …` are
// its clients and use the same types.

import "time"

// adminPath is where the admin API of this module begins.
const adminPath = "/" + appID + "/"

// revokeRequest is the body of POST records. Exactly one thing is named: a token, or
// the claims that the tokens have in common, all of which must match.
type revokeRequest struct {
	Token       string            `json:"token,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	TokenID     string            `json:"jti,omitempty"`
	Session     string            `json:"sid,omitempty"`
	Subject     string            `json:"sub,omitempty"`
	ClientID    string            `json:"client_id,omitempty"`
	Grant       string            `json:"grant,omitempty"`
	KeyID       string            `json:"kid,omitempty"`
	KeyBinding  string            `json:"jkt,omitempty"`
	CertBinding string            `json:"x5t#S256,omitempty"`
	Issuer      string            `json:"iss,omitempty"`
	Claims      map[string]string `json:"claims,omitempty"`

	IssuedBefore        string `json:"issued_before,omitempty"`        // RFC 3339, or now
	AuthenticatedBefore string `json:"authenticated_before,omitempty"` // RFC 3339, or now
	ExpiresIn           string `json:"expires_in,omitempty"`           // a duration, or never

	Reason  string `json:"reason,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Cascade string `json:"cascade,omitempty"` // session, subject_client or off; with a token
	Wait    string `json:"wait,omitempty"`    // a duration: until no node accepts what is hit
	DryRun  bool   `json:"dry_run,omitempty"`
}

// The outcomes of POST records.
const (
	outcomeRevoked     = "revoked"      // it is durable and enforced
	outcomeWouldRevoke = "would_revoke" // what dry_run would have done
	outcomeExpired     = "expired"      // nobody accepts the token any more: nothing was recorded
)

// revokeResponse is the answer to POST records. The revocation is missing where there is
// none, and has no id where there would be one.
type revokeResponse struct {
	Outcome    string          `json:"outcome"`
	Revocation *revocationJSON `json:"revocation,omitempty"`
	Awaited    bool            `json:"awaited,omitempty"` // no node accepts what is hit any more
	Warnings   []string        `json:"warnings,omitempty"`
}

// The states of a revocation.
const (
	stateLive       = "live"
	stateReinstated = "reinstated"
	stateExpired    = "expired"
	stateAll        = "all" // of a search: live and reinstated
)

// revocationJSON is a revocation: the answer to GET records/{id}.
type revocationJSON struct {
	ID         string          `json:"id,omitempty"`
	State      string          `json:"state,omitempty"`
	Pending    bool            `json:"pending,omitempty"` // enforced and not durable
	Source     string          `json:"source"`
	Actor      string          `json:"actor"`
	Reason     string          `json:"reason,omitempty"`
	RecordedAt time.Time       `json:"recorded_at"`
	Records    []recordJSON    `json:"records"`
	Reinstated *reinstatedJSON `json:"reinstated,omitempty"`
}

// recordJSON is one of a revocation's records.
type recordJSON struct {
	Kind     string            `json:"kind"`
	Selector map[string]string `json:"selector"`
	Cutoff   time.Time         `json:"cutoff,omitzero"`
	Expires  time.Time         `json:"expires"`
}

// reinstatedJSON says who took a revocation back.
type reinstatedJSON struct {
	ID         string    `json:"id"`
	Source     string    `json:"source"`
	Actor      string    `json:"actor"`
	Reason     string    `json:"reason,omitempty"`
	RecordedAt time.Time `json:"recorded_at"`
}

// revocationsResponse is the answer to GET records. Next is empty on the last page.
type revocationsResponse struct {
	Revocations []revocationJSON `json:"revocations"`
	Next        string           `json:"next,omitempty"`
}

// reinstateRequest is the body of DELETE records/{id}.
type reinstateRequest struct {
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// reinstateResponse is the answer to DELETE records/{id}: the id of the reinstatement.
type reinstateResponse struct {
	ID         string   `json:"id"`
	Reinstates []string `json:"reinstates"`
}

// checkRequest is the body of POST check.
type checkRequest struct {
	Token string `json:"token"`
}

// checkResponse is the answer to POST check: all that there is to know about a token.
type checkResponse struct {
	Verdict     string `json:"verdict"` // active, revoked or malformed
	Reason      string `json:"reason"`  // one sentence
	Fingerprint string `json:"fingerprint"`
	JWT         bool   `json:"jwt"`
	Malformed   string `json:"malformed,omitempty"` // why

	Issuers         []string            `json:"issuers,omitempty"`
	Claims          map[string][]string `json:"claims,omitempty"` // by role
	IssuedAt        time.Time           `json:"issued_at,omitzero"`
	AuthenticatedAt time.Time           `json:"authenticated_at,omitzero"`
	Expires         time.Time           `json:"expires,omitzero"`
	ExpiryTrusted   bool                `json:"expiry_trusted"`

	Proof    *proofJSON `json:"proof,omitempty"`
	Unproven string     `json:"unproven,omitempty"` // why there is no proof

	Records    []matchedRecordJSON `json:"records"`
	Matches    []selectableJSON    `json:"matches"`
	Impossible []impossibleJSON    `json:"impossible"`

	Warnings []string `json:"warnings,omitempty"`
}

// proofJSON is what an issuer vouches for.
type proofJSON struct {
	Issuer       string    `json:"issuer"`
	Kind         string    `json:"kind"`
	Owners       []string  `json:"owners,omitempty"`
	Audience     []string  `json:"audience,omitempty"`
	IssuedAt     time.Time `json:"issued_at,omitzero"`
	NotBefore    time.Time `json:"not_before,omitzero"`
	Expires      time.Time `json:"expires,omitzero"`
	Introspected bool      `json:"introspected,omitempty"`
}

// matchedRecordJSON is a record in force that names the token.
type matchedRecordJSON struct {
	Record  recordedJSON `json:"record"`
	Rejects bool         `json:"rejects"`
	Why     string       `json:"why"`
	Pending bool         `json:"pending,omitempty"`
}

// recordedJSON is a record with whose it is.
type recordedJSON struct {
	ID string `json:"id"`
	recordJSON
	Source     string    `json:"source"`
	Actor      string    `json:"actor"`
	Reason     string    `json:"reason,omitempty"`
	RecordedAt time.Time `json:"recorded_at"`
}

// selectableJSON is a way in which a record could name the token.
type selectableJSON struct {
	Shape    string            `json:"shape"`
	Selector map[string]string `json:"selector"`
}

// impossibleJSON is a way in which no record can name the token.
type impossibleJSON struct {
	Shape string `json:"shape"`
	Why   string `json:"why"`
}

// healthResponse is the answer to GET health.
type healthResponse struct {
	Status  string `json:"status"` // ready
	Warning string `json:"warning,omitempty"`
}

// healthReady is the status of a node that decides by all that its store has.
const healthReady = "ready"

// statusResponse is the answer to GET status.
type statusResponse struct {
	Version     string             `json:"version"`
	List        listStatus         `json:"list"`
	Store       storeStatus        `json:"store"`
	Cache       cacheStatus        `json:"cache"`
	Streams     map[string]int     `json:"streams"` // open, by kind
	Cluster     *clusterStatus     `json:"cluster,omitempty"`
	Issuers     []issuerStatusJSON `json:"issuers"`
	Retention   retentionStatus    `json:"retention"`
	MatchClaims []string           `json:"match_claims"`
}

type listStatus struct {
	Fresh      bool           `json:"fresh"`
	Since      time.Time      `json:"since,omitzero"`  // of the last change
	Cause      string         `json:"cause,omitempty"` // why it isn't fresh
	Keys       int            `json:"keys"`
	Records    []recordsCount `json:"records"`
	Shapes     int            `json:"shapes"` // of max_shapes
	MaxShapes  int            `json:"max_shapes"`
	IndexBytes int64          `json:"index_bytes"`
	Pending    int            `json:"pending"`
}

// recordsCount is how many keys there are of one kind and shape.
type recordsCount struct {
	Kind  string `json:"kind"`
	Shape string `json:"shape"`
	Keys  int    `json:"keys"`
}

type storeStatus struct {
	Module  string    `json:"module"` // such as bolt
	Key     string    `json:"key"`    // where it is
	Failing bool      `json:"failing"`
	Since   time.Time `json:"since,omitzero"`
	Error   string    `json:"error,omitempty"`

	// Durability says what becomes of acknowledged revocations when the server fails:
	// verified, or what is less; nothing as long as it wasn't reached.
	Durability string `json:"durability,omitempty"`
}

// clusterStatus is what there is to know of a store that other nodes write to as well.
type clusterStatus struct {
	Applied      string       `json:"applied,omitempty"` // how far this node has come
	MaxStaleness string       `json:"max_staleness"`     // a duration
	OnStale      string       `json:"on_stale"`          // unless a route says otherwise
	WarmStart    string       `json:"warm_start"`        // on or off
	Replica      string       `json:"replica"`           // a file, or memory
	Nodes        []nodeStatus `json:"nodes"`             // as the store knew them at its last answer
}

type nodeStatus struct {
	ID       string    `json:"id"` // a new one for each start
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Fresh    bool      `json:"fresh"`   // as it said itself
	Silent   bool      `json:"silent"`  // it has said nothing for a while
	Lenient  bool      `json:"lenient"` // it accepts tokens while it isn't fresh
	Applied  string    `json:"applied,omitempty"`
	Lag      *uint64   `json:"lag,omitempty"` // entries behind the one that has come farthest
	LastBeat time.Time `json:"last_beat"`     // by the store's clock
}

type cacheStatus struct {
	Size   int64  `json:"size"` // about how many bytes it may take
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
}

type issuerStatusJSON struct {
	Issuer             string    `json:"issuer"`
	Ready              bool      `json:"ready"`
	Keys               int       `json:"keys"`
	KeysFrom           time.Time `json:"keys_from,omitzero"` // when they were fetched
	Error              string    `json:"error,omitempty"`
	IntrospectionError string    `json:"introspection_error,omitempty"`
}

type retentionStatus struct {
	MaxTokenLifetime string `json:"max_token_lifetime"` // a duration, or never
	Leeway           string `json:"leeway"`
}

// importResponse is the answer to POST import.
type importResponse struct {
	Lines    int           `json:"lines"`
	Accepted int           `json:"accepted"`
	Merged   int           `json:"merged"`
	Expired  int           `json:"expired"`
	Refused  int           `json:"refused"`
	Errors   []importError `json:"errors,omitempty"` // the first ones
	Warnings []string      `json:"warnings,omitempty"`
}

// importError says why a line was refused.
type importError struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// errorResponse is every error's answer, as of Caddy's own routes.
type errorResponse struct {
	Error string `json:"error"`
}
