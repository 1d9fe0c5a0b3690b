"""Runs of k-diffusion's samplers on the web UI's schedules beyond the oracle's, drawn at random: v-prediction, eta, s_noise, every
schedule, any number of steps.

    python more.py OUT --cases 120 --seed 3      # writes OUT/more.json and OUT/more.safetensors (torch, scipy, k-diffusion 0.1.1)

Recorded are the latent at each call of the model, with its time step, and the result. The model and the noise are those of
../samplers/more.py.
"""
import argparse, json, math, random, sys, types
import numpy as np, torch
from safetensors.torch import save_file
for name in ('torchdiffeq', 'torchsde'):                       # imported there, and not needed here
    sys.modules.setdefault(name, types.SimpleNamespace(odeint=None, BrownianTree=None))
import k_diffusion.sampling as K
from k_diffusion.external import DiscreteSchedule

torch.set_grad_enabled(False)
SAMPLERS = {'euler': 'euler', 'euler_a': 'euler_ancestral', 'heun': 'heun', 'lms': 'lms', 'dpm2': 'dpm_2', 'dpm2_a': 'dpm_2_ancestral',
            'dpmpp_2s_a': 'dpmpp_2s_ancestral', 'dpmpp_sde': 'dpmpp_sde', 'dpmpp_2m': 'dpmpp_2m', 'dpmpp_2m_sde': 'dpmpp_2m_sde', 'dpmpp_3m_sde': 'dpmpp_3m_sde'}
OWN = ('dpmpp_2s_a', 'dpmpp_sde', 'dpmpp_3m_sde')              # take the schedules that diffusers has too from the web UI
WEB = ('polyexponential', 'sgm_uniform', 'simple', 'normal', 'kl_optimal', 'align_your_steps')
AYS = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]

def schedule(name, n, d):
    low, high, last = d.sigmas[0].item(), d.sigmas[-1].item(), len(d.sigmas) - 1
    zero = lambda s: torch.cat([torch.as_tensor(s, dtype=torch.float32), torch.zeros(1)])
    if name == 'uniform': return d.get_sigmas(n)
    if name in ('karras', 'exponential', 'polyexponential'): return getattr(K, f'get_sigmas_{name}')(n=n, sigma_min=low, sigma_max=high)
    if name == 'normal': return zero([d.t_to_sigma(t) for t in torch.linspace(last, 0, n)])
    if name == 'sgm_uniform': return zero([d.t_to_sigma(t) for t in torch.linspace(last, 0, n + 1)[:-1]])
    if name == 'simple': return zero([float(d.sigmas[-(1 + int(i * len(d.sigmas) / n))]) for i in range(n)])
    if name == 'kl_optimal': return torch.tensor([math.tan(i / n * math.atan(low) + (1 - i / n) * math.atan(high)) for i in range(n + 1)])
    return zero(np.exp(np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(AYS)), np.log(AYS[::-1])))[::-1].copy())

def run(case, d, seed):
    g = torch.Generator().manual_seed(seed)
    sigmas = schedule(case['scheduler'], case['steps'], d)
    latents, times, v = [], [], case['config']['prediction_type'] == 'v_prediction'
    def denoiser(x, sigma):
        s, t = sigma[0], d.sigma_to_t(sigma)
        latents.append(x); times.append(t[0])
        y = 0.8 * torch.tanh(x / (s ** 2 + 1) ** 0.5) + 0.1 * torch.sin(t[0] / 100.0)
        return y * (-s / (s ** 2 + 1) ** 0.5) + x / (s ** 2 + 1) if v else x - s * y
    x, kw = torch.randn(1, 4, 4, 6, generator=g) * sigmas[0], {k: case[k] for k in ('eta', 's_noise') if k in case}
    if case['sampler'] == 'euler_a' or case['sampler'] in OWN or case['sampler'] in ('dpm2_a', 'dpmpp_2m_sde'):
        kw['noise_sampler'] = lambda a, b: torch.randn(x.shape, generator=g)
    latents.append(getattr(K, 'sample_' + SAMPLERS[case['sampler']])(denoiser, x, sigmas, disable=True, **kw))
    return dict(timesteps=torch.stack(times), latents=torch.stack(latents))

def main():
    ap = argparse.ArgumentParser(); ap.add_argument('out'); ap.add_argument('--cases', type=int, default=120); ap.add_argument('--seed', type=int, default=3)
    a = ap.parse_args()
    rng, index, arrays = random.Random(a.seed), [], {}
    process = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')
    alphas = torch.cumprod(1 - torch.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000) ** 2, 0)
    d = DiscreteSchedule(((1 - alphas) / alphas) ** 0.5, False)
    for i in range(a.cases):
        sampler = list(SAMPLERS)[i % len(SAMPLERS)]
        case = dict(sampler=sampler, scheduler=rng.choice(WEB + ('uniform', 'karras', 'exponential') * (sampler in OWN)), steps=rng.choice([2, 3, 5, 7, 11, 13, 25]),
                    config=dict(process, prediction_type=rng.choice(['epsilon', 'v_prediction'])), key=f'{i}-{sampler}')
        if sampler in OWN or sampler in ('euler_a', 'dpm2_a', 'dpmpp_2m_sde'):
            if rng.random() < 0.5: case['eta'] = rng.choice([0.0, 0.3, 0.8, 1.0])
            if rng.random() < 0.3: case['s_noise'] = rng.choice([0.9, 1.003])
        arrays |= {f'{case["key"]}.{k}': v.contiguous().clone() for k, v in run(case, d, 64).items()}
        index.append(case)
    save_file(arrays, f'{a.out}/more.safetensors')
    open(f'{a.out}/more.json', 'w').write('[\n' + ',\n'.join(json.dumps(c) for c in index) + '\n]\n')

if __name__ == '__main__': main()
