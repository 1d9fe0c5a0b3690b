#include "engine/ops/cuda/plan.h"

#include <stdlib.h>

#define ENGINES       32 /* asked for, best first */
#define SAMPLES       2  /* that engines are asked for */
#define KNOBS         CUDNN_KNOB_TYPE_COUNTS
#define NOTES         CUDNN_NUMERICAL_NOTE_TYPE_COUNT
#define WORKSPACE_MAX ((int64_t)1 << 30) /* bytes; engines that want more are passed over */

enum { X, W, Y, TENSORS };

struct plan {
    cudnnBackendDescriptor_t plan, pack;
    int64_t workspace; /* bytes */
};

/* Descriptors that only the making of a plan needs: the graph for some number of samples. */
struct maker {
    struct cuda *c;
    const struct plan_shape *s;
    cudnnBackendDescriptor_t tensors[TENSORS], conv, operation, graph;
};

static int create(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *ret_d, struct err *e)
{
    return dnn_check(cudnnBackendCreateDescriptor(type, ret_d), "cudnnBackendCreateDescriptor", e);
}

static int set(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
               cudnnBackendAttributeType_t type, int64_t n, const void *values, struct err *e)
{
    struct err why;
    int rc = dnn_check(cudnnBackendSetAttribute(d, name, type, n, values),
                       "cudnnBackendSetAttribute", &why);

    return rc == 0 ? 0 : err_set(e, rc, "attribute %d: %s", (int)name, why.text);
}

static int set_ints(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, int64_t n,
                    const int64_t *values, struct err *e)
{
    return set(d, name, CUDNN_TYPE_INT64, n, values, e);
}

static int set_descriptor(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                          const cudnnBackendDescriptor_t *value, struct err *e)
{
    return set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, value, e);
}

static int finalize(cudnnBackendDescriptor_t d, struct err *e)
{
    return dnn_check(cudnnBackendFinalize(d), "cudnnBackendFinalize", e);
}

static cudnnDataType_t type_of(enum kernel_number number)
{
    switch (number) {
    case KERNEL_F16:
        return CUDNN_DATA_HALF;
    case KERNEL_BF16:
        return CUDNN_DATA_BFLOAT16;
    default:
        return CUDNN_DATA_FLOAT;
    }
}

/* The tensor of that number: [n, channels, h, w] for cuDNN, channels last in memory. */
static int make_tensor(struct maker *m, int id, int64_t n, int64_t channels, int64_t h, int64_t w,
                       struct err *e)
{
    const int64_t sides[4] = {n, channels, h, w},
                  steps[4] = {h * w * channels, 1, w * channels, channels};
    const int64_t name = id, alignment = 16;
    const cudnnDataType_t type = type_of(m->c->number);
    cudnnBackendDescriptor_t *d = &m->tensors[id];
    int rc = 0;

    TRY(create(CUDNN_BACKEND_TENSOR_DESCRIPTOR, d, e));
    TRY(set(*d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type, e));
    TRY(set_ints(*d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, sides, e));
    TRY(set_ints(*d, CUDNN_ATTR_TENSOR_STRIDES, 4, steps, e));
    TRY(set_ints(*d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &name, e));
    TRY(set_ints(*d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &alignment, e));
    TRY(finalize(*d, e));
out:
    return rc;
}

static int make_conv(struct maker *m, struct err *e)
{
    const int64_t dimensions = 2, dilations[2] = {1, 1}, strides[2] = {m->s->stride, m->s->stride};
    const int64_t pads[2] = {m->s->pad_h, m->s->pad_w};
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const cudnnDataType_t sums = CUDNN_DATA_FLOAT;
    int rc = 0;

    TRY(create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, &m->conv, e));
    TRY(set(m->conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums, e));
    TRY(set(m->conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, e));
    TRY(set_ints(m->conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &dimensions, e));
    TRY(set_ints(m->conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, dilations, e));
    TRY(set_ints(m->conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, strides, e));
    TRY(set_ints(m->conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, pads, e));
    TRY(set_ints(m->conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, pads, e));
    TRY(finalize(m->conv, e));
out:
    return rc;
}

static int make_operation(struct maker *m, struct err *e)
{
    const float one = 1, zero = 0;
    cudnnBackendDescriptor_t *o = &m->operation;
    int rc = 0;

    TRY(create(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, o, e));
    TRY(set_descriptor(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, &m->tensors[X], e));
    TRY(set_descriptor(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, &m->tensors[W], e));
    TRY(set_descriptor(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, &m->tensors[Y], e));
    TRY(set_descriptor(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, &m->conv, e));
    TRY(set(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one, e));
    TRY(set(*o, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero, e));
    TRY(finalize(*o, e));
    TRY(create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &m->graph, e));
    TRY(set_descriptor(m->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, o, e));
    TRY(set(m->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &m->c->dnn, e));
    TRY(finalize(m->graph, e));
out:
    return rc;
}

static void destroy(cudnnBackendDescriptor_t *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (all[i] != NULL)
            cudnnBackendDestroyDescriptor(all[i]);
}

static void maker_done(struct maker *m)
{
    destroy(&m->graph, 1);
    destroy(&m->operation, 1);
    destroy(&m->conv, 1);
    destroy(m->tensors, TENSORS);
}

/* The graph of n samples. The caller calls maker_done(), after an error too. */
static int maker_init(struct maker *m, struct cuda *c, const struct plan_shape *s, int64_t n,
                      struct err *e)
{
    int rc = 0;

    *m = (struct maker){.c = c, .s = s};
    TRY(make_tensor(m, X, n, s->in, s->h, s->w, e));
    TRY(make_tensor(m, W, s->out, s->in, s->kh, s->kw, e));
    TRY(make_tensor(m, Y, n, s->out, plan_rows(s), plan_columns(s), e));
    TRY(make_conv(m, e));
    TRY(make_operation(m, e));
out:
    return rc;
}

/* --- the choice of an engine --- */

/* Configurations of engines, the one expected to be fastest first; one heuristic's. */
struct offer {
    cudnnBackendDescriptor_t heuristics, configs[ENGINES];
    int64_t n;
};

static void offer_done(struct offer *o)
{
    destroy(&o->heuristics, 1);
    destroy(o->configs, ENGINES);
}

/* The caller calls offer_done(), after an error too. */
static int ask(const struct maker *m, cudnnBackendHeurMode_t mode, struct offer *o, struct err *e)
{
    int rc = 0;

    TRY(create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &o->heuristics, e));
    TRY(set_descriptor(o->heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &m->graph, e));
    TRY(set(o->heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, e));
    TRY(finalize(o->heuristics, e));
    for (int i = 0; i < ENGINES; i++)
        TRY(create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &o->configs[i], e));
    TRY(dnn_check(cudnnBackendGetAttribute(o->heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &o->n,
                                           o->configs),
                  "cudnnBackendGetAttribute(ENGINEHEUR_RESULTS)", e));
    o->n = o->n < ENGINES ? o->n : ENGINES;
out:
    return rc;
}

/*
 * An engine's number, and whether it adds in one order, in float: no atomics, no half-precision
 * sums, and no transforms (Winograd, FFT), whose rounding is coarser. Float32 numbers stay what
 * they are: no tensor cores, which round them to TF32.
 */
static int read_engine(const struct cuda *c, cudnnBackendDescriptor_t config, int64_t *ret_index,
                       bool *ret_exact, struct err *e)
{
    cudnnBackendNumericalNote_t notes[NOTES];
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0;
    int rc = 0;

    TRY(create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine, e));
    TRY(dnn_check(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine),
                  "cudnnBackendGetAttribute(ENGINECFG_ENGINE)", e));
    TRY(dnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64,
                                           1, &n, ret_index),
                  "cudnnBackendGetAttribute(ENGINE_GLOBAL_INDEX)", e));
    n = 0;
    TRY(dnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                           CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &n, notes),
                  "cudnnBackendGetAttribute(ENGINE_NUMERICAL_NOTE)", e));
    *ret_exact = true;
    for (int64_t i = 0; i < n && i < NOTES; i++)
        if (notes[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP &&
            (notes[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE || c->number == KERNEL_F32))
            *ret_exact = false;
out:
    destroy(&engine, 1);
    return rc;
}

static int read_knobs(cudnnBackendDescriptor_t config, struct plan_engine *to, struct err *e)
{
    cudnnBackendDescriptor_t choices[KNOBS] = {NULL};
    int64_t n, one;
    int rc = 0;

    for (int i = 0; i < KNOBS; i++)
        TRY(create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choices[i], e));
    TRY(dnn_check(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS, &n, choices),
                  "cudnnBackendGetAttribute(ENGINECFG_KNOB_CHOICES)", e));
    to->n_knobs = n < KNOBS ? n : KNOBS;
    for (int64_t i = 0; i < to->n_knobs; i++) {
        TRY(dnn_check(cudnnBackendGetAttribute(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE,
                                               CUDNN_TYPE_KNOB_TYPE, 1, &one, &to->knobs[i]),
                      "cudnnBackendGetAttribute(KNOB_TYPE)", e));
        TRY(dnn_check(cudnnBackendGetAttribute(choices[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE,
                                               CUDNN_TYPE_INT64, 1, &one, &to->values[i]),
                      "cudnnBackendGetAttribute(KNOB_VALUE)", e));
    }
out:
    destroy(choices, KNOBS);
    return rc;
}

/* *ret_one NULL: this one adds in no fixed order, or does not run. */
static int try_config(const struct maker *m, cudnnBackendDescriptor_t config,
                      struct plan_engine *engine, struct plan **ret_one, struct err *e)
{
    bool exact = false;
    int rc = 0;

    *engine = (struct plan_engine){0};
    TRY(read_engine(m->c, config, &engine->index, &exact, e));
    if (!exact)
        return 0;
    TRY(read_knobs(config, engine, e));
    TRY(plan_new(m->c, m->s, 1, engine, ret_one, e));
out:
    return rc;
}

/* The first of a heuristic's engines that will do; *ret_one stays if none will. Adds to *n_offered.
 */
static int choose(const struct maker *m, cudnnBackendHeurMode_t mode,
                  struct plan_engine *ret_engine, struct plan **ret_one, int64_t *n_offered,
                  struct err *e)
{
    struct offer offer = {0};
    int rc = 0;

    TRY(ask(m, mode, &offer, e));
    *n_offered += offer.n;
    for (int64_t i = 0; i < offer.n && *ret_one == NULL; i++)
        TRY(try_config(m, offer.configs[i], ret_engine, ret_one, e));
out:
    offer_done(&offer);
    return rc;
}

int plan_choose(struct cuda *c, const struct plan_shape *s, struct plan_engine *ret_engine,
                struct plan **ret_one, struct err *e)
{
    struct maker m;
    struct plan *one = NULL;
    int64_t n = 0;
    int rc = 0;

    TRY(maker_init(&m, c, s, SAMPLES, e));
    TRY(choose(&m, CUDNN_HEUR_MODE_A, ret_engine, &one, &n, e));
    if (one == NULL) /* it may name engines of tensor cores alone */
        TRY(choose(&m, CUDNN_HEUR_MODE_FALLBACK, ret_engine, &one, &n, e));
    if (one == NULL)
        TRY(err_set(e, ERR_INTERNAL,
                    "cuDNN has no engine with a fixed order of sums for a convolution of %lld x "
                    "%lld, %lld to %lld channels, kernel %lld x %lld (%lld were offered)",
                    (long long)s->h, (long long)s->w, (long long)s->in, (long long)s->out,
                    (long long)s->kh, (long long)s->kw, (long long)n));
    *ret_one = one;
out:
    maker_done(&m);
    return rc;
}

/* --- a plan --- */

/*
 * Finalizes what the engine may refuse. Memory or a device that is gone would be another engine's
 * trouble too, and another engine means other bytes: that is an error.
 */
static int offer_to_engine(cudnnBackendDescriptor_t d, bool *ret_ok, struct err *e)
{
    cudnnStatus_t code = cudnnBackendFinalize(d);

    *ret_ok = code == CUDNN_STATUS_SUCCESS;
    if (code / 1000 < 4 || code == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED)
        return 0;
    return dnn_check(code, "cudnnBackendFinalize", e);
}

/* An engine's configuration for the graph. The engine may refuse: then *ret_ok is false. */
struct config {
    cudnnBackendDescriptor_t engine, choices[KNOBS], config;
};

static void config_done(struct config *c)
{
    destroy(&c->config, 1);
    destroy(c->choices, KNOBS);
    destroy(&c->engine, 1);
}

static int config_init(struct config *c, const struct maker *m, const struct plan_engine *from,
                       bool *ret_ok, struct err *e)
{
    int rc = 0;

    *ret_ok = false;
    TRY(create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &c->engine, e));
    TRY(set_descriptor(c->engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, &m->graph, e));
    TRY(set_ints(c->engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, &from->index, e));
    TRY(offer_to_engine(c->engine, ret_ok, e));
    if (!*ret_ok)
        return 0;
    for (int64_t i = 0; i < from->n_knobs; i++) {
        cudnnBackendDescriptor_t *k = &c->choices[i];

        TRY(create(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, k, e));
        TRY(set(*k, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &from->knobs[i], e));
        TRY(set_ints(*k, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 1, &from->values[i], e));
        TRY(finalize(*k, e));
    }
    TRY(create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &c->config, e));
    TRY(set_descriptor(c->config, CUDNN_ATTR_ENGINECFG_ENGINE, &c->engine, e));
    if (from->n_knobs > 0)
        TRY(set(c->config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                from->n_knobs, c->choices, e));
    TRY(offer_to_engine(c->config, ret_ok, e));
out:
    return rc;
}

static int plan_of(struct cuda *c, cudnnBackendDescriptor_t config, struct plan *p, bool *ret_ok,
                   struct err *e)
{
    int64_t n;
    int rc = 0;

    *ret_ok = false;
    TRY(create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan, e));
    TRY(set(p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &c->dnn, e));
    TRY(set_descriptor(p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &config, e));
    TRY(offer_to_engine(p->plan, ret_ok, e));
    if (!*ret_ok)
        return 0;
    TRY(dnn_check(cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                           CUDNN_TYPE_INT64, 1, &n, &p->workspace),
                  "cudnnBackendGetAttribute(WORKSPACE_SIZE)", e));
    *ret_ok = p->workspace <= WORKSPACE_MAX;
out:
    return rc;
}

int plan_new(struct cuda *c, const struct plan_shape *s, int64_t n,
             const struct plan_engine *engine, struct plan **ret_p, struct err *e)
{
    struct maker m;
    struct config config = {0};
    struct plan *p = calloc(1, sizeof *p);
    bool ok = false;
    int rc = 0;

    if (p == NULL)
        return err_set(e, ERR_OOM, "no memory for a convolution's plan");
    TRY(maker_init(&m, c, s, n, e));
    TRY(config_init(&config, &m, engine, &ok, e));
    if (ok)
        TRY(plan_of(c, config.config, p, &ok, e));
    *ret_p = ok ? p : NULL;
    p = ok ? NULL : p;
out:
    config_done(&config);
    maker_done(&m);
    plan_free(p);
    return rc;
}

void plan_free(struct plan *p)
{
    if (p == NULL)
        return;
    if (p->pack != NULL)
        cudnnBackendDestroyDescriptor(p->pack);
    if (p->plan != NULL)
        cudnnBackendDestroyDescriptor(p->plan);
    free(p);
}

size_t plan_workspace(const struct plan *p)
{
    return p->workspace > 0 ? (size_t)p->workspace : 0;
}

int plan_run(struct cuda *c, struct plan *p, void *y, const void *x, const void *w, void *workspace,
             struct err *e)
{
    const int64_t names[TENSORS] = {X, W, Y};
    const void *places[TENSORS] = {x, w, y};
    int rc = 0;

    if (p->pack !=
        NULL) /* finalized descriptors do not change: another for each call's addresses */
        cudnnBackendDestroyDescriptor(p->pack);
    p->pack = NULL;
    TRY(create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &p->pack, e));
    TRY(set(p->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, TENSORS, places,
            e));
    TRY(set_ints(p->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, TENSORS, names, e));
    TRY(set(p->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace, e));
    TRY(finalize(p->pack, e));
    TRY(dnn_check(cudnnBackendExecute(c->dnn, p->plan, p->pack), "cudnnBackendExecute", e));
out:
    return rc;
}
