#!/usr/bin/env bash
# Runs a PostgreSQL server and three Caddys on this machine, until Ctrl-C. It needs initdb and
# postgres, and a Caddy with this module: as CADDY, or built from the clone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${POSTGRES_PORT:=5490}" "${PORTS:=8080 8081 8082}" "${ADMIN_PORTS:=2031 2032 2033}"
read -ra ports <<<"$PORTS"
read -ra admins <<<"$ADMIN_PORTS"

# Debian keeps the server's programs out of the PATH.
PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
command -v initdb postgres >/dev/null || {
	echo 'PostgreSQL is missing: apt-get install postgresql, or brew install postgresql' >&2
	exit 1
}
work=$(mktemp -d)
pids=()
stop() {
	trap - EXIT INT TERM
	((${#pids[@]} == 0)) || kill -INT "${pids[@]}" 2>/dev/null || true
	wait || true
	rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

# PostgreSQL refuses to run as root.
as=()
if [[ $(id -u) == 0 ]]; then
	id postgres >/dev/null && as=(setpriv --reuid postgres --regid postgres --clear-groups)
	chmod 755 "$work"
fi

if [[ -z ${CADDY:-} ]]; then
	CADDY=$work/caddy
	echo 'Building Caddy …'
	(cd "$here/../.." && go build -o "$CADDY" ./cmd/caddy)
fi

mkdir -m 700 "$work/postgres"
((${#as[@]} == 0)) || chown postgres: "$work/postgres"
(cd / && "${as[@]}" initdb --pgdata "$work/postgres" --username caddy --auth trust --no-sync >"$work/postgres.log")
(cd / && exec "${as[@]}" postgres -D "$work/postgres" -p "$POSTGRES_PORT" -h 127.0.0.1 -c unix_socket_directories= >>"$work/postgres.log" 2>&1) &
pids+=($!)
for _ in {1..100}; do
	createdb --host 127.0.0.1 --port "$POSTGRES_PORT" --username caddy revocations 2>>"$work/postgres.log" && break
	sleep .1
done

for i in "${!ports[@]}"; do
	POSTGRES=127.0.0.1:$POSTGRES_PORT PORT=${ports[i]} ADMIN_PORT=${admins[i]} \
		XDG_DATA_HOME=$work/node$i XDG_CONFIG_HOME=$work/node$i \
		"$CADDY" run --config "$here/Caddyfile" 2>"$work/node$i.log" &
	pids+=($!)
done
for port in "${ports[@]}"; do
	for _ in {1..100}; do
		curl -sf -o /dev/null "http://localhost:$port/" && break
		sleep .1
	done
done

cat <<END

Three nodes run, on ports ${ports[*]}; their logs are in $work. Try:

  curl -H 'Authorization: Bearer demo-token' localhost:${ports[1]}
  curl -d client_id=demo -d token=demo-token localhost:${ports[0]}/oauth2/revoke
  curl -i -H 'Authorization: Bearer demo-token' localhost:${ports[1]}
  $CADDY tokens status --address localhost:${admins[2]}

Ctrl-C ends them.
END
wait
