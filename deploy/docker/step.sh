#!/bin/sh
# Runs one step of the Dockerfile so that running it again gives the same bytes: what tells builds apart (logs, lists, caches) is removed,
# and what the step wrote bears the date SOURCE_DATE_EPOCH. Its one argument is shell text, which may use the functions below. A CA bundle
# beside this file, a secret of the build, is trusted for this step only.
set -eu
here=$(dirname "$0")
before=/dev/shm/before after=/dev/shm/after # in memory, no part of the image
export DEBIAN_FRONTEND=noninteractive PIP_ROOT_USER_ACTION=ignore
if [ -s "$here/ca.crt" ]; then
    export PIP_CERT="$here/ca.crt" NODE_EXTRA_CA_CERTS="$here/ca.crt"
    apt_trust="-o Acquire::https::CAInfo=$here/ca.crt"
fi
# Set but empty would be taken for an address.
[ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL
[ -n "${NPM_CONFIG_REGISTRY:-}" ] || unset NPM_CONFIG_REGISTRY

# packages NAME...: from the base's own Debian
packages() {
    # shellcheck disable=SC2086 # two words or none
    apt-get ${apt_trust:-} update -qq
    # shellcheck disable=SC2086
    apt-get ${apt_trust:-} install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
    apt-get clean
    rm -rf /var/lib/apt/lists/*_*
    # Emptied, not removed: the mark of a removal in a layer bears the time of day.
    for file in /var/log/apt/* /var/log/*.log /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old; do
        [ ! -f "$file" ] || : >"$file"
    done
}

# compiled FOLDER [OPTION...]: bytecode that names the source by its hash, so that no date matters, in one process: the same bytes each time
compiled() {
    /opt/pto/bin/python -m compileall -q --invalidation-mode unchecked-hash "$@"
}

# state FILE: one line for each file of the image, sorted; another line means that the file was written
state() {
    find / -xdev -not -type s -printf '%T@ %C@ %i %p\n' | LC_ALL=C sort >"$1"
}

# Not by "newer than the start": on a machine whose clock is set back meanwhile, that misses what was written.
state "$before"
eval "$1"
state "$after"
LC_ALL=C comm -13 "$before" "$after" | cut -d ' ' -f 4- | xargs -d '\n' -r touch -h -d "@$SOURCE_DATE_EPOCH"
