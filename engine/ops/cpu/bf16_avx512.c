/*
 * bf16 products by AVX512_BF16's dot product of pairs: eight rows against three panels, as in f32.
 * Compiled with its flag (CMakeLists.txt), called behind level.h.
 */
#if defined(__x86_64__)
#include "engine/ops/cpu/bf16_softmax.h"

#define ROWS 8 /* of a tile at a time: 24 sums, 3 columns and 1 row fill the 32 registers */

static void nothing(void)
{
}

INLINE __m512bh load_pairs(const uint16_t *p)
{
    __m512i bits = _mm512_loadu_si512(p);
    __m512bh pairs;

    memcpy(&pairs, &bits, sizeof pairs);
    return pairs;
}

INLINE __m512bh repeat_pair(const uint16_t *p)
{
    int32_t two;
    __m512i bits;
    __m512bh pairs;

    memcpy(&two, p, sizeof two);
    bits = _mm512_set1_epi32(two);
    memcpy(&pairs, &bits, sizeof pairs);
    return pairs;
}

/* One step: 16 pairs of depth. */
INLINE void step(__m512 sums[ROWS][PANELS_MAX], const uint16_t *a, size_t row,
                 const uint16_t *const *panels, size_t at, const int n_panels)
{
    for (int pair = 0; pair < STEP / 2; pair++) {
        __m512bh b[PANELS_MAX];

#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            b[p] = load_pairs(panels[p] + at + (size_t)pair * 2 * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            __m512bh x = repeat_pair(a + (size_t)r * row + pair * 2);

#pragma GCC unroll 3
            for (int p = 0; p < n_panels; p++)
                sums[r][p] = _mm512_dpbf16_ps(sums[r][p], x, b[p]);
        }
    }
}

INLINE void product(float *sum, size_t ld, const struct walk *w, const uint16_t *a,
                    const uint16_t *const *panels, const float *begin, const int n_panels)
{
    __m512 sums[ROWS][PANELS_MAX];
    const char *ahead = w->ahead;
    size_t at = 0;

#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            sums[r][p] = _mm512_loadu_ps((begin ? begin : sum + (size_t)r * ld) + PANEL * p);
    for (int block = 0; block < w->blocks; block++, a += w->block)
        for (int tap = 0; tap < w->taps; tap++, at += PANEL_STEP) {
            step(sums, a + w->tap[tap], w->row, panels, at, n_panels);
            for (int i = 0; i < w->ahead_per_step; i++, ahead += 64)
                _mm_prefetch(ahead, _MM_HINT_T1);
        }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 3
        for (int p = 0; p < n_panels; p++)
            _mm512_storeu_ps(sum + (size_t)r * ld + PANEL * p, sums[r][p]);
}

static void multiply(float *const *sums, size_t ld, const struct walk *w,
                     const uint16_t *const *tiles, int n_tiles, const uint16_t *const *panels,
                     int n_panels, const float *const *begin)
{
    struct walk walk = *w;

    for (int i = 0; i < n_tiles * (TILE / ROWS); i++) {
        const uint16_t *a = tiles[i / (TILE / ROWS)] + (size_t)(i % (TILE / ROWS) * ROWS) * w->row;
        const float *first = begin ? begin[i / (TILE / ROWS)] : NULL;
        float *to = sums[i / (TILE / ROWS)] + (size_t)(i % (TILE / ROWS) * ROWS) * ld;

        if (n_panels == 3)
            product(to, ld, &walk, a, panels, first, 3);
        else if (n_panels == 2)
            product(to, ld, &walk, a, panels, first, 2);
        else
            product(to, ld, &walk, a, panels, first, 1);
        walk.ahead_per_step = 0;
    }
}

/* left's columns of `panels` panels of right, at most three at a time. */
static void multiply_all(float *sums, size_t ld, const uint16_t *left, size_t row, int steps,
                         const uint16_t *right, size_t panel, int panels, const float *begin)
{
    const struct walk w = {
        .row = row, .block = STEP, .blocks = steps, .taps = 1, .tap = &(size_t){0}};

    for (int p = 0; p < panels; p += PANELS_MAX) {
        int n = panels - p < PANELS_MAX ? panels - p : PANELS_MAX;
        const uint16_t *some[PANELS_MAX] = {right + (size_t)p * panel,
                                            right + (size_t)(p + 1) * panel,
                                            right + (size_t)(p + 2) * panel};

        multiply((float *[]){sums + p * PANEL, sums + TILE * ld + p * PANEL}, ld, &w,
                 (const uint16_t *[]){left, left + TILE * row}, 2, some, n,
                 begin ? (const float *[]){begin, begin} : NULL);
    }
}

static void attend(const struct attend *a)
{
    static const float zeros[PANELS_MAX * PANEL];
    size_t width = (size_t)a->depth * STEP;
    struct rows rows;
    int steps;

    rows_begin(&rows);
    memset(a->sums, 0, (size_t)(QUERIES * a->panels * PANEL) * sizeof *a->sums);
    for (int64_t key = 0; (steps = attend_steps(a, key)) > 0; key += KEYS) {
        multiply_all(a->scores, KEYS, a->queries, width, a->depth, block_at(a, key),
                     (size_t)a->depth * PANEL_STEP, steps * 2, zeros);
        weigh_block(&rows, a, key);
        multiply_all(a->sums, (size_t)a->panels * PANEL, a->weights, KEYS, steps,
                     block_at(a, key) + KEYS / PANEL * a->depth * PANEL_STEP,
                     KEYS / STEP * PANEL_STEP, a->panels, NULL);
    }
}

const struct bf16_kernels bf16_avx512 = {
    .device_class = "cpu-avx512-bf16",
    .panels = 3,
    .tiles = 2,
    .enter = nothing,
    .leave = nothing,
    .multiply = multiply,
    .attend = attend,
};
#endif
