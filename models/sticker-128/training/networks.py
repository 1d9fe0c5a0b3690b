"""The shapes of sticker-128's networks, and the pipeline put together from trained files."""

import json

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 192  # of the text states
NOISE = dict(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    num_train_timesteps=1000,
    steps_offset=1,
    timestep_spacing="leading",
    prediction_type="v_prediction",
)


def make_vae():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(24, 48, 96, 128),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=128,
    )


def make_text_encoder(vocab_size):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocab_size,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=3,
            max_position_embeddings=77,
            hidden_act="quick_gelu",
            projection_dim=WIDTH,
            bos_token_id=vocab_size - 2,
            eos_token_id=vocab_size - 1,
            pad_token_id=vocab_size - 1,
        )
    )


def make_unet():
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(64, 128, 192),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        norm_num_groups=16,
    )


def ddim():
    return DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False)


def load_pipeline():
    """tokenizer/, unet.pt and vae.pt as a pipeline with dpmpp_2m and karras."""
    with open("tokenizer/vocab.json") as f:
        text_encoder = make_text_encoder(len(json.load(f)))
    state = torch.load("unet.pt")
    text_encoder.load_state_dict(state["text_encoder"])
    unet = make_unet()
    unet.load_state_dict(state["unet"])
    vae = make_vae()
    vae.load_state_dict(torch.load("vae.pt"))
    vae.register_to_config(scaling_factor=round(state["scale"], 5))
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained("tokenizer"),
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(**NOISE, use_karras_sigmas=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
