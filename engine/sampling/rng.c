#include "engine/sampling/rng.h"

#include "engine/ops/step_math.h"

#include <math.h>

#define MT_SIZE  624
#define MT_SHIFT 397
#define BLOCK    16 /* numbers that torch transforms at once */

void torch_rng_init(struct torch_rng *g, uint64_t seed)
{
    g->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_SIZE; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
    g->next = MT_SIZE;
    g->cached_normal = 0;
    g->has_cached = 0;
}

static void refill(struct torch_rng *g)
{
    uint32_t *s = g->state;

    for (int i = 0; i < MT_SIZE; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % MT_SIZE] & 0x7fffffffu);
        s[i] = s[(i + MT_SHIFT) % MT_SIZE] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    g->next = 0;
}

static uint32_t random_32(struct torch_rng *g)
{
    uint32_t y;

    if (g->next >= MT_SIZE)
        refill(g);
    y = g->state[g->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* [0, 1) in 2^24 steps. */
static float uniform_f32(struct torch_rng *g)
{
    return (float)(random_32(g) & 0xffffffu) * 0x1p-24f;
}

/* [0, 1) in 2^53 steps, of two words, the first one high. */
static double uniform_f64(struct torch_rng *g)
{
    uint64_t high = random_32(g);
    uint64_t bits = high << 32 | random_32(g);

    return (double)(bits & ((1ull << 53) - 1)) * 0x1p-53;
}

/* In place: 16 uniform numbers to 16 normal ones, of the pairs (i, i + 8). */
static void transform_block(float *v)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        float u1 = 1.0f - v[i]; /* (0, 1], so that the log is finite */
        double radius = sqrt(-2.0 * log((double)u1));
        double theta = 2.0 * M_PI * (double)v[i + BLOCK / 2];

        v[i] = (float)(radius * cos(theta));
        v[i + BLOCK / 2] = (float)(radius * sin(theta));
    }
}

/* A length that is no multiple of 16 has its last 16 numbers drawn anew. */
static void normal_blocks(struct torch_rng *g, float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] = uniform_f32(g);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        transform_block(v + i);
    if (n % BLOCK) {
        v += n - BLOCK;
        for (size_t i = 0; i < BLOCK; i++)
            v[i] = uniform_f32(g);
        transform_block(v);
    }
}

/* Short lengths draw pairs in float64 and keep the second number for the next call. */
static double normal_f64(struct torch_rng *g)
{
    double u1, u2, radius;

    if (g->has_cached) {
        g->has_cached = 0;
        return g->cached_normal;
    }
    u1 = uniform_f64(g);
    u2 = uniform_f64(g);
    radius = sqrt(-2.0 * log1p(-u2));
    g->cached_normal = radius * sin(2.0 * M_PI * u1);
    g->has_cached = 1;
    return radius * cos(2.0 * M_PI * u1);
}

void torch_rng_normal(struct torch_rng *g, float *ret_values, size_t n)
{
    if (n >= BLOCK) {
        normal_blocks(g, ret_values, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        ret_values[i] = (float)normal_f64(g);
}

void philox_init(struct philox *g, uint64_t seed)
{
    *g = (struct philox){.seed = seed};
}

void philox_normal(struct philox *g, float *ret_values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ret_values[i] = philox_number(g->seed, g->offset, (uint32_t)i);
    g->offset++;
}
