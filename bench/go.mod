module github.com/caddyrevocation/caddy-revocation/bench

go 1.26

require (
	github.com/caddyrevocation/caddy-revocation v0.0.0
	github.com/dgraph-io/ristretto/v2 v2.4.2
	github.com/golang-jwt/jwt/v5 v5.3.1
	github.com/maypok86/otter/v2 v2.4.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/go-json-experiment/json v1.27.2 // indirect
	github.com/google/uuid v1.6.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
)

replace github.com/caddyrevocation/caddy-revocation => ../
