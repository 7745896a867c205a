"""The form network: from a picture and a mask to normals, log shading, gloss, and how sure the normals are.

A U-Net (Ronneberger et al. 2015) with residual blocks (He et al. 2016), 3x3 convolutions only. Input: RGB and mask, each of
0..1 as (x - 0.5) / 0.25, sides multiples of 32. Output: 6 planes: normal before its length is divided out (camera frame: x right,
y down as image rows, z towards the viewer), what `kappa` makes the normal's concentration of, log shading up to a constant,
what `sigmoid` makes the gloss of.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

WIDTHS = (16, 40, 64, 96, 128, 144)  # at full size, then halved five times
BLOCKS = (0, 1, 2, 2, 3, 2)          # residual blocks behind each halving
STRIDE = 32


class Conv(nn.Module):
    """3x3 convolution, BatchNorm, and a ReLU unless told otherwise."""

    def __init__(self, i, o, stride=1, relu=True):
        super().__init__()
        self.conv = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(o, momentum=0.03)
        self.relu = relu

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = Conv(c, c), Conv(c, c, relu=False)
        nn.init.zeros_(self.b.norm.weight)

    def forward(self, x):
        return F.relu(x + self.b(self.a(x)))


class FormNet(nn.Module):
    def __init__(self, widths=WIDTHS, blocks=BLOCKS):
        super().__init__()
        self.stem = Conv(4, widths[0])
        self.down = nn.ModuleList(Conv(a, b, 2) for a, b in zip(widths, widths[1:]))
        self.deep = nn.ModuleList(nn.ModuleList(Block(c) for _ in range(n)) for c, n in zip(widths[1:], blocks[1:]))
        self.up = nn.ModuleList(Conv(b + a, a) for a, b in reversed(list(zip(widths, widths[1:]))))
        self.fine = nn.ModuleList(Block(a) for a in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], 6, 3, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        skips = []
        for down, deep in zip(self.down, self.deep):
            skips.append(x)
            x = down(x)
            for block in deep:
                x = block(x)
        for up, fine, skip in zip(self.up, self.fine, reversed(skips)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = fine(up(torch.cat((x, skip), 1)))
        return self.head(x)


def kappa(raw):
    """The concentration: above 0, about 1.3 where raw is 0."""
    return F.softplus(raw) + 0.6


def expected_angle(k):
    """Mean angle in radians under the density that `angular_loss` takes the logarithm of (Bae et al. 2021)."""
    e = torch.exp(-k * torch.pi)
    return (2 * k / (k * k + 1) + torch.pi * e / (1 + e)).clamp(max=torch.pi / 2)


def read(out):
    """Unit normals, log shading, gloss and confidence (1: sure, 0: off by a right angle) of the network's output."""
    out = out.float()
    normal = F.normalize(out[:, :3], dim=1, eps=1e-6)
    confidence = 1 - expected_angle(kappa(out[:, 3:4])) / (torch.pi / 2)
    return normal, out[:, 4:5], torch.sigmoid(out[:, 5:6]), confidence


def folded(state):
    """The state dict with every BatchNorm folded into its convolution: names without `.conv` and `.norm`."""
    out = {}
    for key, w in state.items():
        if key.endswith(".conv.weight"):
            name = key[:-len(".conv.weight")]
            n = f"{name}.norm."
            scale = state[n + "weight"] / (state[n + "running_var"] + 1e-5).sqrt()
            out[name + ".weight"] = w * scale[:, None, None, None]
            out[name + ".bias"] = state[n + "bias"] - state[n + "running_mean"] * scale
        elif key.startswith("head."):
            out[key] = w
    return out


class Folded(nn.Module):
    """The same network with folded weights, as the engine runs it."""

    def __init__(self, weights, blocks=BLOCKS):
        super().__init__()
        self.w, self.blocks = {k: v.float() for k, v in weights.items()}, blocks

    def conv(self, name, x, stride=1):
        return F.conv2d(x, self.w[name + ".weight"], self.w[name + ".bias"], stride, 1)

    def block(self, name, x):
        return F.relu(x + self.conv(name + ".b", F.relu(self.conv(name + ".a", x))))

    def forward(self, x):
        x = F.relu(self.conv("stem", x))
        skips, levels = [], len(self.blocks) - 1
        for i in range(levels):
            skips.append(x)
            x = F.relu(self.conv(f"down.{i}", x, 2))
            for j in range(self.blocks[i + 1]):
                x = self.block(f"deep.{i}.{j}", x)
        for i, skip in enumerate(reversed(skips)):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = self.block(f"fine.{i}", F.relu(self.conv(f"up.{i}", torch.cat((x, skip), 1))))
        return self.conv("head", x)
