"""Names and shapes of the full-size networks as diffusers and transformers define them, on the meta device.

Run: python full_size_names.py > full_size_names.json   (torch 2.15, diffusers 0.42.1, transformers 5.23.0)
"""
import json

import torch
from diffusers import AutoencoderKL, T2IAdapter, UNet2DConditionModel
from transformers import (CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig,
                          CLIPVisionModelWithProjection, DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config)


def unet():
    return UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=[1, 2, 10], attention_head_dim=[5, 10, 20], use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)


def vae():
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)


def clip_l():
    return CLIPTextModel(CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12))


def clip_g():
    return CLIPTextModelWithProjection(CLIPTextConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        projection_dim=1280, hidden_act="gelu"))


def clip_vision():
    return CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16, patch_size=14,
        projection_dim=1024, hidden_act="gelu"))


def t2i():
    return T2IAdapter(in_channels=3, channels=[320, 640, 1280, 1280], num_res_blocks=2, downscale_factor=16,
                      adapter_type="full_adapter_xl")


def depth():
    backbone = Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14,
                            out_indices=[21, 22, 23, 24], reshape_hidden_states=False, apply_layernorm=True)
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=1024, neck_hidden_sizes=[256, 512, 1024, 1024], fusion_hidden_size=256,
        head_hidden_size=32, head_in_index=-1, patch_size=14))


names = {}
for make in (unet, vae, clip_l, clip_g, clip_vision, t2i, depth):
    with torch.device("meta"):
        model = make()
    names[make.__name__] = {k: list(v.shape) for k, v in model.state_dict().items()}
# Published files of CLIP-L have the prefix that transformers 5 no longer gives this class.
names["clip_l"] = {"text_model." + k: v for k, v in names["clip_l"].items()}
# So have those of the depth network: transformers 5 shortened the names inside an attention (docs/reference-pipeline.md 12.6).
SHORTENED = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value", "o_proj": "output.dense"}


def published(name):
    for short, long in SHORTENED.items():
        name = name.replace(f".attention.{short}.", f".attention.{long}.")
    return name


names["depth"] = {published(k): v for k, v in names["depth"].items()}
print("{")
print(",\n".join(f'"{k}": {{\n' + ",\n".join(f"{json.dumps(n)}: {json.dumps(s)}" for n, s in v.items()) + "\n}" for k, v in names.items()))
print("}")
