"""The subject mask network: the U²-Net topology with free widths per stage.

Mathematics: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection" (2020).
Input 1x3xHxW (normalised RGB, H and W multiples of 32), output: seven 1x1xHxW logit maps, the fused one first.
Tensor names are those of the published state dict (`stage1.rebnconvin.conv_s1.weight`, ..., `side1..6`, `outconv`).
"""

import functools

import torch
import torch.nn as nn
import torch.nn.functional as F

# (name, kind, mid, out); kind 7, 6, 5, 4 is RSU-L, "4F" the dilated block without pooling.
# Thin where there are many pixels, wide where there are few.
WIDTHS = [
    ("stage1", "7", 8, 12),
    ("stage2", "6", 16, 40),
    ("stage3", "5", 28, 80),
    ("stage4", "4", 36, 96),
    ("stage5", "4F", 56, 128),
    ("stage6", "4F", 56, 128),
    ("stage5d", "4F", 56, 112),
    ("stage4d", "4", 32, 56),
    ("stage3d", "5", 16, 32),
    ("stage2d", "6", 12, 16),
    ("stage1d", "7", 8, 8),
]


def widths_of(state):
    """The widths of the network that a state dict belongs to."""
    outputs = lambda conv: len(state[f"{conv}.conv_s1.weight"])
    return [(name, kind, outputs(f"{name}.rebnconv1"), outputs(f"{name}.rebnconvin")) for name, kind, _, _ in WIDTHS]


MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@functools.cache
def arithmetic():
    """What training and teaching compute in: bfloat16 on processors that multiply it, else f32."""
    with open("/proc/cpuinfo") as about:
        return torch.bfloat16 if "avx512_bf16" in about.read() else torch.float32


def normalise(rgb):
    """u8 BxSxSx3 -> f32 Bx3xSxS, divided by each picture's maximum as the reference does."""
    return standardise(rgb.permute(0, 3, 1, 2).float(), 1)


def standardise(x, step):
    """f32 Bx3xSxS, whose grey levels are `step` apart: the same."""
    x = x / x.amax((1, 2, 3), keepdim=True).clamp(min=step)
    return (x - x.new_tensor(MEAN).view(1, 3, 1, 1)) / x.new_tensor(STD).view(1, 3, 1, 1)


def down(x):
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


def up_to(x, like):
    """Bilinear resize to the spatial size of `like`, half-pixel centres."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class ConvRelu(nn.Module):
    """The published block's BatchNorm is folded into the convolution, in the teacher and in ours."""

    def __init__(self, cin, cout, dilation=1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(cin, cout, 3, padding=dilation, dilation=dilation)

    def forward(self, x):
        return F.relu(self.conv_s1(x), inplace=True)


class Rsu(nn.Module):
    """RSU-L: a small U-Net of depth L added to its own first convolution."""

    def __init__(self, depth, cin, mid, out):
        super().__init__()
        self.depth = depth
        self.rebnconvin = ConvRelu(cin, out)
        self.rebnconv1 = ConvRelu(out, mid)
        for k in range(2, depth):
            setattr(self, f"rebnconv{k}", ConvRelu(mid, mid))
        setattr(self, f"rebnconv{depth}", ConvRelu(mid, mid, dilation=2))
        for k in range(depth - 1, 1, -1):
            setattr(self, f"rebnconv{k}d", ConvRelu(2 * mid, mid))
        self.rebnconv1d = ConvRelu(2 * mid, out)

    def forward(self, x):
        hin = self.rebnconvin(x)
        h = [self.rebnconv1(hin)]
        for k in range(2, self.depth):
            h.append(getattr(self, f"rebnconv{k}")(down(h[-1])))
        d = getattr(self, f"rebnconv{self.depth}")(h[-1])
        for k in range(self.depth - 1, 0, -1):
            skip = h[k - 1]
            if d.shape[2:] != skip.shape[2:]:
                d = up_to(d, skip)
            d = getattr(self, f"rebnconv{k}d")(torch.cat((d, skip), 1))
        return d + hin


class Rsu4f(nn.Module):
    """RSU-4F: dilations 1, 2, 4, 8 in place of pooling."""

    def __init__(self, cin, mid, out):
        super().__init__()
        self.rebnconvin = ConvRelu(cin, out)
        self.rebnconv1 = ConvRelu(out, mid, 1)
        self.rebnconv2 = ConvRelu(mid, mid, 2)
        self.rebnconv3 = ConvRelu(mid, mid, 4)
        self.rebnconv4 = ConvRelu(mid, mid, 8)
        self.rebnconv3d = ConvRelu(2 * mid, mid, 4)
        self.rebnconv2d = ConvRelu(2 * mid, mid, 2)
        self.rebnconv1d = ConvRelu(2 * mid, out, 1)

    def forward(self, x):
        hin = self.rebnconvin(x)
        h1 = self.rebnconv1(hin)
        h2 = self.rebnconv2(h1)
        h3 = self.rebnconv3(h2)
        h4 = self.rebnconv4(h3)
        d = self.rebnconv3d(torch.cat((h4, h3), 1))
        d = self.rebnconv2d(torch.cat((d, h2), 1))
        return self.rebnconv1d(torch.cat((d, h1), 1)) + hin


def stage_inputs(widths):
    """stage -> the widths of what it reads, one after the other."""
    out, read = {name: o for name, _, _, o in widths}, {}
    for name in out:
        n = int(name[5])
        if name.endswith("d"):
            read[name] = [out["stage6" if n == 5 else f"stage{n + 1}d"], out[f"stage{n}"]]
        else:
            read[name] = [out[f"stage{n - 1}"] if n > 1 else 3]
    return read


class MaskNet(nn.Module):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        self.widths = widths
        out, read = {name: o for name, _, _, o in widths}, stage_inputs(widths)
        for name, kind, mid, o in widths:
            cin = sum(read[name])
            setattr(self, name, Rsu4f(cin, mid, o) if kind == "4F" else Rsu(int(kind), cin, mid, o))
        for n in range(1, 7):
            setattr(self, f"side{n}", nn.Conv2d(out["stage6" if n == 6 else f"stage{n}d"], 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)
        nn.init.constant_(self.outconv.weight, 1 / 6)
        nn.init.zeros_(self.outconv.bias)

    def forward(self, x):
        """Logits [d0, d1, .., d6]: d0 and d1 at the input's size, d2 to d6 at a half to a thirty-second of it."""
        h, enc = self.shallow(x)
        d, sides = self.deep(h)
        for n in range(3, 0, -1):
            d = getattr(self, f"stage{n}d")(torch.cat((up_to(d, enc[n - 1]), enc[n - 1]), 1))
            sides = [getattr(self, f"side{n}")(d)] + sides
        return [self.outconv(torch.cat([up_to(s, sides[0]) for s in sides], 1))] + sides

    def shallow(self, x):
        """The stages at the input's size, a half and a quarter of it: (the last one's output, halved; all three outputs)."""
        outputs = []
        for n in range(1, 4):
            outputs.append(getattr(self, f"stage{n}")(x))
            x = down(outputs[-1])
        return x, outputs

    def deep(self, h):
        """The stages at an eighth of the input's size and below, from stage 3's halved output: (stage 4d's, [d4, d5, d6])."""
        h4 = self.stage4(h)
        h5 = self.stage5(down(h4))
        h6 = self.stage6(down(h5))
        d5 = self.stage5d(torch.cat((up_to(h6, h5), h5), 1))
        d4 = self.stage4d(torch.cat((up_to(d5, h4), h4), 1))
        return d4, [self.side4(d4), self.side5(d5), self.side6(h6)]


# what the fused mask and the six sides weigh in training
SIDE_WEIGHTS = (1.0, 0.5, 0.4, 0.4, 0.3, 0.3, 0.3)


def mask_loss(z, mask):
    """Binary cross entropy and half a soft IoU of one logit map and the teacher's soft mask, both Bx1xHxW."""
    p = torch.sigmoid(z)
    inter = (p * mask).sum((1, 2, 3))
    union = (p + mask - p * mask).sum((1, 2, 3))
    slack = mask[0].numel() * 1e-4
    return F.binary_cross_entropy_with_logits(z, mask) + 0.5 * (1 - (inter + slack) / (union + slack)).mean()
