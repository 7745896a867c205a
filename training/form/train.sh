#!/bin/bash
# Trains for SECONDS and leaves the weights, a state to go on from, the log and two sheets in $OUT: train.sh SECONDS [options of train.py]
cd "$(dirname "$0")" || exit 1
began=$(date +%s.%N); seconds=${1:?seconds}; shift
export PYTHONUNBUFFERED=1
exec > >(tee "$OUT/output.log") 2>&1
python3 train.py pack --out "$OUT" --seconds "$seconds" --began "$began" "$@"
