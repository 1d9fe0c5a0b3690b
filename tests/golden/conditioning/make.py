"""States of prompts with emphasis, clip skip, embeddings and two text encoders, by transformers.

    python make.py MODELS OUT        # torch, transformers, safetensors; MODELS: ../models

The chunks are written out below as AUTOMATIC1111 makes them (texts with their weights); token ids,
encoders and the arithmetic are transformers' and torch's.
"""
import json, os, sys
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.set_grad_enabled(False)
models, out = sys.argv[1:3]

# prompt, and its chunks: texts and weights
EMPHASIS = "a (red:1.4) [apple], (castle:0.3) at night", [
    [("a ", 1), ("red", 1.4), (" ", 1), ("apple", 1 / 1.1), (", ", 1), ("castle", 0.3), (" at night", 1)]]
LITERAL = EMPHASIS[0], [[(EMPHASIS[0], 1)]]
LONG = "a (red:1.4) fox BREAK at [night]", [
    [("a ", 1), ("red", 1.4), (" fox", 1)], [("at ", 1), ("night", 1 / 1.1)]]
EMBEDDED = "a (fox in moss:1.2) at night", [[("a ", 1), ("fox in ", 1.2), (0, 1.2), (1, 1.2), (2, 1.2), (" at night", 1)]]

CASES = [  # name, model, prompt, emphasis, clip skip
    ("original", "sd1", EMPHASIS, "original", 1), ("no_norm", "sd1", EMPHASIS, "no_norm", 1),
    ("ignore", "sd1", EMPHASIS, "ignore", 1), ("none", "sd1", LITERAL, "none", 1),
    ("skip_2", "sd1", EMPHASIS, "original", 2), ("embedded", "sd1", EMBEDDED, "original", 1),
    ("sd2_long", "sd2", LONG, "original", 1),
    ("xl", "sdxl", EMPHASIS, "original", 1), ("xl_no_norm", "sdxl", EMPHASIS, "no_norm", 2),
    ("xl_skip_3", "sdxl", EMPHASIS, "original", 3), ("xl_long", "sdxl", LONG, "original", 1),
    ("xl_embedded", "sdxl", EMBEDDED, "original", 1),
]


def load(model):
    folder = f"{models}/{model}"
    pairs = [(CLIPTokenizer.from_pretrained(folder + "/tokenizer"), CLIPTextModel.from_pretrained(folder + "/text_encoder"))]
    if model == "sdxl":
        pairs.append((CLIPTokenizer.from_pretrained(folder + "/tokenizer_2"),
                      CLIPTextModelWithProjection.from_pretrained(folder + "/text_encoder_2")))
    return [(t, e.float().eval()) for t, e in pairs]


def rows(tokenizer, chunk):
    """77 ids (a vector is ("vector", i)) and weights."""
    ids, weights = [], []
    for text, weight in chunk:
        new = [("vector", text)] if isinstance(text, int) else tokenizer([text], add_special_tokens=False).input_ids[0]
        ids += new
        weights += [weight] * len(new)
    ids = [tokenizer.bos_token_id] + ids + [tokenizer.eos_token_id]
    pad = tokenizer.pad_token_id
    return ids + [pad] * (77 - len(ids)), [1] + weights + [1] * (76 - len(weights))


def encode(tokenizer, encoder, chunk, vectors, emphasis, skip, xl):
    ids, weights = rows(tokenizer, chunk)
    places = [(at, i[1]) for at, i in enumerate(ids) if isinstance(i, tuple)]
    plain = torch.tensor([[0 if isinstance(i, tuple) else i for i in ids]])

    def put(module, args, output):
        for at, i in places:
            output[0, at] = vectors[i]
        return output

    hook = encoder.get_input_embeddings().register_forward_hook(put)
    o = encoder(plain, output_hidden_states=True)
    hook.remove()
    if xl:
        z = o.hidden_states[-max(skip, 2)]
    else:
        norm = [m for n, m in encoder.named_modules() if n.endswith("final_layer_norm")][0]
        z = o.last_hidden_state if skip == 1 else norm(o.hidden_states[-skip])
    if emphasis in ("original", "no_norm"):
        before = z.mean()
        z = z * torch.tensor(weights, dtype=torch.float32).reshape(1, 77, 1)
        if emphasis == "original":
            z = z * (before / z.mean())
    return z, getattr(o, "text_embeds", None)


arrays, cases, vectors = {}, [], {"sd2": [None]}
generator = torch.Generator().manual_seed(5)
for model in ("sd1", "sdxl"):
    v = [torch.randn(3, e.config.hidden_size, generator=generator).mul_(0.6).half() for _, e in load(model)]
    os.makedirs(f"{out}/{model}", exist_ok=True)
    save_file({"emb_params": v[0]} if len(v) == 1 else {"clip_l": v[0], "clip_g": v[1]}, f"{out}/{model}/moss.safetensors")
    vectors[model] = [x.float() for x in v]
for name, model, (prompt, chunks), emphasis, skip in CASES:
    states = []
    for i, chunk in enumerate(chunks):
        got = [encode(t, e, chunk, vectors[model][k], emphasis, skip, model == "sdxl")
               for k, (t, e) in enumerate(load(model))]
        states.append(torch.cat([z for z, _ in got], dim=-1))
        if i == 0 and model == "sdxl":
            arrays[name + ".pooled"] = got[1][1][0].contiguous()
    arrays[name + ".states"] = torch.cat(states, dim=1)[0].contiguous()
    cases.append(dict(name=name, model=model, prompt=prompt, emphasis=emphasis, clip_skip=skip))
save_file(arrays, f"{out}/states.safetensors")
json.dump(cases, open(f"{out}/cases.json", "w"), indent=1)
