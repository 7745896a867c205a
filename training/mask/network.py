"""The subject mask network: the U²-Net topology with free widths per stage.

Mathematics: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection" (2020).
Input 1x3xHxW (normalised RGB, H and W multiples of 32), output: seven 1x1xHxW logit maps, the fused one first.
Tensor names are those of the published state dict (`stage1.rebnconvin.conv_s1.weight`, ..., `side1..6`, `outconv`).
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

# (name, kind, mid, out); kind 7, 6, 5, 4 is RSU-L, "4F" the dilated block without pooling.
# Thin where there are many pixels, wide where there are few.
WIDTHS = [
    ("stage1", "7", 8, 8),
    ("stage2", "6", 8, 16),
    ("stage3", "5", 16, 32),
    ("stage4", "4", 24, 64),
    ("stage5", "4F", 40, 112),
    ("stage6", "4F", 48, 128),
    ("stage5d", "4F", 40, 96),
    ("stage4d", "4", 24, 48),
    ("stage3d", "5", 16, 24),
    ("stage2d", "6", 8, 8),
    ("stage1d", "7", 8, 8),
]


def up_to(x, like):
    """Bilinear resize to the spatial size of `like`, half-pixel centres."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class ConvBnRelu(nn.Module):
    def __init__(self, cin, cout, dilation=1):
        super().__init__()
        self.conv_s1 = nn.Conv2d(cin, cout, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.relu(self.bn_s1(self.conv_s1(x)), inplace=True)


class Rsu(nn.Module):
    """RSU-L: a small U-Net of depth L added to its own first convolution."""

    def __init__(self, depth, cin, mid, out):
        super().__init__()
        self.depth = depth
        self.rebnconvin = ConvBnRelu(cin, out)
        self.rebnconv1 = ConvBnRelu(out, mid)
        for k in range(2, depth):
            setattr(self, f"rebnconv{k}", ConvBnRelu(mid, mid))
        setattr(self, f"rebnconv{depth}", ConvBnRelu(mid, mid, dilation=2))
        for k in range(depth - 1, 1, -1):
            setattr(self, f"rebnconv{k}d", ConvBnRelu(2 * mid, mid))
        self.rebnconv1d = ConvBnRelu(2 * mid, out)

    def forward(self, x):
        hin = self.rebnconvin(x)
        h = [self.rebnconv1(hin)]
        for k in range(2, self.depth):
            h.append(getattr(self, f"rebnconv{k}")(F.max_pool2d(h[-1], 2, 2, ceil_mode=True)))
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
        self.rebnconvin = ConvBnRelu(cin, out)
        self.rebnconv1 = ConvBnRelu(out, mid, 1)
        self.rebnconv2 = ConvBnRelu(mid, mid, 2)
        self.rebnconv3 = ConvBnRelu(mid, mid, 4)
        self.rebnconv4 = ConvBnRelu(mid, mid, 8)
        self.rebnconv3d = ConvBnRelu(2 * mid, mid, 4)
        self.rebnconv2d = ConvBnRelu(2 * mid, mid, 2)
        self.rebnconv1d = ConvBnRelu(2 * mid, out, 1)

    def forward(self, x):
        hin = self.rebnconvin(x)
        h1 = self.rebnconv1(hin)
        h2 = self.rebnconv2(h1)
        h3 = self.rebnconv3(h2)
        h4 = self.rebnconv4(h3)
        d = self.rebnconv3d(torch.cat((h4, h3), 1))
        d = self.rebnconv2d(torch.cat((d, h2), 1))
        return self.rebnconv1d(torch.cat((d, h1), 1)) + hin


class MaskNet(nn.Module):
    def __init__(self, widths=WIDTHS):
        super().__init__()
        self.widths = widths
        out = {name: o for name, _, _, o in widths}
        for name, kind, mid, o in widths:
            n = int(name[5])
            if name == "stage1":
                cin = 3
            elif name == "stage5d":
                cin = out["stage6"] + out["stage5"]
            elif name.endswith("d"):
                cin = out[f"stage{n + 1}d"] + out[f"stage{n}"]
            else:
                cin = out[f"stage{n - 1}"]
            setattr(self, name, Rsu4f(cin, mid, o) if kind == "4F" else Rsu(int(kind), cin, mid, o))
        for n in range(1, 7):
            setattr(self, f"side{n}", nn.Conv2d(out["stage6" if n == 6 else f"stage{n}d"], 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)
        nn.init.constant_(self.outconv.weight, 1 / 6)
        nn.init.zeros_(self.outconv.bias)

    def forward(self, x):
        """Logits [d0, d1, .., d6], each at the input's size."""
        h, enc = x, []
        for n in range(1, 7):
            h = getattr(self, f"stage{n}")(h)
            enc.append(h)
            if n < 6:
                h = F.max_pool2d(h, 2, 2, ceil_mode=True)
        sides = [self.side6(enc[5])]
        d = enc[5]
        for n in range(5, 0, -1):
            skip = enc[n - 1]
            d = getattr(self, f"stage{n}d")(torch.cat((up_to(d, skip), skip), 1))
            sides.append(getattr(self, f"side{n}")(d))
        sides = sides[::-1]
        sides = [sides[0]] + [up_to(s, sides[0]) for s in sides[1:]]
        return [self.outconv(torch.cat(sides, 1))] + sides


def load_network(state, widths=WIDTHS):
    net = MaskNet(widths)
    net.load_state_dict(state)
    return net
