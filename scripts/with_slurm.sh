#!/usr/bin/env bash
# A SLURM of one node for as long as a command runs in it: bash scripts/with_slurm.sh pytest -m 'slurm or ray'
# As root, with Debian's packages: apt-get install --no-install-recommends slurm-wlm munge
set -euo pipefail

for program in munged mungekey slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { echo "no $program; apt-get install slurm-wlm munge"; exit 2; }
done
[ "$(id -u)" -eq 0 ] || { echo "SLURM's services are started by root"; exit 2; }

home=$(mktemp -d)
mkdir "$home"/{run,log,state,spool,bin}
stop() {
    scancel --user=root 2>/dev/null || true
    for service in slurmd slurmctld munged; do
        [ -s "$home/run/$service.pid" ] && kill "$(cat "$home/run/$service.pid")" 2>/dev/null
    done
    sleep 1
    rm -rf "$home"
}
trap stop EXIT

export SLURM_CONF="$home/slurm.conf"
node=$(hostname -s)
cat >"$SLURM_CONF" <<CONF
ClusterName=normlab
SlurmctldHost=$node(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$home/run/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool
SlurmctldPidFile=$home/run/slurmctld.pid
SlurmdPidFile=$home/run/slurmd.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=debug Nodes=$node Default=YES MaxTime=INFINITE State=UP
CONF

# There is no accounting, so what submitit asks sacct is answered by scontrol.
cat >"$home/bin/sacct" <<'SACCT'
#!/usr/bin/env bash
echo "JobID|State|NodeList"
for word in "$@"; do
    [[ $word =~ ^[0-9]+$ ]] && scontrol --oneliner show job "$word" 2>/dev/null
done | sed -nE 's/^JobId=([0-9]+) (ArrayJobId=([0-9]+) ArrayTaskId=([0-9,-]+) .*)?.*JobState=([A-Z_]+) .*/\1 \3_\4 \5/p' |
    while read -r id task state; do
        [ "$task" = "_" ] && task=$id
        [[ $task =~ _.*[-,] ]] && task="${task%_*}_[${task#*_}]"
        echo "$task|$state|"
    done
SACCT
chmod +x "$home/bin/sacct"
export PATH="$home/bin:$PATH"

mungekey -c -k "$home/run/munge.key"
munged --force --key-file="$home/run/munge.key" --socket="$home/run/munge.sock" \
    --pid-file="$home/run/munged.pid" --log-file="$home/log/munged.log" --seed-file="$home/run/munge.seed"
slurmctld -c
slurmd -N "$node"
for _ in $(seq 30); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && break
    sleep 1
done
[ "$(sinfo --noheader --format=%T)" = idle ] || { tail -n 20 "$home"/log/*; exit 1; }
"$@"
