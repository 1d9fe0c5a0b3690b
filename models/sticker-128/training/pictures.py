"""Sticker pictures: one emoji on a coloured ground."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

SIDE = 136  # of an emoji's canvas, pixels

PALETTE = {
    "white": (245, 245, 245),
    "black": (25, 25, 25),
    "gray": (128, 128, 128),
    "red": (214, 48, 49),
    "orange": (243, 128, 33),
    "yellow": (250, 211, 72),
    "green": (56, 158, 83),
    "teal": (32, 160, 150),
    "blue": (45, 105, 205),
    "sky blue": (135, 195, 240),
    "purple": (125, 70, 180),
    "pink": (245, 160, 190),
    "brown": (125, 80, 50),
    "beige": (232, 215, 185),
}
GROUNDS = list(PALETTE)
GROUND_COLOURS = torch.tensor(list(PALETTE.values())).float() / 255  # [14, 3], 0..1


def read_lines(path):
    with open(path) as f:
        return f.read().splitlines()


def load(path):
    """Premultiplied RGBA [N, 4, 136, 136] (float16, 0..1) of the things named in a file, and the names."""
    with open("emoji.json") as f:
        files = {item["name"]: item["file"] for item in json.load(f)}
    names = read_lines(path)
    pictures = []
    for name in names:
        canvas = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
        canvas.paste(Image.open(files[name]).convert("RGBA"), (0, 4))
        a = np.asarray(canvas, dtype=np.float32) / 255.0
        a[..., :3] *= a[..., 3:]
        pictures.append(a.transpose(2, 0, 1))
    return torch.from_numpy(np.stack(pictures)).half(), names


def compose(rgba, size, scale, dx, dy, ground):
    """Places emoji on grounds.

    rgba    [B, 4, 136, 136] premultiplied
    scale   [B] emoji side over canvas side
    dx, dy  [B] shift, canvas half-widths
    ground  [B, 3], 0..1
    returns [B, 3, size, size], -1..1
    """
    b = rgba.shape[0]
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, 0, 2] = -dx / scale
    theta[:, 1, 2] = -dy / scale
    grid = F.affine_grid(theta, (b, 4, size * 2, size * 2), align_corners=False)
    x = F.grid_sample(rgba, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    x = F.avg_pool2d(x, 2)
    return (x[:, :3] + ground[:, :, None, None] * (1 - x[:, 3:])) * 2 - 1
