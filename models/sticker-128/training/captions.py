"""What sticker-128 is taught: one thing, a ground, a size, a style; and the words for it."""

import torch
import torch.nn.functional as F

from pictures import GROUND_COLOURS, GROUNDS, compose, load

# name: side of the thing over side of the picture; how often it is drawn
SIZES = {"tiny": (0.42, 0.1), "small": (0.58, 0.15), "": (0.76, 0.6), "large": (0.95, 0.15)}
STYLES = {"": 0.62, "pixel art": 0.11, "black and white": 0.09, "silhouette": 0.08, "blurry": 0.10}
LUMA = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
MORE_WORDS = "a an on of sticker background , with and the photo picture painting cute"


def article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def caption(r, thing, ground, size, style):
    if style == "silhouette":
        what = " ".join(x for x in (size, thing) if x) + " silhouette"
    else:
        what = " ".join(x for x in (style, size, thing) if x)
    k = r.random()
    if ground == "white" and k < 0.35:
        return r.choice([what, article(what)])
    if k < 0.55:
        return f"{article(what)} on {article(ground)} background"
    if k < 0.75:
        return f"{what}, {ground} background"
    if k < 0.9:
        return f"a sticker of {article(what)} on {ground}"
    return f"{article(what)} on {ground}"


def apply_style(x, style):
    """x: [B, 3, 128, 128], -1..1"""
    if style == "pixel art":
        return F.interpolate(F.avg_pool2d(x, 8), scale_factor=8, mode="nearest")
    if style == "black and white":
        return (x * LUMA).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    if style == "blurry":
        soft = F.avg_pool2d(F.pad(x, (8,) * 4, mode="replicate"), 16, 4)
        return F.interpolate(soft, size=(128, 128), mode="bicubic", align_corners=False).clamp(-1, 1)
    return x


class Lessons:
    """The things to draw, and random pictures of them with captions."""

    def __init__(self, path="things.txt"):
        self.pictures, self.names = load(path)

    def draw_one(self, r, i):
        ground = r.randrange(len(GROUNDS))
        size = r.choices(list(SIZES), [p for _, p in SIZES.values()])[0]
        style = r.choices(list(STYLES), list(STYLES.values()))[0]
        scale = SIZES[size][0] * r.uniform(0.95, 1.05)
        room = 1 - min(scale, 1)
        jitter = (0.35 if size else 0.15) * room
        picture = self.pictures[i : i + 1].float()
        colour = GROUND_COLOURS[ground : ground + 1]
        if style == "silhouette":
            ink = 0.08 if colour.mean() > 0.3 else 0.92
            picture = torch.cat([picture[:, 3:] * ink] * 3 + [picture[:, 3:]], 1)
        dx, dy = r.uniform(-jitter, jitter), r.uniform(-jitter, jitter)
        x = compose(picture, 128, torch.tensor([scale]), torch.tensor([dx]), torch.tensor([dy]), colour)
        return apply_style(x, style).clone(), caption(r, self.names[i], GROUNDS[ground], size, style)

    def draw(self, r, numbers):
        """Numbers of things -> pictures [B, 3, 128, 128] in -1..1, captions."""
        drawn = [self.draw_one(r, i) for i in numbers]
        return torch.cat([x for x, _ in drawn]), [c for _, c in drawn]

    def vocabulary(self):
        text = " ".join(self.names + GROUNDS + list(SIZES) + list(STYLES) + [MORE_WORDS])
        return sorted(set(text.replace(",", " ").split()))
