#!/usr/bin/env bash
# Runs a nats-server and three Caddys on this machine, until Ctrl-C. It needs nats-server 2.11
# or newer, and a Caddy with this module: as CADDY, or built from the clone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${NATS_PORT:=4230}" "${PORTS:=8080 8081 8082}" "${ADMIN_PORTS:=2031 2032 2033}"
read -ra ports <<<"$PORTS"
read -ra admins <<<"$ADMIN_PORTS"

server=$(command -v nats-server) || {
	echo 'nats-server is missing: go install github.com/nats-io/nats-server/v2@latest, or brew install nats-server' >&2
	exit 1
}
work=$(mktemp -d)
pids=()
stop() {
	trap - EXIT INT TERM
	((${#pids[@]} == 0)) || kill "${pids[@]}" 2>/dev/null || true
	wait || true
	rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

if [[ -z ${CADDY:-} ]]; then
	CADDY=$work/caddy
	echo 'Building Caddy …'
	(cd "$here/../.." && go build -o "$CADDY" ./cmd/caddy)
fi

# What is acknowledged is on the disk.
cat >"$work/nats.conf" <<END
listen: "127.0.0.1:$NATS_PORT"
jetstream {
	store_dir: "$work/nats"
	sync_interval: always
}
END
"$server" -c "$work/nats.conf" 2>"$work/nats.log" &
pids+=($!)

for i in "${!ports[@]}"; do
	NATS=127.0.0.1:$NATS_PORT PORT=${ports[i]} ADMIN_PORT=${admins[i]} \
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
