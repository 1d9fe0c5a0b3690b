/*
 * One call of one operation with made-up numbers, for the tests of the backends. Inputs of sample s
 * depend on s alone, so that batches can be compared with single samples.
 */
#ifndef TESTS_ENGINE_OP_CASE_H
#define TESTS_ENGINE_OP_CASE_H

#include "engine/ops/workspace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

enum op { LINEAR, CONV, GROUP_NORM, LAYER_NORM, ATTENTION, GEGLU, ACTIVATE, ADD, CONCAT, UPSAMPLE };

/*
 * LINEAR: rows of a sample, in, out. CONV: h, w, in, out, kernel, stride, padding (-1: the VAE's
 * downsampling, 0 before and 1 behind). GROUP_NORM: pixels, channels, groups, epsilon. LAYER_NORM:
 * rows, channels, epsilon; in hundredths, so that it shows beside a variance of 1/3, or 0: 1e-5.
 * GEGLU, ACTIVATE, ADD: rows, channels. ATTENTION: heads, queries, keys, dim. CONCAT: rows,
 * channels of each. UPSAMPLE: h, w, channels, h and w of the result.
 */
struct op_case {
    enum op op;
    int a[7];
    enum activation act;
    bool extra;    /* bias, per-sample shift and residual; attention: causal */
    bool in_place; /* y is x, or the residual, where ops.h allows it */
};

static inline float op_epsilon(int hundredths)
{
    return hundredths ? (float)hundredths / 100 : 1e-5f;
}

static inline float *op_floats(int64_t n)
{
    float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 127) / 64 * 64);

    assert_non_null(x);
    return x;
}

/* Uniform in -1..1, about a mean of 0.2, so that sums do not all cancel. */
static inline void op_fill(float *x, int64_t n, uint32_t seed)
{
    uint64_t state = (uint64_t)seed * 0x9e3779b97f4a7c15u + 1;

    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)(state >> 40) * 0x1p-23f - 0.8f;
    }
}

/* Operands are numbers that bf16 holds exactly, so that all that is lost is lost by the backend. */
static bool op_operands_are_bf16;

/* n samples of count numbers each; what names the operand. */
static inline float *op_operand(int64_t n, int64_t count, uint32_t what)
{
    float *x = op_floats(n * count);

    for (int64_t s = 0; s < n; s++)
        op_fill(x + s * count, count, what * 1000 + (uint32_t)s);
    for (int64_t i = 0; i < n * count && op_operands_are_bf16; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

static inline int op_conv_side(int side, const struct op_case *c)
{
    int padding = c->a[6] < 0 ? 1 : 2 * c->a[6];

    return (side + padding - c->a[4]) / c->a[5] + 1;
}

/* Numbers of one sample: result, first and second operand. */
static inline void op_sizes(const struct op_case *c, int64_t *ret_y, int64_t *ret_x, int64_t *ret_z)
{
    const int *a = c->a;

    *ret_y = *ret_x = *ret_z = (int64_t)a[0] * a[1];
    switch (c->op) {
    case LINEAR:
        *ret_y = *ret_z = (int64_t)a[0] * a[2];
        break;
    case CONV:
        *ret_x = (int64_t)a[0] * a[1] * a[2];
        *ret_y = *ret_z = (int64_t)op_conv_side(a[0], c) * op_conv_side(a[1], c) * a[3];
        break;
    case ATTENTION:
        *ret_y = *ret_x = (int64_t)a[0] * a[1] * a[3];
        *ret_z = (int64_t)a[0] * a[2] * a[3];
        break;
    case GEGLU:
        *ret_x = 2 * *ret_y;
        break;
    case CONCAT:
        *ret_y = (int64_t)a[0] * (a[1] + a[2]);
        *ret_z = (int64_t)a[0] * a[2];
        break;
    case UPSAMPLE:
        *ret_x = (int64_t)a[0] * a[1] * a[2];
        *ret_y = (int64_t)a[3] * a[4] * a[2];
        break;
    default:
        break;
    }
}

struct op_run {
    struct ops *o;
    const struct op_case *c;
    int64_t n;
    struct act *y, *x, *z, *v; /* v: values of attention, shifts of the layers */
    struct norm *norm;
    struct linear *l;
    struct conv *conv;
};

static inline int op_call(const struct op_run *r, struct err *e)
{
    const int *a = r->c->a;
    struct ops *o = r->o;
    struct act *x = r->c->in_place && r->c->op != LINEAR && r->c->op != CONV ? r->y : r->x;
    struct act *residual = !r->c->extra ? NULL : r->c->in_place ? r->y : r->z;
    int before = a[6] < 0 ? 0 : a[6], behind = a[6] < 0 ? 1 : a[6];

    switch (r->c->op) {
    case LINEAR:
        return o->linear(o, r->y, x, r->l, r->n * a[0], r->c->act, residual, e);
    case CONV:
        return o->conv2d(o, r->y, x, r->conv, r->n, a[0], a[1], a[5],
                         (int[]){before, behind, before, behind}, r->c->extra ? r->v : NULL,
                         residual, e);
    case GROUP_NORM:
        return o->group_norm(o, r->y, x, r->norm, r->n, a[0], a[1], a[2], op_epsilon(a[3]),
                             r->c->act, e);
    case LAYER_NORM:
        return o->layer_norm(o, r->y, x, r->norm, r->n * a[0], a[1], op_epsilon(a[2]), e);
    case ATTENTION:
        return o->attention(o, r->y, x, r->z, r->v, r->n, a[1], a[2], a[0], a[3],
                            2 / sqrtf((float)a[3]), r->c->extra, e);
    case GEGLU:
        return o->geglu(o, r->y, x, r->n * a[0], a[1], e);
    case ACTIVATE:
        return o->activate(o, r->y, x, r->n * a[0] * a[1], r->c->act, e);
    case ADD:
        return o->add(o, r->y, x, r->z, r->n * a[0] * a[1], e);
    case CONCAT:
        return o->concat(o, r->y, x, r->z, r->n * a[0], a[1], a[2], e);
    default:
        return o->upsample(o, r->y, x, r->n, a[0], a[1], a[2], a[3], a[4], e);
    }
}

static inline void op_make_layer(struct op_run *r)
{
    const int *a = r->c->a;
    bool conv = r->c->op == CONV;
    int64_t side = conv ? a[4] : 1, in = conv ? a[2] : a[1], out = conv ? a[3] : a[2];
    struct tensor w = {.rank = conv ? 4 : 2, .shape = {out, in, side, side}};
    struct tensor bias = {.rank = 1, .shape = {out}};
    float *numbers = op_operand(1, out * in * side * side, 7), *shift = op_operand(1, out, 8);
    struct err e;

    w.data = numbers;
    bias.data = shift;
    if (conv)
        assert_int_equal(r->o->conv_new(r->o, &w, r->c->extra ? &bias : NULL, &r->conv, &e), 0);
    else
        assert_int_equal(r->o->linear_new(r->o, &w, r->c->extra ? &bias : NULL, &r->l, &e), 0);
    free(numbers);
    free(shift);
}

/* Activations of a backend that holds float32 in the host's memory. */
static inline struct act *op_act(float *x)
{
    return (struct act *)x;
}

static inline struct norm *op_norm(struct ops *o, const float *gamma, const float *beta,
                                   int64_t channels)
{
    struct tensor g = {.data = gamma, .rank = 1, .shape = {channels}};
    struct tensor b = {.data = beta, .rank = 1, .shape = {channels}};
    struct norm *norm = NULL;

    assert_int_equal(o->norm_new(o, &g, &b, &norm, NULL), 0);
    return norm;
}

static inline void op_make_norm(struct op_run *r, int64_t channels)
{
    float *scale = op_operand(1, channels, 4), *shift = op_operand(1, channels, 5);

    r->norm = op_norm(r->o, scale, shift, channels);
    free(scale);
    free(shift);
}

/* n samples of count numbers each, in the backend's memory. */
static inline struct act *op_put(struct ops *o, int64_t n, int64_t count, uint32_t what)
{
    float *numbers = op_operand(n, count, what);
    void *memory = NULL;

    assert_int_equal(o->memory_new(o, (size_t)(n * count) * o->act_bytes, &memory, NULL), 0);
    assert_int_equal(o->put(o, memory, numbers, n * count, NULL), 0);
    free(numbers);
    return memory;
}

/* Room for n numbers; NaN shows what was left out. */
static inline struct act *op_room(struct ops *o, int64_t n)
{
    float *numbers = op_floats(n);
    void *memory = NULL;

    for (int64_t i = 0; i < n; i++)
        numbers[i] = NAN;
    assert_int_equal(o->memory_new(o, (size_t)n * o->act_bytes, &memory, NULL), 0);
    assert_int_equal(o->put(o, memory, numbers, n, NULL), 0);
    free(numbers);
    return memory;
}

static inline void op_make_operands(struct op_run *r, int64_t *ret_one)
{
    const struct op_case *c = r->c;
    int64_t x, z, n = r->n;

    op_sizes(c, ret_one, &x, &z);
    r->x = op_put(r->o, n, x, 1);
    r->z = op_put(r->o, n, z, 2);
    r->v = op_put(r->o, n, c->op == CONV ? c->a[3] : z, 3);
    if (!c->in_place)
        r->y = op_room(r->o, n * *ret_one);
    else
        r->y = op_put(r->o, n, *ret_one, c->op == LINEAR || c->op == CONV ? 2 : 1);
    if (c->op == LINEAR || c->op == CONV)
        op_make_layer(r);
    if (c->op == GROUP_NORM || c->op == LAYER_NORM)
        op_make_norm(r, c->a[1]);
}

/* Plans, then runs in memory of exactly the planned size. The caller frees the result. */
static inline float *op_result(struct ops *o, const struct op_case *c, int64_t n, int64_t *ret_one)
{
    struct op_run r = {.o = o, .c = c, .n = n};
    struct workspace plan, w = {0};
    struct err e = {0};
    float *y;

    op_make_operands(&r, ret_one);
    workspace_plan(&plan, o);
    if (op_call(&r, &e) != 0)
        fail_msg("while planning: %s", e.text);
    assert_int_equal(plan.acts.used, 0);
    assert_int_equal(workspace_init(&w, o, &plan, &e), 0);
    if (op_call(&r, &e) != 0)
        fail_msg("%s", e.text);
    assert_int_equal(arena_check(&w.acts, &e), 0);
    assert_int_equal(w.acts.used, 0);
    y = op_floats(n * *ret_one);
    assert_int_equal(o->get(o, y, r.y, n * *ret_one, &e), 0);
    workspace_done(&w, o);
    o->linear_free(o, r.l);
    o->conv_free(o, r.conv);
    o->norm_free(o, r.norm);
    o->memory_free(o, r.x);
    o->memory_free(o, r.z);
    o->memory_free(o, r.v);
    o->memory_free(o, r.y);
    return y;
}

/* |a - b| / |b|, not a number if any is not. */
static inline double op_distance(const float *a, const float *b, int64_t n)
{
    double difference = 0, size = 0;

    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return size > 0 ? sqrt(difference / size) : difference;
}

/* Shapes of the small models, odd ones, what falls between tiles, and some of a large model. */
static const struct op_case op_cases[] = {
    {LINEAR, {1, 64, 256}, ACT_SILU, true, false},
    {LINEAR, {1, 256, 256}, ACT_NONE, true, false},
    {LINEAR, {77, 32, 64}, ACT_QUICK_GELU, true, false},
    {LINEAR, {77, 192, 192}, ACT_NONE, true, true},
    {LINEAR, {77, 192, 768}, ACT_GELU, false, false},
    {LINEAR, {77, 768, 192}, ACT_NONE, true, true},
    {LINEAR, {256, 64, 512}, ACT_NONE, true, false},
    {LINEAR, {64, 128, 128}, ACT_NONE, true, true},
    {LINEAR, {117, 48, 24}, ACT_NONE, false, false},
    {LINEAR, {7, 5, 3}, ACT_GELU, true, false},
    {LINEAR, {3, 300, 1}, ACT_NONE, false, false},
    {LINEAR, {65, 33, 49}, ACT_SILU, true, true},
    {LINEAR, {16, 320, 2560}, ACT_NONE, true, false}, /* of Stable Diffusion 1.5 */
    {LINEAR, {9, 1280, 320}, ACT_NONE, true, true},
    {LINEAR, {5, 5120, 64}, ACT_NONE, true, false},
    {CONV, {4, 4, 320, 320, 3, 1, 1}, ACT_NONE, true, true},
    {CONV, {3, 3, 640, 320, 3, 2, 1}, ACT_NONE, true, false},
    {GROUP_NORM, {1024, 320, 32}, ACT_SILU, false, true},
    {ATTENTION, {8, 64, 64, 40}, ACT_NONE, false, false},
    {ATTENTION, {2, 33, 77, 160}, ACT_NONE, false, false},
    {ATTENTION, {1, 40, 64, 512}, ACT_NONE, false, false},
    {CONV, {16, 16, 4, 64, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {16, 16, 64, 64, 3, 1, 1}, ACT_NONE, true, true},
    {CONV, {16, 16, 64, 64, 3, 2, 1}, ACT_NONE, false, false},
    {CONV, {8, 8, 192, 128, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {4, 4, 192, 192, 3, 1, 1}, ACT_NONE, true, true},
    {CONV, {2, 2, 64, 64, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {1, 1, 64, 32, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {9, 13, 32, 48, 3, 1, 1}, ACT_NONE, true, true},
    {CONV, {37, 30, 40, 70, 3, 1, 1}, ACT_NONE, true, true},
    {CONV, {12, 14, 36, 20, 3, 1, 0}, ACT_NONE, true, false},
    {CONV, {12, 9, 48, 16, 3, 1, -1}, ACT_NONE, false, false},
    {CONV, {9, 13, 24, 24, 3, 2, -1}, ACT_NONE, false, false},
    {CONV, {13, 9, 96, 64, 1, 1, 0}, ACT_NONE, true, true},
    {CONV, {32, 32, 96, 48, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {64, 64, 24, 3, 3, 1, 1}, ACT_NONE, true, false},
    {CONV, {7, 7, 4, 4, 1, 1, 0}, ACT_NONE, true, false},
    {CONV, {11, 5, 3, 17, 5, 3, 2}, ACT_NONE, true, false},
    {GROUP_NORM, {256, 64, 16, 15}, ACT_SILU, false, false},
    {GROUP_NORM, {256, 64, 32}, ACT_NONE, false, true},
    {GROUP_NORM, {117, 24, 8, 30}, ACT_SILU, false, true},
    {GROUP_NORM, {1, 32, 16}, ACT_SILU, false, false},
    {GROUP_NORM, {1000, 48, 8}, ACT_GELU, false, false},
    {GROUP_NORM, {4, 384, 16}, ACT_SILU, false, true},
    {LAYER_NORM, {77, 192}, ACT_NONE, false, false},
    {LAYER_NORM, {256, 64, 9}, ACT_NONE, false, true},
    {LAYER_NORM, {5, 37, 50}, ACT_NONE, false, true},
    {LAYER_NORM, {3, 7}, ACT_NONE, false, false},
    {ATTENTION, {8, 256, 256, 8}, ACT_NONE, false, false},
    {ATTENTION, {8, 64, 64, 16}, ACT_NONE, false, false},
    {ATTENTION, {8, 16, 77, 24}, ACT_NONE, false, false},
    {ATTENTION, {8, 117, 77, 4}, ACT_NONE, false, false},
    {ATTENTION, {4, 77, 77, 48}, ACT_NONE, true, false},
    {ATTENTION, {2, 300, 300, 20}, ACT_NONE, true, false},
    {ATTENTION, {1, 300, 600, 128}, ACT_NONE, false, false},
    {ATTENTION, {2, 1, 1, 3}, ACT_NONE, false, false},
    {ATTENTION, {3, 5, 257, 17}, ACT_NONE, false, false},
    {ATTENTION, {2, 130, 77, 64}, ACT_NONE, false, false}, /* the CUDA backend's other shapes */
    {ATTENTION, {2, 77, 77, 64}, ACT_NONE, true, false},
    {ATTENTION, {2, 35, 50, 39}, ACT_NONE, false, false},
    {ATTENTION, {2, 70, 100, 80}, ACT_NONE, false, false},
    {ATTENTION, {1, 65, 33, 77}, ACT_NONE, true, false},
    {ATTENTION, {1, 65, 70, 150}, ACT_NONE, true, false},
    {ATTENTION, {1, 20, 50, 200}, ACT_NONE, false, false},
    {ATTENTION, {1, 40, 40, 256}, ACT_NONE, true, false},
    {ATTENTION, {1, 17, 33, 301}, ACT_NONE, false, false},
    {LINEAR, {300, 40, 24}, ACT_NONE, true, false},
    {GROUP_NORM, {70, 2560, 32}, ACT_SILU, false, false}, /* wider than a block of threads */
    {GROUP_NORM, {65, 330, 33, 7}, ACT_NONE, false, true},
    {LAYER_NORM, {9, 1280}, ACT_NONE, false, true},
    {CONCAT, {5, 3, 7}, ACT_NONE, false, false},
    {GEGLU, {256, 256}, ACT_NONE, false, false},
    {GEGLU, {3, 13}, ACT_NONE, false, false},
    {ACTIVATE, {2, 256}, ACT_SILU, false, false},
    {ACTIVATE, {77, 131}, ACT_GELU, false, true},
    {ACTIVATE, {3, 5}, ACT_QUICK_GELU, false, false},
    {ADD, {256, 64}, ACT_NONE, false, true},
    {ADD, {3, 5}, ACT_NONE, false, false},
    {CONCAT, {117, 24, 48}, ACT_NONE, false, false},
    {UPSAMPLE, {9, 13, 24, 18, 26}, ACT_NONE, false, false},
    {UPSAMPLE, {5, 4, 3, 9, 7}, ACT_NONE, false, false},
};

#define OP_CASES ((int)(sizeof op_cases / sizeof *op_cases))

#endif
