#!/bin/bash
# Installs the dispatcher on a ParallelCluster's head node and starts it: OnNodeConfigured and OnNodeUpdated. It may run any
# number of times; a change of its arguments takes effect, and jobs that run are not touched.
#   head.sh BUCKET BUNDLE_SHA256 BROKER_URL CREDENTIALS_PARAMETER [FALLBACKS]
# BUNDLE_SHA256          what publish.py has put into the bucket, and nothing else
# CREDENTIALS_PARAMETER  name of the SSM parameter (SecureString) that holds the broker's credentials file
#                        (the parameter broker-ca beside it, where there is one, holds the CA of the broker)
# FALLBACKS              Spot queue and its on-demand queue, such as spot:ondemand,gpu-spot:gpu
# With a failure the node fails, and what is wrong is in /var/log/chef-client.log and the cluster's log group.
set -euo pipefail
umask 022

fail() { echo "parallel-orchestrator: $*" >&2; exit 1; }

[ $# -ge 4 ] || fail "needs BUCKET BUNDLE_SHA256 BROKER_URL CREDENTIALS_PARAMETER; see deploy/parallelcluster/README.md"
bucket=$1 sha256=$2 broker=$3 parameter=$4 fallbacks=${5:-}
[[ $sha256 =~ ^[0-9a-f]{64}$ ]] || fail "not a SHA-256 of a bundle: '$sha256'"
[[ $broker =~ ^(tls|wss|nats)://[^[:space:]]+$ ]] || fail "not the address of a broker: '$broker'"

said() { sed -n "s/^$1=//p" /etc/parallelcluster/cfnconfig | tr -d "\"'"; }
[ -r /etc/parallelcluster/cfnconfig ] || fail "this is no node of a ParallelCluster"
cluster=$(said stack_name) region=$(said cfn_region) user=$(said cfn_cluster_user)
if [ "$(said cfn_node_type)" != HeadNode ]; then exit 0; fi # compute nodes need nothing but their Python
home=$(getent passwd "$user" | cut -d: -f6) # shared with the compute nodes
export AWS_DEFAULT_REGION=$region

opt=/opt/parallel-orchestrator version=/opt/parallel-orchestrator/${sha256:0:16}
if [ ! -e "$version/.complete" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    aws s3 cp --only-show-errors "s3://$bucket/parallel-orchestrator/_bootstrap/$sha256.tar" "$work/bundle.tar" ||
        fail "the bundle cannot be fetched; has publish.py put it into $bucket, and may this role read it?"
    echo "$sha256  $work/bundle.tar" | sha256sum --check --quiet || fail "the bundle in $bucket is not the one that was named"
    tar -x -f "$work/bundle.tar" -C "$work" --no-same-owner
    python=python$(cat "$work/PYTHON")
    command -v "$python" >/dev/null || dnf install -q -y "$python" >/dev/null || apt-get install -q -y "$python-venv" >/dev/null ||
        fail "$python cannot be installed; publish a bundle for a Python that this image has"
    rm -rf "$version"
    "$python" -m venv "$version"
    wheels=$work/wheels
    "$version/bin/pip" install --quiet --disable-pip-version-check --no-index --find-links "$wheels" \
        --require-hashes -r "$work/requirements.txt"
    touch "$version/.complete"
fi
ln -sfn "$version" "$opt/current"

settings=/etc/parallel-orchestrator
install -d -m 755 "$settings"
(umask 077 && aws ssm get-parameter --name "$parameter" --with-decryption --query Parameter.Value --output text >"$settings/broker.creds.new") ||
    fail "the broker's credentials cannot be read from the SSM parameter $parameter in $region"
chown "$user" "$settings/broker.creds.new"
mv "$settings/broker.creds.new" "$settings/broker.creds"
if said=$(aws ssm get-parameter --name "${parameter%/*}/broker-ca" --query Parameter.Value --output text 2>&1 >"$settings/ca.pem.new"); then
    mv "$settings/ca.pem.new" "$settings/ca.pem"
else
    rm -f "$settings/ca.pem.new"
    case $said in
        *ParameterNotFound*) rm -f "$settings/ca.pem" ;; # a public CA has signed
        *) fail "whether there is a CA of the broker in ${parameter%/*}/broker-ca cannot be asked: $said" ;;
    esac
fi
umask 077 # local.env may hold a model's key; systemd reads it as root
cat >"$settings/dispatcher.env.new" <<END
NATS_URL=$broker
PTO_CREDS=$settings/broker.creds
PTO_AWS_CLUSTER=$cluster
PTO_AWS_REGION=$region
PTO_AWS_BUCKET=$bucket
PTO_AWS_ON_DEMAND=$fallbacks
PTO_SLURM_SPOOL=$home/.parallel-orchestrator/spool
PTO_WORK_DIR=$home/.parallel-orchestrator/runs/{run}
PATH=/opt/slurm/bin:/usr/local/bin:/usr/bin:/bin
END
[ ! -e "$settings/ca.pem" ] || echo "PTO_CA=$settings/ca.pem" >>"$settings/dispatcher.env.new"
[ ! -e "$settings/local.env" ] || cat "$settings/local.env" >>"$settings/dispatcher.env.new" # what this cluster wants otherwise
mv "$settings/dispatcher.env.new" "$settings/dispatcher.env"
umask 022

cat >/etc/systemd/system/pto-dispatcher-parallelcluster.service <<END
[Unit]
Description=Parallel Task Orchestrator: dispatcher of $cluster
After=network-online.target slurmctld.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
User=$user
EnvironmentFile=$settings/dispatcher.env
WorkingDirectory=$home
ExecStart=$opt/current/bin/pto-dispatcher-parallelcluster
Restart=always
RestartSec=10
KillMode=mixed
NoNewPrivileges=true
ProtectSystem=full
PrivateTmp=true
MemoryMax=2G

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --quiet pto-dispatcher-parallelcluster.service
systemctl restart --no-block pto-dispatcher-parallelcluster.service # jobs outlive it and are found again
