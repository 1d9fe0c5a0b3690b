"""Runs of diffusers' schedulers beyond the oracle's: every scheduler option, prediction type and spacing, picture to picture,
latents that are blended between steps, and the settings of single classes, drawn at random.

    python more.py OUT --cases 160 --seed 3      # writes OUT/more.json and OUT/more.safetensors (torch, diffusers, scipy)

The model is 0.8 tanh(x) + 0.1 sin(t / 100); the clean picture is sin(0), sin(1), ...; all noise comes from one generator.
"""
import argparse, inspect, json, random
import torch, diffusers
from safetensors.torch import save_file

torch.set_grad_enabled(False)
OPTIONS = {'karras': 'use_karras_sigmas', 'exponential': 'use_exponential_sigmas', 'beta': 'use_beta_sigmas'}
SIGMAS = ('uniform', 'karras', 'exponential', 'beta')
# our name: class, schedulers, prediction types, what its configuration must say, what it may say
CLASSES = {
    'ddim': ('DDIMScheduler', ('uniform',), 'evs', {}, dict(clip_sample=[False, True], set_alpha_to_one=[True, False], rescale_betas_zero_snr=[False, True])),
    'ddpm': ('DDPMScheduler', ('uniform',), 'evs', {}, dict(clip_sample=[False, True], variance_type=['fixed_small', 'fixed_small_log', 'fixed_large'])),
    'pndm': ('PNDMScheduler', ('uniform',), 'ev', dict(skip_prk_steps=True), dict(set_alpha_to_one=[True, False])),
    'lms': ('LMSDiscreteScheduler', SIGMAS, 'evs', {}, {}),
    'heun': ('HeunDiscreteScheduler', SIGMAS, 'evs', {}, dict(clip_sample=[False, True])),
    'euler': ('EulerDiscreteScheduler', SIGMAS, 'evs', {}, dict(final_sigmas_type=['zero', 'sigma_min'], rescale_betas_zero_snr=[False, True], sigma_min=[None, 0.05], sigma_max=[None, 10])),
    'euler_a': ('EulerAncestralDiscreteScheduler', ('uniform', 'karras', 'exponential', 'beta'), 'ev', {}, dict(rescale_betas_zero_snr=[False, True])),
    'dpm2': ('KDPM2DiscreteScheduler', SIGMAS, 'ev', {}, {}),
    'dpm2_a': ('KDPM2AncestralDiscreteScheduler', SIGMAS, 'ev', {}, {}),
    'dpmpp_2m': ('DPMSolverMultistepScheduler', SIGMAS, 'evs', {}, dict(solver_order=[1, 2], solver_type=['midpoint', 'heun'], lower_order_final=[True, False], euler_at_final=[False, True], final_sigmas_type=['zero', 'sigma_min'], rescale_betas_zero_snr=[False, True])),
    'dpmpp_2m_sde': ('DPMSolverMultistepScheduler', SIGMAS, 'evs', dict(algorithm_type='sde-dpmsolver++'), dict(solver_type=['midpoint', 'heun'], euler_at_final=[False, True], final_sigmas_type=['zero', 'sigma_min'], rescale_betas_zero_snr=[False, True])),
    'unipc': ('UniPCMultistepScheduler', SIGMAS, 'evs', {}, dict(solver_order=[1, 2, 3], solver_type=['bh1', 'bh2'], final_sigmas_type=['zero', 'sigma_min'], rescale_betas_zero_snr=[False, True])),
    'deis': ('DEISMultistepScheduler', SIGMAS, 'evs', {}, dict(solver_order=[1, 2, 3], lower_order_final=[True, False])),
    'lcm': ('LCMScheduler', ('uniform',), 'evs', {}, dict(clip_sample=[False, True], original_inference_steps=[50, 100])),
    'tcd': ('TCDScheduler', ('uniform',), 'evs', {}, dict(rescale_betas_zero_snr=[False, True])),
}
PREDICTIONS = {'e': 'epsilon', 'v': 'v_prediction', 's': 'sample'}

def model(x, t):
    return 0.8 * torch.tanh(x) + 0.1 * torch.sin(torch.as_tensor(t, dtype=torch.float32) / 100.0)

def draw_case(rng, sampler):
    """One case as JSON, and the class and its configuration."""
    name, schedulers, predictions, must, may = CLASSES[sampler]
    cls, scheduler = getattr(diffusers, name), rng.choice(schedulers)
    known = inspect.signature(cls.__init__).parameters
    config = dict(num_train_timesteps=1000, prediction_type=PREDICTIONS[rng.choice(predictions)], timestep_spacing=rng.choice(['leading', 'trailing', 'linspace']), steps_offset=rng.choice([0, 1]), **must)
    config |= rng.choice([dict(beta_start=0.00085, beta_end=0.012, beta_schedule='scaled_linear')] * 3 + [dict(beta_start=0.0001, beta_end=0.02, beta_schedule='linear')])
    config |= {k: v for k, v in ((k, rng.choice(v)) for k, v in may.items()) if v is not None}
    if scheduler in OPTIONS and OPTIONS[scheduler] in known: config[OPTIONS[scheduler]] = True
    case = dict(sampler=sampler, scheduler=scheduler, steps=rng.choice([2, 3, 5, 7, 13, 16, 25]), config=config)
    if rng.random() < 0.4: case['strength'] = rng.choice([0.3, 0.55, 0.75, 0.9, 1.0])
    if rng.random() < 0.3: case['blends'] = True
    if sampler in ('ddim', 'tcd') and rng.random() < 0.7: case['eta'] = rng.choice([0.0, 0.5, 1.0])
    return case, cls

def run(case, cls, seed):
    """The class's lists, and the latent at the start and after each call."""
    s, steps = cls(**case['config']), case['steps']
    s.set_timesteps(steps)
    if case['sampler'] == 'euler_a' and case['scheduler'] in OPTIONS:      # Euler's sigmas, as our SPEC has it
        e = diffusers.EulerDiscreteScheduler(**case['config'], **{OPTIONS[case['scheduler']]: True})
        e.set_timesteps(steps)
        s.sigmas, s.timesteps = e.sigmas, e.timesteps
    g = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 4, 4, 6, generator=g)
    clean = torch.sin(torch.arange(96, dtype=torch.float32)).reshape(noise.shape)
    first = 0
    if 'strength' in case:
        run_steps = min(int(steps * case['strength']), steps)
        if run_steps < 1: raise ValueError('nothing to run')
        first = (steps - run_steps) * s.order
    if 'strength' in case or case.get('blends'):
        if hasattr(s, 'set_begin_index'): s.set_begin_index(first)
    ts = s.timesteps[first:]
    x = s.add_noise(clean, noise, ts[:1]) if 'strength' in case else noise * s.init_noise_sigma
    latents = [x]
    for i, t in enumerate(ts):
        y = model(s.scale_model_input(x, t), t)
        kw = dict(generator=g) if 'generator' in inspect.signature(cls.step).parameters else {}
        if 'eta' in case: kw['eta'] = case['eta']
        x = s.step(y, t, x, **kw, return_dict=False)[0]
        if case.get('blends'):
            proper = s.add_noise(clean, noise, ts[i + 1:i + 2]) if i + 1 < len(ts) else clean
            x = torch.cat([x.flatten()[:48], proper.flatten()[48:]]).reshape(x.shape)
        latents.append(x)
    latents = torch.stack(latents)
    if not torch.isfinite(latents).all() or latents.abs().max() > 1e6: raise ValueError('not finite')
    arrays = dict(timesteps=s.timesteps.float(), latents=latents)
    if torch.is_tensor(getattr(s, 'sigmas', None)): arrays['sigmas'] = s.sigmas.float()
    if not all(torch.isfinite(a).all() for a in arrays.values()): raise ValueError('lists are not finite')
    return arrays

def main():
    ap = argparse.ArgumentParser(); ap.add_argument('out'); ap.add_argument('--cases', type=int, default=160); ap.add_argument('--seed', type=int, default=3)
    a = ap.parse_args()
    rng, index, arrays = random.Random(a.seed), [], {}
    names = list(CLASSES)
    for i in range(a.cases):
        case, cls = draw_case(rng, names[i % len(names)])
        try: got = run(case, cls, 64)
        except (ValueError, IndexError, ZeroDivisionError, AssertionError) as e: print(case, 'refused or spoiled by diffusers:', str(e)[:80]); continue
        case['key'] = f'{i}-{case["sampler"]}'
        index.append(case)
        arrays |= {f'{case["key"]}.{k}': v.contiguous().clone() for k, v in got.items()}
    save_file(arrays, f'{a.out}/more.safetensors')
    open(f'{a.out}/more.json', 'w').write('[\n' + ',\n'.join(json.dumps(c) for c in index) + '\n]\n')

if __name__ == '__main__': main()
