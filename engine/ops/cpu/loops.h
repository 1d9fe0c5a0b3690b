/*
 * The kernels themselves, compiled once per instruction set: a kernels_*.c file chooses one, gives
 * the table's name as KERNELS and includes this.
 */
#include "engine/ops/cpu/functions.h"
#include "engine/ops/cpu/kernels.h"
#include "engine/ops/cpu/winograd_loops.h"

/* A tile of sums lives in registers: AVX-512 has 32 of them, AVX2 has 16 of half the size. */
#if defined(SIMD_AVX512)
#define TILE_ROWS   8
#define TILE_PANELS 3
#elif defined(SIMD_AVX2)
#define TILE_ROWS   4
#define TILE_PANELS 1
#else
#define TILE_ROWS   1
#define TILE_PANELS 1
#endif

/* What one tile asks for: a line each AHEAD steps along depth. */
struct ahead_part {
    const char *at;
    size_t step; /* bytes; less than a line where there is time enough */
};

#define AHEAD 4

/* Rows first.. of m. */
SIMD void tile(const struct multiply *m, int first, struct ahead_part ahead, const int n_rows,
               const int panels)
{
    v16 acc[TILE_ROWS][TILE_PANELS], b[TILE_PANELS];
    const float *a[TILE_ROWS], *w = m->w;
    const size_t w_stride = m->w_stride, depth = m->depth;
    float *sum = m->sum + (size_t)first * m->ld;

#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++) {
        a[r] = m->rows[first + r] + m->at;
#pragma GCC unroll 3
        for (int p = 0; p < panels; p++)
            acc[r][p] =
                m->fresh ? v_set(0) : v_load(sum + (size_t)r * m->ld + (size_t)p * m->sum_stride);
    }
    for (size_t k = 0; k < depth; k++) {
        if (k % AHEAD == 0) {
            v_ahead(ahead.at);
            ahead.at += ahead.step;
        }
#pragma GCC unroll 3
        for (int p = 0; p < panels; p++)
            b[p] = v_load(w + (size_t)p * w_stride + k * PANEL);
#pragma GCC unroll 8
        for (int r = 0; r < n_rows; r++) {
            v16 x = v_set(a[r][k]);

#pragma GCC unroll 3
            for (int p = 0; p < panels; p++)
                acc[r][p] = v_fma(x, b[p], acc[r][p]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < n_rows; r++)
#pragma GCC unroll 3
        for (int p = 0; p < panels; p++)
            v_store(sum + (size_t)r * m->ld + (size_t)p * m->sum_stride, acc[r][p]);
}

/* Even tiles share the first range, odd ones the second. */
SIMD struct ahead_part ahead_of_tile(const struct multiply *m, int i)
{
    size_t shares = (size_t)(m->n_rows / TILE_ROWS - i % 2 + 1) / 2;
    size_t share = m->ahead.bytes[i % 2] / shares;

    return (struct ahead_part){m->ahead.at[i % 2] + (size_t)(i / 2) * share,
                               share * AHEAD / (m->depth + AHEAD - 1)};
}

/* All rows against a fixed number of panels: tiles of TILE_ROWS, then 4, 2 and 1. */
SIMD void strip(const struct multiply *m, const int panels)
{
    const struct ahead_part none = {0};
    int r = 0;

    for (; m->n_rows - r >= TILE_ROWS; r += TILE_ROWS)
        tile(m, r, ahead_of_tile(m, r / TILE_ROWS), TILE_ROWS, panels);
    if (TILE_ROWS > 4 && m->n_rows - r >= 4) {
        tile(m, r, none, 4, panels);
        r += 4;
    }
    if (TILE_ROWS > 2 && m->n_rows - r >= 2) {
        tile(m, r, none, 2, panels);
        r += 2;
    }
    if (TILE_ROWS > 1 && m->n_rows - r >= 1)
        tile(m, r, none, 1, panels);
}

static void multiply(const struct multiply *m)
{
#if TILE_PANELS == 3
    if (m->panels == 3)
        strip(m, 3);
    else if (m->panels == 2)
        strip(m, 2);
    else
        strip(m, 1);
#else
    struct multiply one = *m;

    for (int p = 0; p < m->panels; p++) {
        one.sum = m->sum + (size_t)p * m->sum_stride;
        one.w = m->w + (size_t)p * m->w_stride;
        strip(&one, 1);
    }
#endif
}

SIMD int lanes_left(size_t n, size_t i)
{
    return n - i < LANES ? (int)(n - i) : LANES;
}

SIMD void finish_act(float *y, size_t ld_y, const float *sum, size_t ld, int n_rows, int cols,
                     const enum activation act, const float *residual)
{
    for (int r = 0; r < n_rows; r++)
        for (int i = 0; i < cols; i += LANES) {
            int n = lanes_left((size_t)cols, (size_t)i);
            size_t at = (size_t)r * ld_y + (size_t)i;
            v16 x = v_activate(v_load(sum + (size_t)r * ld + i), act);

            if (residual)
                x = v_add(x, v_load_n(residual + at, n));
            v_store_n(y + at, x, n);
        }
}

static void finish(float *y, size_t ld_y, const float *sum, size_t ld, int n_rows, int cols,
                   enum activation act, const float *residual)
{
    if (act == ACT_SILU)
        finish_act(y, ld_y, sum, ld, n_rows, cols, ACT_SILU, residual);
    else if (act == ACT_GELU)
        finish_act(y, ld_y, sum, ld, n_rows, cols, ACT_GELU, residual);
    else if (act == ACT_QUICK_GELU)
        finish_act(y, ld_y, sum, ld, n_rows, cols, ACT_QUICK_GELU, residual);
    else
        finish_act(y, ld_y, sum, ld, n_rows, cols, ACT_NONE, residual);
}

static void activate(float *y, const float *x, size_t n, enum activation act)
{
    for (size_t i = 0; i < n; i += LANES) {
        int left = lanes_left(n, i);

        v_store_n(y + i, v_activate(v_load_n(x + i, left), act), left);
    }
}

static void geglu(float *y, const float *a, const float *b, size_t c)
{
    for (size_t i = 0; i < c; i += LANES) {
        int n = lanes_left(c, i);

        v_store_n(y + i, v_mul(v_load_n(a + i, n), v_gelu(v_load_n(b + i, n))), n);
    }
}

/* Eight doubles; the compiler has the registers for them, and sums them lane by lane. */
typedef double d8 __attribute__((vector_size(64)));
typedef float f8 __attribute__((vector_size(32)));

#define D8_LOAD(to, p)                                                                             \
    do {                                                                                           \
        f8 floats;                                                                                 \
        memcpy(&floats, p, sizeof floats);                                                         \
        (to) = __builtin_convertvector(floats, d8);                                                \
    } while (0)

#define SUM_ROWS                                                                                   \
    8 /* walked at once, so that rows are read in long runs; no order depends on it                \
       */

/* Squares of floats are exact in double, so it does not matter whether a compiler fuses here. */
SIMD void sums_of_rows(double *sum, double *squares, const float *x, const size_t rows, size_t c)
{
    size_t i = 0;

    for (; i + 8 <= c; i += 8) {
        d8 s, q, value;

        memcpy(&s, sum + i, sizeof s);
        memcpy(&q, squares + i, sizeof q);
#pragma GCC unroll 8
        for (size_t r = 0; r < rows; r++) {
            D8_LOAD(value, x + r * c + i);
            s += value;
            q += value * value;
        }
        memcpy(sum + i, &s, sizeof s);
        memcpy(squares + i, &q, sizeof q);
    }
    for (; i < c; i++)
        for (size_t r = 0; r < rows; r++) {
            double value = (double)x[r * c + i];

            sum[i] += value;
            squares[i] += value * value;
        }
}

static void column_sums(double *sum, double *squares, const float *x, size_t rows, size_t c)
{
    size_t r = 0;

    for (; r + SUM_ROWS <= rows; r += SUM_ROWS)
        sums_of_rows(sum, squares, x + r * c, SUM_ROWS, c);
    for (; r < rows; r++)
        sums_of_rows(sum, squares, x + r * c, 1, c);
}

SIMD void scale_shift_act(float *y, const float *x, size_t rows, size_t c, const float *scale,
                          const float *shift, const enum activation act)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < c; i += LANES) {
            int n = lanes_left(c, i);
            v16 value =
                v_fma(v_load_n(x + r * c + i, n), v_load_n(scale + i, n), v_load_n(shift + i, n));

            v_store_n(y + r * c + i, v_activate(value, act), n);
        }
}

static void scale_shift(float *y, const float *x, size_t rows, size_t c, const float *scale_by,
                        const float *shift, enum activation act)
{
    if (act == ACT_SILU)
        scale_shift_act(y, x, rows, c, scale_by, shift, ACT_SILU);
    else
        scale_shift_act(y, x, rows, c, scale_by, shift, act);
}

/* Sixteen running sums, then pairs: the same order on every machine. */
static double sum_of_lanes(double *lanes)
{
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lanes[i] += lanes[i + n];
    return lanes[0];
}

/* Sixteen running sums of (x - mean), or of its squares. */
SIMD double lane_sums(const float *x, size_t c, double mean, const bool square)
{
    d8 low = {0}, high = {0}, centre = mean - (d8){0}, value;
    double lanes[LANES];
    size_t i;

    for (i = 0; i + LANES <= c; i += LANES) {
        D8_LOAD(value, x + i);
        value -= centre;
        low += square ? value * value : value;
        D8_LOAD(value, x + i + 8);
        value -= centre;
        high += square ? value * value : value;
    }
    memcpy(lanes, &low, sizeof low);
    memcpy(lanes + 8, &high, sizeof high);
    for (size_t l = 0; i + l < c; l++)
        lanes[l] += square ? (x[i + l] - mean) * (x[i + l] - mean) : x[i + l] - mean;
    return sum_of_lanes(lanes);
}

static void layer_norm(float *y, const float *x, size_t c, const float *gamma, const float *beta,
                       float eps)
{
    double mean = lane_sums(x, c, 0, false) / (double)c, scale_by;
    v16 factor, shift;

    scale_by = 1 / sqrt(lane_sums(x, c, mean, true) / (double)c + (double)eps);
    factor = v_set((float)scale_by);
    shift = v_set((float)(-mean * scale_by));
    for (size_t i = 0; i < c; i += LANES) {
        int n = lanes_left(c, i);
        v16 value = v_fma(v_load_n(x + i, n), factor, shift);

        v_store_n(y + i, v_fma(value, v_load_n(gamma + i, n), v_load_n(beta + i, n)), n);
    }
}

/* Queries of sixteen that do not see key k. */
SIMD int hidden(size_t k, int64_t seen)
{
    int64_t n = (int64_t)k - seen;

    return n < 0 ? 0 : n < LANES ? (int)n : LANES;
}

#define CHAINS 4 /* of maxima, whose order shows in nothing */

static void softmax(float *scores, size_t n_keys, int64_t seen, float *top, float *total,
                    float *keep)
{
    v16 old = v_load(top), high[CHAINS] = {old, old, old, old}, sum = v_set(0), peak, kept;
    size_t k = 0;

    for (size_t i = seen < 0 ? 0 : (size_t)seen; i < n_keys; i++)
        v_store(scores + i * LANES,
                v_first(v_set(-INFINITY), v_load(scores + i * LANES), hidden(i, seen)));
    for (; k + CHAINS <= n_keys; k += CHAINS)
        for (size_t i = 0; i < CHAINS; i++)
            high[i] = v_max(high[i], v_load(scores + (k + i) * LANES));
    for (; k < n_keys; k++)
        high[0] = v_max(high[0], v_load(scores + k * LANES));
    peak = v_max(v_max(high[0], high[1]), v_max(high[2], high[3]));
    for (k = 0; k < n_keys; k++) {
        v16 e = v_exp2(v_sub(v_load(scores + k * LANES), peak));

        if ((int64_t)k > seen)
            e = v_first(v_set(0), e, hidden(k, seen));
        v_store(scores + k * LANES, e);
        sum = v_add(sum, e);
    }
    kept = v_exp2(v_sub(old, peak));
    v_store(keep, kept);
    v_store(total, v_fma(v_load(total), kept, sum));
    v_store(top, peak);
}

static void scale(float *sums, size_t rows, const float *factors)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t p = 0; p < GROUP; p += LANES)
            v_store(sums + r * GROUP + p, v_mul(v_load(sums + r * GROUP + p), v_load(factors + p)));
}

const struct kernels KERNELS = {
    .name = KERNELS_NAME,
    .multiply = multiply,
    .finish = finish,
    .activate = activate,
    .geglu = geglu,
    .column_sums = column_sums,
    .scale_shift = scale_shift,
    .layer_norm = layer_norm,
    .softmax = softmax,
    .winograd_input = winograd_input,
    .winograd_weights = winograd_weights,
    .winograd_output = winograd_output,
    .scale = scale,
};
