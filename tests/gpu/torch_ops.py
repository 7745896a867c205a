#!/usr/bin/env python3
"""PyTorch's time for the operations of `cargo bench -p kernels --bench gpu`, on the same card, as lines of JSON under the same names.

Every operation is replayed in a CUDA graph, so that Python's own time does not count. Channels last where ours are. `--ceilings` adds
what the card can do at most: a large copy, a large product, an empty graph. `--unet` adds PyTorch's UNet where diffusers is installed.
"""
import json, sys, time
import torch
import torch.nn.functional as F

torch.backends.cudnn.benchmark = True
torch.manual_seed(0)
F16, BF16 = torch.float16, torch.bfloat16


def timed(run, calls=20, rounds=5):
    """Median milliseconds of a call within a graph of `calls` of them."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    graph.replay()
    torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        a, b = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        a.record()
        graph.replay()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b) / calls)
    return sorted(times)[rounds // 2]


def report(name, run, flop=0.0, **more):
    try:
        ms = timed(run)
        line = {"op": name, "ms": round(ms, 4), "tflops": round(flop / ms / 1e9, 1), **more}
    except Exception as error:  # out of memory, or an operation that cannot be captured
        line = {"op": name, "error": str(error)[:200], **more}
    print(json.dumps(line), flush=True)


def random(*shape, dtype=F16):
    return (torch.rand(*shape, device="cuda", dtype=torch.float32) * 2 - 1).to(dtype)


def conv(dtype, b, c, h, w, o, k, stride):
    x = random(b, c, h, w, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight = random(o, c, k, k, dtype=dtype).contiguous(memory_format=torch.channels_last)
    bias = random(o, dtype=dtype)
    name = "f16" if dtype == F16 else "bf16"
    report(f"conv {name} {b} {c} {h} {w} {o} {k} {stride}", lambda: F.conv2d(x, weight, bias, stride, k // 2),
           2.0 * b * c * h * w * o * k * k / stride**2)


def attention(dtype, b, heads, n, m):
    split = lambda x: x.unflatten(2, (heads, 64)).transpose(1, 2)
    q, k, v = (split(random(b, rows, heads * 64, dtype=dtype)) for rows in (n, m, m))
    name = "f16" if dtype == F16 else "bf16"
    report(f"attention {name} {b} {heads} {n} {m}",
           lambda: F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), 4.0 * b * heads * n * m * 64)


def linear(kind, rows, inputs, outputs):
    x, weight, bias = random(2, rows // 2, inputs), random(outputs, inputs), random(outputs)
    skip = random(2, rows // 2, outputs)

    def geglu():
        value, gate = F.linear(x, weight, bias).chunk(2, -1)
        return value * F.gelu(gate)

    run = {"plain": lambda: F.linear(x, weight), "add": lambda: F.linear(x, weight, bias) + skip, "geglu": geglu}[kind]
    report(f"linear {kind} {rows} {inputs} {outputs}", run, 2.0 * rows * inputs * outputs)


def group_norm(dtype, b, c, h, w):
    x = random(b, c, h, w, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight, bias = random(c, dtype=dtype), random(c, dtype=dtype)
    name = "f16" if dtype == F16 else "bf16"
    report(f"group_norm_silu {name} {b} {c} {h} {w}", lambda: F.silu(F.group_norm(x, 32, weight, bias)))


def layer_norm(rows, width):
    x, weight, bias = random(2, rows // 2, width), random(width), random(width)
    report(f"layer_norm {rows} {width}", lambda: F.layer_norm(x, (width,), weight, bias))


def ceilings():
    x = torch.empty(1 << 30, device="cuda", dtype=torch.uint8)
    y = torch.empty_like(x)
    ms = timed(lambda: y.copy_(x), calls=5)
    print(json.dumps({"op": "copy of 1 GiB", "ms": ms, "tb_per_s": 2 * (1 << 30) / ms / 1e9}), flush=True)
    del x, y
    a, b = random(8192, 8192), random(8192, 8192)
    report("product of 8192", lambda: a @ b, 2.0 * 8192**3)
    tiny = random(8, 8)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(10000):
        torch.add(tiny, tiny, out=tiny)
    torch.cuda.synchronize()
    print(json.dumps({"op": "launch torch", "ms": round((time.perf_counter() - begin) / 10, 4)}), flush=True)


def main():
    print(json.dumps({"torch": torch.__version__, "card": torch.cuda.get_device_name(0), "cudnn": torch.backends.cudnn.version()}))
    ceilings()
    for shape in [(2, 320, 128, 128, 320, 3, 1), (2, 640, 64, 64, 640, 3, 1), (2, 1280, 32, 32, 1280, 3, 1),
                  (2, 960, 128, 128, 320, 3, 1), (2, 1920, 64, 64, 640, 3, 1), (2, 2560, 32, 32, 1280, 3, 1),
                  (2, 320, 128, 128, 320, 3, 2), (2, 960, 128, 128, 320, 1, 1), (2, 4, 128, 128, 320, 3, 1),
                  (2, 320, 128, 128, 4, 3, 1), (2, 320, 64, 64, 320, 3, 1), (2, 1280, 16, 16, 1280, 3, 1)]:
        conv(F16, *shape)
    for shape in [(1, 512, 128, 128, 512, 3, 1), (1, 512, 256, 256, 512, 3, 1), (1, 256, 512, 512, 256, 3, 1),
                  (1, 128, 1024, 1024, 128, 3, 1), (1, 128, 1024, 1024, 3, 3, 1)]:
        conv(BF16, *shape)
    for shape in [(2, 10, 4096, 4096), (2, 20, 1024, 1024), (2, 10, 4096, 77), (2, 20, 1024, 77), (2, 10, 1024, 1024),
                  (2, 20, 256, 256), (2, 20, 1024, 16)]:
        attention(F16, *shape)
    attention(BF16, 2, 10, 4096, 4096)
    for kind, *shape in [("plain", 8192, 640, 640), ("add", 8192, 640, 640), ("geglu", 8192, 640, 5120), ("add", 8192, 2560, 640),
                         ("plain", 2048, 1280, 1280), ("add", 2048, 1280, 1280), ("geglu", 2048, 1280, 10240),
                         ("add", 2048, 5120, 1280), ("add", 512, 1280, 1280), ("geglu", 512, 1280, 10240)]:
        linear(kind, *shape)
    for shape in [(2, 320, 128, 128), (2, 960, 128, 128), (2, 640, 64, 64), (2, 1280, 32, 32)]:
        group_norm(F16, *shape)
    group_norm(BF16, 1, 128, 1024, 1024)
    group_norm(BF16, 1, 512, 256, 256)
    layer_norm(8192, 640)
    layer_norm(2048, 1280)
    x = random(2, 640, 64, 64).contiguous(memory_format=torch.channels_last)
    report("nearest 2 640 64 64", lambda: F.interpolate(x, scale_factor=2.0, mode="nearest"))


if __name__ == "__main__":
    sys.exit(main())
