#!/usr/bin/env bash
# A Docker engine on the default socket, a base image made on this machine, and our images: what the tests of containers need, without
# an image registry. For Debian 12 or newer; root is needed only for what is not there yet. See deploy/docker/README.md.
#
#   docker.sh up       engine, base image, command-line plugins, our images; does only what is missing
#   docker.sh down     ends the engine if `up` started it; images and packages stay, so that the next `up` is quick
#   docker.sh status   what is there
#
# An engine that answers is used as it is. Steps are told on standard error; standard output has only what to export, one a line.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
IMAGES="$HERE/../docker/build.sh"
STATE=${PTO_TESTBED_STATE:-/var/lib/parallel-orchestrator-testbed}
BASE_IMAGE=parallel-orchestrator-base
PLUGIN_DIR=/usr/local/libexec/docker/cli-plugins
PLUGIN_SUITE=trixie # the first Debian whose plugins are packaged; programs without further needs, so they run on older ones
ENGINE_WAIT_S=60
LOCK_WAIT_S=600

say() { printf 'docker: [%3d s] %s\n' "$SECONDS" "$*" >&2; }
fail() {
    printf 'docker: %s\n' "$*" >&2
    exit 1
}
engine_answers() { command -v docker >/dev/null && docker version >/dev/null 2>&1; }
plugins_work() { docker buildx version >/dev/null 2>&1 && docker compose version >/dev/null 2>&1; }
base_is_there() { docker image inspect "$BASE_IMAGE:$VERSION_CODENAME" >/dev/null 2>&1; }
need_root() { [ "$(id -u)" = 0 ] || fail "$1; as root: ${BASH_SOURCE[0]} up"; }

check_system() {
    # shellcheck source=/dev/null
    . /etc/os-release 2>/dev/null || true
    [ "${ID:-}" = debian ] && [ "${VERSION_ID:-0}" -ge 12 ] ||
        fail "needs Debian 12 or newer, this is ${PRETTY_NAME:-an unknown system}; start a Docker engine with buildx yourself and use deploy/docker/build.sh"
}

install_packages() {
    local missing=() pair
    for pair in dockerd:docker.io mmdebstrap:mmdebstrap; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    command -v docker >/dev/null || [ "$VERSION_ID" = 12 ] || missing+=(docker-cli) # Debian 12 has the command in docker.io
    [ ${#missing[@]} -gt 0 ] || return 0
    need_root "${missing[*]} must be installed"
    say "installing ${missing[*]} and ca-certificates"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -qq -y --no-install-recommends "${missing[@]}" ca-certificates >"$STATE/apt.log" 2>&1 ||
        fail "apt-get could not install ${missing[*]}: $(tail -n 3 "$STATE/apt.log")"
}

# A process id alone may be anybody's by now: its start time tells.
started_at() { cut -d ' ' -f 22 "/proc/$1/stat" 2>/dev/null; }
our_engine() {
    local pid start
    read -r pid start <"$STATE/dockerd.started" 2>/dev/null || return 1
    [ "$(started_at "$pid")" = "$start" ] && echo "$pid"
}

# What an engine that was killed leaves behind: its process ids, which by now may be those of others.
forget_killed_engine() {
    local file name
    for file in /run/docker.pid /run/docker/containerd/containerd.pid; do
        [ -f "$file" ] || continue
        name=$(cat "/proc/$(cat "$file")/comm" 2>/dev/null) || true
        case "$name" in dockerd | containerd | docker-containe*) ;; *) rm -f "$file" ;; esac
    done
}

wait_for_engine() {
    local until=$((SECONDS + ENGINE_WAIT_S))
    while [ "$SECONDS" -lt "$until" ]; do
        engine_answers && return
        [ -z "${1:-}" ] || kill -0 "$1" 2>/dev/null || break
        sleep 0.2
    done
    fail "the engine does not answer; the end of its log, $STATE/dockerd.log: $(tail -n 5 "$STATE/dockerd.log" 2>/dev/null)"
}

start_engine() {
    if engine_answers; then
        say "engine $(docker version --format '{{.Server.Version}}') answers already: used as it is"
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || fail "no engine answers at DOCKER_HOST; start it, or unset DOCKER_HOST"
    need_root "no Docker engine answers"
    local pid
    if pid=$(our_engine) || pid=$(pidof -s dockerd); then
        say "engine (process $pid) is starting"
        wait_for_engine "$pid"
        return
    fi
    forget_killed_engine
    say "starting the engine, log in $STATE/dockerd.log"
    setsid dockerd >>"$STATE/dockerd.log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid $(started_at "$pid")" >"$STATE/dockerd.started"
    wait_for_engine "$pid"
    say "engine $(docker version --format '{{.Server.Version}}') answers"
}

# Prints the host's own mirror of Debian, as apt knows it.
debian_mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$VERSION_CODENAME" '$2 == suite && $3 == "main" { print $1; exit }')
    case "$uri" in
    mirror+file:*) uri=$(awk '!/^#/ { print $1; exit }' "${uri#mirror+file:}") ;;
    esac
    [ -n "$uri" ] || fail "apt knows no source for $VERSION_CODENAME main; add one to its sources and run apt-get update"
    echo "${uri%/}/"
}

# The host's settings on how old or how young an archive may be hold for images as well.
apt_date_settings() { apt-config dump | grep -E '^Acquire::(Check-Valid-Until|Check-Date) ' || true; }

# Unpacks the packages of a newer Debian into the folder of plugins. apt works on a configuration of its own: the host's does not change.
install_plugins() {
    if plugins_work; then return; fi
    need_root "the buildx and compose plugins must be installed"
    say "installing the plugins buildx and compose"
    local work
    work=$(mktemp -d "$STATE/plugins.XXXXXX")
    mkdir -p "$work"/{lists/partial,cache/archives/partial,parts,out}
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(debian_mirror) $PLUGIN_SUITE main" >"$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/parts"
        -o "Dir::Etc::preferencesparts=$work/parts" -o Dir::Etc::preferences=/dev/null -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    (cd "$work/out" && "${apt[@]}" download docker-buildx docker-compose >&2)
    local package
    for package in "$work"/out/*.deb; do dpkg -x "$package" "$work/out"; done
    mkdir -p "$PLUGIN_DIR"
    cp "$work"/out/usr/libexec/docker/cli-plugins/* "$PLUGIN_DIR/"
    rm -rf "$work"
    plugins_work || fail "the plugins in $PLUGIN_DIR do not work with this docker command: $(docker buildx version 2>&1 | tail -n 1)"
}

# The counterpart of debian:bookworm-slim: minimal, without pages of manuals, its packages from the host's mirror.
make_base() {
    if base_is_there; then return; fi
    need_root "the base image must be made"
    local mirror tarball="$STATE/base.tar" setting
    mirror=$(debian_mirror)
    say "making the base image $BASE_IMAGE:$VERSION_CODENAME from the host's mirror"
    local options=(--quiet --mode=root --variant=minbase "--include=ca-certificates"
        --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*'
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright')
    while read -r setting; do
        [ -z "$setting" ] || options+=(--aptopt="${setting%;}")
    done < <(apt_date_settings)
    mmdebstrap "${options[@]}" "$VERSION_CODENAME" "$tarball" \
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $VERSION_CODENAME main" \
        >"$STATE/base.log" 2>&1 || fail "mmdebstrap could not make the base: $(tail -n 3 "$STATE/base.log")"
}

import_base() {
    if base_is_there; then return; fi
    docker import --change 'CMD ["bash"]' "$STATE/base.tar" "$BASE_IMAGE:$VERSION_CODENAME" >/dev/null
    rm -f "$STATE/base.tar"
    say "base image: $(docker image inspect --format '{{.Size}}' "$BASE_IMAGE:$VERSION_CODENAME" | awk '{ printf "%d MB", $1 / 1e6 }')"
}

up() {
    check_system
    mkdir -p "$STATE" 2>/dev/null || { STATE=${TMPDIR:-/tmp}/pto-testbed-$(id -u) && mkdir -p "$STATE"; }
    exec 9>"$STATE/lock"
    flock -n 9 || { say "another one is at work: waiting for it" && flock -w "$LOCK_WAIT_S" 9; } ||
        fail "another one has been at work for $LOCK_WAIT_S s; look at who holds $STATE/lock"
    engine_answers && plugins_work && base_is_there || install_packages
    local jobs=() job
    start_engine
    install_plugins & jobs+=($!)
    make_base & jobs+=($!)
    for job in "${jobs[@]}"; do wait "$job" || exit 1; done
    import_base
    "$IMAGES" --target all --base "$BASE_IMAGE:$VERSION_CODENAME" >&2
    say "ready"
}

down() {
    local pid
    if ! pid=$(our_engine); then
        say "no engine was started by \`up\`: nothing to end"
        return
    fi
    need_root "the engine runs as root"
    kill -TERM "$pid"
    say "ending the engine (process $pid)"
    local until=$((SECONDS + ENGINE_WAIT_S))
    while our_engine >/dev/null && [ "$SECONDS" -lt "$until" ]; do sleep 0.2; done
    ! our_engine >/dev/null || fail "the engine does not end; see $STATE/dockerd.log"
    rm -f "$STATE/dockerd.started"
    say "ended; images and packages stay"
}

status() {
    if engine_answers; then
        say "engine $(docker version --format '{{.Server.Version}}')$(our_engine >/dev/null && echo ', started by `up`')"
        docker buildx version >&2 || true
        docker compose version >&2 || true
        docker images --filter 'reference=parallel-orchestrator*' >&2
    else
        say "no engine answers; start one: ${BASH_SOURCE[0]} up"
        return 1
    fi
}

case "${1:-}" in
up | down | status) "$1" ;;
*) fail "say what to do: up, down or status" ;;
esac
