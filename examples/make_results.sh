#!/usr/bin/env bash
# Remakes the six results in the README: default parameters, seed 1. Needs nothing but the toolchain; the overview sheet
# needs Python with Pillow (python3 -m venv .venv && .venv/bin/pip install pillow; PYTHON=.venv/bin/python examples/make_results.sh).
set -euo pipefail
cd "$(dirname "$0")"

pairs=(pumpkin:bowl skirt:malachite bust:walnut armchair:wicker pumpkin:marble teapot:celadon)

cargo build --release --manifest-path ../Cargo.toml -p cli
binary="$(cargo metadata --format-version 1 --no-deps --manifest-path ../Cargo.toml |
  sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/release/material-transfer"

mkdir -p results
for pair in "${pairs[@]}"; do
  subject=${pair%%:*} material=${pair##*:}
  "$binary" transfer --subject "subjects/$subject.jpg" --material "materials/$material.jpg" \
    --output "results/$subject-$material.jpg" --output-quality 90 --seed 1
done

"${PYTHON:-python3}" - "${pairs[@]}" <<'PYTHON'
# One sheet of two columns; each entry is subject, material (small, on top of each other) and result.
import sys

from PIL import Image

SIDE, GAP = 300, 12
half = (SIDE - GAP) // 2
cell = (half + GAP + SIDE, SIDE)
pairs = [pair.split(":") for pair in sys.argv[1:]]
sheet = Image.new("RGB", (2 * cell[0] + 3 * GAP, 3 * cell[1] + 4 * GAP), "white")
for index, (subject, material) in enumerate(pairs):
    x, y = GAP + index % 2 * (cell[0] + GAP), GAP + index // 2 * (cell[1] + GAP)
    put = lambda path, side, dx, dy: sheet.paste(Image.open(path).convert("RGB").resize((side, side), Image.Resampling.LANCZOS), (x + dx, y + dy))
    put(f"subjects/{subject}.jpg", half, 0, 0)
    put(f"materials/{material}.jpg", half, 0, half + GAP)
    put(f"results/{subject}-{material}.jpg", SIDE, half + GAP, 0)
sheet.save("results/overview.jpg", quality=88)
PYTHON
