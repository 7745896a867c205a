#!/usr/bin/env python3
"""Scores the exemplar engine on photographs: those that collect.py brings, or your own (needs numpy and pillow).

    collect.py FOLDER
    evaluate.py FOLDER [--binary target/release/material-transfer] [--out DIR] [--profile exemplar] [--side 1024] [--seed 1]

FOLDER holds `pairs.txt`, on each line `SUBJECT MATERIAL` (paths inside FOLDER), or `SUBJECT MATERIAL object` where the material
picture shows a thing made of it and not a flat sample. Every pair is transferred to a PNG through the command line, which finds
the subject by itself, and scored with score.py: against the whole material picture and, where a mask lies beside the material as
`NAME.mask.png`, once more against the masked part. The subject is where its own `NAME.mask.png` says, when there is one, else
where the engine's mask says, which then is beside the output; look at it, for a wrong mask is scored where it is.

A pair passes when the subject's relief is there (identity 0.5 to 1.2, coarse and fine), the structure and the colour are the
material's (texture and colour <= 0.5) and the background is untouched. Of an object only colour and background count: its look is
a function of the normal, so that neither patches nor the subject's own light say whether it came over. Exits 0 when at
least 9 of 10 pairs pass. The bars keep faults out; whether a picture is good is seen on a contact sheet (sheet.py).
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


def passes(scores, is_object):
    """Do the figures of the acceptance hold?"""
    form = all(0.5 <= slope <= 1.2 for slope in scores["identity"])
    surface = scores["texture"] <= 0.5
    return (is_object or (form and surface)) and scores["colour"] <= 0.5 and scores["background"] == "inf"


def transfer(options, subject, material, output):
    """Runs the command line; returns nothing, raises when it fails."""
    command = [options.binary, "transfer", "--subject", subject, "--material", material, "--output", output]
    command += ["--output-format", "png", "--seed", options.seed, "--profile", options.profile]
    command += ["--max-width", options.side, "--max-height", options.side, "--return-intermediate-images"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def score(subject, material, output, mask, material_mask):
    """One call of score.py."""
    command = [sys.executable, HERE / "score.py", subject, material, output]
    command += ["--mask", mask] if mask else []
    command += ["--material-mask", material_mask] if material_mask else []
    return json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True).stdout)["output"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binary", default="target/release/material-transfer")
    parser.add_argument("--out", type=Path, default=Path("quality-out"))
    parser.add_argument("--profile", default="exemplar")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reuse", action="store_true", help="scores the pictures that --out has")
    parser.add_argument("--unscored", action="store_true", help="only makes the pictures, to be looked at")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    passed = total = 0
    for line in (options.folder / "pairs.txt").read_text().split("\n"):
        if not line.strip():
            continue
        subject, material, *kind = line.split()
        subject, material = options.folder / subject, options.folder / material
        output = options.out / f"{subject.stem}-{material.stem}.png"
        mask, material_masks = mask_beside(subject), ["whole", mask_beside(material)]
        subject, material = (decoded(picture, options.side, options.out) for picture in (subject, material))
        if not (options.reuse and output.exists()):
            transfer(options, subject, material, output)
        if options.unscored:
            continue
        mask = mask or mask_beside(output)
        for material_mask in filter(None, material_masks):
            scores = score(subject, material, output, mask, None if material_mask == "whole" else material_mask)
            good = passes(scores, kind == ["object"])
            total += 1
            passed += good
            coarse, fine = scores["identity"]
            print(
                f"{output.stem:32} {'whole ' if material_mask == 'whole' else 'masked'}{' object' if kind else '       '}"
                f" identity {coarse:5.2f} {fine:5.2f} texture {scores['texture']:.2f} colour {scores['colour']:.2f}"
                f" shading {scores['shading']:.2f} detail {scores['detail']:.2f}"
                f" background {scores['background']} {'pass' if good else 'FAIL'}",
                flush=True,
            )
    if options.unscored:
        return
    print(f"{passed} passed, {total - passed} failed")
    sys.exit(0 if total and passed >= 0.9 * total else 1)


if __name__ == "__main__":
    main()
