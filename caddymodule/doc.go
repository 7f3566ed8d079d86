// Package caddymodule makes Caddy reject revoked tokens. It is the thin layer
// between Caddy's configuration and the packages under revocation, where the
// work is done:
//
//   - app.go: the app token_revocation, which owns the revocation list
//   - issuers.go: the issuers of the app, which say whose a token is
//   - reject.go: the handler reject_revoked, which checks requests
//   - verify.go: its option verify, which lets only genuine tokens pass
//   - endpoint.go: the handler revocation_endpoint, RFC 7009
//   - clients.go, relay.go: who may revoke at it, or who else answers
//   - streams.go, streams_exchange.go, websocket.go: what is open ends with its token
//   - ledger.go: the one way by which the list changes
//   - admin.go and the files beside it: the admin API
//   - command.go and the files beside it: `caddy tokens`, the admin API's client
//   - stores.go: the embedded store; those of clusters are in packages of their own
//   - cluster.go, cluster_status.go: stores that other nodes write to as well
//   - hashes.go: hashes for generated client secrets
//   - caddyfile.go and the files beside the handlers: their Caddyfile syntax
//   - current.go: what outlives configurations follows the one in use
//   - metrics.go, tracing.go, events.go, logging.go: what others see of all this
package caddymodule
