"""Trains text encoder and U-Net together on pooled latents. Writes tokenizer/ and unet.pt (averaged)."""

import argparse
import math
import time

import torch
from transformers import CLIPTokenizer

from captions import Lessons
from networks import make_text_encoder, make_unet
from tokenizer import make_tokenizer

BATCH = 32


class PlainAttention:
    """Attention as plain batched products: several times faster to train on a CPU than the fused one."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None, **_):
        x = hidden_states
        context = x if encoder_hidden_states is None else encoder_hidden_states
        b, n, _ = x.shape
        q, k, v = (
            y.view(b, y.shape[1], attn.heads, -1).transpose(1, 2)
            for y in (attn.to_q(x), attn.to_k(context), attn.to_v(context))
        )
        weights = torch.softmax((q @ k.transpose(-1, -2)) * attn.scale, -1).to(v.dtype)
        return attn.to_out[0]((weights @ v).transpose(1, 2).reshape(b, n, -1))


def alphas_cumprod():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return torch.cumprod(1 - betas, 0)


def tokenize(captions):
    """Ids of the captions [N, 77], of the empty prompt [77], and the vocabulary's size."""
    n_vocab = make_tokenizer("tokenizer", Lessons().vocabulary(), 1800)
    tokenizer = CLIPTokenizer.from_pretrained("tokenizer")
    pad = dict(padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    return tokenizer(captions, **pad).input_ids, tokenizer([""], **pad).input_ids[0], n_vocab


class Average:
    """Exponential average of several modules' parameters."""

    def __init__(self, modules):
        self.modules = modules
        self.values = [p.detach().clone() for p in self.parameters()]

    def parameters(self):
        return [p for m in self.modules.values() for p in m.parameters()]

    def update(self, weight):
        with torch.no_grad():
            torch._foreach_lerp_(self.values, [p.detach() for p in self.parameters()], weight)

    def save(self, path, **more):
        values, states = iter(self.values), {}
        for name, module in self.modules.items():
            state = dict(module.state_dict())
            state.update({key: next(values).clone() for key, _ in module.named_parameters()})
            states[name] = state
        torch.save(dict(states, **more), path)


def loss_of(unet, text_encoder, z, ids, alphas):
    """Mean squared error of v (Salimans and Ho 2022) at random steps. z: [B, 4, 16, 16]."""
    t = torch.randint(1000, (len(z),))
    noise = torch.randn_like(z)
    a = alphas[t][:, None, None, None]
    with torch.autocast("cpu", torch.bfloat16):
        states = text_encoder(ids).last_hidden_state
        y = unet(a.sqrt() * z + (1 - a).sqrt() * noise, t, states).sample
    return (y.float() - (a.sqrt() * noise - (1 - a).sqrt() * z)).pow(2).mean()


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("seconds", type=float)
    ap.add_argument("pool")
    ap.add_argument("--resume", help="an earlier unet.pt")
    a = ap.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    pool = torch.load(a.pool)
    ids, empty, n_vocab = tokenize(pool["captions"])
    modules = dict(text_encoder=make_text_encoder(n_vocab), unet=make_unet())
    if a.resume:
        state = torch.load(a.resume)
        for name, module in modules.items():
            module.load_state_dict(state[name])
    average = Average(modules)
    modules["unet"].set_attn_processor(PlainAttention())
    unet, alphas = torch.compile(modules["unet"]), alphas_cumprod()
    opt = torch.optim.AdamW(average.parameters(), lr=5e-4, betas=(0.9, 0.99), weight_decay=1e-2)
    start, n, smooth = time.time(), 0, None
    while (spent := time.time() - start) < a.seconds:
        decay = 0.485 * (1 + math.cos(math.pi * spent / a.seconds)) + 0.03
        for group in opt.param_groups:
            group["lr"] = 8e-4 * min(1, (n + 1) / 100) * decay
        j = torch.randint(len(ids), (BATCH,))
        z = (pool["mean"][j].float() + pool["std"][j].float() * torch.randn(BATCH, 4, 16, 16)) * pool["scale"]
        words = ids[j].clone()
        words[torch.rand(BATCH) < 0.1] = empty  # for classifier-free guidance
        loss = loss_of(unet, modules["text_encoder"], z, words, alphas)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(average.parameters(), 1.0)
        opt.step()
        n += 1
        average.update(0.004 if n > 500 else 0.02)
        smooth = loss.item() if smooth is None else smooth * 0.99 + loss.item() * 0.01
        if n % 100 == 0 or n == 10:
            print(n, f"{spent:.0f}s loss {smooth:.4f} {n * BATCH / (time.time() - start):.1f} pictures/s", flush=True)
        if n % 500 == 0:
            average.save("unet.pt", scale=pool["scale"])
    average.save("unet.pt", scale=pool["scale"])


if __name__ == "__main__":
    main()
