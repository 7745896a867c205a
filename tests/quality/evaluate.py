#!/usr/bin/env python3
"""Scores the exemplar engine on photographs: those that collect.py brings, or your own (needs numpy and pillow).

    collect.py FOLDER
    evaluate.py FOLDER [--binary target/release/material-transfer] [--out DIR] [--profile exemplar] [--side 1024] [--seed 1]

FOLDER holds `pairs.txt`, one `SUBJECT MATERIAL` a line (paths inside FOLDER). Every pair is transferred to a PNG through
the command line, which finds the subject by itself, and scored with score.py: against the whole material picture and,
where a mask lies beside the material as `NAME.mask.png`, once more against the masked part. The subject is where its own
`NAME.mask.png` says, when there is one, else where the engine's mask says, which then is beside the output; look at it,
for a wrong mask is scored where it is. A pair passes when texture <= 0.85 times the mean-std transfer's, shading >= 0.8,
detail is 0.5 to 2 and the background is untouched. Exits 0 when at least 8 of 10 pairs pass.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).resolve().parent


def mask_beside(picture):
    """The mask file that belongs to a picture, or None."""
    mask = picture.with_name(picture.stem + ".mask.png")
    return mask if mask.exists() else None


def decoded(path, side, folder):
    """A picture as a PNG within `side`: decoders and resamplers differ, the background is compared to the byte, and a material's
    structure at the size at which it is given."""
    picture = Image.open(path)
    picture.thumbnail((side, side), Image.LANCZOS)
    picture.save(folder / f"{path.stem}.png", icc_profile=None)
    return folder / f"{path.stem}.png"


def passes(scores):
    """Do all four figures of the acceptance hold?"""
    out, naive = scores["output"], scores["reinhard"]
    return (
        out["texture"] <= 0.85 * naive["texture"]
        and out["shading"] >= 0.8
        and 0.5 <= out["detail"] <= 2.0
        and out["background"] == "inf"
    )


def transfer(options, subject, material, output):
    """Runs the command line; returns nothing, raises when it fails."""
    command = [options.binary, "transfer", "--subject", subject, "--material", material, "--output", output]
    command += ["--output-format", "png", "--seed", options.seed, "--profile", options.profile]
    command += ["--max-width", options.side, "--max-height", options.side, "--return-intermediate-images"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def score(subject, material, output, mask, material_mask):
    """One call of score.py."""
    command = [sys.executable, HERE / "score.py", subject, material, output, "--baseline"]
    command += ["--mask", mask] if mask else []
    command += ["--material-mask", material_mask] if material_mask else []
    return json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binary", default="target/release/material-transfer")
    parser.add_argument("--out", type=Path, default=Path("quality-out"))
    parser.add_argument("--profile", default="exemplar")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    passed = total = 0
    for line in (options.folder / "pairs.txt").read_text().split("\n"):
        if not line.strip():
            continue
        subject, material = (options.folder / name for name in line.split())
        output = options.out / f"{subject.stem}-{material.stem}.png"
        mask, material_masks = mask_beside(subject), ["whole", mask_beside(material)]
        subject, material = (decoded(picture, options.side, options.out) for picture in (subject, material))
        transfer(options, subject, material, output)
        mask = mask or mask_beside(output)
        for material_mask in filter(None, material_masks):
            scores = score(subject, material, output, mask, None if material_mask == "whole" else material_mask)
            good = passes(scores)
            total += 1
            passed += good
            out = scores["output"]
            print(
                f"{output.stem:32} {'whole ' if material_mask == 'whole' else 'masked'}"
                f" texture {out['texture']:.3f} of {scores['reinhard']['texture']:.3f}"
                f" shading {out['shading']:.2f} detail {out['detail']:.2f} colour {out['colour']:.2f}"
                f" background {out['background']} {'pass' if good else 'FAIL'}",
                flush=True,
            )
    print(f"{passed} passed, {total - passed} failed")
    sys.exit(0 if total and passed >= 0.8 * total else 1)


if __name__ == "__main__":
    main()
