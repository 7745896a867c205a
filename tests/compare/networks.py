"""SDXL's networks at full size beside PyTorch's on the same random weights: error, seconds, peak memory.

    cargo bench -p pipeline --bench full_size -- WEIGHTS     # writes the weights (11 GB) once
    cargo build --release --workspace --example full_size
    python tests/compare/networks.py WEIGHTS [--rounds 3] [--threads 2] [--candle] [--no-torch] [PASS ...]

PASS is one of those in PASSES below (all, unless named). Each side loads a network once and then takes turns with the other: a pass of
PyTorch, a pass of ours, and so on for ROUNDS rounds after one warm-up each; medians, and the spread in brackets. With
--candle a third process joins that runs the same network on candle's own operations (KERNELS_ISA=reference), three times at most;
with --int8 one that runs the UNet with its linear layers on 8-bit integers, of which the error (RMS) is told and not judged.
All else computes in f32. Fails where the largest difference exceeds 1e-4 of the largest value. Memory: 17 GB for both UNets at
once. --no-torch leaves PyTorch out, for our own times and memory. Packages: requirements.txt.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

LIMIT = 1e-4
HERE = os.path.dirname(os.path.abspath(__file__))
PASSES = {
    "clip_l": ["clip_l"],
    "clip_g": ["clip_g"],
    "vision": ["vision"],
    "dinov2": ["dinov2"],
    "u2net": ["u2net"],
    "vae": ["vae_encode", "vae_decode"],
    "unet": ["unet_64", "unet_64_batch_2", "unet_128"],
}


def inputs():
    g = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    ids = torch.randint(1, 49000, (1, 77), generator=g)
    ids[0, 0], ids[0, 20:] = 49406, 49407
    return {
        "ids": ids.to(torch.int64),
        "pixels": normal(1, 3, 224, 224),
        "patches": normal(1, 3, 518, 518),
        "mask_picture": normal(1, 3, 320, 320),
        "picture": normal(1, 3, 512, 512).clamp(-1, 1),
        "latent_64": normal(1, 4, 64, 64),
        "latent_128": normal(1, 4, 128, 128),
        "context": normal(1, 77, 2048),
        "pooled": normal(1, 1280),
        "timestep": torch.tensor(500.0),
    }


def loaded(network, state):
    """The network with a file's weights; some versions of transformers leave the prefix away that files have."""
    wanted = network.state_dict()
    if not any(k in wanted for k in state):
        state = {k.removeprefix("text_model."): v for k, v in state.items()}
    missing = [k for k in network.load_state_dict(state, strict=False).missing_keys if not k.endswith("position_ids")]
    assert not missing, missing
    return network.eval()


def tensors(path):
    return {k: v.float() for k, v in load_file(path).items()}


def clip_text(width, layers, heads, activation, projected):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width,
                            hidden_act=activation, projection_dim=1280 if projected else 768, eos_token_id=49407)
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def clip_l(weights, given):
    net = loaded(clip_text(768, 12, 12, "quick_gelu", False), tensors(f"{weights}/checkpoint/text_encoder/model.safetensors"))
    return {"clip_l": lambda: {"clip_l": net(given["ids"], output_hidden_states=True).hidden_states[-2]}}


def clip_g(weights, given):
    net = loaded(clip_text(1280, 32, 20, "gelu", True), tensors(f"{weights}/checkpoint/text_encoder_2/model.safetensors"))

    def run():
        out = net(given["ids"], output_hidden_states=True)
        return {"clip_g": out.hidden_states[-2], "clip_g.pooled": out.text_embeds}

    return {"clip_g": run}


def vision(weights, given):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, intermediate_size=5120,
                              patch_size=14, image_size=224, hidden_act="gelu", projection_dim=1024)
    net = loaded(CLIPVisionModelWithProjection(config), tensors(f"{weights}/clip_vision.safetensors"))

    def run():
        out = net(given["pixels"], output_hidden_states=True)
        return {"vision.embedding": out.image_embeds, "vision": out.hidden_states[-2]}

    return {"vision": run}


def dinov2(weights, given):
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14)
    net = Dinov2Model(config)
    names = {"attention.attention.query": "q_proj", "attention.attention.key": "k_proj",
             "attention.attention.value": "v_proj", "attention.output.dense": "o_proj"}
    renamed = "encoder.layer.0.attention.q_proj.weight" in net.state_dict()  # since transformers 5
    state = {}
    for name, value in tensors(f"{weights}/depth.safetensors").items():
        name = name.removeprefix("backbone.")
        for old, new in names.items() if renamed else ():
            name = name.replace(old, f"attention.{new}")
        state[name] = value
    net = loaded(net, state)
    return {"dinov2": lambda: {"dinov2": net(given["patches"]).last_hidden_state[:, 1:]}}


def u2net(weights, given):
    sys.path.insert(0, os.path.join(HERE, "../../training/mask"))
    from network import MaskNet

    widths = [(32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512), (256, 512), (128, 256), (64, 128), (32, 64), (16, 64)]
    stages = "stage1 stage2 stage3 stage4 stage5 stage6 stage5d stage4d stage3d stage2d stage1d".split()
    kinds = "7 6 5 4 4F 4F 4F 4 5 6 7".split()
    net = MaskNet([(stage, kind, *width) for stage, kind, width in zip(stages, kinds, widths)])
    stored = tensors(f"{weights}/background.safetensors")
    state = {}
    for name, value in stored.items():
        layer, _, role = name.rpartition(".")
        if layer.endswith("conv_s1"):  # folds the BatchNorm, as for inference
            bn = layer.replace("conv_s1", "bn_s1")
            scale = stored[f"{bn}.weight"] / (stored[f"{bn}.running_var"] + 1e-5).sqrt()
            shift = stored[f"{bn}.bias"] - stored[f"{bn}.running_mean"] * scale
            value = value * scale.view(-1, 1, 1, 1) if role == "weight" else value * scale + shift
        if "bn_s1" not in name:
            state[name] = value
    net = loaded(net, state)
    return {"u2net": lambda: {"u2net": net(given["mask_picture"])[0].sigmoid()}}


def vae(weights, given):
    from diffusers import AutoencoderKL

    net = AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, norm_num_groups=32,
                        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4)
    net = loaded(net, tensors(f"{weights}/checkpoint/vae/diffusion_pytorch_model.safetensors"))
    return {"vae_encode": lambda: {"vae_encode": net.encode(given["picture"]).latent_dist.mean},
            "vae_decode": lambda: {"vae_decode": net.decode(given["latent_64"]).sample}}


def unet(weights, given):
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    net = loaded(net, tensors(f"{weights}/checkpoint/unet/diffusion_pytorch_model.safetensors"))

    def run(name, latent, batch):
        side = 8.0 * given[latent].shape[-1]
        x, context, pooled = (given[key].repeat(batch, *(1,) * (given[key].dim() - 1)) for key in (latent, "context", "pooled"))
        added = {"text_embeds": pooled, "time_ids": torch.tensor([[side, side, 0.0, 0.0, side, side]] * batch)}
        return lambda: {name: net(x, given["timestep"], context, added_cond_kwargs=added).sample}

    return {"unet_64": run("unet_64", "latent_64", 1), "unet_64_batch_2": run("unet_64_batch_2", "latent_64", 2),
            "unet_128": run("unet_128", "latent_128", 1)}


class Ours:
    """A process that runs passes of one network when told to."""

    def __init__(self, a, folder, network, form=None):
        self.out = os.path.join(folder, f"{network}-{form or 'ours'}.safetensors")
        environment = dict(os.environ, RAYON_NUM_THREADS=str(a.threads), **({"KERNELS_ISA": form} if form else {}))
        command = [a.example, a.weights, os.path.join(folder, "inputs.safetensors"), self.out, network]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def seconds(self, name):
        print(name, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def finish(self):
        """The last results, and the peak memory in GiB."""
        self.process.stdin.close()
        peak = int(self.process.stdout.readline().split()[1]) / 2**30
        assert self.process.wait() == 0
        return load_file(self.out), peak


def timed(run):
    begin = time.perf_counter()
    result = run()
    return time.perf_counter() - begin, result


def typical(times):
    return f"{statistics.median(times):8.2f} [{min(times):.2f}-{max(times):.2f}]"


@torch.no_grad()
def compare(a, folder, network, names, given):
    """Prints a line for each pass; returns how many results are off."""
    theirs = {} if a.no_torch else globals()[network](a.weights, given)
    ours = Ours(a, folder, network)
    int8 = Ours(a, folder, "unet_int8") if a.int8 and network == "unet" else None
    candle = Ours(a, folder, network, "reference") if a.candle else None
    wanted, times = {}, {}
    for name in names:
        times[name] = torch_times, our_times, candle_times, int8_times = [], [], [], []
        for turn in range(a.rounds + 1):
            if theirs:
                seconds, result = timed(theirs[name])
                wanted |= result
                torch_times.append(seconds)
            our_times.append(ours.seconds(name))
            if int8:
                int8_times.append(int8.seconds(name))
            if candle and turn < 3:
                candle_times.append(candle.seconds(name))
        for side in times[name]:
            del side[:1]  # the warm-up
    got, peak = ours.finish()
    if candle:
        candle.finish()
    for name in names:
        torch_times, our_times, candle_times, int8_times = times[name]
        parts = [f"{name:16} ours {typical(our_times)} s"]
        if torch_times:
            parts.append(f"torch {typical(torch_times)} s, ratio {statistics.median(our_times) / statistics.median(torch_times):.2f}")
        if candle_times:
            parts.append(f"candle {typical(candle_times)} s, ratio {statistics.median(our_times) / statistics.median(candle_times):.2f}")
        if int8_times:
            parts.append(f"int8 {typical(int8_times)} s, ratio {statistics.median(int8_times) / statistics.median(our_times):.2f}")
        print("; ".join(parts), flush=True)
    bad = 0
    if int8:
        rounded, int8_peak = int8.finish()
        for name in names:
            error = ((rounded[name] - got[name]).square().mean() / got[name].square().mean()).sqrt().item()
            print(f"{name:16} int8 beside f32: relative error (RMS) {error:.1e}", flush=True)
        print(f"{network:16} int8 peak memory {int8_peak:.2f} GiB", flush=True)
    for name, tensor in wanted.items():
        error = ((got[name].float() - tensor).abs().max() / tensor.abs().max()).item()
        bad += not error <= LIMIT
        print(f"{name:16} relative error {error:.1e} of {LIMIT:.0e}", flush=True)
    print(f"{network:16} our peak memory {peak:.2f} GiB", flush=True)
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("weights")
    ap.add_argument("passes", nargs="*")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, default=os.cpu_count())
    ap.add_argument("--candle", action="store_true")
    ap.add_argument("--int8", action="store_true")
    ap.add_argument("--no-torch", action="store_true")
    ap.add_argument("--example", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/examples/full_size"))
    a = ap.parse_intermixed_args()
    unknown = set(a.passes) - {name for names in PASSES.values() for name in names}
    if unknown:
        ap.error(f"no pass {', '.join(sorted(unknown))}")
    torch.set_num_threads(a.threads)
    given, bad = inputs(), 0
    print(f"torch {torch.__version__}, {a.threads} threads, {a.rounds} rounds, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        save_file(given, os.path.join(folder, "inputs.safetensors"))
        for network, names in PASSES.items():
            names = [name for name in names if name in a.passes or not a.passes]
            if names:
                bad += compare(a, folder, network, names, given)
    sys.exit(int(bad > 0))


if __name__ == "__main__":
    main()
