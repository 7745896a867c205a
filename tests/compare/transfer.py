"""A whole SDXL transfer, 512 x 512, guidance 2, random weights, beside the same calls of its networks in PyTorch.

    cargo bench -p pipeline --bench full_size -- WEIGHTS     # writes the weights (11 GB) once
    python tests/compare/transfer.py WEIGHTS --bench PATH [--steps 6] [--staged] [--threads 2]

PATH is the bench's program, which `cargo bench -p pipeline --bench full_size --no-run` prints. Ours is everything from
the pictures to the result, the second transfer of a process that keeps its networks (memory plan `resident`); with
--staged the first of one that reads every weight from the disk on the way and lets go of it again (6 GB). PyTorch's is the sum
of the calls of the big networks alone, each network loaded beforehand: U²-Net, DINOv2, the text encoders for prompt and
negative prompt, CLIP's ViT-H, encode, two UNet calls of a batch of two per step, decode. The line-art network, the
adapters and the samplers are left out. f32 on both sides. Packages: requirements.txt.
"""

import argparse
import json
import os
import subprocess

import networks
import torch


def calls(steps):
    return {"u2net": 1, "dinov2": 1, "clip_l": 2, "clip_g": 2, "vision": 1, "vae_encode": 1, "unet_64_batch_2": 2 * steps, "vae_decode": 1}


@torch.no_grad()
def theirs(weights, steps):
    given, total = networks.inputs(), 0
    for network, names in networks.PASSES.items():
        passes = getattr(networks, network)(weights, given)
        for name in names:
            times = [networks.timed(passes[name])[0] for _ in range(calls(steps).get(name, 0))]
            total += sum(times)
            print(f"torch {name:16} {len(times):2} calls {sum(times):8.2f} s", flush=True)
    return total


def ours(a):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(a.threads))
    command = [a.bench, a.weights, "512", str(a.steps), *([] if a.staged else ["--resident"])]
    lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    summary = json.loads(next(line for line in lines.splitlines() if line.startswith("{")))
    for stage, seconds in summary["stages"].items():
        print(f"ours  {stage:10} {seconds:8.2f} s", flush=True)
    return summary["seconds"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("weights")
    ap.add_argument("--bench", required=True)
    ap.add_argument("--steps", type=int, default=6)
    ap.add_argument("--staged", action="store_true")
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    print(f"torch {torch.__version__}, {a.threads} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    mine, other = ours(a), theirs(a.weights, a.steps)
    print(f"whole transfer, {a.steps} steps, {'staged' if a.staged else 'resident'}: ours {mine:.1f} s, torch {other:.1f} s, ratio {mine / other:.2f}")


if __name__ == "__main__":
    main()
