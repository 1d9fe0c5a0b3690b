/*
 * What the attention kernels have in common, C++: where a block works, how its tiles come into
 * shared memory, and the running softmax. For attention.cu and attention_f32.cu, after number.h.
 * Blocks have ATTENTION_THREADS threads.
 */
#ifndef ENGINE_OPS_CUDA_ATTENTION_H
#define ENGINE_OPS_CUDA_ATTENTION_H

#include "engine/ops/cuda/number.h"

#include <math.h>

#define ATTENTION_THREADS 128
#define ATTENTION_LANES   0xffffffffu
#define ATTENTION_LOG2_E  1.44269504f

/* head_dim 1..KERNEL_HEAD_MAX; without tensor cores (attention_f32.cu). */
cudaError_t attention_f32(cudaStream_t s, const struct kernel_attention *a);

/* What a block works on: queries from `first` on, of one head of one sample. */
struct place {
    int64_t first, width;  /* width: numbers from one row to the next */
    int64_t queries, keys; /* offsets of the head's first query and key */
    int64_t seen;          /* keys that some query of the block sees */
};

template <int QUERIES> __device__ inline struct place place_of(const kernel_attention &a)
{
    struct place p;
    int64_t head = blockIdx.y % a.heads, sample = blockIdx.y / a.heads;

    p.first = static_cast<int64_t>(blockIdx.x) * QUERIES;
    p.width = a.heads * a.head_dim;
    p.queries = sample * a.tq * p.width + head * a.head_dim;
    p.keys = sample * a.tk * p.width + head * a.head_dim;
    p.seen = a.causal && p.first + QUERIES < a.tk ? p.first + QUERIES : a.tk;
    return p;
}

/* Keys that query `row` sees of the block of keys from `key` on. */
__device__ inline int64_t keys_seen(const kernel_attention &a, int64_t row, int64_t key)
{
    int64_t last = a.causal && row + 1 < a.tk ? row + 1 : a.tk;

    return last - key;
}

/* Numbers from one row of a tile of so many columns to the next: rows begin in different banks. */
template <class T, int COLUMNS> constexpr int tile_stride = COLUMNS + packed<T>;

/*
 * Sends rows x columns of a tile into shared memory from x, zeros where x has no row or column.
 * What was sent since the last commit arrives together: this thread waits for it, and all by a
 * barrier.
 */
template <class T, int ROWS, int COLUMNS>
__device__ void send_tile(T *tile, const T *x, int64_t rows, int64_t head_dim, int64_t width,
                          bool wide)
{
    const int stride = tile_stride<T, COLUMNS>, step = wide ? packed<T> : 1;

    for (int i = threadIdx.x * step; i < ROWS * COLUMNS; i += ATTENTION_THREADS * step) {
        int row = i / COLUMNS, column = i % COLUMNS;
        bool there = row < rows && column < head_dim;

        if (wide)
            __pipeline_memcpy_async(tile + row * stride + column,
                                    there ? x + row * width + column : x, 16, there ? 0 : 16);
        else
            tile[row * stride + column] = there ? x[row * width + column] : from_float<T>(0);
    }
}

/* The largest of what LANES neighbouring lanes hold, and the sum. */
template <int LANES> __device__ inline float lanes_max(float x)
{
    for (int step = LANES / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ATTENTION_LANES, x, step));
    return x;
}

template <int LANES> __device__ inline float lanes_sum(float x)
{
    for (int step = LANES / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(ATTENTION_LANES, x, step);
    return x;
}

/* A row's running maximum and sum, kept alike by all lanes that share the row. */
struct running {
    float top, total;
};

/*
 * One row's scores of a block of keys to weights 2^(score - top), by LANES lanes that each hold
 * every LANES-th key. Returns what earlier sums shrink by. Scores and weights may share memory.
 */
template <class T, int KEYS, int LANES>
__device__ float row_softmax(T *weights, const float *scores, const float *more, float scale,
                             int64_t keys, struct running *r)
{
    const int lane = threadIdx.x % LANES;
    float score[KEYS / LANES], top = -INFINITY, sum = 0;

    for (int i = 0; i < KEYS / LANES; i++) {
        int key = i * LANES + lane;

        score[i] = scores[key] + (more ? more[key] : 0.0f);
        score[i] = key < keys ? score[i] * scale : -INFINITY;
        top = fmaxf(top, score[i]);
    }
    top = fmaxf(lanes_max<LANES>(top), r->top); /* finite: the first block has a key for each row */
    /* No barrier: what is written depends on the shuffles, and they on all that was read. */
    for (int i = 0; i < KEYS / LANES; i++) {
        T weight = from_float<T>(exp2f(score[i] - top));

        weights[i * LANES + lane] = weight;
        sum += to_float(weight); /* of what is multiplied with the values */
    }
    float shrink = exp2f(r->top - top);

    r->total = r->total * shrink + lanes_sum<LANES>(sum);
    r->top = top;
    return shrink;
}

/* A kernel over all queries, `queries` a block, of all heads and samples. More than 48 KiB of
 * shared memory has to be asked for. */
template <class T, class Kernel>
cudaError_t attention_launch(Kernel kernel, const kernel_attention *a, int queries, size_t shared,
                             cudaStream_t s)
{
    bool all = wide<T>({a->head_dim}, {a->q, a->k, a->v});
    cudaError_t rc =
        cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));

    if (rc != cudaSuccess)
        return rc;
    LAUNCH(kernel, dim3(blocks_for(a->tq, queries), static_cast<unsigned>(a->n * a->heads)),
           dim3(ATTENTION_THREADS), shared, s, *a, all);
    return cudaGetLastError();
}

#endif
