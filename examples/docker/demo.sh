#!/bin/sh
# Uses a token, revokes it, and uses it again. What is asked where can be given as API and
# REVOKE; the defaults are compose.yml's.
set -eu
: "${API:=http://caddy:8080/}" "${REVOKE:=http://caddy:8081/oauth2/revoke}"
token=demo-$(date +%s)-$$

# use prints the status that the API answers with.
use() {
	wget -S -q -O /dev/null --header "Authorization: Bearer $token" "$API" 2>&1 |
		sed -n 's|^ *HTTP/1.1 ||p' | tail -n 1
}

before=$(use)
echo "The API, with a token:        $before"
echo "Revoking the token:           $(wget -q -O - --post-data "client_id=demo&token=$token" "$REVOKE")"
after=$(use)
echo "The API, with the same token: $after"

case "$before $after" in
"200 OK 401 Unauthorized") ;;
*) exit 1 ;;
esac
