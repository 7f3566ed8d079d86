package caddymodule_test

// The Caddyfiles in the docs use stores that are packages of their own.
import (
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/nats"
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/postgres"
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/redis"
)
