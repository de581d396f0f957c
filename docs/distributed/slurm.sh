#!/bin/bash
# sbatch docs/distributed/slurm.sh --root ~/minimind-v --batch_size 16
#SBATCH --job-name=glimpse
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --signal=B:USR1@300
# Five minutes before its time is over, the run saves where it stands; submit it again to go on.
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"
mpirun deno task pretrain --from_resume 1 "$@" &
trap 'kill -USR2 $!' USR1
while kill -0 $! 2>/dev/null; do status=0; wait $! || status=$?; done
exit "$status"
