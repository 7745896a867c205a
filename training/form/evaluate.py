"""Angles, shading and gloss on held-out renders, the balloon's angles beside them.

    python evaluate.py PACK weights.safetensors [--held 160] [--cache held.pt] [--sheet held-out.png]

The balloon: the mask inflated (the root of the solution of Poisson's equation), which knows nothing of the picture; it stands in
for the network where there is none (crates/exemplar/src/form/mod.rs).
"""

import argparse
import json
import os

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

from bank import Pool, Tracer, split
from look import load
from losses import angle
from pack import unpack
from shade import Studio
from train import GROUPS, held_out, judged, sheet

GRID = 128


def balloon(mask):
    """Normals (3, h, w) of a mask inflated to nine tenths of a full balloon."""
    h, w = mask.shape
    small = F.interpolate(torch.from_numpy(mask)[None, None], (GRID, GRID), mode="area")[0, 0].numpy() > 0.43
    small = np.pad(small, 1)
    out = np.zeros((3, h, w), np.float32)
    out[2] = 1
    if small.sum() < 9:
        return out
    ids = -np.ones(small.shape, int)
    ids[small] = np.arange(small.sum())
    ys, xs = np.nonzero(small)
    rows, columns = [], []
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        j = ids[ys + dy, xs + dx]
        rows.append(np.nonzero(j >= 0)[0])
        columns.append(j[j >= 0])
    i, j = np.concatenate(rows), np.concatenate(columns)
    laplace = sparse.csc_matrix((-np.ones(len(i)), (i, j)), (len(ys),) * 2) + 4 * sparse.eye(len(ys), format="csc")
    height = np.zeros(small.shape)
    height[small] = 0.9 * np.sqrt(np.maximum(splu(laplace.tocsc()).solve(np.full(len(ys), 4.0)), 0))
    nearest = ndimage.distance_transform_edt(~small, return_distances=False, return_indices=True)
    height = ndimage.gaussian_filter(height, 1)[tuple(nearest)][1:-1, 1:-1]
    large = F.interpolate(torch.from_numpy(height)[None, None].float(), (h, w), mode="bicubic")[0, 0].numpy() * h / GRID
    gy, gx = np.gradient(large)
    n = np.stack([-gx, -gy, np.ones_like(gx)])
    return (n / np.linalg.norm(n, axis=0)).astype(np.float32)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("pack")
    ap.add_argument("weights")
    ap.add_argument("--held", type=int, default=160)
    ap.add_argument("--cache", help="the held-out pictures, kept between calls")
    ap.add_argument("--sheet")
    a = ap.parse_args()
    if a.cache and os.path.exists(a.cache):
        kept = torch.load(a.cache)
    else:
        tracer = Tracer("cpu")
        studio = Studio(unpack(os.path.join(a.pack, "photos.npz"), "RGB", 300), unpack(os.path.join(a.pack, "prints.npz"), "RGBA", 200), "cpu", 1, 64)
        kept = held_out(tracer, studio, Pool(tracer, split(os.path.join(a.pack, "meshes.npz"))[1], 1, 99), a.held, 16)
        if a.cache:
            torch.save(kept, a.cache)
    from contextlib import nullcontext

    net = load(a.weights)
    result, first = judged(net, kept, nullcontext)
    angles = {name: [] for name in ("all", *GROUPS)}
    for x, truth, groups in kept:
        for i in range(len(x)):
            w = truth["inside"][i, 0] > 0
            if w.sum() < 50:
                continue
            n = torch.from_numpy(balloon(x[i, 3].numpy()))
            off = float(angle(n[None], truth["normal"][i:i + 1])[0, 0][w].mean() * 180 / np.pi)
            for name in ("all", GROUPS[int(groups[i])]):
                angles[name].append(off)
    for name, values in angles.items():
        if values:
            result[name]["balloon"] = round(float(np.mean(values)), 2)
    print(json.dumps(result, indent=1))
    if a.sheet:
        sheet(kept[0][0][:24], {k: v[:24] for k, v in kept[0][1].items()}, first[:24], a.sheet)


if __name__ == "__main__":
    main()
