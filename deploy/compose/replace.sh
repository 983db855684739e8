#!/usr/bin/env bash
# Replaces services of the running system, one after the other, by the image and the settings that are there now. The next one's turn
# comes when the one before says at /readyz that it is ready.
#
#   replace.sh SERVICE...     env COMPOSE_ENV (.env), READY_S (120): how long a service may take to be ready
set -euo pipefail

[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/../.."
compose=(docker compose --env-file "${COMPOSE_ENV:-.env}")
probe='
import json, urllib.error, urllib.request
try:
    urllib.request.urlopen("http://127.0.0.1:9464/readyz", timeout=5)
except urllib.error.HTTPError as error:
    raise SystemExit(json.load(error)["reason"])
except OSError as error:
    raise SystemExit(f"it does not answer: {error}")'

for service in "$@"; do
  began=$SECONDS
  said=$("${compose[@]}" up --detach --no-deps --force-recreate "$service" 2>&1) ||
    { echo "replace: $service cannot be started: ${said##*$'\n'}" >&2; exit 1; }
  until why=$("${compose[@]}" exec -T "$service" python3 -c "$probe" 2>&1); do
    [ $((SECONDS - began)) -lt "${READY_S:-120}" ] ||
      { echo "replace: $service is not ready: $why; the others were left as they are" >&2; exit 1; }
    sleep 0.5
  done
  echo "replace: $service is ready"
done
