/*
 * The arithmetic of a step, once for the host (C) and for kernels (CUDA C++): what step.h's
 * operations do to one number, or a program to STEP_LANES of them. Who includes it must not let the
 * compiler fuse products into sums (-ffp-contract=off, --fmad=false): then both sides round alike.
 * log, sin, cos and exp of float64 are each side's library's, rounded once to float32.
 */
#ifndef ENGINE_OPS_STEP_MATH_H
#define ENGINE_OPS_STEP_MATH_H

#include "engine/ops/step.h"

#include <math.h>

#ifdef __CUDACC__
#define STEP_CALL static __device__ inline
#else
#define STEP_CALL static inline
#endif

#ifdef STEP_LANES
/* The values of instruction `in` for n numbers from `at` on, into y; values: the earlier ones. */
STEP_CALL void instruction_run(struct instruction in, float *const arrays[], int64_t at, int n,
                               const float *model, float values[][STEP_LANES], float *y)
{
    const float *a = values[in.a], *b = values[in.b], *c = values[in.c];

#define EACH(value)                                                                                \
    for (int k = 0; k < STEP_LANES; k++)                                                           \
        if (STEP_LANES == 1 || k < n)                                                              \
    y[k] = (value)
    switch (in.op) {
    case PROGRAM_NUMBER:
        EACH(in.number);
        break;
    case PROGRAM_ARRAY:
        EACH(arrays[in.a][at + k]);
        break;
    case PROGRAM_MODEL:
        EACH(model[k]);
        break;
    case PROGRAM_ADD:
        EACH(a[k] + b[k]);
        break;
    case PROGRAM_SUB:
        EACH(a[k] - b[k]);
        break;
    case PROGRAM_MUL:
        EACH(a[k] * b[k]);
        break;
    case PROGRAM_DIV:
        EACH(a[k] / b[k]);
        break;
    case PROGRAM_CLIP:
        EACH(a[k] > in.number ? in.number : a[k] < -in.number ? -in.number : a[k]);
        break;
    case PROGRAM_SELECT:
        EACH(a[k] != 0 ? b[k] : c[k]);
        break;
    default:
        for (int k = 0; k < n; k++)
            arrays[in.a][at + k] = b[k];
    }
#undef EACH
}

/* Runs a program over n <= STEP_LANES numbers from `at` on. values: scratch. */
STEP_CALL void program_run(const struct program *p, float *const arrays[], int64_t at, int n,
                           const float *model, float values[][STEP_LANES])
{
    for (int i = 0; i < p->n; i++)
        instruction_run(p->at[i], arrays, at, n, model, values, values[i]);
}
#endif

/* One more part of guidance: v + weight * (part - negative). */
STEP_CALL float guide_part(float v, float negative, float part, float weight)
{
    return v + weight * (part - negative);
}

/* The same of the plain sum that rescaling compares with. */
STEP_CALL double guide_part_plain(double v, double negative, double part, double weight)
{
    return v + weight * (part - negative);
}

/* The deviation of `size` numbers with size - 1 in the denominator, as torch.std. */
STEP_CALL double deviation_of(double sum, double squares, int64_t size)
{
    return sqrt((squares - sum * sum / (double)size) / (double)(size - 1));
}

STEP_CALL float guide_rescaled(float v, float factor, float share, float rest)
{
    return share * (v * factor) + rest * v;
}

/*
 * Sine and cosine number i of the sinusoids of t: Ho et al. 2020 as diffusers'
 * get_timestep_embedding writes them, rounded to float32 where it has float32. The functions are
 * the float64 ones: libm's float32 ones differ in the last bit between processors with and without
 * fused multiply-add, and a device class spans both.
 */
STEP_CALL void sinusoid(float t, int64_t i, int64_t n_half, float freq_shift, float *ret_sine,
                        float *ret_cosine)
{
    float exponent = (float)-log(10000.0) * (float)i / ((float)n_half - freq_shift);
    float angle = t * (float)exp((double)exponent);

    *ret_sine = (float)sin((double)angle);
    *ret_cosine = (float)cos((double)angle);
}

/* Number k of a row of sinusoids: half sines, and as many cosines before or after them. */
STEP_CALL float sinusoid_at(float t, int64_t k, const struct sinusoids *s)
{
    int64_t n_half = s->width / 2;
    float sine, cosine;

    sinusoid(t, k % n_half, n_half, s->freq_shift, &sine, &cosine);
    return (k < n_half) == (s->cos_first != 0) ? cosine : sine;
}

/*
 * Normal number i of a draw: Philox4x32-10 (Salmon et al. 2011) of counter (draw, 0, i, 0), and Box
 * and Muller's sine, as torch.Generator on a CUDA device has them.
 */
STEP_CALL float philox_number(uint64_t seed, uint32_t draw, uint32_t i)
{
    /* 2^-32 and 2^-32 times 2 pi as float32 constants, which CUDA uses */
    const double unit = (double)2.3283064e-10f, turn = (double)(float)(2.3283064e-10 * 6.2831855);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    uint32_t c[4] = {draw, 0, i, 0};

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)c[0] * 0xd2511f53u, b = (uint64_t)c[2] * 0xcd9e8d57u;

        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return (float)(sqrt(-2.0 * log(c[0] * unit + unit / 2)) * sin(c[1] * turn + turn / 2));
}

/* Of number i of a latent [pixels, channels] in torch's order, which is [channels, pixels]. */
STEP_CALL int64_t philox_index(int64_t i, int64_t pixels, int64_t channels)
{
    return i % channels * pixels + i / channels;
}

/* Number i of what the U-Net takes of a sample, [pixels, channels + extra]. */
STEP_CALL float input_number(const struct step_place *at, float divisor, int64_t sample, int64_t i)
{
    int64_t width = at->channels + at->extra, pixel = sample * at->pixels + i / width;
    const float *x = (const float *)at->arrays[ARRAY_X], *extras = (const float *)at->extras;

    if (i % width < at->channels)
        return x[pixel * at->channels + i % width] / divisor;
    return extras[pixel * at->extra + i % width - at->channels];
}

/* A pixel's value of about -1..1 as 8 bits, as diffusers: halves are rounded to even. */
STEP_CALL uint8_t pixel_byte(float value)
{
    float v = value * 0.5f + 0.5f;

    v = v < 0 ? 0 : v > 1 ? 1 : v;
    return (uint8_t)rintf(v * 255.0f);
}

/* Neither NaN nor Inf. */
STEP_CALL int is_number(float x)
{
    return x - x == 0;
}

#endif
