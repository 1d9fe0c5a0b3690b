"""LoRA results of diffusers (load_lora_weights, set_adapters; PEFT installed) beyond the one in lora-result.safetensors.

    OMP_NUM_THREADS=1 python make.py ORACLE OUT [--seed N]      # ORACLE: the folder that holds models/, lora/ and ldm_names.py

Each result is computed twice: by diffusers, and with the changes added to the weights; what is recorded is the second, and the
differences are printed. diffusers 0.42.1 misreads two kinds of kohya files, which it does not mean to: alphas that differ between
attention layers (all get the commonest), and fc1 of text encoders where out_proj is not changed (dropped).
"""
import argparse, json, os, sys
import torch, diffusers
from safetensors.torch import save_file, load_file
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

torch.set_grad_enabled(False)


def modules(net, pick):
    return [(n, m) for n, m in net.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)) and pick(n)]

def low_rank(m, r, gen, dtype):
    w = m.weight
    down = torch.randn(r, w.shape[1], *w.shape[2:], generator=gen) / w[0].numel() ** .5
    up = torch.randn(w.shape[0], r, *([1, 1] if w.ndim == 4 else []), generator=gen) * .3
    return down.to(dtype), up.to(dtype)

def delta(m, down, up, scale):
    return (up.float().flatten(1) @ down.float().flatten(1)).reshape(m.weight.shape) * scale

def merged(changes, run):
    for m, d in changes: m.weight.add_(d)
    out = run()
    for m, d in changes: m.weight.sub_(d)
    return out

def report(name, a, b):
    print(name, {k: float((a[k] - b[k]).norm() / b[k].norm()) for k in a})


def case_two(oracle, out, gen):
    """The oracle's LoRA at 0.8 and one in PEFT's names at -0.5: bf16, ranks 3 and 5, no alpha, every kind of module."""
    pipe = StableDiffusionPipeline.from_pretrained(f'{oracle}/models/sd1', safety_checker=None, torch_dtype=torch.float32)
    every = lambda n: n.startswith(('conv_in', 'conv_out', 'time_embedding')) or any(
        k in n for k in ('mid_block', 'samplers', 'down_blocks.1', 'up_blocks.2'))
    lora, changes = {}, []
    for prefix, net, root, pick in (('unet', pipe.unet, '', every), ('text_encoder', pipe.text_encoder, 'text_model.', lambda n: 'layers.1.' in n)):
        for i, (n, m) in enumerate(modules(net, pick)):
            down, up = low_rank(m, 5 if i % 3 == 0 else 3, gen, torch.bfloat16)
            full = prefix + '.' + (root if root and not n.startswith(root) else '') + n
            lora[full + '.lora_A.weight'], lora[full + '.lora_B.weight'] = down, up
            changes.append((m, delta(m, down, up, -0.5)))
    save_file(lora, f'{out}/two.safetensors')
    one = load_file(f'{oracle}/lora/lora.safetensors')
    x = torch.randn(1, 4, 9, 7, generator=gen); c = torch.randn(1, 77, pipe.unet.config.cross_attention_dim, generator=gen)
    ids = pipe.tokenizer(['a castle at night, 4k'], padding='max_length', truncation=True, max_length=77, return_tensors='pt').input_ids
    run = lambda: dict(y=pipe.unet(x, torch.tensor(700), c).sample, text=pipe.text_encoder(ids).last_hidden_state)
    for prefix, net, root in (('lora_unet_', pipe.unet, ''), ('lora_te_', pipe.text_encoder, 'text_model.')):
        for n, m in modules(net, lambda n: True):
            k = prefix + ((root if root and not n.startswith(root) else '') + n).replace('.', '_')
            if k + '.lora_up.weight' in one:
                changes.append((m, delta(m, one[k + '.lora_down.weight'], one[k + '.lora_up.weight'], 0.8 * float(one[k + '.alpha']) / one[k + '.lora_down.weight'].shape[0])))
    want = merged(changes, run)
    pipe.load_lora_weights(f'{oracle}/lora', weight_name='lora.safetensors', adapter_name='one')
    pipe.load_lora_weights(out, weight_name='two.safetensors', adapter_name='two')
    pipe.set_adapters(['one', 'two'], [0.8, -0.5])
    got = run()
    report('two', got, want)
    save_file(dict(x=x, t=torch.tensor([700]), context=c, ids=ids, y=want['y'].contiguous(), text=want['text'].contiguous()), f'{out}/two-result.safetensors')


def case_xl(oracle, out, gen, unet_name):
    """SDXL in kohya's names, the U-Net's as the original code has them: two text encoders, alphas of all sizes, at 0.7 (text 0.7)."""
    pipe = StableDiffusionXLPipeline.from_pretrained(f'{oracle}/models/sdxl', torch_dtype=torch.float32)
    per = pipe.unet.config.layers_per_block
    cross = ['CrossAttn' in t for t in pipe.unet.config.up_block_types]
    lora, changes = {}, []
    pick = lambda n: any(k in n for k in ('attn2', 'ff.net', 'proj_in', 'proj_out', 'conv1', 'conv2', 'conv_shortcut', 'samplers', 'time_emb_proj'))
    for prefix, net, root, p in (('lora_unet', pipe.unet, '', pick), ('lora_te1', pipe.text_encoder, 'text_model.', lambda n: 'layers' in n),
                                 ('lora_te2', pipe.text_encoder_2, 'text_model.', lambda n: 'layers' in n)):
        for i, (n, m) in enumerate(modules(net, p)):
            down, up = low_rank(m, 2, gen, torch.float16)
            alpha = torch.tensor([1.0, 2.0, 3.0][i % 3] if prefix == 'lora_unet' and 'attn' not in n else 2.0).half()
            name = unet_name(n + '.weight', per, cross).removesuffix('.weight') if not root else (n if n.startswith(root) else root + n)
            k = prefix + '_' + name.replace('.', '_')
            lora[k + '.lora_down.weight'], lora[k + '.lora_up.weight'], lora[k + '.alpha'] = down, up, alpha
            changes.append((m, delta(m, down, up, 0.7 * float(alpha) / 2)))
    save_file(lora, f'{out}/xl.safetensors')
    x = torch.randn(1, 4, 8, 12, generator=gen); c = torch.randn(1, 77, pipe.unet.config.cross_attention_dim, generator=gen)
    add = dict(text_embeds=torch.randn(1, 64, generator=gen), time_ids=torch.tensor([[64., 96, 0, 0, 64, 96]]))
    ids, ids2 = (t(['a castle at night, 4k'], padding='max_length', truncation=True, max_length=77, return_tensors='pt').input_ids for t in (pipe.tokenizer, pipe.tokenizer_2))
    def run():
        t2 = pipe.text_encoder_2(ids2, output_hidden_states=True)
        return dict(y=pipe.unet(x, torch.tensor(300), c, added_cond_kwargs=add).sample, text=pipe.text_encoder(ids, output_hidden_states=True).hidden_states[-2],
                    text_2=t2.hidden_states[-2], pooled=t2.text_embeds)
    want = merged(changes, run)
    pipe.load_lora_weights(out, weight_name='xl.safetensors', adapter_name='xl')
    pipe.set_adapters(['xl'], [0.7])
    got = run()
    report('xl', got, want)
    save_file(dict(x=x, t=torch.tensor([300]), context=c, ids=ids, ids2=ids2, **add, **{k: v.contiguous() for k, v in want.items()}), f'{out}/xl-result.safetensors')


def case_names(oracle, out, unet_name):
    """What ldm_names.py of the oracle calls every module of a U-Net."""
    names = {}
    for model in ('sd1', 'sd2', 'sdxl'):
        from diffusers import UNet2DConditionModel
        u = UNet2DConditionModel.from_pretrained(f'{oracle}/models/{model}/unet')
        cross = ['CrossAttn' in t for t in u.config.up_block_types]
        names[model] = {n: unet_name(n + '.weight', u.config.layers_per_block, cross).removesuffix('.weight') for n, _ in modules(u, lambda n: True)}
    json.dump(names, open(f'{out}/original_names.json', 'w'), indent=0)


def main():
    ap = argparse.ArgumentParser(); ap.add_argument('oracle'); ap.add_argument('out'); ap.add_argument('--seed', type=int, default=96)
    a = ap.parse_args()
    sys.path.insert(0, a.oracle)
    from ldm_names import unet_name
    os.makedirs(a.out, exist_ok=True)
    gen = torch.Generator().manual_seed(a.seed)
    case_two(a.oracle, a.out, gen); case_xl(a.oracle, a.out, gen, unet_name); case_names(a.oracle, a.out, unet_name)

main()
