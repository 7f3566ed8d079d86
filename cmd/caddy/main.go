// Command caddy is Caddy with this module built in. It is what the README's
// first command runs; a build for production is made with xcaddy, see xcaddy.md.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddyrevocation/caddy-revocation/caddymodule"
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/nats"
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/postgres"
	_ "github.com/caddyrevocation/caddy-revocation/caddymodule/redis"
)

func main() {
	caddycmd.Main()
}
