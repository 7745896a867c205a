"""Lessons by the thousand, made on a GPU: the scenes of compose.py as batches of tensors.

A scene is a window of a photograph, turned and seen askew, or cut-outs over a photograph, a gradient or a studio sweep, with
shadows; recoloured and spoilt. Everything is f32 in 0..1, RGB, Bx3xSxS, stretched to a square like the network's input.
"""

import multiprocessing

import numpy as np
import torch
import torch.nn.functional as F

from split import ordinary

SIDE = 384  # of a stored photograph and of a scene: more than the network's input, for close looks
CUTOUT = 256  # of a stored cut-out, stretched to a square, its colours multiplied by its alpha; its own aspect is kept beside it


def blur(x, sigma):
    """Gaussian blur with one sigma (pixels) a picture, edges repeated."""
    n, c, h, w = x.shape
    reach = min(int(3 * float(sigma.max())) + 1, h - 1)
    at = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    taps = torch.exp(-0.5 * (at / sigma[:, None].clamp(min=0.05)).square())
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(c, 0)
    x = x.reshape(1, n * c, h, w)
    x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "replicate"), taps[:, None, None, :], groups=n * c)
    return F.conv2d(F.pad(x, (0, 0, reach, reach), "replicate"), taps[:, None, :, None], groups=n * c).view(n, c, h, w)


def soften(x, sigma):
    """The same for many pixels: at a quarter of the resolution, and not at all where sigma is 0."""
    small = blur(F.interpolate(x, scale_factor=0.25, mode="area"), sigma / 4)
    far = F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False)
    return torch.where(sigma.view(-1, 1, 1, 1) > 0, far, x)


def grey(x):
    return (x * x.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)


class Scenes:
    """Draws scenes from photographs (u8 Nx3xSIDExSIDE) and cut-outs (u8 Mx4xCUTOUTxCUTOUT, with the aspects of M)."""

    def __init__(self, photos, cutouts, aspects, device, seed):
        self.photos, self.cutouts, self.aspects = photos.to(device), cutouts.to(device), aspects.to(device)
        self.clear = torch.arange(len(photos), device=device)
        self.drawn = len(cutouts)  # cut-outs from here on are subjects of photographs
        self.device = device
        self.random = torch.Generator(device).manual_seed(seed)

    def learn(self, masks):
        """The teacher's masks (f32 Nx1x320x320) of all photographs: which show one clear subject, and which of these subjects
        are cut-outs from now on: nearly binary, of a middling area and inside the frame (`Pool.take` in compose.py)."""
        with multiprocessing.get_context("fork").Pool() as pool:
            clear = pool.map(ordinary, list((masks[:, 0] * 255).byte().cpu().numpy()))
        cut, aspects = [], []
        masks = masks.cpu()
        for k, mask in enumerate(masks[:, 0]):
            sure, area = ((mask > 0.9) | (mask < 0.1)).float().mean(), (mask > 0.5).float().mean()
            edges = sum((e > 0.5).float().mean() for e in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
            if not (sure > 0.94 and 0.03 < area < 0.6 and edges < 0.32):
                continue
            rows, columns = ((mask > 0.16).any(d).nonzero()[[0, -1], 0].tolist() for d in (1, 0))
            low = mask.new_tensor((columns[0], rows[0])) / len(mask) * 2 - 1
            high = mask.new_tensor((columns[1] + 1, rows[1] + 1)) / len(mask) * 2 - 1
            theta = torch.cat((torch.diag((high - low) / 2), ((high + low) / 2)[:, None]), 1)[None]
            grid = F.affine_grid(theta.to(self.device), (1, 1, CUTOUT, CUTOUT), align_corners=False)
            rgb = F.grid_sample(self.photos[k:k + 1].float(), grid, align_corners=False)
            alpha = F.grid_sample(mask[None, None].to(self.device), grid, align_corners=False)
            cut.append(torch.cat((rgb * alpha, alpha * 255), 1).round().byte())
            aspects.append((high - low)[0] / (high - low)[1])
        self.clear = torch.tensor(clear, device=self.device).nonzero()[:, 0]
        self.cutouts = torch.cat([self.cutouts, *cut])
        self.aspects = torch.cat((self.aspects, torch.stack(aspects).to(self.device)))

    def flat(self, n, low=0.0, high=1.0):
        """n numbers, uniform."""
        return torch.rand(n, device=self.device, generator=self.random) * (high - low) + low

    def draw(self, n, low=0.0, high=1.0):
        """The same, n x 1 x 1 x 1."""
        return self.flat(n, low, high).view(n, 1, 1, 1)

    def pick(self, n, among):
        return torch.randint(among, (n,), device=self.device, generator=self.random)

    def sample(self, pictures, theta, padding="zeros"):
        """Pictures u8 seen through 3x3 matrices from a scene's coordinates to theirs (-1..1)."""
        n = len(pictures)
        line = (torch.arange(SIDE, device=self.device) + 0.5) / SIDE * 2 - 1
        points = torch.stack((*torch.meshgrid(line, line, indexing="xy"), torch.ones(SIDE, SIDE, device=self.device)), -1)
        seen = points.view(1, -1, 3) @ theta.transpose(1, 2)
        grid = (seen[..., :2] / seen[..., 2:]).view(n, SIDE, SIDE, 2)
        return F.grid_sample(pictures.float() / 255, grid, padding_mode=padding, align_corners=False)

    def matrix(self, n, width, height, x, y, turn, mirror):
        """3x3 matrices: turned by `turn`, mirrored by -1, then scaled to width x height about (x, y)."""
        theta = torch.zeros(n, 3, 3, device=self.device)
        theta[:, 0, 0], theta[:, 0, 1] = width * turn.cos() * mirror, -width * turn.sin()
        theta[:, 1, 0], theta[:, 1, 1] = height * turn.sin() * mirror, height * turn.cos()
        theta[:, 0, 2], theta[:, 1, 2], theta[:, 2, 2] = x, y, 1
        return theta

    def either(self, n):
        return (self.flat(n) < 0.5).float() * 2 - 1

    def windows(self, n, smallest, askew=0.0, clear=0.0):
        """Random windows of photographs, sides `smallest` to 1 of theirs; a share `clear` from those of one clear subject."""
        number = torch.where(self.flat(n) < clear, self.clear[self.pick(n, len(self.clear))], self.pick(n, len(self.photos)))
        whole = (self.flat(n) < 0.2) & (clear > 0)
        width, height = (torch.where(whole, 1.0, self.flat(n, smallest, 1)) for _ in range(2))
        x, y = ((1 - side) * self.flat(n, -1, 1) for side in (width, height))
        turn = torch.where((self.flat(n) < 0.5) & ~whole, self.flat(n, -askew, askew), 0.0)
        theta = self.matrix(n, width, height, x, y, turn, self.either(n))
        tilt = torch.stack((self.flat(n, -0.5, 0.5), self.flat(n, -0.5, 0.5)), 1)
        theta[:, 2, :2] = askew * torch.where(whole[:, None], 0.0, tilt)
        return self.sample(self.photos[number], theta, "reflection")

    def jitter(self, x, strength=1.0):
        """Brightness, contrast, saturation and warmth."""
        n = len(x)
        factor = lambda: torch.where(self.draw(n) < 0.7, self.draw(n, 1 - 0.35 * strength, 1 + 0.35 * strength), 1.0)
        x = x * factor()
        mean = grey(x).mean((1, 2, 3), keepdim=True)
        x = mean.lerp(x, factor())
        x = grey(x).lerp(x, factor())
        warm = torch.cat([self.draw(n, 1 - 0.12 * strength, 1 + 0.12 * strength) for _ in range(3)], 1)
        return (x * torch.where(self.draw(n) < 0.3, warm, 1.0)).clamp(0, 1)

    def recolour(self, x):
        """Channels exchanged, another gamma: colours that the thing never had."""
        n = len(x)
        order = torch.rand(n, 3, device=self.device, generator=self.random).argsort(1)
        order = torch.where(self.flat(n)[:, None] < 0.25, order, torch.arange(3, device=self.device))
        x = x.gather(1, order[:, :, None, None].expand_as(x))
        return self.jitter(x.clamp(min=1e-4) ** torch.where(self.draw(n) < 0.3, self.draw(n, -0.5, 0.5).exp(), 1.0))

    def spoil(self, x):
        """Softness, grain, grey: what cameras and encoders do."""
        n = len(x)
        x = blur(x, torch.where(self.flat(n) < 0.15, self.flat(n, 0.4, 1.6), 0.0))
        grain = torch.where(self.draw(n) < 0.2, self.draw(n, 2 / 255, 10 / 255), 0.0)
        x = x + grain * torch.randn(x.shape, device=self.device, generator=self.random)
        return torch.where(self.draw(n) < 0.04, grey(x), x).clamp(0, 1)

    def backgrounds(self, n):
        """Photographs (sharp, blurred or small windows of them), gradients, studio sweeps."""
        smallest = torch.where(self.flat(n) < 0.5, 0.15, 0.5)
        sigma = torch.where(self.flat(n) < 0.7, self.flat(n, 0.01, 0.06) * SIDE, 0.0)
        photo = self.jitter(soften(self.windows(n, smallest), sigma))
        studio = self.draw(n) < 0.45
        colour = lambda: torch.cat([self.draw(n) for _ in range(3)], 1)
        top = torch.where(studio, self.draw(n, 0.78, 1) + 0.05 * (colour() - 0.5), colour())
        low = torch.where(studio, top - self.draw(n, 0, 0.16), colour())
        line = (torch.arange(SIDE, device=self.device) + 0.5) / SIDE
        y, x = line.view(1, 1, -1, 1), line.view(1, 1, 1, -1)
        t = (y * self.draw(n, 0.2, 1.5) + x * self.draw(n, -0.6, 0.6) + self.draw(n, -0.4, 0.4)).clamp(0, 1)
        floor = torch.sigmoid((y - self.draw(n, 0.4, 0.9)) * self.draw(n, 10, 80)).expand_as(t)
        t = torch.where(self.draw(n) < 0.3, floor, t)
        cells = int(self.flat(1, 4, 40))
        coarse = torch.rand(n, 1, cells, cells, device=self.device, generator=self.random) - 0.5
        coarse = F.interpolate(coarse, SIDE, mode="bicubic", align_corners=False)
        plain = top.lerp(low, t) + torch.where(self.draw(n) < 0.3, coarse * 60 / 255, 0.0)
        return torch.where(self.draw(n) < 0.6, photo, plain).clamp(0, 1)

    def add(self, under, present):
        """One cut-out over each scene where `present` (n x 1 x 1 x 1): turned, stretched, perhaps with a shadow."""
        n = len(under)
        real = self.flat(n) < (0.5 if len(self.cutouts) > self.drawn else 0.0)
        number = torch.where(real, self.drawn + self.pick(n, max(len(self.cutouts) - self.drawn, 1)), self.pick(n, self.drawn))
        number = number.clamp(max=len(self.cutouts) - 1)
        side, aspect = self.flat(n, 0.35, 1.0), self.aspects[number].sqrt() * self.flat(n, 0.75, 1.33)
        width, height = ((side * f).clamp(0.08, 1.05) for f in (aspect, 1 / aspect))
        slack = torch.where(self.flat(n) < 0.2, 0.12, 0.0)  # a fifth may leave the frame a little
        x, y = (((1 - s).clamp(min=0) + 2 * slack * s) * (self.flat(n) + self.flat(n) - 1) for s in (width, height))
        turn = torch.where(self.flat(n) < 0.3, self.flat(n, -0.52, 0.52), 0.0)
        placed = torch.linalg.inv(self.matrix(n, width, height, x, y, turn, self.either(n)))
        pictures = self.cutouts[number]
        rgba = self.sample(pictures, placed)
        alpha = rgba[:, 3:]
        rgb = self.jitter(rgba[:, :3] / alpha.clamp(min=1e-3))
        flat = self.flat(n, 0.3, 1)  # how flat the shadow lies
        cast = torch.zeros(n, 3, 3, device=self.device)
        cast[:, 0, 0] = cast[:, 2, 2] = 1
        bottom = y + height
        cast[:, 0, 2] = self.flat(n, -0.17, 0.17)
        cast[:, 1, 1], cast[:, 1, 2] = 1 / flat, bottom - bottom / flat
        shadow = soften(self.sample(pictures[:, 3:], placed @ cast), self.flat(n, 0.01, 0.05) * SIDE)
        under = under * (1 - shadow * torch.where(self.draw(n) < 0.5, self.draw(n, 0.15, 0.6), 0.0) * present)
        alpha = blur(alpha, torch.where(self.flat(n) < 0.5, self.flat(n, 0.4, 1.2), 0.0)) * present
        return under.lerp(rgb, alpha)

    def batch(self, n):
        """n scenes in random order: half windows of photographs, half composites."""
        photos = n // 2
        seen = self.windows(photos, 0.45, 0.35, 0.6)
        made = self.backgrounds(n - photos)
        made = self.add(made, torch.ones_like(made[:, :1, :1, :1]))
        made = self.add(made, (self.draw(len(made)) < 0.12).float())
        x = self.spoil(self.recolour(torch.cat((seen, made))))
        return x[torch.randperm(n, device=self.device, generator=self.random)]
