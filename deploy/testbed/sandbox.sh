#!/bin/sh
# Makes sure that bubblewrap is here and works, for the tests that need it. Installs the Debian package as root.
set -eu
works() { bwrap --unshare-pid --ro-bind / / --proc /proc --dev /dev true 2>/dev/null; }
if works; then exit 0; fi
if ! command -v bwrap >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "sandbox: bubblewrap is not installed; as root: apt-get install bubblewrap" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y --no-install-recommends bubblewrap >/dev/null 2>&1 ||
        { apt-get update -qq >/dev/null && apt-get install -qq -y --no-install-recommends bubblewrap >/dev/null; }
fi
works || { echo "sandbox: bubblewrap is installed but cannot make a sandbox here (user namespaces are switched off?)" >&2; exit 1; }
