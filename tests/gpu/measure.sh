#!/usr/bin/env bash
# Measures the CUDA path on this machine's card in four minutes: `OUT=results tests/gpu/measure.sh [BIN]`.
#
# BIN is a folder with the programs that `tests/gpu/README.md` says how to build (by default target/gpu-measure). Every part has a limit
# of its own, the most valuable come first, and what is there after each part stays. OUT gets: card.txt, numbers.txt, transfers.json,
# ops.json, torch.json, goldens.txt, log.txt.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
bin=${1:-target/gpu-measure}
out=${OUT:-target/gpu-results}
weights=${WEIGHTS:-/dev/shm/material-transfer-weights}
mkdir -p "$out" "$weights"
log=$out/log.txt
begin=$(date +%s)
whole=${WHOLE:-235}
elapsed() { echo $(($(date +%s) - begin)); }
say() { echo "[$(elapsed) s] $*" | tee -a "$log"; }
# The seconds a part may take: LIMIT, or what is left of the whole.
within() {
  local left=$((whole - $(elapsed)))
  echo $(($1 < left ? $1 : left))
}

# Libraries: those that PyTorch's wheels bring, so that both sides use the same, else the toolkit's.
wheels=$(python3 -c 'import glob, site
for base in site.getsitepackages(): print(*glob.glob(base + "/nvidia/*/lib"), sep="\n")' 2>/dev/null)
for folder in $wheels /usr/local/cuda/lib64 /usr/local/nvidia/lib64; do
  [ -d "$folder" ] && LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder"
done
export LD_LIBRARY_PATH

# part LIMIT NAME COMMAND…: both outputs go to the log.
part() {
  local limit name=$2 status
  limit=$(within "$1")
  shift 2
  [ "$limit" -lt 8 ] && return
  say "$name"
  timeout "$limit" "$@" >>"$log" 2>&1
  status=$?
  say "$name: status $status"
}

{
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv
  uname -a
  for program in "$bin"/*; do [ -x "$program" ] && ldd "$program" 2>/dev/null | grep "not found"; done
} >"$out/card.txt" 2>&1

# Do the kernels load, and are single operations right? Tests of the door against f64 and against f32 on the CPU.
export MATERIAL_TRANSFER_TEST_DEVICE=cuda
numbers() {
  timeout 40 "$bin/precisions" --nocapture --test-threads=1 >"$out/numbers.txt" 2>&1
  timeout 20 "$bin/definitions" --test-threads=1 >>"$out/numbers.txt" 2>&1
}
say numbers
numbers
say "numbers: $(grep -c '^test .*FAILED' "$out/numbers.txt") failed, $(grep -c '^test .* ok$' "$out/numbers.txt") passed"

# The whole transfer, new forms, then without each of them. Weights lie in memory, random, written once.
full() { part "$1" "$2" "$bin/full_size" "$weights" "${@:3}" --resident --device=cuda --json="$out/transfers.json"; }
full 75 "transfers" 512,1024 6 --times=2
[ -n "${QUICK:-}" ] && exit 0

part 45 "operations" sh -c "'$bin/gpu' >'$out/ops.json' 2>&1"
part 30 "torch" sh -c "env -u LD_LIBRARY_PATH python3 '$here/torch_ops.py' >'$out/torch.json' 2>&1"
# The reference's pictures, by tiny networks, in f32, f16 and bf16; where the tests' program and its files are.
[ -x "$bin/sdxl_engine" ] && part 40 "goldens" sh -c "'$bin/sdxl_engine' --nocapture --test-threads=1 >'$out/goldens.txt' 2>&1"
# Convolutions' weights are laid out once: forms with their channels first go first.
full 60 "transfers without single forms" 1024 6 \
  --without=attention+wide-attention+pointwise+norms+tensor-cores+channels-last,channels-last,attention,pointwise,norms,
full 40 "one half of guidance" 512,1024 6 --guidance=1
say done
exit 0
