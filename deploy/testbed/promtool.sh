#!/bin/sh
# Makes sure that promtool is here, for the test that checks the alerts. Unpacks it from the Debian package, which is
# not installed, so that no server starts. Prints where it is.
set -eu
if command -v promtool; then exit 0; fi
place=${XDG_CACHE_HOME:-$HOME/.cache}/parallel-orchestrator/promtool
if [ ! -x "$place/usr/bin/promtool" ]; then
    mkdir -p "$place"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    chmod 755 "$work"
    apt-get -qq download prometheus >/dev/null 2>&1 || { apt-get -qq update >/dev/null && apt-get -qq download prometheus >/dev/null; } ||
        { echo "promtool: the Debian package prometheus cannot be had here" >&2; exit 1; }
    dpkg -x prometheus_*.deb "$place"
fi
echo "$place/usr/bin/promtool"
