#!/usr/bin/env bash
# What docker-compose.yml mounts, in FOLDER: accounts with their keys, TLS for the broker, folders for data. What is there
# is kept; a changed list of accounts reaches the broker's folder. Prints the settings that depend on this machine, for .env.
#
#   prepare.sh FOLDER
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
state=$(cd "$1" && pwd)
orchestrator=${ORCHESTRATOR:-orchestrator}
socket=${DOCKER_SOCKET:-/var/run/docker.sock}
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then uid=10001 gid=10001; fi # services need no root, and containers of agents must not have it

if [ -e "$state/accounts/accounts.json" ]; then
  "$orchestrator" accounts render "$state/accounts" >&2
else
  "$orchestrator" accounts init "$state/accounts" --lane local --lane docker >&2
fi
[ -e "$state/nats/tls/server.pem" ] || bash "$here/../nats/certificates.sh" "$state/nats/tls" ${PTO_NAMES:-nats localhost 127.0.0.1}
mkdir -p "$state"/streams{,-n2,-n3} "$state/snapshots" "$state/workspaces"
cp "$here"/../nats/{server,cluster}.conf "$state/accounts/users.conf" "$state/nats/"
[ "$(id -u)" != 0 ] || chown -R "$uid:$gid" "$state"
echo "PTO_STATE=$state"
echo "PTO_WORKSPACES=$state/workspaces"
echo "PTO_UID=$uid"
echo "PTO_GID=$gid"
echo "DOCKER_GID=$(stat -c %g "$socket" 2>/dev/null || echo 0)"
