/*
 * For tests of networks: recorded arrays, relative errors, and a forward pass run as a render runs
 * it: planned first, then in exactly the memory that the plan found.
 */
#ifndef TESTS_ENGINE_NETS_H
#define TESTS_ENGINE_NETS_H

#include "engine/networks/layer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

#define NET_TOLERANCE 1e-4 /* relative L2 to diffusers in float32, as the oracle states it */

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        struct err e_ = {0};                                                                       \
        struct err *e = &e_;                                                                       \
        if ((call) != 0)                                                                           \
            fail_msg("%s", e_.text);                                                               \
    } while (0)

#define N_BACKENDS   2
#define BACKEND_FAST 1 /* of backend_open: the one that renders; 0 is the oracle, slow */

static inline struct ops *backend_open(int i)
{
    struct ops *o = NULL;

    assert_ok(i == 0 ? ops_ref_new(&o, e) : ops_cpu_new(2, PRECISION_F32, &o, e));
    return o;
}

/* A recorded model's part, to open a network from; part_close() releases it. */
static inline struct part golden_part(const char *model, const char *name)
{
    char folder[512];
    struct part p = {0};

    snprintf(folder, sizeof folder, GOLDEN_DIR "/models/%s/%s", model, name);
    assert_ok(part_open(&p, folder,
                        strncmp(name, "text", 4) == 0 ? "model.safetensors"
                                                      : "diffusion_pytorch_model.safetensors",
                        e));
    return p;
}

/* A recorded float array in float32, [n] numbers; caller frees. */
static inline float *golden_floats(const struct weights *w, const char *name, struct tensor *ret_t)
{
    float *values;

    if (!weights_find(w, name, ret_t))
        fail_msg("%s has no '%s'", weights_path(w), name);
    values = malloc((size_t)tensor_count(ret_t) * sizeof *values);
    assert_non_null(values);
    tensor_to_f32(ret_t, values);
    return values;
}

/* A recorded feature map [n, c, h, w], as [n, h, w, c]; caller frees. */
static inline float *golden_map(const struct weights *w, const char *name, struct extent *ret_s,
                                int64_t *ret_channels)
{
    struct tensor t;
    float *nchw = golden_floats(w, name, &t), *nhwc;
    int64_t one;

    assert_int_equal(t.rank, 4);
    *ret_s = (struct extent){t.shape[0], t.shape[2], t.shape[3]};
    *ret_channels = t.shape[1];
    one = t.shape[1] * extent_pixels(ret_s);
    nhwc = malloc((size_t)(t.shape[0] * one) * sizeof *nhwc);
    assert_non_null(nhwc);
    for (int64_t i = 0; i < t.shape[0]; i++)
        nhwc_from_nchw(nhwc + i * one, nchw + i * one, t.shape[1], extent_pixels(ret_s));
    free(nchw);
    return nhwc;
}

static inline double relative_l2(const float *got, const float *want, size_t n)
{
    double error = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return sqrt(error / norm);
}

/* Room for n numbers in the backend's memory; freed with memory_free. */
static inline struct act *act_memory(struct ops *o, int64_t n)
{
    void *memory = NULL;

    assert_ok(o->memory_new(o, (size_t)n * o->act_bytes, &memory, e));
    return memory;
}

/* Calls forward(user) while planning, then with the planned memory. */
static inline void run_planned(struct ops *o, int (*forward)(void *user, struct err *e), void *user)
{
    struct workspace plan, w = {0};

    workspace_plan(&plan, o);
    assert_ok(forward(user, e));
    assert_int_equal(plan.acts.used + plan.host.used, 0);
    assert_ok(workspace_init(&w, o, &plan, e));
    assert_ok(forward(user, e));
    assert_int_equal(w.acts.used + w.host.used, 0);
    assert_int_equal(w.acts.peak, plan.acts.peak);
    assert_int_equal(w.host.peak, plan.host.peak);
    assert_false(w.acts.failed || w.host.failed);
    workspace_done(&w, o);
}

#endif
