"""Prints how often ground and thing are the ones asked for, and writes a sheet of pictures."""

import argparse
import random

import torch
import torch.nn.functional as F
from PIL import Image

from captions import Lessons, article
from networks import load_pipeline
from pictures import GROUND_COLOURS, GROUNDS, compose, read_lines

MORE = """a pixel art pizza on a blue background
a blurry cookie on a pink background
a black and white tulip on a gray background
an owl silhouette on an orange background
a tiny rocket on a black background
a large strawberry on a teal background
a sailboat
a blue pizza
pixel art fox, purple background
a hamburger on white
a guitar silhouette on a yellow background
a lemon""".splitlines()


def generate(pipeline, prompts, seed):
    """[B, 3, 128, 128], 0..1"""
    return pipeline(
        prompts,
        width=128,
        height=128,
        guidance_scale=4.0,
        num_inference_steps=15,
        generator=[torch.Generator().manual_seed(seed + i) for i in range(len(prompts))],
        output_type="pt",
    ).images


def rank_of_thing(lessons, candidates, picture, ground, wanted):
    """How many other things' emoji on that ground are nearer to the picture, at a quarter of the size."""
    none = torch.zeros(1)
    distances = []
    for j in candidates:
        emoji = compose(lessons.pictures[j : j + 1].float(), 128, torch.tensor([0.76]), none, none, ground)
        distances.append((F.avg_pool2d((emoji + 1) / 2, 4) - F.avg_pool2d(picture, 4)).pow(2).mean().item())
    return sum(d < distances[candidates.index(wanted)] for d in distances)


def write_sheet(pictures, path, columns=12):
    rows = [torch.cat(list(pictures[i : i + columns]), 2) for i in range(0, len(pictures), columns)]
    sheet = (torch.cat(rows, 1).clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(sheet).save(path)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("sheet")
    ap.add_argument("--count", type=int, default=64)
    a = ap.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    pipeline, lessons, r = load_pipeline(), Lessons(), random.Random(11)
    pipeline.set_progress_bar_config(disable=True)
    candidates = [lessons.names.index(n) for n in read_lines("things-v1.txt")]
    things = (candidates * (a.count // len(candidates) + 1))[: a.count]
    grounds = [r.randrange(len(GROUNDS)) for _ in things]
    prompts = [
        f"{article(lessons.names[i])} on {article(GROUNDS[g])} background" for i, g in zip(things, grounds)
    ]
    x = torch.cat([generate(pipeline, prompts[k : k + 16], k) for k in range(0, a.count, 16)])
    colours = GROUND_COLOURS[grounds]
    border = torch.cat([x[:, :, :6].flatten(2), x[:, :, -6:].flatten(2)], 2).median(2).values
    nearest = [(GROUND_COLOURS - b).abs().sum(1).argmin().item() for b in border]
    ranks = [
        rank_of_thing(lessons, candidates, x[k : k + 1], colours[k : k + 1], things[k]) for k in range(a.count)
    ]
    print(f"ground right {sum(p == q for p, q in zip(nearest, grounds))}/{a.count},"
          f" mean error {255 * (border - colours).abs().mean():.1f} levels")
    print(f"thing nearest {sum(k == 0 for k in ranks)}/{a.count}, among five {sum(k < 5 for k in ranks)}/{a.count}")
    write_sheet(torch.cat([x[:36], generate(pipeline, MORE, 99)]), a.sheet)


if __name__ == "__main__":
    main()
