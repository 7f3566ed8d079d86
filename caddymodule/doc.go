// Package caddymodule makes Caddy reject revoked tokens. It is the thin layer
// between Caddy's configuration and the packages under revocation, where the
// work is done:
//
//   - app.go: the app token_revocation, which owns the revocation list
//   - reject.go: the handler reject_revoked, which checks requests
//   - endpoint.go: the handler revocation_endpoint, RFC 7009
//   - stores.go: the embedded store
//   - hashes.go, command.go: hashes for generated client secrets
//   - caddyfile.go and the files beside the handlers: their Caddyfile syntax
//   - metrics.go: what Prometheus sees
package caddymodule
