#include "engine/ops/cuda/plan.h"

#include <stdlib.h>

#define ENGINES       32 /* asked for, best first */
#define NOTES         CUDNN_NUMERICAL_NOTE_TYPE_COUNT
#define WORKSPACE_MAX ((int64_t)1 << 30) /* bytes; engines that want more are passed over */

enum { X, W, Y, TENSORS };

struct plan {
    cudnnBackendDescriptor_t plan, pack;
    int64_t workspace; /* bytes */
};

/* Descriptors that only the making of a plan needs. */
struct maker {
    struct cuda *c;
    const struct plan_shape *s;
    cudnnBackendDescriptor_t tensors[TENSORS], conv, operation, graph, heuristics;
    cudnnBackendDescriptor_t configs[ENGINES];
    int64_t n_configs;
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

/* The tensor of that number: [n, channels, h, w] for cuDNN, channels last in memory. */
static int make_tensor(struct maker *m, int id, int64_t n, int64_t channels, int64_t h, int64_t w,
                       struct err *e)
{
    const int64_t sides[4] = {n, channels, h, w},
                  steps[4] = {h * w * channels, 1, w * channels, channels};
    const int64_t name = id, alignment = 16;
    const cudnnDataType_t type = m->c->number == KERNEL_F16 ? CUDNN_DATA_HALF : CUDNN_DATA_BFLOAT16;
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

/* Configurations of engines, the one expected to be fastest first. */
static int ask(struct maker *m, struct err *e)
{
    const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    int rc = 0;

    TRY(create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &m->heuristics, e));
    TRY(set_descriptor(m->heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, &m->graph, e));
    TRY(set(m->heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, e));
    TRY(finalize(m->heuristics, e));
    for (int i = 0; i < ENGINES; i++)
        TRY(create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &m->configs[i], e));
    TRY(dnn_check(cudnnBackendGetAttribute(m->heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, ENGINES, &m->n_configs,
                                           m->configs),
                  "cudnnBackendGetAttribute(ENGINEHEUR_RESULTS)", e));
out:
    return rc;
}

/*
 * Whether its engine adds in one order, in float: no atomics, no half-precision sums, and no
 * transforms (Winograd, FFT), whose rounding is coarser.
 */
static int is_exact(cudnnBackendDescriptor_t config, bool *ret_exact, struct err *e)
{
    cudnnBackendNumericalNote_t notes[NOTES];
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0;
    int rc = 0;

    TRY(create(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine, e));
    TRY(dnn_check(cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine),
                  "cudnnBackendGetAttribute(ENGINECFG_ENGINE)", e));
    TRY(dnn_check(cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                           CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &n, notes),
                  "cudnnBackendGetAttribute(ENGINE_NUMERICAL_NOTE)", e));
    *ret_exact = true;
    for (int64_t i = 0; i < n && i < NOTES; i++)
        if (notes[i] != CUDNN_NUMERICAL_NOTE_TENSOR_CORE &&
            notes[i] != CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP)
            *ret_exact = false;
out:
    if (engine != NULL)
        cudnnBackendDestroyDescriptor(engine);
    return rc;
}

/*
 * Whether a refusal is about the engine. Memory or a device that is gone would be another engine's
 * too, and another engine means other bytes.
 */
static bool is_about_engine(cudnnStatus_t code)
{
    return code / 1000 < 4 || code == CUDNN_STATUS_INTERNAL_ERROR_COMPILATION_FAILED;
}

/* p->plan from a configuration; *ret_ok: whether its engine runs here and in the room that it may
 * have. */
static int try_config(struct maker *m, struct plan *p, cudnnBackendDescriptor_t config,
                      bool *ret_ok, struct err *e)
{
    bool exact = false;
    cudnnStatus_t code;
    int64_t n;
    int rc = 0;

    *ret_ok = false;
    TRY(is_exact(config, &exact, e));
    if (!exact)
        return 0;
    TRY(create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan, e));
    TRY(set(p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &m->c->dnn, e));
    TRY(set_descriptor(p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, &config, e));
    code = cudnnBackendFinalize(p->plan);
    if (!is_about_engine(code))
        TRY(dnn_check(code, "cudnnBackendFinalize(EXECUTION_PLAN)", e));
    if (code == CUDNN_STATUS_SUCCESS) {
        TRY(dnn_check(cudnnBackendGetAttribute(p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                               CUDNN_TYPE_INT64, 1, &n, &p->workspace),
                      "cudnnBackendGetAttribute(WORKSPACE_SIZE)", e));
        *ret_ok = p->workspace <= WORKSPACE_MAX;
    }
out:
    if (!*ret_ok && p->plan != NULL) {
        cudnnBackendDestroyDescriptor(p->plan);
        p->plan = NULL;
    }
    return rc;
}

static int choose(struct maker *m, struct plan *p, struct err *e)
{
    bool ok = false;
    int rc = 0;

    TRY(ask(m, e));
    for (int64_t i = 0; i < m->n_configs && i < ENGINES && !ok; i++)
        TRY(try_config(m, p, m->configs[i], &ok, e));
    if (!ok)
        TRY(err_set(e, ERR_INTERNAL,
                    "cuDNN has no engine with a fixed order of sums for a convolution of %lld x "
                    "%lld, %lld to %lld channels, kernel %lld x %lld (%lld were offered)",
                    (long long)m->s->h, (long long)m->s->w, (long long)m->s->in,
                    (long long)m->s->out, (long long)m->s->kh, (long long)m->s->kw,
                    (long long)m->n_configs));
out:
    return rc;
}

static void maker_done(struct maker *m)
{
    cudnnBackendDescriptor_t all[] = {m->heuristics, m->graph,      m->operation, m->conv,
                                      m->tensors[X], m->tensors[W], m->tensors[Y]};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] != NULL)
            cudnnBackendDestroyDescriptor(all[i]);
    for (int i = 0; i < ENGINES; i++)
        if (m->configs[i] != NULL)
            cudnnBackendDestroyDescriptor(m->configs[i]);
}

int plan_new(struct cuda *c, const struct plan_shape *s, struct plan **ret_p, struct err *e)
{
    struct maker m = {.c = c, .s = s};
    struct plan *p = calloc(1, sizeof *p);
    int64_t ho = (s->h + 2 * s->pad_h - s->kh) / s->stride + 1;
    int64_t wo = (s->w + 2 * s->pad_w - s->kw) / s->stride + 1;
    int rc = 0;

    if (p == NULL)
        return err_set(e, ERR_OOM, "no memory for a convolution's plan");
    TRY(make_tensor(&m, X, 1, s->in, s->h, s->w, e));
    TRY(make_tensor(&m, W, s->out, s->in, s->kh, s->kw, e));
    TRY(make_tensor(&m, Y, 1, s->out, ho, wo, e));
    TRY(make_conv(&m, e));
    TRY(make_operation(&m, e));
    TRY(choose(&m, p, e));
    *ret_p = p;
    p = NULL;
out:
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
