"""What is minimised: angles with their uncertainty, log shading up to a constant, gloss."""

import torch
import torch.nn.functional as F

from network import kappa


def angle(a, b):
    """Angle between unit vectors in radians, with a gradient at 0 and pi too."""
    dot = (a * b).sum(1, keepdim=True)
    return torch.atan2(torch.linalg.cross(a, b, dim=1).square().sum(1, keepdim=True).add(1e-7).sqrt(), dot)


def angular_loss(theta, k):
    """Negative log likelihood of an angle (Bae et al., "Estimating and exploiting the aleatoric uncertainty in surface normal
    estimation", 2021): the mode at 0, concentration k, and no pull from outliers."""
    return -torch.log(k * k + 1) + k * theta + torch.log1p(torch.exp(-k * torch.pi))


def differences(x, inside, step):
    """Differences between pixels `step` apart, and where both lie inside."""
    for dim in (2, 3):
        n = x.shape[dim] - step
        yield (x.narrow(dim, step, n) - x.narrow(dim, 0, n)), inside.narrow(dim, step, n) * inside.narrow(dim, 0, n)


def mean(x, w):
    return (x * w).sum() / w.sum().clamp(min=1).mul(x.shape[1] / w.shape[1])


def loss(out, truth):
    """`truth`: normal, shading, gloss, inside. The parts and their sum."""
    out = out.float()
    w = truth["inside"]
    normal = F.normalize(out[:, :3], dim=1, eps=1e-4)
    theta = angle(normal, truth["normal"])
    parts = {"normal": mean(angular_loss(theta, kappa(out[:, 3:4])), w), "angle": mean(theta, w)}
    relief = 0
    for step in (1, 3):
        for (a, inside), (b, _) in zip(differences(normal, w, step), differences(truth["normal"], w, step)):
            relief = relief + mean((a - b).abs(), inside)
    parts["relief"] = relief
    area = w.sum((2, 3), keepdim=True).clamp(min=1)
    off = out[:, 4:5] - truth["shading"]
    off = off - (off * w).sum((2, 3), keepdim=True) / area
    parts["shading"] = mean(F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.1, reduction="none"), w)
    edges = 0
    for step in (1, 2, 6):
        for a, inside in differences(off, w, step):
            edges = edges + mean(a.abs(), inside)
    parts["edges"] = edges
    # the constant itself is held near zero, so that the output keeps its range
    level = (out[:, 4:5] * w).sum((2, 3), keepdim=True) / area
    parts["level"] = level.square().mean()
    parts["gloss"] = mean(F.binary_cross_entropy_with_logits(out[:, 5:6], truth["gloss"], reduction="none"), w)
    total = (parts["normal"] + 0.7 * parts["angle"] + 0.5 * parts["relief"] + 1.5 * parts["shading"] + 0.7 * parts["edges"]
             + 0.05 * parts["level"] + 0.3 * parts["gloss"])
    return total, {k: v.detach() for k, v in parts.items()}
