"""Layer-wise start of the mask network: every convolution is the solution of a regression on pictures.

FitNets' idea (Romero et al. 2015), solved layer by layer. In order of execution, each of our 3x3 convolutions is fitted to
the teacher's values of the channels that `lessons.py` chose, from what our own layers before it make of the same pictures.
No weight of the teacher is copied: what is fitted are its outputs.

A ReLU's error counts only where it shows: where the teacher's value is negative, any negative value will do. That is solved
by majorisation: solve least squares, replace the targets that are met as an inequality by the prediction, and repeat.
"""

import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F

from lessons import convolutions, positions
from network import MaskNet, normalise

CLIP = 8.0  # side logits beyond this are as good as certain
RIDGE = 1e-4
ROUNDS = 20


def patches(x, conv, first=0):
    """rows x (channels*k*k + 1) at the sampled positions of the lessons from number `first` on, the last column ones."""
    n, c, h, w = x.shape
    k, d, p = conv.kernel_size[0], conv.dilation[0], conv.padding[0]
    rows = []
    for picture in range(n):
        at = positions(h, w, first + picture)
        y, z = at // w, at % w
        padded = F.pad(x[picture], (p, p, p, p))
        parts = [padded[:, y + i * d, z + j * d] for i in range(k) for j in range(k)]
        rows.append(torch.stack(parts, 1).flatten(0, 1).T)
    rows = torch.cat(rows)
    return torch.cat((rows, torch.ones(len(rows), 1)), 1)


def fit(x, target, rectified):
    """Least squares of `target` on x's columns; with `rectified`, of the error after a ReLU. Returns features x outputs."""
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for part in x.split(16384):
        gram += part.T @ part
    # ridge relative to each column's own power, so that scales do not matter
    gram += torch.diag(gram.diagonal() * RIDGE + gram.diagonal().mean() * 1e-7)
    factor = torch.linalg.cholesky(gram)

    def solve(t):
        moment = sum(a.T @ b for a, b in zip(x.split(16384), t.split(16384)))
        return torch.cholesky_solve(moment.double(), factor).float()

    solution = previous = solve(target)
    if rectified:
        for k in range(ROUNDS):  # with Nesterov's extrapolation
            ahead = solution + k / (k + 3) * (solution - previous)
            guess = x @ ahead
            previous, solution = solution, solve(torch.where(target > 0, target, guess.clamp(max=0)))
    return solution


@torch.no_grad()
def solve(net, pictures, wanted):
    """Solves the network layer by layer while all pictures run through it at once. `wanted` answers a convolution's name with
    the rows x channels of what its last outputs are to be; the others, if any, stay."""
    names = {m: name for name, m in convolutions(net).items()}

    def before(conv, inputs):
        name = names[conv]
        rectified = name.startswith("stage")
        target = wanted(name)
        count = target.shape[1]
        if count == 0:
            return
        if not rectified:
            target = target.clamp(-CLIP, CLIP)
        x = patches(inputs[0], conv)
        solution = fit(x, target, rectified)
        conv.bias[-count:] = solution[-1]
        conv.weight[-count:] = solution[:-1].T.reshape(count, *conv.weight.shape[1:])
        guess = x @ solution
        if rectified:
            guess, target = guess.relu(), target.relu()
        error = (guess - target).square().mean() / target.var(0).mean()
        print(f"{name}: {x.shape[1]} -> {count}, relative error {error:.3f}", flush=True)

    handles = [m.register_forward_pre_hook(before) for m in names]
    net(normalise(pictures).contiguous(memory_format=torch.channels_last))
    for handle in handles:
        handle.remove()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--count", type=int, default=400, help="lessons to learn from: 400 need some 15 GB of memory")
    a = ap.parse_args()
    load = lambda n: np.load(os.path.join(a.folder, "lessons", f"{n:05d}.npz"))["rgb"]
    pictures = torch.from_numpy(np.stack([load(n) for n in range(a.count)]))
    rows = [torch.load(os.path.join(a.folder, "rows", f"{n:05d}.pt")) for n in range(a.count)]
    net = MaskNet()
    solve(net, pictures, lambda name: torch.cat([r[name] for r in rows]).float())
    torch.save({"ema": net.state_dict(), "step": 0}, os.path.join(a.folder, "init.pt"))


if __name__ == "__main__":
    main()
