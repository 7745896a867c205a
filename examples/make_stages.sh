#!/usr/bin/env bash
# Remakes the pictures in docs/engine/: the stages, from the traces of two example transfers with seed 1, and what the parameters do. Needs Python with Pillow
# beside the toolchain (PYTHON=.venv/bin/python examples/make_stages.sh). BINARY names a built binary instead of building one.
set -euo pipefail
cd "$(dirname "$0")"

if [[ -z ${BINARY:-} ]]; then
  cargo build --release --manifest-path ../Cargo.toml -p cli
  BINARY="$(cargo metadata --format-version 1 --no-deps --manifest-path ../Cargo.toml |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/release/material-transfer"
fi
traces="$(mktemp -d)"
trap 'rm -r "$traces"' EXIT
mkdir -p ../docs/engine
for pair in bust:walnut pumpkin:bowl; do
  subject=${pair%%:*} material=${pair##*:}
  "$BINARY" transfer --subject "subjects/$subject.jpg" --material "materials/$material.jpg" --max-width 512 --max-height 512 \
    --output "$traces/$subject.png" --seed 1 --trace "$traces/$subject"
done
mkdir "$traces/parameters"
number=10
for parameters in "guidance-scale 1" "guidance-scale 2" "guidance-scale 4" "guidance-scale 10" "material-strength strong" \
  "steps 1" "steps 6" "steps 20" "seed 2" "seed 3"; do
  number=$((number + 1))
  read -r name value <<< "$parameters"
  seed=(--seed 1)
  [ "$name" != seed ] || seed=()
  "$BINARY" transfer --subject subjects/bust.jpg --material materials/malachite.jpg --max-width 384 --max-height 384 \
    --output "$traces/parameters/$number-$name $value.png" "${seed[@]}" "--$name" "$value"
done
"${PYTHON:-python3}" - "$traces" ../docs/engine <<'PYTHON'
# One sheet an example: every stage with its name under it, five beside each other. Of the sampler's levels the first and the last.
import re
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE, LINE, ACROSS = 190, 20, 5
traces, docs = map(Path, sys.argv[1:])
font = ImageFont.load_default(13)
for trace in sorted(p for p in traces.iterdir() if p.is_dir()):
    pictures = sorted(trace.glob("*.png"))
    shown = {}
    for picture in pictures:
        name = re.sub(r"^\d+-", "", picture.stem)
        if picture.name.startswith("01-") and pictures[0].stem.endswith("-subject"):
            name = "material as given"
        shown[name] = picture
    levels = sorted((n for n in shown if n.startswith("level-")), reverse=True)
    for name in levels[1:-1]:
        del shown[name]
    rows = -(-len(shown) // ACROSS)
    sheet = Image.new("RGB", (ACROSS * SIDE, rows * (SIDE + LINE)), "white")
    for i, (name, picture) in enumerate(shown.items()):
        tile = Image.open(picture).convert("RGB")
        tile.thumbnail((SIDE - 6, SIDE - 6), Image.Resampling.LANCZOS)
        x, y = i % ACROSS * SIDE, i // ACROSS * (SIDE + LINE)
        sheet.paste(tile, (x + (SIDE - tile.width) // 2, y + (SIDE - tile.height) // 2))
        ImageDraw.Draw(sheet).text((x + SIDE / 2, y + SIDE), name, fill="black", font=font, anchor="mt")
    sheet.save(docs / f"{trace.name}.jpg", quality=82)
PYTHON
