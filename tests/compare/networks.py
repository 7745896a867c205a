"""SDXL's networks at full size against diffusers and transformers, on the same random weights: error and seconds.

    cargo bench -p pipeline --bench full_size -- WEIGHTS     # writes the weights (11 GB) once
    cargo build --release --workspace --example full_size
    python tests/compare/networks.py WEIGHTS [--example PATH] [NETWORK ...]

NETWORK is unet, vae, clip_l, clip_g or vision. Fails where the largest difference exceeds 1e-3 of the largest value. Both
sides compute in f32 on the CPU with as many threads as there are cores; each forward pass is timed after one warm-up.
Needs about 11 GB of memory (one network at a time, one side at a time) and the packages in requirements.txt.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import load_file, save_file

LIMIT = 1e-3
SIDE = 64  # of the latent: pictures of 512 x 512


def inputs():
    g = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=g)
    ids = torch.randint(1, 49000, (1, 77), generator=g)
    ids[0, 0], ids[0, 20:] = 49406, 49407
    return {
        "ids": ids.to(torch.int64),
        "pixels": normal(1, 3, 224, 224),
        "picture": normal(1, 3, 8 * SIDE, 8 * SIDE).clamp(-1, 1),
        "latent": normal(1, 4, SIDE, SIDE),
        "context": normal(1, 77, 2048),
        "pooled": normal(1, 1280),
        "timestep": torch.tensor(500.0),
    }


def loaded(network, path):
    """The network with a file's weights; some versions of transformers leave the prefix away that files have."""
    state = {k: v.float() for k, v in load_file(path).items()}
    wanted = network.state_dict()
    if not any(k in wanted for k in state):
        state = {k.removeprefix("text_model."): v for k, v in state.items()}
    missing = [k for k in network.load_state_dict(state, strict=False).missing_keys if not k.endswith("position_ids")]
    assert not missing, missing
    return network.eval()


def clip_text(width, layers, heads, activation, projected):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=4 * width,
                            hidden_act=activation, projection_dim=1280 if projected else 768, eos_token_id=49407)
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def clip_l(weights, given):
    net = loaded(clip_text(768, 12, 12, "quick_gelu", False), f"{weights}/checkpoint/text_encoder/model.safetensors")
    yield "clip_l", lambda: {"clip_l.penultimate": net(given["ids"], output_hidden_states=True).hidden_states[-2]}


def clip_g(weights, given):
    net = loaded(clip_text(1280, 32, 20, "gelu", True), f"{weights}/checkpoint/text_encoder_2/model.safetensors")

    def run():
        out = net(given["ids"], output_hidden_states=True)
        return {"clip_g.penultimate": out.hidden_states[-2], "clip_g.pooled": out.text_embeds}

    yield "clip_g", run


def vision(weights, given):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, intermediate_size=5120,
                              patch_size=14, image_size=224, hidden_act="gelu", projection_dim=1024)
    net = loaded(CLIPVisionModelWithProjection(config), f"{weights}/clip_vision.safetensors")

    def run():
        out = net(given["pixels"], output_hidden_states=True)
        return {"vision.embedding": out.image_embeds, "vision.penultimate": out.hidden_states[-2]}

    yield "vision", run


def vae(weights, given):
    from diffusers import AutoencoderKL

    net = AutoencoderKL(in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, norm_num_groups=32,
                        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4)
    net = loaded(net, f"{weights}/checkpoint/vae/diffusion_pytorch_model.safetensors")
    yield "vae_encode", lambda: {"vae.mean": net.encode(given["picture"]).latent_dist.mean}
    yield "vae_decode", lambda: {"vae.picture": net.decode(given["latent"]).sample}


def unet(weights, given):
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(
        in_channels=4, out_channels=4, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    net = loaded(net, f"{weights}/checkpoint/unet/diffusion_pytorch_model.safetensors")
    side = float(8 * SIDE)
    sizes = torch.tensor([[side, side, 0.0, 0.0, side, side]])
    added = {"text_embeds": given["pooled"], "time_ids": sizes}
    yield "unet", lambda: {"unet.output": net(given["latent"], given["timestep"], given["context"],
                                              added_cond_kwargs=added).sample}


def ours(example, weights, folder, name):
    """Outputs and seconds of the Rust side."""
    out = os.path.join(folder, name + ".safetensors")
    command = [example, weights, os.path.join(folder, "inputs.safetensors"), out, name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    return load_file(out), {k: float(v) for k, v in (line.split() for line in lines if line)}


@torch.no_grad()
def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("weights")
    ap.add_argument("networks", nargs="*", default=["clip_l", "clip_g", "vision", "vae", "unet"])
    ap.add_argument("--example", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/examples/full_size"))
    a = ap.parse_intermixed_args()
    torch.set_num_threads(os.cpu_count())
    given, bad = inputs(), 0
    with tempfile.TemporaryDirectory() as folder:
        save_file(given, os.path.join(folder, "inputs.safetensors"))
        for name in a.networks:
            outputs, seconds = ours(a.example, a.weights, folder, name)
            for part, run in globals()[name](a.weights, given):
                run()
                begin = time.time()
                want = run()
                torch_seconds = time.time() - begin
                for key, tensor in want.items():
                    error = ((outputs[key].float() - tensor).abs().max() / tensor.abs().max()).item()
                    bad += not error <= LIMIT
                    print(f"{key:20} relative error {error:.1e} of {LIMIT:.0e}", flush=True)
                ratio = torch_seconds / seconds[part]
                print(f"{part:20} {seconds[part]:.2f} s, torch {torch_seconds:.2f} s: {ratio:.2f} times as fast", flush=True)
    sys.exit(int(bad > 0))


if __name__ == "__main__":
    main()
