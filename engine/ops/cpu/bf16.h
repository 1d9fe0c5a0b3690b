/*
 * The inner loops of the bf16 backend. Activations are stored as bf16, the upper half of a float32;
 * what is computed from them is float32 and rounded once, to nearest with ties to even, where it is
 * stored.
 *
 * First the products with float32 sums, once per instruction set that has them. Unlike those of
 * kernels.h their bytes differ between instruction sets, since the processors add the products of a
 * step in different orders; each is a device class of its own. Within one, a sum is a chain over
 * steps that depends on nothing but its own row and column.
 *
 * The left operand is cut into tiles of TILE rows, rows any distance apart, and steps of STEP
 * numbers along depth. The right one is packed into panels of PANEL columns: for each step 16 pairs
 * of depth, each [PANEL][2], 1 KiB in all.
 */
#ifndef ENGINE_OPS_CPU_BF16_H
#define ENGINE_OPS_CPU_BF16_H

#include "engine/ops/ops.h"

#include <stdbool.h>
#include <stddef.h>

#define TILE       16
#define STEP       32
#define TILES_MAX  3 /* tiles and panels of one call */
#define PANELS_MAX 3
#define PANEL_STEP (STEP * 16) /* numbers of a panel's step */

#define QUERIES 32 /* rows that attend() takes: two tiles */
#define KEYS    64 /* keys of a block; decides where sums are rescaled, so part of the result */

/*
 * Up to QUERIES rows of one head against all its keys. Softmax is to the base 2. Rows behind the
 * last are any numbers.
 */
struct attend {
    const uint16_t *queries; /* [QUERIES][depth * STEP], zeros behind the head's width */
    /* Blocks of KEYS keys: panels of 16 keys, each [depth][PANEL_STEP], then of 16 columns of
     * values, each [KEYS / STEP][PANEL_STEP]. */
    const uint16_t *blocks;
    int64_t n_keys;
    float factor;  /* of scores, with log2 e, positive */
    int64_t first; /* query of row 0; row r sees keys 0..first + r, if causal */
    bool causal;
    int depth;         /* steps of the head's width */
    int panels;        /* of values: the head's width, then a column of ones, then zeros */
    float *scores;     /* [QUERIES][KEYS], scratch, as is the next */
    uint16_t *weights; /* [QUERIES][KEYS] */
    float *sums; /* result: [QUERIES][panels * PANEL], not yet divided by the column of ones */
};

/*
 * Sums that are complete, on their way to y: y[r, 0..cols-1] = act(sum[r]) + residual[r], or,
 * gated, y[r, 0..PANEL-1] = sum[r, 0..] * gelu(sum[r, PANEL..]). They are finished while tiles are
 * at work on the next ones.
 */
struct finishing {
    struct run {
        uint16_t *y;
        const uint16_t *residual; /* like y; NULL: none */
        const float *sum;
        int n_rows;
    } * runs;
    int n_runs;
    int per_step; /* rows that a step of multiply finishes */
    size_t ld_y, ld;
    int cols;
    bool gated;
    enum activation act;
};

/* The steps of a product: blocks of STEP channels, and in each all taps of a convolution. */
struct walk {
    size_t row;                  /* numbers from one row of a tile to the next */
    size_t block;                /* numbers from one block of channels to the next */
    int blocks, taps;            /* steps = blocks * taps */
    const size_t *tap;           /* [taps], numbers from a tile's begin to where a tap finds it */
    const char *ahead;           /* fetched into the second cache on the way; NULL: nothing */
    int ahead_per_step;          /* cache lines of it */
    struct finishing *finishing; /* some rows per step, if the kernels do that; NULL: nothing */
};

struct bf16_kernels {
    const char *device_class;
    int panels; /* that one call of multiply should get, 1..PANELS_MAX */
    int tiles;  /* likewise where a tile is found in the first cache more than once */

    /* A thread's calls of multiply stand between these two. */
    void (*enter)(void);
    void (*leave)(void);

    /*
     * sums[t][r][PANEL * p + c] (rows ld apart) of row r of tiles[t] and column c of panels[p].
     * Each begins with begin[t][PANEL * p + c], or with what stands in sums if begin is NULL, so
     * cutting blocks into several calls changes no bit.
     */
    void (*multiply)(float *const *sums, size_t ld, const struct walk *w,
                     const uint16_t *const *tiles, int n_tiles, const uint16_t *const *panels,
                     int n_panels, const float *const *begin);

    /*
     * sums = 2^(factor queries keys^T - m) values, m: what the row's maximum is at most, a whole
     * number. Weights are cut to bf16, not rounded; the column of ones adds up what was cut, so
     * quotients have no bias. Blocks of KEYS keys; earlier sums are rescaled by powers of two,
     * exactly.
     */
    void (*attend)(const struct attend *a);
};

/*
 * One step of a panel for each of taps, y[taps][PANEL_STEP], of n_rows (1..PANEL) rows of weights
 * that are row bytes apart, each channels (1..STEP) times taps numbers. dtype: any float. Zeros for
 * what is missing.
 */
void bf16_pack(uint16_t *y, const void *w, enum dtype dtype, size_t row, int n_rows, int channels,
               int taps);

/* Numbers of a block of struct attend. */
static inline size_t bf16_block_size(int depth, int panels)
{
    return (size_t)(KEYS / 16 * depth + KEYS / STEP * panels) * PANEL_STEP;
}

/*
 * A block of keys of one head, n of which are there: rows of dim numbers of k and v, ld apart. Pair
 * i of a step of values is keys i and i + 16, which is how attend() has its weights at hand. Column
 * dim of the values is one for keys that are there.
 */
void bf16_pack_block(uint16_t *block, const uint16_t *k, const uint16_t *v, size_t ld, int n,
                     int dim);

/*
 * The loops over activations (bf16_loops.c). Numbers below 2^-126 become zero where they are
 * rounded. y may be an operand.
 */
void bf16_from_f32(uint16_t *y, const float *x, size_t n);
void bf16_to_f32(float *y, const uint16_t *x, size_t n);

/* Blocks of STEP numbers, `block` apart: y[i / STEP * block + i % STEP] = x[i]; zeros fill the last
 * one. x NULL: all zeros. */
void bf16_spread(uint16_t *y, size_t block, const uint16_t *x, size_t n);

/* Ends up to n rows of what is to be finished. */
void bf16_finish(struct finishing *f, int n);

/* y[n] = x[n] * factor */
void bf16_scale(uint16_t *y, const float *x, size_t n, float factor);

void bf16_activate(uint16_t *y, const uint16_t *x, size_t n, enum activation act);
void bf16_add(uint16_t *y, const uint16_t *a, const uint16_t *b, size_t n);

/* y[c] = a[c] * gelu(b[c]) */
void bf16_geglu(uint16_t *y, const uint16_t *a, const uint16_t *b, size_t c);

/* sum[c], squares[c] += the columns of x [rows, c] and their squares: float32 over SUM_ROWS rows,
 * then double. */
#define SUM_ROWS 16
void bf16_column_sums(double *sum, double *squares, const uint16_t *x, size_t rows, size_t c);

/* y[rows, c] = act(x * scale[c] + shift[c]) */
void bf16_scale_shift(uint16_t *y, const uint16_t *x, size_t rows, size_t c, const float *scale,
                      const float *shift, enum activation act);

/* One row: y[c] = normalised x * gamma + beta; mean and variance in float32. */
void bf16_layer_norm(uint16_t *y, const uint16_t *x, size_t c, const float *gamma,
                     const float *beta, float eps);

#if defined(__x86_64__)
extern const struct bf16_kernels bf16_avx512, bf16_amx;
#endif

#endif
