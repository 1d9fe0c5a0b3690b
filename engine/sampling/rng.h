/*
 * Random numbers equal to other systems'. torch_rng is torch.Generator on the CPU: MT19937 with
 * torch's normal transform, float32. philox is torch.Generator on a CUDA device, as AUTOMATIC1111's
 * modules/rng_philox.py has it for any machine.
 *
 * The uniform bits are torch's exactly. The transform (Box and Muller 1958) is computed in float64
 * by the C library and rounded once to float32: torch's own float32 functions differ from it in the
 * last bits, below 1e-6, and its versions among themselves; ours barely depends on the library,
 * since a double's error of an ulp or two almost never crosses a float's rounding edge.
 *
 *     torch_rng_init(&g, seed);
 *     torch_rng_normal(&g, noise, 4 * 64 * 64);    // torch.randn(1, 4, 64, 64, generator=g)
 */
#ifndef ENGINE_SAMPLING_RNG_H
#define ENGINE_SAMPLING_RNG_H

#include <stddef.h>
#include <stdint.h>

struct torch_rng {
    uint32_t state[624];  /* MT19937, Matsumoto and Nishimura 1998 */
    int next;             /* 0..624 */
    double cached_normal; /* second value of the pair that a call of n < 16 left over */
    int has_cached;
};

/* seed: as torch.Generator.manual_seed, of which MT19937 takes the low 32 bits. */
void torch_rng_init(struct torch_rng *g, uint64_t seed);

/*
 * n standard normal numbers, in the order of torch.randn of any shape with n elements (row-major
 * NCHW). n >= 16 and n < 16 take different paths in torch, and so here.
 */
void torch_rng_normal(struct torch_rng *g, float *ret_values, size_t n);

/* Philox4x32-10, Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"). */
struct philox {
    uint64_t seed;   /* the key */
    uint32_t offset; /* calls so far: the counter's first word */
};

void philox_init(struct philox *g, uint64_t seed);

/*
 * n standard normal numbers (1..2^32), of one draw: number i is made of counter (draw, 0, i, 0) by
 * Box and Muller's sine, in float64 and rounded once.
 */
void philox_normal(struct philox *g, float *ret_values, size_t n);

#endif
