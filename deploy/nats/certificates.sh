#!/usr/bin/env bash
# A CA for development and a server certificate of it. Production uses its own CA; the files have the same names.
#
#   certificates.sh DIR NAME...     DIR/ca.pem, DIR/ca-key.pem, DIR/server.pem, DIR/server-key.pem
#
# NAME: host names and addresses under which clients, servers and leaf nodes connect. The CA is kept if it is there, so
# that new names need no new CA at the clients. DAYS: how long the server certificate is good (825).
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v openssl >/dev/null || { echo "certificates.sh: openssl is needed (on Debian and Ubuntu: apt-get install openssl)" >&2; exit 3; }
dir=$1
shift
request() { # what openssl says is shown only when it fails
  local said
  said=$(openssl req "$@" 2>&1) || { echo "$said" >&2; exit 1; }
}
umask 077
mkdir -p "$dir"
chmod 755 "$dir"

if [ ! -e "$dir/ca.pem" ]; then
  request -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 3650 -subj "/CN=parallel-orchestrator CA" \
    -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$dir/ca-key.pem" -out "$dir/ca.pem"
fi

names=()
for name in "$@"; do
  if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then names+=("IP:$name"); else names+=("DNS:$name"); fi
done
# Servers of a cluster also show it to each other, hence clientAuth.
request -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "${DAYS:-825}" -subj "/CN=$1" \
  -CA "$dir/ca.pem" -CAkey "$dir/ca-key.pem" \
  -addext "basicConstraints=critical,CA:FALSE" -addext "keyUsage=critical,digitalSignature" \
  -addext "extendedKeyUsage=serverAuth,clientAuth" -addext "subjectAltName=$(IFS=,; echo "${names[*]}")" \
  -keyout "$dir/server-key.pem" -out "$dir/server.pem"
chmod 644 "$dir/ca.pem" "$dir/server.pem"
