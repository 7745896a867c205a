"""Trains the mask network further on a GPU, where the teacher answers fresh scenes as fast as the pupil can learn from them.

No scene is seen twice. Each batch of scenes.py is asked of the teacher once, at 320x320, and learnt from in two steps: whole
at 320, then at 256, mirrored or closely around what the teacher found, which is how the engine looks (training/README.md).
The network is trained with BatchNorm in place (initialised so that it begins as the function that it was) and written with it
folded, as ever. The rate follows a cosine over --seconds of the clock.

    python online.py FOLDER --pack                          # here: FOLDER/pack, all that the GPU's machine needs
    python online.py PACK --start models/mask.safetensors --out online.pt --seconds 3600
"""

import argparse
import io
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.utils.fusion import fuse_conv_bn_weights

from network import SIDE_WEIGHTS, ConvRelu, MaskNet, mask_loss, standardise
from scenes import CUTOUT, SIDE, Scenes
from teacher import TEACHER_WIDTHS, load_teacher

WHOLE, AGAIN = 320, 256  # sides of the engine's first look, and of the mirrored and the close one


def pack(folder):
    """Photographs and cut-outs as encoded pictures in npz files, the teacher's weights in f16."""
    from compose import Pool

    out, pool = os.path.join(folder, "pack"), Pool(folder)
    os.makedirs(out, exist_ok=True)

    def encoded(pictures):
        for im in pictures:
            file = io.BytesIO()
            im.save(file, "WEBP", quality=88, method=2)
            yield np.frombuffer(file.getvalue(), np.uint8)

    def write(name, pictures):
        parts = list(encoded(pictures))
        np.savez(os.path.join(out, name), data=np.concatenate(parts), sizes=[len(p) for p in parts])

    write("photos.npz", (im.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for im in pool.photos))
    write("cutouts.npz", (im.resize((CUTOUT, CUTOUT), Image.Resampling.LANCZOS) for im in pool.cutouts))
    json.dump([im.width / im.height for im in pool.cutouts], open(os.path.join(out, "aspects.json"), "w"))
    teacher = load_teacher(os.path.join(folder, "teacher/rembg/u2net.onnx"))
    save_file({k: v.half().contiguous() for k, v in teacher.state_dict().items()}, os.path.join(out, "teacher.safetensors"))


def unpack(path, mode):
    """u8 N x channels x H x W. Colours are multiplied by alpha where there is one."""
    archive = np.load(path)
    data, ends = archive["data"], archive["sizes"].cumsum()

    def decoded(part):
        im = np.asarray(Image.open(io.BytesIO(data[slice(*part)].tobytes())).convert(mode))
        if mode == "RGBA":
            rgb = np.round(im[..., :3] * (im[..., 3:] / 255)).astype(np.uint8)
            im = np.concatenate((rgb, im[..., 3:]), 2)
        return torch.from_numpy(im.copy()).permute(2, 0, 1)

    with ThreadPoolExecutor() as threads:
        return torch.stack(list(threads.map(decoded, zip([0, *ends[:-1]], ends))))


def normalise(x):
    """What the networks are given of a batch in 0..1."""
    return standardise(x, 1 / 255).contiguous(memory_format=torch.channels_last)


def sized(x, side):
    return F.interpolate(x, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def with_norms(net, x):
    """Puts a BatchNorm behind every 3x3 convolution that a ReLU follows. On a batch like `x` the network stays what it was:
    filters are brought to one length, and the norm gives back what they lost."""
    stats = {}

    def watch(conv, _, out):
        std, mean = torch.std_mean(out.float(), (0, 2, 3))
        stats[conv] = (mean, std + 1e-4)

    convs = [m.conv_s1 for m in net.modules() if isinstance(m, ConvRelu)]
    handles = [conv.register_forward_hook(watch) for conv in convs]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    for block in [m for m in net.modules() if isinstance(m, ConvRelu)]:
        conv, (mean, std) = block.conv_s1, stats[block.conv_s1]
        norm = nn.BatchNorm2d(conv.out_channels, momentum=0.02).to(x.device)
        length = conv.weight.data.flatten(1).norm(dim=1).clamp(min=1e-6) / math.sqrt(2)
        conv.weight.data /= length[:, None, None, None]
        norm.running_mean.copy_((mean - conv.bias.data) / length)
        norm.running_var.copy_((std / length).square())
        norm.weight.data.copy_(std)
        norm.bias.data.copy_(mean)
        conv.bias = None
        block.conv_s1 = nn.Sequential(conv, norm)
    return net


def folded(state):
    """The state dict without BatchNorm, under the names of models/mask.safetensors."""
    out = {}
    for key, value in state.items():
        if key.endswith(".0.weight"):
            name = key[:-len(".0.weight")]
            mean, var, scale, shift = (state[f"{name}.1.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
            weight, bias = fuse_conv_bn_weights(value, None, mean, var, 1e-5, scale, shift)
            out[name + ".weight"], out[name + ".bias"] = weight.detach(), bias.detach()
        elif ".conv_s1." not in key:
            out[key] = value
    return out


def close(x, mask, scenes):
    """Scenes and masks around what each mask shows above one half, with about 15 % of its extent and a fortieth of the picture
    around it; whole where it shows nothing."""
    n, side = len(x), mask.shape[2]
    edges = []
    for axis in (2, 3):
        inside = (mask > 0.5).any(axis)[:, 0].float()
        low, high = inside.argmax(1).float() / side, 1 - inside.flip(1).argmax(1).float() / side
        space = (high - low) * scenes.flat(n, 0.05, 0.25) + 1 / 40
        some = inside.amax(1) > 0
        low, high = (torch.where(some, v, float(d)).clamp(0, 1) * 2 - 1 for d, v in enumerate((low - space, high + space)))
        edges.append((low, high))
    (left, right), (top, bottom) = edges
    theta = torch.zeros(n, 2, 3, device=x.device)
    theta[:, 0, 0], theta[:, 0, 2] = (right - left) / 2, (right + left) / 2
    theta[:, 1, 1], theta[:, 1, 2] = (bottom - top) / 2, (bottom + top) / 2
    grid = F.affine_grid(theta, (n, 1, AGAIN, AGAIN), align_corners=False)
    return [F.grid_sample(v, grid, padding_mode="border", align_corners=False) for v in (x, mask)]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("folder")
    ap.add_argument("--pack", action="store_true")
    ap.add_argument("--start", help="models/mask.safetensors or a checkpoint")
    ap.add_argument("--out", default="online.pt")
    ap.add_argument("--seconds", type=float, default=480)
    ap.add_argument("--batch", type=int, default=64)
    ap.add_argument("--rate", type=float, default=0.0007)
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--seed", type=int, default=20261126)
    a = ap.parse_args()
    if a.pack:
        return pack(a.folder)
    begun = time.time()
    torch.manual_seed(a.seed)
    half = lambda: torch.autocast(a.device, torch.bfloat16)
    at = lambda name: os.path.join(a.folder, name)
    scenes = Scenes(unpack(at("photos.npz"), "RGB"), unpack(at("cutouts.npz"), "RGBA"),
                    torch.tensor(json.load(open(at("aspects.json")))), a.device, a.seed)
    teacher = MaskNet(TEACHER_WIDTHS)
    teacher.load_state_dict(load_file(at("teacher.safetensors")))
    teacher = teacher.to(a.device, torch.bfloat16, memory_format=torch.channels_last).eval().requires_grad_(False)

    @torch.no_grad()
    def ask(x):
        """The teacher's mask (f32 0..1, Bx1x320x320) and its six side masks."""
        return [torch.sigmoid(z.float()) for z in teacher(normalise(sized(x, WHOLE)).bfloat16())]

    print(f"unpacked, {time.time() - begun:.0f} s", flush=True)
    masks = torch.cat([ask(part.to(a.device).float() / 255)[0] for part in scenes.photos.split(a.batch)])
    print(f"asked, {time.time() - begun:.0f} s", flush=True)
    scenes.learn(masks)
    print(f"{len(scenes.photos)} photographs, {len(scenes.clear)} of one clear subject, {len(scenes.cutouts)} cut-outs, "
          f"{time.time() - begun:.0f} s", flush=True)

    net = MaskNet()
    state = load_file(a.start) if a.start.endswith(".safetensors") else torch.load(a.start, map_location="cpu")["ema"]
    net.load_state_dict({key: value.float() for key, value in state.items()})
    net = net.to(a.device, memory_format=torch.channels_last)
    with torch.no_grad():
        net = with_norms(net, normalise(sized(scenes.batch(a.batch), WHOLE))).train()
    smooth = torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    average = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=smooth, use_buffers=True)
    optimiser = torch.optim.AdamW(net.parameters(), a.rate, (0.9, 0.99), weight_decay=0.01, fused=a.device == "cuda")

    def learn(x, targets):
        with half():
            logits = net(normalise(x))
        each = [w * mask_loss(z.float(), F.interpolate(m, z.shape[2:], mode="area") if m.shape != z.shape else m)
                for w, z, m in zip(SIDE_WEIGHTS, logits, targets)]
        optimiser.zero_grad(set_to_none=True)
        sum(each).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        average.update_parameters(net)
        return each[0].detach()

    def save(step):
        ck = {"ema": folded({k: v.cpu() for k, v in average.module.state_dict().items()}), "step": step, "args": vars(a)}
        torch.save(ck, a.out + ".part")
        os.replace(a.out + ".part", a.out)

    step, first, second, told = 0, 0.0, 0.0, 0.0
    while (spent := time.time() - begun) < a.seconds:
        warm = min(1, (step + 1) / 200)
        optimiser.param_groups[0]["lr"] = a.rate * warm * (0.5 + 0.5 * math.cos(math.pi * spent / a.seconds))
        x = scenes.batch(a.batch)
        targets = ask(x)
        loss = learn(sized(x, WHOLE), targets)
        d = a.batch // 2
        near, near_mask = close(x[:d], targets[0][:d], scenes)
        far = torch.cat((near, sized(x[d:], AGAIN).flip(3)))
        # of a close look only the fused mask is known: its sides are that mask, coarser
        mask = torch.cat((near_mask, F.interpolate(targets[0][d:], AGAIN, mode="area").flip(3)))
        again = learn(far, [mask] * len(targets))
        step += 2
        if spent - told > 10 or step == 2:
            first, second, told = loss.item(), again.item(), spent
            print(f"step {step} whole {first:.3f} again {second:.3f} spent {spent:.0f} s", flush=True)
            save(step)
    save(step)
    print("done", step, flush=True)


if __name__ == "__main__":
    main()
