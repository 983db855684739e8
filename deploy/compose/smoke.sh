#!/usr/bin/env bash
# Asks the running system for a small run, once in lane local and once in containers, fetches the outputs, and looks at them.
#
#   smoke.sh FOLDER     FOLDER: what prepare.sh made; env NATS_URL (tls://127.0.0.1:4222), ORCHESTRATOR
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
orchestrator=${ORCHESTRATOR:-orchestrator}
export NATS_URL=${NATS_URL:-tls://127.0.0.1:4222} PTO_USER=requester
export PTO_CREDS=$1/accounts/credentials/requester.nk PTO_CA=$1/nats/tls/ca.pem
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

for lane in local docker; do
  began=$(date +%s%N)
  options=()
  [ $lane = local ] || options=(--docker)
  "$orchestrator" run --plan "$here/smoke.yaml" -q "${options[@]}" -o "$out/$lane"
  run=$("$orchestrator" list --json | tail -n 1 | sed 's/.*"run": *"\([^"]*\)".*/\1/')
  "$orchestrator" fetch "$run" -o "$out/fetched-$lane" >/dev/null
  diff -r "$out/$lane/src" "$out/fetched-$lane/src"
  [ "$(cat "$out/fetched-$lane/src/count.txt")" = 2 ] || { echo "smoke: $lane: src/count.txt is wrong" >&2; exit 1; }
  echo "smoke: $lane: run $run succeeded and its output is right ($((($(date +%s%N) - began) / 1000000)) ms)"
done
