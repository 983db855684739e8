#!/bin/bash
# A SLURM cluster of several nodes on one machine, for tests and for trying things out. Needs Debian's SLURM packages;
# `up` installs them as root. Nothing runs as a system service and nothing is written outside the state folder, so that
# several clusters can run side by side, each with a folder and a range of ports of its own, as root or as any user.
#
#   slurm.sh up [NODES]           start (4 nodes); prints the `export` lines to use it
#   slurm.sh kill-node N          kill the node's daemon; what it runs goes on, unseen
#   slurm.sh crash-node N         kill the daemon and everything that runs on the node
#   slurm.sh start-node N         start the node's daemon again
#   slurm.sh stop-controller | start-controller | restart-controller
#   slurm.sh status | env         what runs | the `export` lines again
#   slurm.sh down                 end everything and remove the state folder
#
# Nodes are n1 to nN with 16 CPUs and 131072 MB each, declared, not had; the second half of them has gpu:4.
# Partitions: compute (default, all nodes), gpu (nodes with GPUs), research, data, urgent (takes nodes from jobs of the
# others), down (its state is DOWN).
#
# Environment: PTO_SLURM_TESTBED_DIR   state folder (default: slurm-testbed-<user> in TMPDIR)
#              PTO_SLURM_TESTBED_PORT  first of 100 ports (default 17800)
#              MINJOBAGE (300)  SLURMDTIMEOUT (60)  EXTRA (more lines of slurm.conf)
#              DBD=1            accounting: slurmdbd on a MariaDB of its own, so that sacct works
set -euo pipefail

user=$(id -un)
host=$(hostname -s)
dir=${PTO_SLURM_TESTBED_DIR:-${TMPDIR:-/tmp}/slurm-testbed-$user}
port=${PTO_SLURM_TESTBED_PORT:-17800}
export SLURM_CONF=$dir/slurm.conf
PATH=$PATH:/usr/sbin:/sbin
unset SLURM_JWT # it would replace munge

say() { echo "slurm testbed: $*" >&2; }
fail() { say "$@"; exit 1; }

install_packages() {
    local packages=(slurmctld slurmd slurm-client munge hostname) missing=0 program
    for program in slurmctld slurmd sbatch munged; do command -v "$program" >/dev/null || missing=1; done
    if [ "${DBD:-}" ]; then
        packages+=(slurmdbd mariadb-server)
        for program in slurmdbd mariadbd; do command -v "$program" >/dev/null || missing=1; done
    fi
    [ "$missing" = 1 ] || return 0
    [ "$(id -u)" = 0 ] || fail "SLURM is not installed; as root: apt-get install --no-install-recommends ${packages[*]}"
    command -v apt-get >/dev/null || fail "SLURM is not installed, and there is no apt-get: install ${packages[*]}"
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local policy=/usr/sbin/policy-rc.d is_ours=0
    if [ ! -e "$policy" ]; then # packages start no daemons while this is here
        is_ours=1
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local log status=0
    log=$(mktemp)
    apt-get install -qq -y --no-install-recommends "${packages[@]}" >"$log" 2>&1 ||
        { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1 || status=$?
    [ "$is_ours" = 0 ] || rm -f "$policy"
    [ "$status" = 0 ] || { tail -n 5 "$log" >&2; rm -f "$log"; fail "the packages could not be installed"; }
    rm -f "$log"
}

write_configuration() { # NODES
    local nodes=$1 first_gpu=$(($1 / 2 + 1)) number gpus
    mkdir -p "$dir"/{state,spool,log,run,dev}
    chmod 755 "$dir" "$dir/run"
    chmod 700 "$dir/state"
    touch "$dir"/dev/gpu{0..3} # a GPU needs a file, or it counts as none
    [ -s "$dir/munge.key" ] || (umask 377 && head -c 1024 /dev/urandom >"$dir/munge.key")
    gpus="n[$first_gpu-$nodes]"
    cat >"$dir/slurm.conf" <<END
ClusterName=testbed
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,bf_interval=1,sched_interval=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
MinJobAge=${MINJOBAGE:-300}
SlurmdTimeout=${SLURMDTIMEOUT:-60}
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
${EXTRA:-}
END
    [ -z "${DBD:-}" ] || cat >>"$dir/slurm.conf" <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((port + 1))
AccountingStoragePass=$dir/run/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
END
    : >"$dir/gres.conf"
    for number in $(seq 1 "$nodes"); do
        local line="NodeName=n$number NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 10 + number)) CPUs=16 RealMemory=131072"
        if [ "$number" -ge "$first_gpu" ]; then
            line="$line Gres=gpu:4"
            echo "NodeName=n$number Name=gpu File=$dir/dev/gpu[0-3]" >>"$dir/gres.conf"
        fi
        echo "$line" >>"$dir/slurm.conf"
    done
    cat >>"$dir/slurm.conf" <<END
PartitionName=DEFAULT MaxTime=7-0 DefMemPerCPU=500 PriorityTier=1 State=UP
PartitionName=compute Nodes=n[1-$nodes] Default=YES
PartitionName=gpu Nodes=$gpus MaxTime=1-0
PartitionName=research Nodes=n[1-$nodes]
PartitionName=data Nodes=n[1-$nodes]
PartitionName=urgent Nodes=n[1-$nodes] MaxTime=1-0 PriorityTier=10
PartitionName=down Nodes=n[1-$nodes] State=DOWN
END
    case $(slurmd -V) in
        *" 21."* | *" 22."*) echo "CgroupAutomount=no" ;;
        *) echo "CgroupPlugin=disabled" ;;
    esac >"$dir/cgroup.conf"
}

is_alive() { # PID FILE: a killed daemon that nobody waited for is still listed, as a zombie
    local pid state
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] || return 1
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null) && [ -n "$state" ] && [ "$state" != Z ] || return 1
    # After a restart of the machine the number may be somebody else's.
    case $(cat "/proc/$pid/comm" 2>/dev/null) in slurm* | munged | mariadbd) ;; *) return 1 ;; esac
}

until_true() { # TENTHS OF A SECOND, COMMAND
    local left=$1
    shift
    until "$@"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.1
    done
}

is_gone() { ! is_alive "$1"; }

end_process() { # PID FILE, TENTHS OF A SECOND (20): TERM first; a slurmd that cannot reach its controller ignores that
    if is_alive "$1"; then
        kill "$(cat "$1")" 2>/dev/null || :
        until_true "${2:-20}" is_gone "$1" || kill -KILL "$(cat "$1")" 2>/dev/null || :
    fi
    rm -f "$1"
}

start_munge() {
    ! is_alive "$dir/run/munged.pid" || return 0
    munged --force --key-file="$dir/munge.key" --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" \
        --log-file="$dir/log/munged.log" --seed-file="$dir/run/munged.seed" 2>"$dir/log/munged.err" ||
        { cat "$dir/log/munged.err" >&2; fail "munged did not start"; }
}

answers() { timeout 5 sinfo -h >/dev/null 2>&1; }

start_controller() {
    ! is_alive "$dir/run/slurmctld.pid" || return 0
    slurmctld || fail "slurmctld did not start; see $dir/log/slurmctld.log"
    until_true 100 answers || { tail -n 3 "$dir/log/slurmctld.log" >&2; fail "slurmctld does not answer"; }
}

stop_controller() { end_process "$dir/run/slurmctld.pid" 150; } # it writes its state: without that new jobs are lost

start_node() { # NAME
    is_alive "$dir/run/slurmd.$1.pid" || slurmd -N "$1" || fail "slurmd of $1 did not start; see $dir/log/slurmd.$1.log"
}

kill_node() { # NAME
    is_alive "$dir/run/slurmd.$1.pid" || fail "node $1 does not run"
    kill -KILL "$(cat "$dir/run/slurmd.$1.pid")"
    rm -f "$dir/run/slurmd.$1.pid"
}

kill_tree() { # PID
    local child
    kill -STOP "$1" 2>/dev/null || return 0
    for child in $(pgrep -P "$1" || :); do kill_tree "$child"; done
    kill -KILL "$1" 2>/dev/null || :
}

kill_steps() { # NAME or nothing for all nodes: the jobs' scripts lie in the spool folder of their node
    local script step
    for script in $(pgrep -f "^[^ ]+ $dir/spool/${1:-[^/]+}/job[0-9]+/slurm_script" || :); do
        step=$(awk '/^PPid:/ {print $2}' "/proc/$script/status" 2>/dev/null) || continue
        [ "$(cat "/proc/$step/comm" 2>/dev/null)" != slurmstepd ] || kill -KILL "$step" 2>/dev/null || :
        kill_tree "$script"
    done
}

kill_lonely_steps() { # whose scripts have ended, and who would try for hours to tell a controller that is gone
    local step
    for step in $(pgrep -x slurmstepd || :); do
        ! grep -qzxF "SLURM_CONF=$dir/slurm.conf" "/proc/$step/environ" 2>/dev/null || kill -KILL "$step" 2>/dev/null || :
    done
}

start_accounting() {
    local socket=$dir/run/mariadb.socket
    if ! is_alive "$dir/run/mariadb.pid"; then
        [ -d "$dir/mariadb/mysql" ] ||
            mariadb-install-db --no-defaults --user="$user" --datadir="$dir/mariadb" --skip-test-db --auth-root-authentication-method=normal >"$dir/log/mariadb-install.log" 2>&1 ||
            fail "no database could be made; see $dir/log/mariadb-install.log"
        mariadbd --no-defaults --user="$user" --datadir="$dir/mariadb" --socket="$socket" --pid-file="$dir/run/mariadb.pid" \
            --bind-address=127.0.0.1 --port=$((port + 2)) --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
            >"$dir/log/mariadb.log" 2>&1 &
        until_true 100 mariadb-admin --no-defaults --user=root --socket="$socket" ping >/dev/null 2>&1 || fail "MariaDB did not start; see $dir/log/mariadb.log"
        mariadb --no-defaults --user=root --socket="$socket" -e "CREATE USER IF NOT EXISTS 'slurm'@'%' IDENTIFIED BY 'slurm'; \
            CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED BY 'slurm'; \
            GRANT ALL ON slurm_acct_db.* TO 'slurm'@'%'; GRANT ALL ON slurm_acct_db.* TO 'slurm'@'localhost'"
    fi
    (umask 177 && cat >"$dir/slurmdbd.conf") <<END
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((port + 1))
SlurmUser=$user
PidFile=$dir/run/slurmdbd.pid
LogFile=$dir/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 2))
StorageUser=slurm
StoragePass=slurm
END
    is_alive "$dir/run/slurmdbd.pid" || slurmdbd || fail "slurmdbd did not start; see $dir/log/slurmdbd.log"
    until_true 100 sacctmgr -n list cluster >/dev/null 2>&1 || fail "slurmdbd does not answer; see $dir/log/slurmdbd.log"
    {
        sacctmgr -i add cluster testbed
        sacctmgr -i add account testbed
        sacctmgr -i add user "$user" account=testbed
    } >"$dir/log/sacctmgr.log" 2>&1 || : # it fails where they are there already
}

count_idle() { timeout 5 sinfo -h -N -p compute -o %T 2>/dev/null | grep -c '^idle$' || :; }
all_idle() { [ "$(count_idle)" = "$1" ]; }

print_environment() {
    echo "export SLURM_CONF=$SLURM_CONF"
    echo "export PTO_SLURM_TESTBED_DIR=$dir"
    echo "export PTO_SLURM_TESTBED_PORT=$port"
}

up() { # NODES
    local nodes=$1 number
    case $nodes in '' | *[!0-9]* | 0*) fail "not a number of nodes: '$nodes'" ;; esac
    [ "$nodes" -le 64 ] || fail "at most 64 nodes"
    case $port in *[!0-9]*) fail "PTO_SLURM_TESTBED_PORT is not a port: '$port'" ;; esac
    case $dir in *[!A-Za-z0-9_./-]*) fail "the state folder's path may hold letters, digits and _ . / - only: '$dir'" ;; esac
    case $dir in /*) ;; *) fail "the state folder's path must be absolute: '$dir'" ;; esac
    [ "${#dir}" -le 80 ] || fail "the state folder's path is too long for sockets in it: '$dir'; set PTO_SLURM_TESTBED_DIR"
    install_packages
    if is_alive "$dir/run/slurmctld.pid"; then
        say "it runs already in $dir"
        print_environment
        return
    fi
    trap 'say "giving up"; end_all' EXIT
    write_configuration "$nodes"
    start_munge
    [ -z "${DBD:-}" ] || start_accounting
    start_controller
    for number in $(seq 1 "$nodes"); do start_node "n$number"; done
    until_true 200 all_idle "$nodes" || fail "only $(count_idle) of $nodes nodes came up; see $dir/log"
    trap - EXIT
    print_environment
}

end_all() {
    local file
    for file in "$dir"/run/slurmd.*.pid "$dir/run/slurmctld.pid"; do end_process "$file"; done
    kill_steps
    kill_lonely_steps
    for file in "$dir/run/slurmdbd.pid" "$dir/run/mariadb.pid" "$dir/run/munged.pid"; do end_process "$file"; done
}

down() {
    [ -e "$dir/slurm.conf" ] || return 0 # nothing of ours is there
    end_all
    rm -rf --one-file-system "$dir"
}

status() {
    local file alive=0
    for file in "$dir"/run/*.pid; do
        [ -e "$file" ] || continue
        if is_alive "$file"; then
            alive=1
            echo "$(basename "$file" .pid): runs as $(cat "$file")"
        else
            echo "$(basename "$file" .pid): ended"
        fi
    done
    [ "$alive" = 1 ] || { say "nothing runs in $dir"; return 1; }
    timeout 5 sinfo || say "slurmctld does not answer"
}

is_up() { [ -e "$dir/slurm.conf" ] || fail "there is no test bed in $dir; start one: $0 up"; }

node() { # N, nN or another node's name
    local name
    for name in "n$1" "$1"; do
        ! grep -q "^NodeName=$name " "$dir/slurm.conf" || { echo "$name"; return; }
    done
    fail "there is no node '$1'"
}

command=${1:-}
case $command in
    up) up "${2:-4}" ;;
    down) down ;;
    status) status ;;
    env) is_up; print_environment ;;
    kill-node | crash-node | start-node)
        is_up
        name=$(node "${2:-}")
        case $command in
            kill-node) kill_node "$name" ;;
            crash-node) kill_node "$name"; kill_steps "$name" ;;
            start-node) start_node "$name" ;;
        esac
        ;;
    stop-controller) is_up; stop_controller ;;
    start-controller) is_up; start_controller ;;
    restart-controller) is_up; stop_controller; start_controller ;;
    *) sed -n '5,12s/^# *//p' "$0" >&2; exit 2 ;;
esac
