"""Draws pictures and encodes them once, so that the U-Net trains on latents."""

import argparse
import random

import torch

from captions import Lessons
from networks import make_vae
from pictures import read_lines

BATCH = 32


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("count", type=int)
    ap.add_argument("out")
    ap.add_argument("--seed", type=int, default=5)
    ap.add_argument("--things", default="things.txt", help="file of the things to draw, one a line")
    a = ap.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(2)
    lessons = Lessons()
    chosen = [lessons.names.index(n) for n in read_lines(a.things)]
    vae = make_vae()
    vae.load_state_dict(torch.load("vae.pt"))
    vae.eval()
    r = random.Random(a.seed)
    mean, std, captions, order = [], [], [], []
    while len(captions) < a.count:
        while len(order) < BATCH:
            order += r.sample(chosen, len(chosen))
        x, words = lessons.draw(r, order[:BATCH])
        order = order[BATCH:]
        with torch.autocast("cpu", torch.bfloat16):
            p = vae.encode(x).latent_dist
        mean.append(p.mean.half())
        std.append(p.std.half())
        captions += words
        if len(captions) % 3200 == 0:
            print(len(captions), flush=True)
    mean, std = torch.cat(mean), torch.cat(std)
    scale = 1 / mean.float().std().item()
    torch.save(dict(mean=mean, std=std, captions=captions, scale=scale), a.out)
    print("scale", scale)


if __name__ == "__main__":
    main()
