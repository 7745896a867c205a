#!/usr/bin/env python3
"""How far the engine's normals are off, beside the bare balloon's: mean and median angle in degrees over the truth scenes.

    angles.py FOLDER --binary target/release/material-transfer [--only PART]

FOLDER is render.py's. The engine is given the true mask and writes its normals with --trace (half a degree is lost in eight bits).
`balloon` is what the engine falls back on where its network is unsure: the mask alone, inflated. `flat` faces the viewer everywhere.
Needs numpy, scipy and pillow.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from judge import picture, with_alpha

INFLATION, MOST_SLOPE, GRID = 0.9, 4.0, 144  # as in the engine's form


def unit(normals):
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)


def balloon(mask):
    """Normals (x right, y down, z to the viewer) of the mask inflated: the root of Poisson's solution with a constant right side."""
    scale = min(1.0, GRID / max(mask.shape))
    small = ndimage.zoom(mask, scale, order=1)
    inside = small > 0.43
    number = np.full(inside.shape, -1)
    number[inside] = np.arange(inside.sum())
    rows, columns = [], []
    for axis in (0, 1):
        for way in (1, -1):
            near = np.roll(number, way, axis)
            both = inside & (near >= 0)
            rows.append(number[both])
            columns.append(near[both])
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    count = int(inside.sum())
    system = sparse.diags([4.0] * count) - sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), (count, count))
    square = np.zeros(inside.shape)
    square[inside] = spsolve(system.tocsc(), np.full(count, 4.0))
    down, across = np.gradient(square)
    rise = INFLATION / (2 * np.sqrt(np.maximum(square, 0.25)))
    slopes = np.stack([rise * across, rise * down], -1)
    slopes *= np.minimum(1, MOST_SLOPE / np.maximum(np.linalg.norm(slopes, axis=-1, keepdims=True), 1e-6))
    slopes = np.stack([ndimage.zoom(slopes[..., k], np.array(mask.shape) / inside.shape, order=1) for k in (0, 1)], -1)
    return unit(np.concatenate([-slopes, np.ones(mask.shape + (1,))], -1))


def engine(options, scene, mask):
    """The engine's normals on the whole picture, from its trace, which shows the mask's box and a margin of 12 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        subject = with_alpha(scene / "subject.png", scene / "mask.png", Path(folder) / "subject.png")
        command = [options.binary, "transfer", "--subject", subject, "--material", scene / "object.png", "--output", f"{folder}/out.png",
                   "--steps", 1, "--trace", f"{folder}/trace"]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shown = picture(next(Path(folder, "trace").glob("*-normals.png")))
    ys, xs = np.nonzero(mask > 0.02)
    top, left = ys.min() - 12, xs.min() - 12
    whole = np.zeros(mask.shape + (3,))
    whole[..., 2] = 1
    y, x = max(top, 0), max(left, 0)
    part = shown[y - top :, x - left :][: mask.shape[0] - y, : mask.shape[1] - x]
    whole[y : y + part.shape[0], x : x + part.shape[1]] = 2 * part - 1
    return unit(whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    means = []
    print(f"{'mean (median) in degrees':26}" + "".join(f"{name:>16}" for name in ("engine", "balloon", "flat")))
    for scene in sorted(p.parent for p in options.folder.glob("s*/scene.json") if options.only in p.parent.name):
        mask = picture(scene / "mask.png", "L")
        true = unit((2 * picture(scene / "normals.png") - 1) * (1, -1, 1))
        inside = ndimage.binary_erosion(mask > 0.9)
        row = []
        for guess in (engine(options, scene, mask), balloon(mask), np.broadcast_to((0.0, 0.0, 1.0), true.shape)):
            angles = np.degrees(np.arccos(np.clip((guess * true).sum(-1)[inside], -1, 1)))
            row.append((angles.mean(), np.median(angles)))
        means.append(row)
        print(f"{scene.name:26}" + "".join(f"{mean:10.1f} ({middle:2.0f})" for mean, middle in row), flush=True)
    print(f"{f'mean of {len(means)}':26}" + "".join(f"{mean:10.1f} ({middle:2.0f})" for mean, middle in np.mean(means, 0)))


if __name__ == "__main__":
    main()
