#!/usr/bin/env python3
"""The operations of crates/kernels beside PyTorch's, at the shapes of SDXL's networks, on the same machine in turns.

    cargo bench -p kernels --no-run          # prints the executable's path
    python tests/compare/kernels_vs_torch.py --bench PATH [--threads 2] [--rounds 3] [--seconds 0.5] [--cpu] [FILTER…]

Every shape is timed `rounds` times on each side, PyTorch and ours in turns; the best round's median counts on both sides.
--cpu counts processor time instead of the clock's, for a machine that others use too (use it with --threads 1).
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the executable of benches/kernels.rs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="for one shape, side and round")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("filters", nargs="*", help="linear, conv, attention, norm, pointwise, or part of a shape's name")
    return parser.parse_args()


def bench(args, extra):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(args.threads))
    command = [args.bench, "--csv", *(["--cpu"] if args.cpu else []), *extra]
    lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split(",") for line in lines[1:]]


def torch_case(name):
    """A function that runs the shape once."""
    import torch
    import torch.nn.functional as F

    kind, *numbers = name.split()
    n = [int(number) for number in numbers]
    if kind == "linear":
        x, weight = torch.randn(n[0], n[1]), torch.randn(n[2], n[1])
        return lambda: F.linear(x, weight)
    if kind == "conv":
        x, weight = torch.randn(1, n[0], n[2], n[3]), torch.randn(n[1], n[0], n[4], n[4])
        return lambda: F.conv2d(x, weight, stride=n[5], padding=n[6])
    if kind == "attention":
        q = torch.randn(1, n[0], n[1], n[3])
        k, v = torch.randn(1, n[0], n[2], n[3]), torch.randn(1, n[0], n[2], n[3])
        return lambda: F.scaled_dot_product_attention(q, k, v)
    if kind.startswith("group_norm"):
        x, weight, bias = torch.randn(1, *n), torch.randn(n[0]), torch.randn(n[0])
        if kind.endswith("silu"):
            return lambda: F.silu(F.group_norm(x, 32, weight, bias))
        return lambda: F.group_norm(x, 32, weight, bias)
    if kind == "layer_norm":
        x, weight, bias = torch.randn(*n), torch.randn(n[1]), torch.randn(n[1])
        return lambda: F.layer_norm(x, (n[1],), weight, bias)
    if kind == "silu":
        x = torch.randn(1, *n)
        return lambda: F.silu(x)
    if kind == "geglu":
        x = torch.randn(*n)

        def geglu():
            value, gate = x.chunk(2, dim=-1)
            return value * F.gelu(gate)

        return geglu
    if kind == "upsample":
        x = torch.randn(1, *n)
        return lambda: F.interpolate(x, scale_factor=2, mode="nearest")
    raise ValueError(name)


def time_torch(args, run):
    """Milliseconds of a call: the median, or with --cpu the mean of processor time."""
    run()
    if args.cpu:
        calls, start, clock = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - clock < args.seconds or calls < 2:
            run()
            calls += 1
        return 1e3 * (time.process_time() - start) / calls
    times, clock = [], time.perf_counter()
    while time.perf_counter() - clock < args.seconds or len(times) < 3:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main():
    args = arguments()
    import torch

    torch.set_num_threads(args.threads)
    names = [row[0] for row in bench(args, ["--list", *args.filters]) if not row[0].startswith("int8")]
    unit = "CPU ms" if args.cpu else "ms"
    print(f"torch {torch.__version__}, {args.threads} threads, {unit}, best of {args.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':36} {'torch':>10} {'ours':>10} {'candle':>10} {'ours/torch':>10} {'ours/candle':>11}")
    ratios = []
    with torch.inference_mode():
        for name in names:
            run = torch_case(name)
            theirs, ours, candle = [], [], []
            for _ in range(args.rounds):
                theirs.append(time_torch(args, run))
                # Alone, as PyTorch runs: beside candle's form ours would find the caches cold.
                alone = ["--exact", name, "--seconds", str(args.seconds)]
                ours.append(float(bench(args, [*alone, "--only-ours"])[0][1]))
                candle.append(float(bench(args, alone)[0][3]))
            t, o, c = min(theirs), min(ours), min(candle)
            ratios.append(o / t)
            print(f"{name:36} {t:10.3f} {o:10.3f} {c:10.3f} {o / t:10.2f} {o / c:11.2f}", flush=True)
    if ratios:
        mean = math.exp(sum(math.log(max(ratio, 1e-9)) for ratio in ratios) / len(ratios))
        print(f"geometric mean of ours/torch: {mean:.2f}; worst {max(ratios):.2f}")


if __name__ == "__main__":
    sys.exit(main())
