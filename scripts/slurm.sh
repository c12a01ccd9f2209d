#!/usr/bin/env bash
# Starts Slurm on this machine, hands a small sweep to it and checks what comes back; docs/sweep.md. Takes the command `unbraid` to use.
# Installing needs root; the daemons run from a folder of their own, beside a Slurm that may be here already.
set -euo pipefail
cd "$(dirname "$0")/.."
unbraid=$(realpath "${1:-target/release/unbraid}")

fail() {
    echo "scripts/slurm.sh: $1" >&2
    for log in "$folder"/*.log "$folder"/sweep/jobs/*; do
        [ -s "$log" ] && echo "-- $log" >&2 && tail -n 20 "$log" >&2
    done
    exit 1
}

if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
    { apt-get update -q && apt-get install -qy --no-install-recommends slurm-wlm munge; } ||
        { echo "scripts/slurm.sh: Slurm is missing and can't be installed: as root, apt-get install slurm-wlm munge" >&2; exit 1; }
fi

folder=$(mktemp -d)
daemons=()
stop() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
    wait
    rm -rf "$folder"
}
trap stop EXIT

# Waits until a command succeeds, for five minutes at most.
await() {
    for _ in $(seq 1500); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.2
    done
    fail "this did not come to pass within five minutes: $*"
}

dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
chmod 600 "$folder/munge.key"
# --force: a folder below /tmp is none that munge takes for safe.
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --seed-file="$folder/munge.seed" --log-file="$folder/munged.log" >/dev/null 2>&1 &
daemons+=($!)
await test -S "$folder/munge.socket"

node=$(hostname -s)
cores=$(nproc)
cat >"$folder/slurm.conf" <<EOF
ClusterName=unbraid
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=small Nodes=$node Default=YES MaxTime=INFINITE State=UP
EOF
mkdir "$folder/state" "$folder/spool"
export SLURM_CONF=$folder/slurm.conf
slurmctld -D >/dev/null 2>&1 &
daemons+=($!)
slurmd -D -N "$node" >/dev/null 2>&1 &
daemons+=($!)
ready() { sinfo --noheader --format=%T | grep -q idle; }
await ready

# Two systems, two seeds.
cat >"$folder/sweep.toml" <<'EOF'
seeds = [0, 1]
[train]
architecture = "net.toml"
latents = 3
batch_size = 4
steps = 20
[[group]]
objective = "vae"
[[group]]
objective = "beta-vae"
beta = [4]
[evaluate]
metrics = "mig,mutual-information"
samples = 200
[slurm]
partition = "small"
time = "0:05:00"
EOF
cat >"$folder/net.toml" <<'EOF'
name = "tiny"
image = { height = 64, width = 64, channels = 1 }
encoder = [{ kind = "conv2d", channels = 2, kernel = 4, stride = 4 }, { kind = "max_pool", kernel = 4 }]
decoder = [
    { kind = "linear", features = 32 },
    { kind = "unflatten", channels = 2, height = 4, width = 4 },
    { kind = "conv_transpose2d", channels = 2, kernel = 4, stride = 4 },
    { kind = "conv_transpose2d", channels = 1, kernel = 4, stride = 4 },
]
EOF
sweep() { "$unbraid" sweep "$folder/sweep.toml" -o "$folder/sweep" "$@"; }
empty() { [ -z "$(squeue --noheader)" ]; }

sweep --engine slurm || fail "the sweep was not submitted"
scontrol show job >"$folder/jobs.log"
await empty
sweep --status | tee "$folder/status.log"
[ "$(grep -c '^finished ' "$folder/status.log")" = 4 ] || fail "not all runs are finished"

# A run that is lost goes to Slurm again, alone.
rm "$folder/sweep/jobs/vae,seed=1.json"
rm "$folder/sweep/runs/vae,seed=1/model/evaluation.int8.json"
sweep --engine slurm | tee "$folder/again.log"
grep -q "4 runs, 1 to do" "$folder/again.log" || fail "more was handed over than what was lost"
await empty
sweep --status >"$folder/status.log"
[ "$(grep -c '^finished ' "$folder/status.log")" = 4 ] || fail "the lost run is not finished"
echo "Slurm $(sbatch --version | cut -d' ' -f2) did what it was given"
