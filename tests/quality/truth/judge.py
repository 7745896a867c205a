#!/usr/bin/env python3
"""Scores an engine against the true pictures that render.py made (needs numpy, scipy and pillow).

    judge.py FOLDER --binary target/release/material-transfer --out DIR [--against DIR] [--own-mask] [--jobs 2] [--only PART]

Every scene of FOLDER is transferred with its flat sample (where it has one) and with its object as the material; pictures go to DIR as
SCENE-flat.png and SCENE-object.png. Printed for each, 0 to 100 by truth_score.py: `truth3` (every fourth scene: a true picture
with a third pattern, the most that can be had), the engine (`new`), the pictures of an earlier run (`old`, those in the folder of --against), a mean-std colour
transfer and the shaded overlay; then the engine's parts. The end says the means, and on which share of the pictures the engine is
ahead of each. Like the naive pictures (which DIR keeps too) the engine is given the true masks, as alpha channels; with --own-mask
it finds subject and material by itself. --reuse keeps pictures that DIR has. scores.json in DIR has all figures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import score  # noqa: E402
from truth_score import Scene  # noqa: E402

NAIVE = {"mean-std": score.reinhard, "overlay": score.overlay}


def picture(path, mode="RGB"):
    return np.asarray(Image.open(path).convert(mode), dtype=float) / 255


def with_alpha(path, mask, to):
    """The picture with its mask as the alpha channel."""
    out = Image.open(path).convert("RGB")
    out.putalpha(Image.open(mask).convert("L"))
    out.save(to)
    return to


def transfer(options, folder, kind, output):
    """Runs the command line. What comes back with an alpha channel is laid on the subject's own background."""
    subject, material = folder / "subject.png", folder / f"{kind}.png"
    with tempfile.TemporaryDirectory() as temporary:
        if not options.own_mask:
            subject = with_alpha(subject, folder / "mask.png", Path(temporary) / "subject.png")
            if kind == "object":
                material = with_alpha(material, folder / "object.mask.png", Path(temporary) / "material.png")
        command = [options.binary, "transfer", "--subject", subject, "--material", material, "--output", output, "--threads", 1]
        command += ["--output-format", "png", "--seed", options.seed, "--profile", options.profile]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Image.open(output)
    if made.mode == "RGBA":
        ground = Image.open(folder / "subject.png").convert("RGBA")
        ground.alpha_composite(made)
        ground.convert("RGB").save(output)


def judged(options, folder, kind):
    """All scores of one scene with one material picture."""
    output = options.out / f"{folder.name}-{kind}.png"
    if options.binary and not (options.reuse and output.exists()):
        transfer(options, folder, kind, output)
    mask, subject = picture(folder / "mask.png", "L"), picture(folder / "subject.png")
    scene = Scene([picture(folder / f"{name}.png") for name in ("truth", "truth2")], picture(folder / "clay.png"), mask)
    scores = {"new": scene.score(picture(output))}
    if (folder / "truth3.png").exists():
        scores["truth3"] = scene.score(picture(folder / "truth3.png"))
    old = options.against / output.name if options.against else None
    if old and old.exists():
        scores["old"] = scene.score(picture(old))
    material = picture(folder / f"{kind}.png")
    shown = picture(folder / "object.mask.png", "L") if kind == "object" else np.ones(material.shape[:2])
    for name, make in NAIVE.items():
        kept = options.out / name / output.name
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            Image.fromarray((make(subject, mask, material, shown) * 255).round().astype(np.uint8)).save(kept)
        scores[name] = scene.score(picture(kept))
    scores["subject"] = scene.score(subject)
    return scores


def table(results):
    """Prints the rows, the means, and how often the engine is ahead."""
    columns = ["truth3", "new", "old", "mean-std", "overlay", "subject"]
    parts = ["light", "pattern", "colour", "highlights", "relief"]
    print(f"{'scene':38}" + "".join(f"{c:>9}" for c in columns) + "   new:" + "".join(f"{p:>11}" for p in parts))
    for name, (facts, scores) in results.items():
        cells = "".join(f"{scores[c]['score']:9.1f}" if c in scores else f"{'-':>9}" for c in columns)
        title = f"{name} {facts['shape']} {facts['kind']}"
        print(f"{title:38}{cells}       " + "".join(f"{scores['new'][p]:11.2f}" for p in parts))
    for group in ("flat", "object", ""):
        chosen = [s for n, (_, s) in results.items() if n.endswith(group)]
        if not chosen:
            continue
        cells = ""
        for c in columns:
            values = [s[c]["score"] for s in chosen if c in s]
            cells += f"{np.mean(values):9.1f}" if values else f"{'-':>9}"
        title = f"mean of {len(chosen)} {group or 'in all'}"
        print(f"{title:38}{cells}       "
              + "".join(f"{np.mean([s['new'][p] for s in chosen]):11.2f}" for p in parts))
        ahead = {c: [s["new"]["score"] > s[c]["score"] for s in chosen if c in s] for c in columns if c not in ("new", "truth3")}
        print(" " * 38 + "ahead of " + ", ".join(f"{c} {np.mean(v):.0%}" for c, v in ahead.items() if v)
              + (f"; of all three {np.mean([all(s['new']['score'] > s[c]['score'] for c in ('old', *NAIVE) if c in s) for s in chosen]):.0%}"))


def follows_the_eye(results):
    """How often two pictures of a row that got different marks in eye.txt are in the same order by the score."""
    agreed = asked = 0
    for line in (HERE / "eye.txt").read_text().split("\n"):
        name, *marks = line.split() or [""]
        if name not in results:
            continue
        _, scores = results[name]
        given = [(float(m), scores[c]["score"]) for c, m in zip(("old", *NAIVE), marks) if c in scores]
        for i, (mark, mine) in enumerate(given):
            for other, its in given[:i]:
                asked += mark != other
                agreed += (mark - other) * (mine - its) > 0
    if asked:
        print(f"the score follows {agreed} of {asked} comparisons of eye.txt")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binary", help="without one the pictures that are in --out are scored")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--own-mask", action="store_true")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--only", default="", help="scenes or kinds whose name contains this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="exemplar")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    work = []
    for facts in sorted(options.folder.glob("s*/scene.json")):
        known = json.loads(facts.read_text())
        for kind in ("flat", "object"):
            title = f"{facts.parent.name} {known['shape']} {known['kind']} {kind}"
            made = options.binary or (options.out / f"{facts.parent.name}-{kind}.png").exists()
            if made and (facts.parent / f"{kind}.png").exists() and options.only in title:
                work.append((facts.parent, kind, known))
    if not work:
        sys.exit(f"{options.folder} has no scene to judge: make some with render.py, and give --binary or the pictures in --out")
    with ThreadPoolExecutor(options.jobs) as pool:
        scores = list(pool.map(lambda w: judged(options, w[0], w[1]), work))
    results = {f"{folder.name}-{kind}": (known, s) for (folder, kind, known), s in zip(work, scores)}
    table(results)
    follows_the_eye(results)
    (options.out / "scores.json").write_text(json.dumps({n: s for n, (_, s) in results.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
