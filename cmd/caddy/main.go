// Command caddy is Caddy with this module and every store built in. It is what
// the README's first command runs; a production build is made with xcaddy (see
// xcaddy.md).
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
