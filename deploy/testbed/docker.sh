#!/usr/bin/env bash
# A Docker engine on the default socket, a base image made on this machine, and our images: what tests with containers need, where there is
# no image registry. For Debian 12 or newer; root is needed only for what is not there yet.
#
#   docker.sh up       engine, plugins, base image, our images; does only what is missing, and builds what changed
#   docker.sh down     ends the engine if `up` started it; images and packages stay, so that the next `up` is quick
#   docker.sh status   what is there
#
# An engine that answers is used as it is. PTO_IMAGE_BASE names a base image to use instead of making one. Steps are told on standard
# error; standard output of `up` has the ids of the images as lines of NAME=VALUE: names move when another tree is built, ids do not.
# Exit code 3: something is missing that may not be installed here.
set -euo pipefail

IMAGES=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/docker/build.sh
STATE=${PTO_TESTBED_STATE:-/var/lib/parallel-orchestrator-testbed}
PLUGIN_DIR=/usr/local/libexec/docker/cli-plugins
PLUGIN_SUITE=trixie # the first Debian that has the plugins; they need nothing of it and run on older ones
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
BUILD_CACHE=10GB # more is thrown away by the engine, the oldest first
ENGINE_WAIT_S=60
LOCK_WAIT_S=600

say() { printf 'docker: [%3d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
    printf 'docker: %s\n' "$*" >&2
    exit "${CODE:-1}"
}
engine_answers() { docker version >/dev/null 2>&1; }
engine_version() { docker version --format '{{.Server.Version}}'; }
plugins_work() { docker buildx version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }
is_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Whatever is missing must be installed or made, and how is known for Debian only.
may_prepare() {
    if [ "${ID:-}" != debian ] || [ "${VERSION_ID:-0}" -lt 12 ]; then
        CODE=3 fail "$1, and this is ${PRETTY_NAME:-no known system}, not Debian 12 or newer: \
prepare an engine, buildx and compose by its own means, and name a base image in PTO_IMAGE_BASE"
    fi
    [ "$(id -u)" = 0 ] || CODE=3 fail "$1; as root: ${BASH_SOURCE[0]} up"
}

install_packages() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends -o "DPkg::Lock::Timeout=$LOCK_WAIT_S" \
        "${missing[@]}"; } >"$STATE/apt.log" 2>&1 ||
        fail "apt-get could not install ${missing[*]}: $(tail -n 3 "$STATE/apt.log")"
}

# A process id alone may be another's by now: the time of its start tells.
started_at() { cut -d ' ' -f 22 "/proc/$1/stat" 2>/dev/null; }
our_engine() {
    local pid start
    [ -f "$STATE/dockerd.started" ] && read -r pid start <"$STATE/dockerd.started" && [ "$(started_at "$pid")" = "$start" ] && echo "$pid"
}

# Prints the process of an engine that is starting on the default socket. What a killed one left (ids that may be others' by now) is removed.
starting_engine() {
    local file pid
    for file in /run/docker/containerd/containerd.pid /run/docker.pid; do
        [ -f "$file" ] || continue
        pid=$(cat "$file")
        case "$file:$(cat "/proc/$pid/comm" 2>/dev/null)" in
        */docker.pid:dockerd) echo "$pid" ;;
        */containerd.pid:*containe*) ;;
        *) rm -f "$file" ;;
        esac
    done
}

wait_for_engine() {
    local until=$((SECONDS + ENGINE_WAIT_S))
    while [ "$SECONDS" -lt "$until" ] && kill -0 "$1" 2>/dev/null; do
        if engine_answers; then return; fi
        sleep 0.2
    done
    fail "the engine does not answer; the end of its log, $STATE/dockerd.log: $(tail -n 5 "$STATE/dockerd.log" 2>/dev/null)"
}

start_engine() {
    local pid config=(--config-file "$STATE/daemon.json")
    if engine_answers; then return; fi # its package started it
    pid=$(starting_engine)
    if [ -z "$pid" ]; then
        say "starting the engine, its log is $STATE/dockerd.log"
        echo "{\"builder\": {\"gc\": {\"enabled\": true, \"defaultKeepStorage\": \"$BUILD_CACHE\"}}}" >"$STATE/daemon.json"
        [ ! -e /etc/docker/daemon.json ] || config=()
        setsid dockerd "${config[@]}" >>"$STATE/dockerd.log" 2>&1 </dev/null 9>&- &
        pid=$!
        echo "$pid $(started_at "$pid")" >"$STATE/dockerd.started"
    fi
    wait_for_engine "$pid"
    say "engine $(engine_version) answers"
}

# Prints the host's own mirror of Debian, as apt knows it.
debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$VERSION_CODENAME" '$2 == suite && $3 == "main" && !found++ { print $1 }')
    case "$uri" in mirror+file:*) uri=$(awk '/^[^#]/ && !found++ { print $1 }' "${uri#mirror+file:}") ;; esac
    [ -n "$uri" ] || fail "apt has no list of $VERSION_CODENAME main: see its sources, and run apt-get update"
    echo "${uri%/}/"
}

# Unpacks packages of a newer Debian into the folder of plugins. apt works on a configuration of its own, so the host's stays as it is.
install_plugins() {
    say "installing the plugins buildx and compose"
    local work package
    work=$(mktemp -d "$STATE/plugins.XXXXXX")
    mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,out} "$PLUGIN_DIR"
    echo "deb [signed-by=$KEYRING] $(debian_mirror) $PLUGIN_SUITE main" >"$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
        -o "Dir::Etc::preferencesparts=$work/parts" -o Dir::Etc::preferences=/dev/null -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    (cd "$work/out" && "${apt[@]}" download docker-buildx docker-compose >&2)
    for package in "$work"/out/*.deb; do dpkg -x "$package" "$work/out"; done
    install -m 755 "$work"/out/usr/libexec/docker/cli-plugins/* "$PLUGIN_DIR/"
    rm -rf "$work"
    plugins_work || fail "the plugins in $PLUGIN_DIR do not work with $(command -v docker): $(docker buildx version 2>&1 | tail -n 1)"
}

# The counterpart of debian:bookworm-slim: the smallest Debian, without manuals and translations, that installs from the host's mirror.
make_base() {
    local mirror setting tarball="$STATE/base.tar"
    mirror=$(debian_mirror)
    say "making the base image $1 from the host's mirror"
    local options=(--quiet --mode=root --variant=minbase --aptopt='Acquire::Languages "none"'
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright'
        --customize-hook='touch "$1/etc/hosts" "$1/etc/resolv.conf"') # engines mount files there; they would have to make them
    # What the host says about the age of archives holds for images too.
    while read -r setting; do
        [ -z "$setting" ] || options+=(--aptopt="${setting%;}")
    done <<<"$(apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date) ')"
    mmdebstrap "${options[@]}" "$VERSION_CODENAME" "$tarball" "deb [signed-by=$KEYRING] $mirror $VERSION_CODENAME main" \
        >"$STATE/base.log" 2>&1 || fail "mmdebstrap could not make the base: $(tail -n 3 "$STATE/base.log")"
    docker import --change 'CMD ["bash"]' "$tarball" "$1" >/dev/null
    rm -f "$tarball"
}

up() {
    # shellcheck source=/dev/null
    . /etc/os-release 2>/dev/null || true
    local jobs=() job pair base=${PTO_IMAGE_BASE:-parallel-orchestrator-base:${VERSION_CODENAME:-none}}
    if ! { mkdir -p "$STATE" && [ -w "$STATE" ]; } 2>/dev/null; then
        STATE=${TMPDIR:-/tmp}/pto-testbed-$(id -u)
        mkdir -p "$STATE"
    fi
    exec 9>"$STATE/lock"
    flock -n 9 || { say "waiting for another one that is at work" && flock -w "$LOCK_WAIT_S" 9; } ||
        fail "another one has held $STATE/lock for $LOCK_WAIT_S s: look what it does"
    if engine_answers; then
        say "engine $(engine_version) answers and is used as it is"
    else
        [ -z "${DOCKER_HOST:-}" ] || CODE=3 fail "no engine answers at DOCKER_HOST: start it, or unset DOCKER_HOST"
        may_prepare "no Docker engine answers"
        local packages=(dockerd:docker.io mmdebstrap:mmdebstrap)
        [ "$VERSION_ID" = 12 ] || packages+=(docker:docker-cli) # Debian 12 has it in the engine's package
        install_packages "${packages[@]}"
        start_engine
    fi
    if ! plugins_work; then
        may_prepare "buildx and compose are missing"
        install_plugins 9>&- & jobs+=($!)
    fi
    if ! is_image "$base"; then
        [ -z "${PTO_IMAGE_BASE:-}" ] || fail "the engine has no image $base, which PTO_IMAGE_BASE names"
        may_prepare "there is no base image"
        install_packages mmdebstrap:mmdebstrap
        make_base "$base" 9>&- & jobs+=($!)
    fi
    for job in "${jobs[@]}"; do wait "$job" || exit 1; done
    say "building our images from $base, the log is $STATE/build.log"
    PTO_IMAGE_TAG='' "$IMAGES" --target all --base "$base" >"$STATE/build.log" 2>&1 9>&- || fail "$(tail -n 20 "$STATE/build.log")"
    grep '^build:' "$STATE/build.log" >&2
    echo "PTO_TEST_IMAGE_BASE=$base" # builds take no ids
    for pair in FULL=parallel-orchestrator:latest SLIM=parallel-orchestrator:slim NATS=parallel-orchestrator-nats:dev; do
        echo "PTO_TEST_IMAGE_${pair%%=*}=$(docker image inspect --format '{{.Id}}' "${pair#*=}")"
    done
    say "ready"
}

down() {
    local pid until=$((SECONDS + ENGINE_WAIT_S))
    if ! pid=$(our_engine); then
        say "\`up\` started no engine that still runs: nothing to end"
        return
    fi
    say "ending the engine (process $pid)"
    kill -TERM "$pid" || fail "the engine runs as root: end it as root"
    while our_engine >/dev/null && [ "$SECONDS" -lt "$until" ]; do sleep 0.2; done
    if our_engine >/dev/null; then fail "the engine does not end: see $STATE/dockerd.log"; fi
    rm -f "$STATE/dockerd.started"
    say "ended; images and packages stay"
}

status() {
    engine_answers || fail "no engine answers; start one: ${BASH_SOURCE[0]} up"
    echo "engine $(engine_version)$(our_engine >/dev/null && echo ', started by docker.sh up')"
    docker buildx version || true
    docker compose version || true
    docker images --filter 'reference=parallel-orchestrator*'
}

case "${1:-}" in
up | down | status) "$1" ;;
*) fail "say what to do: up, down or status" ;;
esac
