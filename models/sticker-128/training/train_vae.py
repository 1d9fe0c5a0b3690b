"""Trains the autoencoder: L1, edges and a little KL. Writes vae.pt (averaged weights)."""

import argparse
import math
import time

import torch
import torch.nn.functional as F

from networks import make_vae
from pictures import GROUND_COLOURS, compose, load

BATCH = 8


def make_batch(pictures, n):
    rgba = pictures[torch.randint(len(pictures), (n,))].float()
    scale = torch.empty(n).uniform_(0.55, 1.0)
    room = 1 - scale
    ground = GROUND_COLOURS[torch.randint(len(GROUND_COLOURS), (n,))]
    any_colour = torch.rand(n) < 0.3
    ground = torch.where(any_colour[:, None], torch.rand(n, 3), ground)
    dx, dy = (torch.empty(n).uniform_(-1, 1) * room for _ in range(2))
    return compose(rgba, 128, scale, dx, dy, ground)


def edges(x):
    across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
    return torch.cat([down.flatten(1), across.flatten(1)], 1)


def losses(model, x):
    """The sum to minimise, and the mean squared error."""
    with torch.autocast("cpu", torch.bfloat16):
        p = model.encode(x).latent_dist
        z = p.mean + torch.exp(0.5 * p.logvar) * torch.randn_like(p.mean)
        y = model.decode(z).sample
    y, mean, logvar = y.float(), p.mean.float(), p.logvar.float()
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
    mse = F.mse_loss(y, x)
    return (y - x).abs().mean() + (edges(y) - edges(x)).abs().mean() + mse + 5e-4 * kl, mse.item()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("seconds", type=float)
    a = ap.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(2)
    pictures, _ = load("things-vae.txt")
    model, average = make_vae(), make_vae()
    average.load_state_dict(model.state_dict())
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=1e-4)
    start, n, psnr = time.time(), 0, None
    while (spent := time.time() - start) < a.seconds:
        part = spent / a.seconds
        for group in opt.param_groups:
            group["lr"] = 6e-4 * min(1, (n + 1) / 100) * (0.485 * (1 + math.cos(math.pi * part)) + 0.03)
        x = make_batch(pictures, BATCH)
        if part < 0.75:  # crops first: twice as many steps
            cy, cx = torch.randint(65, (2,)).tolist()
            x = x[:, :, cy : cy + 64, cx : cx + 64].contiguous()
        loss, mse = losses(model, x)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        n += 1
        keep = min(0.999, 1 - 1 / (n + 1) if n < 100 else 0.995 if n < 1000 else 0.998)
        with torch.no_grad():
            for old, new in zip(average.parameters(), model.parameters()):
                old.lerp_(new, 1 - keep)
        now = -10 * math.log10(mse / 4)
        psnr = now if psnr is None else psnr * 0.98 + now * 0.02
        if n % 100 == 0 or n == 10:
            print(n, f"{spent:.0f}s psnr {psnr:.2f} {n * BATCH / (time.time() - start):.1f} pictures/s", flush=True)
        if n % 500 == 0:
            torch.save(average.state_dict(), "vae.pt")
    torch.save(average.state_dict(), "vae.pt")


if __name__ == "__main__":
    main()
