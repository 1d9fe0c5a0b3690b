#!/usr/bin/python3
"""Writes a model of SDXL's or SD 1.5's size with weights that mean nothing, as a diffusers folder in float16.

    tests/bench/make_model.py sdxl FOLDER        # 6.9 GB
    tests/bench/make_model.py sd15 FOLDER        # 2.1 GB

The same bytes on every machine. Configurations and tokenizers are those of the small models of the same kind in tests/golden/models,
with the published sizes (https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0, .../stable-diffusion-v1-5).
"""
import hashlib
import json
import os
import shutil
import struct
import sys

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden", "models")

VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "norm_num_groups": 32}
SMALL_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
              "vocab_size": 49408, "projection_dim": 768}
KINDS = {
    "sdxl": ("sdxl", {
        "unet": {"block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
                 "attention_head_dim": [5, 10, 20], "cross_attention_dim": 2048, "norm_num_groups": 32,
                 "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816, "sample_size": 128},
        "vae": {**VAE, "sample_size": 1024},
        "text_encoder": SMALL_TEXT,
        "text_encoder_2": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
                           "num_attention_heads": 20, "vocab_size": 49408, "projection_dim": 1280}}),
    "sd15": ("sd1", {
        "unet": {"block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "cross_attention_dim": 768,
                 "down_block_types": 3 * ["CrossAttnDownBlock2D"] + ["DownBlock2D"],
                 "up_block_types": ["UpBlock2D"] + 3 * ["CrossAttnUpBlock2D"], "layers_per_block": 2,
                 "norm_num_groups": 32, "sample_size": 64},
        "vae": {**VAE, "sample_size": 512},
        "text_encoder": SMALL_TEXT}),
}


class Tensors(dict):
    """Shapes by name."""

    def weights(self, name, *shape, bias=True):
        self[name + ".weight"] = shape
        if bias:
            self[name + ".bias"] = shape[:1]

    def norm(self, name, channels):
        self.weights(name, channels)

    def resnet(self, name, c_in, c_out, time):
        self.norm(name + ".norm1", c_in)
        self.weights(name + ".conv1", c_out, c_in, 3, 3)
        if time:
            self.weights(name + ".time_emb_proj", c_out, time)
        self.norm(name + ".norm2", c_out)
        self.weights(name + ".conv2", c_out, c_out, 3, 3)
        if c_in != c_out:
            self.weights(name + ".conv_shortcut", c_out, c_in, 1, 1)

    def transformer(self, name, c, text, depth, linear):
        kernel = () if linear else (1, 1)
        self.norm(name + ".norm", c)
        self.weights(name + ".proj_in", c, c, *kernel)
        for i in range(depth):
            block = "%s.transformer_blocks.%d." % (name, i)
            for attn, width in (("attn1", c), ("attn2", text)):
                self.weights(block + attn + ".to_q", c, c, bias=False)
                self.weights(block + attn + ".to_k", c, width, bias=False)
                self.weights(block + attn + ".to_v", c, width, bias=False)
                self.weights(block + attn + ".to_out.0", c, c)
            for norm in ("norm1", "norm2", "norm3"):
                self.norm(block + norm, c)
            self.weights(block + "ff.net.0.proj", 8 * c, c)
            self.weights(block + "ff.net.2", c, 4 * c)
        self.weights(name + ".proj_out", c, c, *kernel)


def unet(c):
    t, blocks, layers = Tensors(), c["block_out_channels"], c["layers_per_block"]
    depths = c.get("transformer_layers_per_block") or 1
    depths = depths if isinstance(depths, list) else len(blocks) * [depths]
    text, linear, time = c["cross_attention_dim"], c.get("use_linear_projection", False), 4 * blocks[0]
    t.weights("time_embedding.linear_1", time, blocks[0])
    t.weights("time_embedding.linear_2", time, time)
    if c.get("addition_embed_type"):
        t.weights("add_embedding.linear_1", time, c["projection_class_embeddings_input_dim"])
        t.weights("add_embedding.linear_2", time, time)
    t.weights("conv_in", blocks[0], c["in_channels"], 3, 3)
    now, skips = blocks[0], [blocks[0]]
    for i, kind in enumerate(c["down_block_types"]):
        for j in range(layers):
            t.resnet("down_blocks.%d.resnets.%d" % (i, j), now, blocks[i], time)
            now = blocks[i]
            if kind.startswith("Cross"):
                t.transformer("down_blocks.%d.attentions.%d" % (i, j), now, text, depths[i], linear)
            skips.append(now)
        if i + 1 < len(blocks):
            t.weights("down_blocks.%d.downsamplers.0.conv" % i, now, now, 3, 3)
            skips.append(now)
    t.resnet("mid_block.resnets.0", now, now, time)
    t.transformer("mid_block.attentions.0", now, text, depths[-1], linear)
    t.resnet("mid_block.resnets.1", now, now, time)
    for i, kind in enumerate(c["up_block_types"]):
        level = len(blocks) - 1 - i
        for j in range(layers + 1):
            t.resnet("up_blocks.%d.resnets.%d" % (i, j), now + skips.pop(), blocks[level], time)
            now = blocks[level]
            if kind.startswith("Cross"):
                t.transformer("up_blocks.%d.attentions.%d" % (i, j), now, text, depths[level], linear)
        if level > 0:
            t.weights("up_blocks.%d.upsamplers.0.conv" % i, now, now, 3, 3)
    t.norm("conv_norm_out", now)
    t.weights("conv_out", c["out_channels"], now, 3, 3)
    return t


def vae_middle(t, name, c):
    for i in range(2):
        t.resnet("%s.mid_block.resnets.%d" % (name, i), c, c, 0)
    t.norm(name + ".mid_block.attentions.0.group_norm", c)
    for layer in ("to_q", "to_k", "to_v", "to_out.0"):
        t.weights("%s.mid_block.attentions.0.%s" % (name, layer), c, c)


def vae(c):
    t, blocks, layers, latent = Tensors(), c["block_out_channels"], c["layers_per_block"], c["latent_channels"]
    t.weights("encoder.conv_in", blocks[0], 3, 3, 3)
    now = blocks[0]
    for i, width in enumerate(blocks):
        for j in range(layers):
            t.resnet("encoder.down_blocks.%d.resnets.%d" % (i, j), now, width, 0)
            now = width
        if i + 1 < len(blocks):
            t.weights("encoder.down_blocks.%d.downsamplers.0.conv" % i, now, now, 3, 3)
    vae_middle(t, "encoder", now)
    t.norm("encoder.conv_norm_out", now)
    t.weights("encoder.conv_out", 2 * latent, now, 3, 3)
    t.weights("quant_conv", 2 * latent, 2 * latent, 1, 1)
    t.weights("post_quant_conv", latent, latent, 1, 1)
    t.weights("decoder.conv_in", now, latent, 3, 3)
    vae_middle(t, "decoder", now)
    for i, width in enumerate(reversed(blocks)):
        for j in range(layers + 1):
            t.resnet("decoder.up_blocks.%d.resnets.%d" % (i, j), now, width, 0)
            now = width
        if i + 1 < len(blocks):
            t.weights("decoder.up_blocks.%d.upsamplers.0.conv" % i, now, now, 3, 3)
    t.norm("decoder.conv_norm_out", now)
    t.weights("decoder.conv_out", 3, now, 3, 3)
    return t


def text_encoder(c):
    t, width = Tensors(), c["hidden_size"]
    t["text_model.embeddings.token_embedding.weight"] = (c["vocab_size"], width)
    t["text_model.embeddings.position_embedding.weight"] = (c["max_position_embeddings"], width)
    for i in range(c["num_hidden_layers"]):
        layer = "text_model.encoder.layers.%d." % i
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            t.weights(layer + "self_attn." + name, width, width)
        t.norm(layer + "layer_norm1", width)
        t.norm(layer + "layer_norm2", width)
        t.weights(layer + "mlp.fc1", c["intermediate_size"], width)
        t.weights(layer + "mlp.fc2", width, c["intermediate_size"])
    t.norm("text_model.final_layer_norm", width)
    if c["architectures"] == ["CLIPTextModelWithProjection"]:
        t.weights("text_projection", c["projection_dim"], width, bias=False)
    return t


def float16(noise, exponent):
    """Numbers of either sign in 2^exponent..2^(exponent + 1), from as many bytes of noise."""
    n = len(noise) // 2
    bits = int.from_bytes(noise, "little")
    keep = int.from_bytes(n * b"\xff\x83", "little")
    power = int.from_bytes(n * struct.pack("<H", (exponent + 15) << 10), "little")
    return (bits & keep | power).to_bytes(2 * n, "little")


def write(path, tensors):
    """Rows keep their size: numbers are about 1 / sqrt(numbers of a row)."""
    noise = hashlib.shake_128(b"lithograph").digest(1 << 20)
    blocks, header, at = {}, {}, 0
    for name, shape in tensors.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            left = header[name]["data_offsets"][1] - header[name]["data_offsets"][0]
            if len(shape) == 1:
                file.write(left // 2 * (b"\x00\x3c" if name.endswith("weight") else b"\x00\x00"))
                continue
            row = left // 2 // shape[0]
            exponent = -1 - max(0, row.bit_length() // 2) if "embedding.weight" not in name else -6
            if exponent not in blocks:
                blocks[exponent] = float16(noise, exponent)
            while left > 0:
                left -= file.write(blocks[exponent][:left])


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in KINDS:
        sys.exit(__doc__)
    base, changes = KINDS[sys.argv[1]]
    source, target = os.path.join(GOLDEN, base), sys.argv[2]
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    for part, makes, file in (("unet", unet, "diffusion_pytorch_model"), ("vae", vae, "diffusion_pytorch_model"),
                              ("text_encoder", text_encoder, "model"), ("text_encoder_2", text_encoder, "model")):
        if part not in changes:
            continue
        path = os.path.join(target, part, "config.json")
        with open(path, encoding="utf-8") as f:
            config = {**json.load(f), **changes[part]}
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        write(os.path.join(target, part, file + ".safetensors"), makes(config))


if __name__ == "__main__":
    main()
