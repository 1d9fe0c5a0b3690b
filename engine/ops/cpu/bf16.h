/*
 * Products of bf16 numbers with float32 sums: the inner loops, once per instruction set that has
 * them. Unlike those of kernels.h their bytes differ between instruction sets, since the
 * processors add the products of a step in different orders; each is a device class of its own.
 * Within one, a sum is a chain over steps that depends on nothing but its own row and column.
 *
 * The left operand is cut into tiles of TILE rows, rows any distance apart, and steps of STEP
 * numbers along depth. The right one is packed into panels of PANEL columns: for each step 16 pairs
 * of depth, each [PANEL][2], 1 KiB in all. bf16 is the upper half of a float32.
 */
#ifndef ENGINE_OPS_CPU_BF16_H
#define ENGINE_OPS_CPU_BF16_H

#include "engine/tensor.h"

#define TILE       16
#define STEP       32
#define TILES_MAX  2 /* tiles and panels of one call */
#define PANELS_MAX 3
#define PANEL_STEP (STEP * 16) /* numbers of a panel's step */

/* The steps of a product: blocks of STEP channels, and in each all taps of a convolution. */
struct walk {
    size_t row;         /* numbers from one row of a tile to the next */
    size_t block;       /* numbers from one block of channels to the next */
    int blocks, taps;   /* steps = blocks * taps */
    const size_t *tap;  /* [taps], numbers from a tile's begin to where a tap finds it */
    const char *ahead;  /* fetched into the second cache on the way; NULL: nothing */
    int ahead_per_step; /* cache lines of it */
};

struct bf16_kernels {
    const char *device_class;
    int panels; /* that one call of multiply should get, 1..PANELS_MAX */

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
};

/*
 * x[n] rounded to nearest, ties to even, in blocks of STEP numbers: y[i / STEP * block + i % STEP].
 * Zeros fill the last block. Numbers below 2^-126 become zero.
 */
void bf16_round(uint16_t *y, size_t block, const float *x, size_t n);

/*
 * One step of a panel for each of taps, y[taps][PANEL_STEP], of n_rows (1..PANEL) rows of weights
 * that are row bytes apart, each channels (1..STEP) times taps numbers. dtype: any float. Zeros for
 * what is missing.
 */
void bf16_pack(uint16_t *y, const void *w, enum dtype dtype, size_t row, int n_rows, int channels,
               int taps);

#if defined(__x86_64__)
extern const struct bf16_kernels bf16_avx512, bf16_amx;
#endif

#endif
