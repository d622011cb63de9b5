#!/bin/bash
# A suite as a job array: every task makes what no other task is at, in one results folder; the last one scores.
#
#     sbatch --array=1-8 examples/slurm.sh suites/drawbench.yaml /shared/results
#
# Give it again to go on after a time limit, a lost node, or scancel: nothing is done twice. Each argument after the second
# goes to `afa-bench run`.
#SBATCH --job-name=afa-bench
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@60
#SBATCH --output=afa-bench-%A-%a.log
set -euo pipefail

suite=${1:?the suite: a YAML file or a name} out=${2:?the results: a folder that all nodes share, or a URL}

# A part for each task of an array such as 1-8, so that a task whose part is done ends. Without an array, or with one that has
# gaps (3,7), a task takes whatever no other is at, and ends when all is done.
part=1/1 count=${SLURM_ARRAY_TASK_COUNT:-1} step=${SLURM_ARRAY_TASK_STEP:-1} first=${SLURM_ARRAY_TASK_MIN:-1}
if ((${SLURM_ARRAY_TASK_MAX:-1} == first + (count - 1) * step)); then
    part=$(((${SLURM_ARRAY_TASK_ID:-1} - first) / step + 1))/$count
fi

export HF_HUB_OFFLINE=1 # everything has been fetched before: afa-bench fetch SUITE
exec afa-bench run "$suite" --out "$out" --shard "$part" "${@:3}"
