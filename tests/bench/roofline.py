#!/usr/bin/python3
"""Work and traffic of one U-Net step on the CUDA backend, kernel by kernel, and the least time for it.

    roofline.py [--f32] [sd15|sdxl]...      the tables of ROOFLINE.md

From the recorded configurations (tests/golden/configs) and what engine/ops/cuda does for each
operation: two samples (with and without the prompt), numbers of 2 bytes (--f32: of 4, multiplied
without tensor cores), every operand read and every result written once, both samples in one call.
A kernel takes at least the larger of FLOPs / peak and bytes / bandwidth; floors are summed over the
calls.
"""
import json
import os
import sys

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "configs")
# NVIDIA's data sheets: dense f16 tensor-core FLOP/s, bytes/s of HBM (SXM cards of 80 GB).
CARDS = {"A100": (312e12, 2039e9), "H100": (989e12, 3350e9)}
SAMPLES, TOKENS, BYTES = 2, 77, 2
if "--f32" in sys.argv:  # the same sheets' FP32
    CARDS = {"A100": (19.5e12, 2039e9), "H100": (67e12, 3350e9)}
    BYTES = 4


class Step:
    def __init__(self):
        self.kernels = {}

    def call(self, name, flops, numbers, times=1):
        """A kernel that moves so many numbers, `times` times."""
        row = self.kernels.setdefault(name, {"calls": 0, "flops": 0, "bytes": 0,
                                             **{card: 0 for card in CARDS}})
        moved = numbers * BYTES
        row["calls"] += times
        row["flops"] += times * flops
        row["bytes"] += times * moved
        for card, (peak, bandwidth) in CARDS.items():
            row[card] += times * max(flops / peak, moved / bandwidth)

    def conv(self, h, w, cin, cout, stride=1, residual=False):
        ho, wo = -(-h // stride), -(-w // stride)
        self.call("convolution 3x3 (cuDNN)", SAMPLES * 2 * ho * wo * cout * cin * 9,
                  SAMPLES * (h * w * cin + ho * wo * cout) + 9 * cin * cout)
        self.call("bias, shift, residual", SAMPLES * 3 * ho * wo * cout,
                  SAMPLES * ho * wo * cout * (3 if residual else 2))

    def linear(self, name, rows, cin, cout, residual=False):
        self.call(name, 2 * rows * cin * cout,
                  rows * cin + cin * cout + rows * cout * (2 if residual else 1))

    def group_norm(self, pixels, channels):
        n = SAMPLES * pixels * channels
        self.call("group norm + SiLU", 10 * n, 3 * n)  # read, read again, written

    def resnet(self, h, w, cin, cout, time):
        self.group_norm(h * w, cin)
        self.conv(h, w, cin, cout)
        self.linear("time embedding", SAMPLES, time, cout)
        self.group_norm(h * w, cout)
        if cin != cout:
            self.linear("linear (cuBLASLt)", SAMPLES * h * w, cin, cout)
        self.conv(h, w, cout, cout, residual=True)

    def attention(self, name, queries, keys, channels, heads):
        padded = heads * (-(-(channels // heads) // 16) * 16)
        self.call(name, 4 * queries * keys * padded * SAMPLES,
                  SAMPLES * (2 * queries + 2 * keys) * channels)

    def transformer(self, h, w, c, text, heads, blocks):
        rows = SAMPLES * h * w
        self.call("group norm + SiLU", 10 * rows * c, 3 * rows * c)
        self.linear("linear (cuBLASLt)", rows, c, c)
        for _ in range(blocks):
            for _ in range(3):
                self.call("layer norm", 8 * rows * c, 2 * rows * c)
            for _ in range(4):  # q, k, v and out of self-attention
                self.linear("linear (cuBLASLt)", rows, c, c)
            self.attention("attention to itself", h * w, h * w, c, heads)
            for _ in range(2):  # q and out; k and v of the text once per picture
                self.linear("linear (cuBLASLt)", rows, c, c)
            self.attention("attention to the text", h * w, TOKENS, c, heads)
            self.linear("linear (cuBLASLt)", rows, c, 8 * c)
            self.call("GEGLU", 12 * rows * 4 * c, rows * 12 * c)
            self.linear("linear (cuBLASLt)", rows, 4 * c, c, residual=True)
        self.linear("linear (cuBLASLt)", rows, c, c, residual=True)


def levels(value, n):
    return value if isinstance(value, list) else [value] * n


def step(config, side):
    c = config["block_out_channels"]
    n, time, text = len(c), 4 * c[0], config["cross_attention_dim"]
    heads = levels(config["attention_head_dim"], n)
    depth = levels(config.get("transformer_layers_per_block", 1), n)
    s, h, skips = Step(), side, [c[0]]
    s.conv(h, h, config["in_channels"], c[0])
    before = c[0]
    for i, kind in enumerate(config["down_block_types"]):
        for _ in range(config["layers_per_block"]):
            s.resnet(h, h, before, c[i], time)
            before = c[i]
            if "CrossAttn" in kind:
                s.transformer(h, h, c[i], text, heads[i], depth[i])
            skips.append(c[i])
        if i + 1 < n:
            s.conv(h, h, c[i], c[i], stride=2)
            h //= 2
            skips.append(c[i])
    s.resnet(h, h, c[-1], c[-1], time)
    s.transformer(h, h, c[-1], text, heads[-1], depth[-1])
    s.resnet(h, h, c[-1], c[-1], time)
    for i, kind in enumerate(config["up_block_types"]):
        k = n - 1 - i
        for _ in range(config["layers_per_block"] + 1):
            skip = skips.pop()
            rows = SAMPLES * h * h
            s.call("concat", 0, 2 * rows * (before + skip))
            s.resnet(h, h, before + skip, c[k], time)
            before = c[k]
            if "CrossAttn" in kind:
                s.transformer(h, h, c[k], text, heads[k], depth[k])
        if i + 1 < n:
            s.call("upsample", 0, SAMPLES * h * h * c[k] * 5)
            h *= 2
            s.conv(h, h, c[k], c[k])
    s.group_norm(h * h, c[0])
    s.conv(h, h, c[0], config["out_channels"])
    return s


def table(title, s):
    print("## %s\n" % title)
    print("| kernel | calls | GFLOP | MB | FLOP/byte | A100, us | H100, us |")
    print("|---|---|---|---|---|---|---|")
    total = {"calls": 0, "flops": 0, "bytes": 0, **{card: 0 for card in CARDS}}
    for name, row in sorted(s.kernels.items(), key=lambda item: -item[1]["A100"]):
        for key in total:
            total[key] += row[key]
        print("| %s | %d | %.1f | %.0f | %.0f | %.0f | %.0f |" % (
            name, row["calls"], row["flops"] / 1e9, row["bytes"] / 1e6, row["flops"] / row["bytes"],
            1e6 * row["A100"], 1e6 * row["H100"]))
    print("| all | %d | %.1f | %.0f | %.0f | %.0f | %.0f |\n" % (
        total["calls"], total["flops"] / 1e9, total["bytes"] / 1e6, total["flops"] / total["bytes"],
        1e6 * total["A100"], 1e6 * total["H100"]))


def main():
    models = {"sd15": ("unet-sd15.json", 64, "Stable Diffusion 1.5, 512x512, one step"),
              "sdxl": ("unet-sdxl.json", 128, "SDXL, 1024x1024, one step")}
    for name in [a for a in sys.argv[1:] if a != "--f32"] or models:
        file, side, title = models[name]
        with open(os.path.join(CONFIGS, file), encoding="utf-8") as f:
            table(title, step(json.load(f), side))


if __name__ == "__main__":
    main()
