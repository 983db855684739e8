#!/bin/bash
# An AWS account and a ParallelCluster to try things out on, on one machine: a moto server for S3, CloudFormation and EC2,
# and the SLURM test bed (slurm.sh) with cloud nodes that power up late, find no capacity, or are lost as Spot instances.
#
#   aws.sh up                     start; prints the `export` lines to use it
#   aws.sh ice CODE | ice off     from now on no instance can be had, such as InsufficientInstanceCapacity | again as before
#   aws.sh spot-loss NODE         the instance of this node is taken away, with what runs on it
#   aws.sh status | env           what runs | the `export` lines again
#   aws.sh down                   end everything and remove the state folder
#
# Clusters and buckets: my-cluster and my-bucket, gpu-cluster and ml-bucket, ml-training and ml-data, in eu-central-1; all
# of them are the one SLURM cluster. Its partitions are those of slurm.sh, whose nodes are always up, and `spot` and
# `ondemand` with two cloud nodes each: spot-dy-c1-1, spot-dy-c1-2, ondemand-dy-c1-1, ondemand-dy-c1-2.
#
# Environment: PTO_AWS_TESTBED_DIR   state folder (default: aws-testbed-<user> in TMPDIR)
#              PTO_AWS_TESTBED_PORT  first of 100 ports (default 17900)
#              PTO_AWS_TESTBED_PYTHON  a Python with boto3 and moto[server] (default: .venv of this repository, else python3)
#              BOOT_S (3)  SUSPEND_S (60)  EXTRA, MINJOBAGE, SLURMDTIMEOUT as slurm.sh has them
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
host=$(hostname -s)
dir=${PTO_AWS_TESTBED_DIR:-${TMPDIR:-/tmp}/aws-testbed-$(id -un)}
port=${PTO_AWS_TESTBED_PORT:-17900}
moto_port=$((port + 90))
url=http://127.0.0.1:$moto_port
venv=$here/../../.venv/bin/python
python=${PTO_AWS_TESTBED_PYTHON:-$([ -x "$venv" ] && echo "$venv" || echo python3)}
export PTO_SLURM_TESTBED_DIR=$dir/slurm PTO_SLURM_TESTBED_PORT=$port SLURM_CONF=$dir/slurm/slurm.conf
PATH=$PATH:/usr/sbin:/sbin

say() { echo "aws testbed: $*" >&2; }
fail() { say "$@"; exit 1; }

moto_runs() { [ -s "$dir/moto.pid" ] && grep -q moto "/proc/$(cat "$dir/moto.pid")/cmdline" 2>/dev/null; }

start_moto() {
    ! moto_runs || return 0
    "$python" -c 'import boto3, moto.server' 2>/dev/null ||
        fail "moto is missing: run make setup, or set PTO_AWS_TESTBED_PYTHON to a Python with boto3 and moto[server]"
    setsid "$python" -m moto.server -H 127.0.0.1 -p "$moto_port" </dev/null >"$dir/moto.log" 2>&1 &
    echo $! >"$dir/moto.pid"
    local left=150
    until "$python" -c "import socket; socket.create_connection(('127.0.0.1', $moto_port), 1)" 2>/dev/null; do
        if [ "$left" = 0 ] || ! moto_runs; then
            tail -n 5 "$dir/moto.log" >&2
            fail "moto did not start"
        fi
        left=$((left - 1))
        sleep 0.1
    done
    env -u AWS_PROFILE AWS_ACCESS_KEY_ID=testbed AWS_SECRET_ACCESS_KEY=testbed "$python" "$here/aws_account.py" "$url"
}

stop_moto() {
    ! moto_runs || kill "$(cat "$dir/moto.pid")" 2>/dev/null || :
    rm -f "$dir/moto.pid"
}

# What slurmctld calls to power nodes up and down. It accepts a node only if it booted after the call: slurmd -b.
write_programs() {
    cat >"$dir/resume.sh" <<END
#!/bin/bash
export SLURM_CONF=$SLURM_CONF PATH=\$PATH:/usr/sbin:/sbin
for node in \$(scontrol show hostnames "\$1"); do
    if [ -s "$dir/ice" ]; then # as ParallelCluster's own daemon does
        scontrol update nodename=\$node state=down reason="(Code:\$(cat "$dir/ice"))Failure when resuming nodes"
        scontrol update nodename=\$node state=power_down_force
    else
        scontrol update nodename=\$node nodeaddr=127.0.0.1 nodehostname=$host
        setsid bash -c "sleep ${BOOT_S:-3}; exec slurmd -b -N \$node" </dev/null >/dev/null 2>&1 &
    fi
done
END
    cat >"$dir/suspend.sh" <<END
#!/bin/bash
export SLURM_CONF=$SLURM_CONF PATH=\$PATH:/usr/sbin:/sbin
for node in \$(scontrol show hostnames "\$1"); do
    pid=$dir/slurm/run/slurmd.\$node.pid
    [ ! -s "\$pid" ] || kill -KILL "\$(cat "\$pid")" 2>/dev/null
    rm -f "\$pid"
done
END
    chmod 755 "$dir/resume.sh" "$dir/suspend.sh"
}

cloud_lines() {
    cat <<END
ResumeProgram=$dir/resume.sh
SuspendProgram=$dir/suspend.sh
SuspendTime=${SUSPEND_S:-60}
SuspendTimeout=5
ResumeTimeout=30
SlurmctldParameters=idle_on_node_suspend
SuspendExcNodes=n[1-4]
PrivateData=cloud
END
    local queue number offset=70
    for queue in spot ondemand; do
        for number in 1 2; do
            echo "NodeName=$queue-dy-c1-$number NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + offset)) CPUs=16 RealMemory=131072 State=CLOUD"
            offset=$((offset + 1))
        done
        echo "PartitionName=$queue Nodes=$queue-dy-c1-[1-2] MaxTime=7-0 DefMemPerCPU=500 State=UP"
    done
}

print_environment() {
    cat <<END
export AWS_ENDPOINT_URL=$url
export AWS_ACCESS_KEY_ID=testbed
export AWS_SECRET_ACCESS_KEY=testbed
export AWS_DEFAULT_REGION=eu-central-1
export AWS_EC2_METADATA_DISABLED=true
export SLURM_CONF=$SLURM_CONF
export PTO_AWS_TESTBED_DIR=$dir
export PTO_AWS_TESTBED_PORT=$port
END
}

up() {
    case $port in '' | *[!0-9]*) fail "PTO_AWS_TESTBED_PORT is not a port: '$port'" ;; esac
    case $dir in /*) ;; *) fail "the state folder's path must be absolute: '$dir'" ;; esac
    case $dir in *[!A-Za-z0-9_./-]*) fail "the state folder's path may hold letters, digits and _ . / - only: '$dir'" ;; esac
    mkdir -p "$dir"
    chmod 755 "$dir"
    trap 'say "giving up"; stop_moto' EXIT
    start_moto
    write_programs
    EXTRA=$(cloud_lines)${EXTRA:+$'\n'$EXTRA} "$here/slurm.sh" up 4 >/dev/null
    trap - EXIT
    print_environment
}

is_up() { [ -e "$dir/slurm/slurm.conf" ] || fail "there is no test bed in $dir; start one: $0 up"; }

spot_loss() { # NODE
    case $1 in *-dy-*) ;; *) fail "not a cloud node: '$1'" ;; esac
    "$here/slurm.sh" crash-node "$1"
    scontrol update nodename="$1" state=down reason="Spot interruption"
    scontrol update nodename="$1" state=power_down_force
}

case ${1:-} in
    up) up ;;
    down)
        "$here/slurm.sh" down
        stop_moto
        [ ! -e "$dir/resume.sh" ] || rm -rf --one-file-system "$dir"
        ;;
    env) is_up; print_environment ;;
    status)
        is_up
        if moto_runs; then echo "moto: runs as $(cat "$dir/moto.pid") at $url"; else echo "moto: ended"; fi
        "$here/slurm.sh" status
        ;;
    ice)
        is_up
        case ${2:-} in
            '' | *[!A-Za-z]*) fail "which code? such as InsufficientInstanceCapacity, or off" ;;
            off) rm -f "$dir/ice" ;;
            *) echo "$2" >"$dir/ice" ;;
        esac
        ;;
    spot-loss) is_up; spot_loss "${2:-}" ;;
    *) sed -n '5,9s/^# *//p' "$0" >&2; exit 2 ;;
esac
