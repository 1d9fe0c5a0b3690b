"""The web UI's start noise (AUTOMATIC1111 1.10, modules/rng.py): variation seeds and seed resize, by torch.

    python variation.py OUT        # writes OUT/variation.safetensors and OUT/variation.json (numpy, torch, safetensors)
"""
import json, sys
import numpy as np, torch
from safetensors.torch import save_file

class Cpu:
    def __init__(self, seed): self.g = torch.Generator().manual_seed(seed)
    def draw(self, shape): return torch.randn(shape, generator=self.g)

class Philox:
    """Philox4x32-10 with counter (draw, 0, number, 0), Box and Muller's sine of its first two words."""
    def __init__(self, seed): self.seed, self.draws = seed, 0
    def draw(self, shape):
        n = int(np.prod(shape)); mask = np.uint64(0xffffffff)
        c = [np.full(n, self.draws, np.uint64), np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64), np.zeros(n, np.uint64)]
        k = [self.seed & 0xffffffff, self.seed >> 32]
        for _ in range(10):
            a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
            c = [(b >> np.uint64(32)) ^ c[1] ^ np.uint64(k[0]), b & mask, (a >> np.uint64(32)) ^ c[3] ^ np.uint64(k[1]), a & mask]
            k = [(k[0] + 0x9E3779B9) & 0xffffffff, (k[1] + 0xBB67AE85) & 0xffffffff]
        self.draws += 1
        unit, turn = np.float32(2.3283064e-10), np.float32(2.3283064e-10 * 6.2831855)
        u = c[0].astype(np.uint32) * unit + unit / 2
        v = c[1].astype(np.uint32) * turn + turn / 2
        return torch.from_numpy((np.sqrt(-2 * np.log(u)) * np.sin(v)).astype(np.float32).reshape(shape))

def slerp(t, low, high):
    """Over dimension 1 of [channels, h, w]: each column has its own angle."""
    dot = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if dot.mean() > 0.9995: return low * t + high * (1 - t)
    omega = dot.acos()
    return ((1 - t) * omega).sin().div(omega.sin()).unsqueeze(1) * low + (t * omega).sin().div(omega.sin()).unsqueeze(1) * high

def start(source, case):
    stream, shape, seed = source(case['seed']), case['shape'], case['seed']
    small = case.get('resize', shape)
    plain = stream.draw(shape)
    noise = plain if small == shape else source(seed).draw(small)
    if case.get('strength'): noise = slerp(case['strength'], noise, source(case['subseed']).draw(small))
    if small != shape:
        dy, dx = (shape[1] - small[1]) // 2, (shape[2] - small[2]) // 2
        h, w = small[1] + 2 * min(dy, 0), small[2] + 2 * min(dx, 0)
        plain[:, max(dy, 0):max(dy, 0) + h, max(dx, 0):max(dx, 0) + w] = noise[:, max(-dy, 0):max(-dy, 0) + h, max(-dx, 0):max(-dx, 0) + w]
        noise = plain
    return noise, stream.draw(shape)

CASES = [dict(seed=5, shape=[4, 8, 8], subseed=9, strength=0.3), dict(seed=5, shape=[4, 6, 11], subseed=4294967299, strength=1.0),
         dict(seed=5, shape=[4, 8, 8], subseed=5, strength=0.4), dict(seed=8589934599, shape=[4, 9, 7], resize=[4, 5, 4]),
         dict(seed=3, shape=[4, 6, 6], resize=[4, 11, 9]), dict(seed=3, shape=[4, 6, 12], resize=[4, 12, 6], subseed=1, strength=0.65)]

def main():
    arrays, index = {}, []
    for i, case in enumerate(CASES):
        for rng, source in (('cpu', Cpu), ('nv', Philox)):
            first, second = start(source, case)
            arrays |= {f'{i}-{rng}.first': first.contiguous().clone(), f'{i}-{rng}.second': second.contiguous().clone()}
            index.append(dict(case, rng=rng, key=f'{i}-{rng}'))
    save_file(arrays, f'{sys.argv[1]}/variation.safetensors')
    open(f'{sys.argv[1]}/variation.json', 'w').write('[\n' + ',\n'.join(json.dumps(c) for c in index) + '\n]\n')

if __name__ == '__main__': main()
