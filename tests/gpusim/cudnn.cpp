/*
 * cuDNN 9's graph API for one convolution: tensors, convolution, operation graph, heuristics,
 * engines, plan, variant pack. Engines, what they are being in their notes:
 *
 * 0 tensor cores, sums in an order that is never the same
 * 1 tensor cores: channels by 16 bytes, channels last, 16-byte alignment; wants a workspace; a knob
 *   says how many products are added before they join the sum, and the heuristics choose it by the
 *   number of samples
 * 2 any strides, the order of the sums as it comes
 * 3 of f32 alone: operands become f16
 *
 * Tensor cores round f32 operands to TF32. Heuristics offer 0, 1, 2 in this order; for f32 mode A
 * offers 3, 0, 1, and 2 only where the stride is 1; FALLBACK offers 2 alone.
 *
 * GPUSIM_FAULTS=conv-by-batch: engines 1 and 2 add in an order that depends on the number of
 * samples.
 */
#include "numbers.h"
#include "state.h"

#include <cudnn.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

using namespace gpusim;

struct cudnnContext {
    cudaStream_t stream = nullptr;
};

namespace
{

struct tensor {
    number type;
    int64_t dims[4], strides[4], uid, alignment;
};

struct convolution {
    int64_t dilations[2], strides[2], before[2], after[2];
};

struct operation {
    tensor x, w, y;
    convolution c;
    float alpha, beta;
};

struct attribute {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
};

const int64_t default_tile = 64;

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool final = false;
    std::map<int, attribute> attributes;
    /* of a finalized one, by its type */
    tensor t;
    convolution c;
    std::shared_ptr<operation> op;
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A; /* of heuristics */
    int engine = -1;
    int64_t tile = default_tile; /* the knob of engine 1 */
    bool loaded = false;         /* a plan that has run */
};

const int64_t workspace_wanted = 1024;
std::string last_message;

cudnnStatus_t refuse(cudnnStatus_t code, const char *why)
{
    last_message = why;
    fail(cudaSuccess, "cuDNN: %s", why);
    return code;
}

/* A failure that a test planned, or a dead device. */
#define ASK(call, takes_memory)                                                                    \
    if (cudnnStatus_t s_ = asked_as(call, takes_memory, CUDNN_STATUS_SUCCESS,                      \
                                    CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,          \
                                    CUDNN_STATUS_EXECUTION_FAILED))                                \
    return s_

#define NEED(condition, code)                                                                      \
    if (!(condition))                                                                              \
    return refuse(code, "needs " #condition)

size_t element(cudnnBackendAttributeType_t type)
{
    switch (type) {
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR:
        return 8;
    case CUDNN_TYPE_BOOLEAN:
    case CUDNN_TYPE_CHAR:
        return 1;
    default:
        return 4;
    }
}

/* `count` values of the attribute, if it was set with that type. */
template <class T>
bool read(const descriptor &d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
          int64_t count, T *to)
{
    auto i = d.attributes.find(name);
    if (i == d.attributes.end() || i->second.type != type || i->second.count != count ||
        i->second.bytes.size() != (size_t)count * sizeof(T))
        return false;
    std::memcpy(to, i->second.bytes.data(), i->second.bytes.size());
    return true;
}

bool read_ints(const descriptor &d, cudnnBackendAttributeName_t name, int64_t count, int64_t *to)
{
    return read(d, name, CUDNN_TYPE_INT64, count, to);
}

/* A finalized descriptor that d names. */
descriptor *read_descriptor(const descriptor &d, cudnnBackendAttributeName_t name,
                            cudnnBackendDescriptorType_t type)
{
    void *p = nullptr;
    if (!read(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p) || !p)
        return nullptr;
    auto *other = static_cast<descriptor *>(p);
    return other->type == type && other->final ? other : nullptr;
}

/* ---- finalizing, by type ---- */

cudnnStatus_t finish_tensor(descriptor &d)
{
    cudnnDataType_t type;
    bool virtual_tensor = false;
    NEED(read(d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type),
         CUDNN_STATUS_BAD_PARAM);
    NEED(type == CUDNN_DATA_HALF || type == CUDNN_DATA_BFLOAT16 || type == CUDNN_DATA_FLOAT,
         CUDNN_STATUS_NOT_SUPPORTED);
    d.t.type = type == CUDNN_DATA_HALF       ? number::f16
               : type == CUDNN_DATA_BFLOAT16 ? number::bf16
                                             : number::f32;
    NEED(read_ints(d, CUDNN_ATTR_TENSOR_DIMENSIONS, 4, d.t.dims), CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_TENSOR_STRIDES, 4, d.t.strides), CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_TENSOR_UNIQUE_ID, 1, &d.t.uid), CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1, &d.t.alignment), CUDNN_STATUS_BAD_PARAM);
    NEED(d.t.alignment > 0 && d.t.alignment % (int64_t)size_of(d.t.type) == 0,
         CUDNN_STATUS_BAD_PARAM);
    read(d, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &virtual_tensor);
    NEED(!virtual_tensor, CUDNN_STATUS_NOT_SUPPORTED);
    for (int i = 0; i < 4; i++)
        NEED(d.t.dims[i] > 0 && d.t.strides[i] > 0, CUDNN_STATUS_BAD_PARAM);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_convolution(descriptor &d)
{
    cudnnDataType_t sums;
    cudnnConvolutionMode_t mode;
    int64_t dimensions;
    NEED(read(d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums),
         CUDNN_STATUS_BAD_PARAM);
    NEED(sums == CUDNN_DATA_FLOAT, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(read(d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode),
         CUDNN_STATUS_BAD_PARAM);
    NEED(mode == CUDNN_CROSS_CORRELATION, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(read_ints(d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 1, &dimensions), CUDNN_STATUS_BAD_PARAM);
    NEED(dimensions == 2, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(read_ints(d, CUDNN_ATTR_CONVOLUTION_DILATIONS, 2, d.c.dilations), CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2, d.c.strides),
         CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2, d.c.before), CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 2, d.c.after), CUDNN_STATUS_BAD_PARAM);
    for (int i = 0; i < 2; i++)
        NEED(d.c.strides[i] > 0 && d.c.dilations[i] > 0 && d.c.before[i] >= 0 && d.c.after[i] >= 0,
             CUDNN_STATUS_BAD_PARAM);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_operation(descriptor &d)
{
    descriptor *x = read_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                    CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor *w = read_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                                    CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor *y = read_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                                    CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    descriptor *c = read_descriptor(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                    CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    NEED(x && w && y && c, CUDNN_STATUS_BAD_PARAM);
    auto op = std::make_shared<operation>();
    op->x = x->t, op->w = w->t, op->y = y->t, op->c = c->c;
    NEED(read(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &op->alpha),
         CUDNN_STATUS_BAD_PARAM);
    NEED(read(d, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &op->beta),
         CUDNN_STATUS_BAD_PARAM);
    NEED(op->beta == 0, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(op->x.type == op->w.type, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(op->x.dims[1] == op->w.dims[1], CUDNN_STATUS_BAD_PARAM);
    NEED(op->y.dims[0] == op->x.dims[0] && op->y.dims[1] == op->w.dims[0], CUDNN_STATUS_BAD_PARAM);
    for (int i = 0; i < 2; i++) {
        int64_t kernel = (op->w.dims[2 + i] - 1) * op->c.dilations[i] + 1;
        int64_t side = op->x.dims[2 + i] + op->c.before[i] + op->c.after[i] - kernel;
        NEED(side >= 0 && op->y.dims[2 + i] == side / op->c.strides[i] + 1, CUDNN_STATUS_BAD_PARAM);
    }
    d.op = op;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_graph(descriptor &d)
{
    void *handle = nullptr;
    descriptor *op = read_descriptor(d, CUDNN_ATTR_OPERATIONGRAPH_OPS,
                                     CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    if (!op)
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "only graphs of one convolution are emulated");
    NEED(read(d, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) && handle,
         CUDNN_STATUS_BAD_PARAM);
    d.op = op->op;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_heuristics(descriptor &d)
{
    cudnnBackendHeurMode_t mode;
    descriptor *graph = read_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                        CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    NEED(graph, CUDNN_STATUS_BAD_PARAM);
    NEED(read(d, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode),
         CUDNN_STATUS_BAD_PARAM);
    NEED(mode == CUDNN_HEUR_MODE_A || mode == CUDNN_HEUR_MODE_FALLBACK, CUDNN_STATUS_NOT_SUPPORTED);
    d.op = graph->op;
    d.mode = mode;
    return CUDNN_STATUS_SUCCESS;
}

bool for_tensor_cores(const tensor &t)
{
    return t.dims[1] * (int64_t)size_of(t.type) % 16 == 0 && t.strides[1] == 1 && t.alignment >= 16;
}

bool engine_takes(int engine, const operation &op)
{
    if (engine == 3)
        return op.x.type == number::f32;
    return engine != 1 ||
           (for_tensor_cores(op.x) && for_tensor_cores(op.w) && for_tensor_cores(op.y));
}

/* One that the user asks for by its number. */
cudnnStatus_t finish_engine(descriptor &d)
{
    int64_t index = -1;
    descriptor *graph = read_descriptor(d, CUDNN_ATTR_ENGINE_OPERATION_GRAPH,
                                        CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    NEED(graph, CUDNN_STATUS_BAD_PARAM);
    NEED(read_ints(d, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1, &index), CUDNN_STATUS_BAD_PARAM);
    NEED(index >= 0 && index < 4, CUDNN_STATUS_NOT_SUPPORTED);
    d.op = graph->op;
    d.engine = (int)index;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_knob(descriptor &d)
{
    cudnnBackendKnobType_t type;
    NEED(read(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type),
         CUDNN_STATUS_BAD_PARAM);
    NEED(type == CUDNN_KNOB_TYPE_TILEK, CUDNN_STATUS_NOT_SUPPORTED);
    NEED(read_ints(d, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, 1, &d.tile), CUDNN_STATUS_BAD_PARAM);
    NEED(d.tile > 0, CUDNN_STATUS_BAD_PARAM);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_config(descriptor &d)
{
    descriptor *engine =
        read_descriptor(d, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    NEED(engine, CUDNN_STATUS_BAD_PARAM);
    d.op = engine->op;
    d.engine = engine->engine;
    if (d.attributes.count(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES)) {
        descriptor *knob = read_descriptor(d, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                           CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        NEED(knob && d.engine == 1, CUDNN_STATUS_BAD_PARAM);
        d.tile = knob->tile;
    }
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_plan(descriptor &d)
{
    void *handle = nullptr;
    descriptor *config = read_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                         CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    NEED(config, CUDNN_STATUS_BAD_PARAM);
    NEED(read(d, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) && handle,
         CUDNN_STATUS_BAD_PARAM);
    if (!engine_takes(config->engine, *config->op))
        return CUDNN_STATUS_NOT_SUPPORTED; /* and callers try the next */
    d.op = config->op;
    d.engine = config->engine;
    d.tile = config->tile;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish_pack(descriptor &d)
{
    auto ids = d.attributes.find(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    auto places = d.attributes.find(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    NEED(ids != d.attributes.end() && places != d.attributes.end(), CUDNN_STATUS_BAD_PARAM);
    NEED(ids->second.type == CUDNN_TYPE_INT64 && places->second.type == CUDNN_TYPE_VOID_PTR,
         CUDNN_STATUS_BAD_PARAM);
    NEED(ids->second.count == places->second.count, CUDNN_STATUS_BAD_PARAM);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t finish(descriptor &d)
{
    switch (d.type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
        return finish_tensor(d);
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
        return finish_convolution(d);
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
        return finish_operation(d);
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        return finish_graph(d);
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
        return finish_heuristics(d);
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
        return finish_engine(d);
    case CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR:
        return finish_knob(d);
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
        return finish_config(d);
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        return finish_plan(d);
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR:
        return finish_pack(d);
    default:
        return refuse(CUDNN_STATUS_NOT_SUPPORTED,
                      "this descriptor is not finalized by its user here");
    }
}

/* ---- asking ---- */

/* Gives copies of (op, engine) into descriptors that the caller made. */
cudnnStatus_t give(descriptor *to, cudnnBackendDescriptorType_t type, const descriptor &from,
                   int engine)
{
    NEED(to && to->type == type, CUDNN_STATUS_BAD_PARAM);
    to->op = from.op;
    to->engine = engine;
    to->tile = from.tile;
    to->final = true;
    return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t give_values(std::vector<T> values, int64_t asked, int64_t *count, void *to)
{
    if (count)
        *count = (int64_t)values.size();
    for (size_t i = 0; i < values.size() && (int64_t)i < asked && to; i++)
        static_cast<T *>(to)[i] = values[i];
    return CUDNN_STATUS_SUCCESS;
}

std::vector<int> engines_of(const descriptor &heuristics)
{
    const operation &op = *heuristics.op;
    if (heuristics.mode == CUDNN_HEUR_MODE_FALLBACK)
        return {2};
    if (op.x.type != number::f32)
        return {0, 1, 2};
    if (op.c.strides[0] != 1)
        return {3, 0, 1};
    return {3, 0, 1, 2};
}

cudnnStatus_t give_configs(const descriptor &d, int64_t asked, int64_t *count, void *to)
{
    std::vector<int> engines = engines_of(d);
    if (count)
        *count = (int64_t)engines.size();
    for (int64_t i = 0; i < (int64_t)engines.size() && i < asked && to; i++) {
        cudnnStatus_t s = give(static_cast<descriptor **>(to)[i],
                               CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, d, engines[(size_t)i]);
        if (s != CUDNN_STATUS_SUCCESS)
            return s;
        static_cast<descriptor **>(to)[i]->tile = d.op->x.dims[0] == 1 ? 16 : 48;
    }
    return CUDNN_STATUS_SUCCESS;
}

std::vector<cudnnBackendNumericalNote_t> notes_of(int engine)
{
    switch (engine) {
    case 0:
        return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC};
    case 1:
        return {CUDNN_NUMERICAL_NOTE_TENSOR_CORE};
    case 3:
        return {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS};
    default:
        return {};
    }
}

/* ---- running ---- */

size_t extent(const tensor &t)
{
    size_t n = 1;
    for (int i = 0; i < 4; i++)
        n += (size_t)((t.dims[i] - 1) * t.strides[i]);
    return n * size_of(t.type);
}

/* y = alpha * conv(x, w): for each row of y, patches [wo, taps * in] times weights [taps * in,
 * out]. */
struct run_convolution {
    operation op;
    int engine;
    int64_t tile;
    const char *x, *w;
    char *y, *workspace;

    size_t depth() const
    {
        return (size_t)(op.w.dims[1] * op.w.dims[2] * op.w.dims[3]);
    }
    /* As the engine does of f32. */
    void round_operands(std::vector<float> &v) const
    {
        if (op.x.type != number::f32)
            return;
        if (engine == 0 || engine == 1)
            round_to_tf32(v.data(), v.size());
        for (size_t i = 0; i < v.size() && engine == 3; i++)
            v[i] = __half2float(__float2half_rn(v[i]));
    }
    std::vector<float> weights() const
    {
        const tensor &t = op.w;
        std::vector<float> to(depth() * (size_t)t.dims[0]);
        for (int64_t r = 0, at = 0; r < t.dims[2]; r++) {
            for (int64_t s = 0; s < t.dims[3]; s++) {
                for (int64_t c = 0; c < t.dims[1]; c++, at++) {
                    int64_t from = c * t.strides[1] + r * t.strides[2] + s * t.strides[3];
                    to_float(&to[(size_t)(at * t.dims[0])], 1, w + (size_t)from * size_of(t.type),
                             (size_t)t.strides[0], t.type, (size_t)t.dims[0]);
                }
            }
        }
        round_operands(to);
        return to;
    }
    void patch(float *to, int64_t n, int64_t oh, int64_t ow) const
    {
        const tensor &t = op.x;
        size_t channels = (size_t)t.dims[1];
        for (int64_t r = 0; r < op.w.dims[2]; r++) {
            for (int64_t s = 0; s < op.w.dims[3]; s++, to += channels) {
                int64_t h = oh * op.c.strides[0] + r * op.c.dilations[0] - op.c.before[0];
                int64_t v = ow * op.c.strides[1] + s * op.c.dilations[1] - op.c.before[1];
                if (h < 0 || h >= t.dims[2] || v < 0 || v >= t.dims[3]) {
                    std::fill(to, to + channels, 0.0f);
                    continue;
                }
                int64_t from = n * t.strides[0] + h * t.strides[2] + v * t.strides[3];
                to_float(to, 1, x + (size_t)from * size_of(t.type), (size_t)t.strides[1], t.type,
                         channels);
            }
        }
    }
    /* Of tensor cores: products are added by tiles of the depth, tile after tile. So does engine 2
     * where that fault is planted. */
    void multiply_tiles(std::vector<float> &sums, const std::vector<float> &patches,
                        const std::vector<float> &by) const
    {
        size_t k = depth(), out = (size_t)op.w.dims[0], rows = sums.size() / out;
        size_t step = engine == 1 ? (size_t)tile : 16;
        step += planted("conv-by-batch") ? (size_t)op.x.dims[0] : 0;
        std::vector<float> part(sums.size());
        for (size_t at = 0; at < k; at += step) {
            std::fill(part.begin(), part.end(), 0.0f);
            multiply_add(part.data(), patches.data() + at, by.data() + at * out, rows, out,
                         std::min(step, k - at), k);
            for (size_t i = 0; i < part.size(); i++)
                sums[i] += part[i];
        }
    }
    /* Engine 0 cuts the sums at a point that is drawn. */
    void multiply_row(std::vector<float> &sums, const std::vector<float> &patches,
                      const std::vector<float> &by) const
    {
        size_t k = depth(), out = (size_t)op.w.dims[0], rows = sums.size() / out;
        std::fill(sums.begin(), sums.end(), 0.0f);
        if (engine == 1 || (engine == 2 && planted("conv-by-batch"))) {
            multiply_tiles(sums, patches, by);
            return;
        }
        if (engine != 0) {
            multiply_add(sums.data(), patches.data(), by.data(), rows, out, k, k);
            return;
        }
        size_t cut = random_below((unsigned)k);
        multiply_add(sums.data(), patches.data() + cut, by.data() + cut * out, rows, out, k - cut,
                     k);
        multiply_add(sums.data(), patches.data(), by.data(), rows, out, cut, k);
    }
    bool operator()() const
    {
        const tensor &t = op.y;
        std::vector<float> by = weights(), patches((size_t)t.dims[3] * depth());
        std::vector<float> sums((size_t)(t.dims[3] * t.dims[1]));
        for (int64_t row = 0; row < t.dims[0] * t.dims[2]; row++) {
            int64_t n = row / t.dims[2], oh = row % t.dims[2];
            for (int64_t ow = 0; ow < t.dims[3]; ow++)
                patch(&patches[(size_t)ow * depth()], n, oh, ow);
            round_operands(patches);
            multiply_row(sums, patches, by);
            for (float &f : sums)
                f *= op.alpha;
            for (int64_t ow = 0; ow < t.dims[3]; ow++) {
                int64_t to = n * t.strides[0] + oh * t.strides[2] + ow * t.strides[3];
                from_float(y + (size_t)to * size_of(t.type), (size_t)t.strides[1], t.type,
                           &sums[(size_t)(ow * t.dims[1])], (size_t)t.dims[1]);
            }
        }
        if (engine == 1)
            std::memset(workspace, 0xff, (size_t)workspace_wanted);
        return true;
    }
};

/* The pack's address for a tensor; null unless it is whole, aligned device memory. */
void *address_in(const descriptor &pack, const tensor &t)
{
    const attribute &ids = pack.attributes.at(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
    const attribute &places = pack.attributes.at(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    for (int64_t i = 0; i < ids.count; i++) {
        int64_t id;
        void *p;
        std::memcpy(&id, ids.bytes.data() + 8 * i, 8);
        std::memcpy(&p, places.bytes.data() + 8 * i, 8);
        if (id != t.uid)
            continue;
        bool ok = device_range(p, extent(t), false) && (uintptr_t)p % (uintptr_t)t.alignment == 0;
        return ok ? p : nullptr;
    }
    return nullptr;
}

} // namespace

/* ---- the API ---- */

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    switch (status) {
    case CUDNN_STATUS_SUCCESS:
        return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED:
        return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM:
        return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED:
        return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED:
        return "CUDNN_STATUS_EXECUTION_FAILED";
    default:
        return "CUDNN_STATUS";
    }
}

void cudnnGetLastErrorString(char *text, size_t size)
{
    snprintf(text, size, "%s", last_message.c_str());
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *ret)
{
    guard g(lock);
    ASK("cudnnCreate", true);
    *ret = new cudnnContext;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    delete handle;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    guard g(lock);
    ASK("cudnnSetStream", false);
    handle->stream = stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t *ret)
{
    *ret = handle->stream;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *ret)
{
    guard g(lock);
    ASK("cudnnBackendCreateDescriptor", true);
    switch (type) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR:
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR:
    case CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR:
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: {
        auto *d = new descriptor;
        d->type = type;
        *ret = d;
        return CUDNN_STATUS_SUCCESS;
    }
    default:
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "this descriptor is not emulated");
    }
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    delete static_cast<descriptor *>(d);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t to,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values)
{
    guard g(lock);
    ASK("cudnnBackendSetAttribute", false);
    auto *d = static_cast<descriptor *>(to);
    NEED(d && !d->final, CUDNN_STATUS_BAD_PARAM);
    NEED(count >= 1 && values, CUDNN_STATUS_BAD_PARAM);
    const char *bytes = static_cast<const char *>(values);
    d->attributes[name] = {type, count,
                           std::vector<char>(bytes, bytes + (size_t)count * element(type))};
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t to)
{
    guard g(lock);
    ASK("cudnnBackendFinalize", false);
    auto *d = static_cast<descriptor *>(to);
    NEED(d && !d->final, CUDNN_STATUS_BAD_PARAM);
    if (d->type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR && capturing_any())
        return refuse(CUDNN_STATUS_EXECUTION_FAILED, "plans are not built during a capture");
    cudnnStatus_t s = finish(*d);
    d->final = s == CUDNN_STATUS_SUCCESS;
    return s;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const of,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t asked,
                                       int64_t *count, void *to)
{
    guard g(lock);
    ASK("cudnnBackendGetAttribute", false);
    auto *d = static_cast<descriptor *>(of);
    NEED(d && d->final, CUDNN_STATUS_NOT_INITIALIZED);
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS && d->type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_BACKEND_DESCRIPTOR, CUDNN_STATUS_BAD_PARAM);
        return give_configs(*d, asked, count, to);
    }
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE && d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_BACKEND_DESCRIPTOR && asked == 1 && to, CUDNN_STATUS_BAD_PARAM);
        *count = 1;
        return give(*static_cast<descriptor **>(to), CUDNN_BACKEND_ENGINE_DESCRIPTOR, *d,
                    d->engine);
    }
    if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX && d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_INT64, CUDNN_STATUS_BAD_PARAM);
        return give_values<int64_t>({d->engine}, asked, count, to);
    }
    if (name == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES &&
        d->type == CUDNN_BACKEND_ENGINECFG_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_BACKEND_DESCRIPTOR, CUDNN_STATUS_BAD_PARAM);
        *count = d->engine == 1 ? 1 : 0;
        return *count == 0 || asked < 1 ? CUDNN_STATUS_SUCCESS
                                        : give(*static_cast<descriptor **>(to),
                                               CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, *d, d->engine);
    }
    if (name == CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE &&
        d->type == CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_KNOB_TYPE, CUDNN_STATUS_BAD_PARAM);
        return give_values<cudnnBackendKnobType_t>({CUDNN_KNOB_TYPE_TILEK}, asked, count, to);
    }
    if (name == CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE &&
        d->type == CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_INT64, CUDNN_STATUS_BAD_PARAM);
        return give_values<int64_t>({d->tile}, asked, count, to);
    }
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE && d->type == CUDNN_BACKEND_ENGINE_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_STATUS_BAD_PARAM);
        return give_values(notes_of(d->engine), asked, count, to);
    }
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE &&
        d->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
        NEED(type == CUDNN_TYPE_INT64, CUDNN_STATUS_BAD_PARAM);
        return give_values<int64_t>({d->engine == 1 ? workspace_wanted : 0}, asked, count, to);
    }
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "this attribute cannot be asked for here");
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant)
{
    guard g(lock);
    ASK("cudnnBackendExecute", false);
    auto *p = static_cast<descriptor *>(plan), *v = static_cast<descriptor *>(variant);
    NEED(handle && p && p->final && p->type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
         CUDNN_STATUS_BAD_PARAM);
    NEED(v && v->final && v->type == CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, CUDNN_STATUS_BAD_PARAM);
    if (!p->loaded && capturing(handle->stream)) {
        spoil_capture(handle->stream, "the first run of a plan, which loads its kernels,");
        return CUDNN_STATUS_EXECUTION_FAILED;
    }
    p->loaded = true;
    run_convolution run = {*p->op, p->engine, p->tile, nullptr, nullptr, nullptr, nullptr};
    run.x = (const char *)address_in(*v, run.op.x);
    run.w = (const char *)address_in(*v, run.op.w);
    run.y = (char *)address_in(*v, run.op.y);
    if (!run.x || !run.w || !run.y)
        return refuse(
            CUDNN_STATUS_BAD_PARAM,
            "a tensor's address is missing, not aligned, or not device memory of its size");
    void *workspace = nullptr;
    read(*v, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    NEED(run.engine != 1 || device_range(workspace, (size_t)workspace_wanted, false),
         CUDNN_STATUS_BAD_PARAM);
    NEED((uintptr_t)workspace % 16 == 0, CUDNN_STATUS_BAD_PARAM);
    run.workspace = (char *)workspace;
    return submit(handle->stream, "cudnnBackendExecute", run) == cudaSuccess
               ? CUDNN_STATUS_SUCCESS
               : CUDNN_STATUS_EXECUTION_FAILED;
}
