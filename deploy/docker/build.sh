#!/usr/bin/env bash
# Builds the images of this project. See README.md beside this file.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TARGET=${PTO_IMAGE_TARGET:-all}
TAG=${PTO_IMAGE_TAG:-}
BASE=${PTO_IMAGE_BASE:-}
CA=${PTO_CA_BUNDLE:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
OPTIONS=()

usage() {
    cat <<'USAGE'
usage: build.sh [--target slim|full|nats|all] [--tag NAME:TAG] [--base IMAGE] [--ca FILE] [--no-cache]

  --target   what to build; all (the default) builds  [PTO_IMAGE_TARGET]
               full  as parallel-orchestrator:latest      services, harness, API engine, Claude Code
               slim  as parallel-orchestrator:slim        the same without Claude Code
               nats  as parallel-orchestrator-nats:dev    the broker
  --tag      another name for the one image that is built  [PTO_IMAGE_TAG]
  --base     a Debian or python image, 3.11 or newer; default debian:bookworm-slim  [PTO_IMAGE_BASE]
  --ca       certificates that downloads trust, never part of an image; default: this machine's  [PTO_CA_BUNDLE]
  --no-cache build every step again

PIP_INDEX_URL and NPM_CONFIG_REGISTRY, if set, say where packages come from. They must not hold credentials.
USAGE
}
fail() {
    printf 'build: %s\n' "$*" >&2
    exit "${2:-1}"
}
wrong() {
    printf 'build: %s; see build.sh --help\n' "$*" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case "$1" in
    --target | --tag | --base | --ca)
        [ $# -ge 2 ] || wrong "$1 needs a value"
        case "$1" in --target) TARGET=$2 ;; --tag) TAG=$2 ;; --base) BASE=$2 ;; --ca) CA=$2 ;; esac
        shift 2
        ;;
    --no-cache) OPTIONS+=(--no-cache) && shift ;;
    -h | --help) usage && exit ;;
    *) wrong "$1 is unknown" ;;
    esac
done

case "$TARGET" in
all) TARGETS=(full slim nats) ;;
slim | full | nats) TARGETS=("$TARGET") ;;
*) wrong "--target is slim, full, nats or all, not $TARGET" ;;
esac
[ -z "$TAG" ] || [ "$TARGET" != all ] || wrong "--tag names one image: choose a --target"
docker version >/dev/null 2>&1 || fail "no Docker engine answers; start it, or for tests on Debian: deploy/testbed/docker.sh up"
docker buildx version >/dev/null 2>&1 || fail "docker buildx is missing; install your system's package (docker-buildx, docker-buildx-plugin)"

[ ! -s "$CA" ] || OPTIONS+=(--secret "id=ca,src=$CA")
[ -z "$BASE" ] || OPTIONS+=(--build-arg "BASE=$BASE")
[ -z "${PIP_INDEX_URL:-}" ] || OPTIONS+=(--build-arg PIP_INDEX_URL)
[ -z "${NPM_CONFIG_REGISTRY:-}" ] || OPTIONS+=(--build-arg NPM_CONFIG_REGISTRY)
HINT="$(docker image inspect "${BASE:=debian:bookworm-slim}" >/dev/null 2>&1 || echo "the engine has no image $BASE; where no registry can be \
reached, name one that it has (--base), or as root on Debian: deploy/testbed/docker.sh up")"
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$ROOT/pyproject.toml")
REVISION=$(git -C "$ROOT" describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)

for target in "${TARGETS[@]}"; do
    case "$target" in
    full) name=parallel-orchestrator:latest ;;
    slim) name=parallel-orchestrator:slim ;;
    nats) name=parallel-orchestrator-nats:dev ;;
    esac
    name=${TAG:-$name}
    docker buildx build --load --file "$ROOT/deploy/docker/Dockerfile" --target "$target" --tag "$name" \
        --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" "${OPTIONS[@]}" "$ROOT" ||
        fail "$target was not built, for what is said above${HINT:+; $HINT}"
    printf 'build: %s: %s, %d MB\n' "$target" "$name" "$(($(docker image inspect --format '{{.Size}}' "$name") / 1000000))"
done
